/*
 * A front door in this process on a bus of its own, and nobody behind it: tests are the consumer. They see
 * the entries of the lanes, write rows of results and of the shop's tables by SQL, publish hints and events.
 * Everything ends the test when it fails. Use from one thread; browsers of other threads are the tests' own.
 */
#pragma once

#include "api/door.h"
#include "tests/support/browser.h"
#include "bus/lane.h"
#include "tests/support/bus.h"

struct opened {
    struct bus bus;
    struct shop shop;
    struct server *server;
    struct browser *browser;
    struct reply reply; /* the last answer */
};

/* loops: of the server. Returns when shop routes are served. */
struct opened *opened_start(int loops, int partitions);
struct opened *opened_stop(struct opened *door);
void opened_stopp(struct opened **door); /* for _cleanup_ */
/* The servers were taken away: a door that starts without them; it is not waited for. */
struct opened *opened_blind(const char *redis_url, const char *database_url);
int opened_port(const struct opened *door);

/* A person that exists, with a key and an open session; ret_token: an access token of that session. */
struct uuid opened_person(struct opened *door, const char *role, const char *name, struct uuid *ret_session,
                          const char **ret_token);
/* A token of that person. */
const char *opened_token(struct opened *door, struct uuid user, struct uuid session, const char *role);
/* A product with that price in minor units of CLP, listed, and its stock. */
struct uuid opened_product(struct opened *door, const char *name, const char *sku, const char *category,
                           int64_t price, int64_t stock);
/* Asks with door->browser; returns the status. */
int opened_ask(struct opened *door, const struct ask *ask);
/* The id of the command in the Location of an answer; "" when there is none. */
const char *command_of(const struct reply *reply);

/* ---- behind the door ---- */
/* All entries of all lanes of a topic, oldest first within a partition. */
size_t opened_entries(struct opened *door, enum topic topic, struct entry **ret);
/* A member of a command's data as text, "" when there is none. */
const char *opened_member(struct opened *door, const struct envelope *command, const char *name);
/* What a group would have done: the row of a result, then the hint. */
void opened_result(struct opened *door, const struct envelope *command, const char *status, int http,
                   const char *result);
void opened_hint(struct opened *door, const struct envelope *command);
/* Commits an event of that type; on Redis too when relayed. */
void opened_event(struct opened *door, enum message type, struct uuid key, const char *data, bool relayed);
const char *uuid_text(struct uuid id); /* static buffers, four in turn */
