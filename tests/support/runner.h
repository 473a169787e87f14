/* Workers of the cart group inside the test's own process, on a bus of their own, and commands for them. */
#pragma once

#include "bus/cmdid.h"
#include "bus/lane.h"
#include "tests/support/bus.h"

struct group; /* consumers/group.h */
extern const struct group cart_group;

/* A bus whose addresses are the settings of this process, LEASE_MS 500. */
struct bus runner_bus(int partitions);

struct runner;
struct runner *runner_start(const struct group *group, const char *instance);
/* The same with that many bytes for the rows of a batch. */
struct runner *runner_start_tight(const struct group *group, const char *instance, size_t ceiling);
void runner_stop(struct runner *runner); /* drains, joins, frees */

/* A product; known: the cart group has heard of it. */
struct uuid runner_product(struct bus *bus, bool known);
/* What tells the cart group of it, still to be appended. */
struct event runner_created(struct bus *bus, struct uuid product);
struct envelope runner_add_item(struct bus *bus, struct uuid user, struct uuid product, int64_t quantity);
void runner_publish(struct bus *bus, struct envelope command);
/* Polls until the number is what the story expects; the bound only keeps a broken build from hanging. */
void runner_expect(struct bus *bus, const char *sql, int64_t expected);
