/*
 * Limits of rate. A route belongs to a policy; a policy counts per person, or per address where nobody is
 * signed in (or always, where people sign in). GCRA: a subject may use its whole allowance at once and gets
 * it back evenly. The state is in Redis, by Redis' clock, so that all doors count together: exactly for
 * signing in and for commands, while reads take a handful of permits at a time and spend them here. While
 * Redis is away each loop counts for itself. RATE_LIMIT=off lets everything pass.
 */
#pragma once

#include "api/route.h"

enum rate_policy { RATE_GENERAL, RATE_AUTH, RATE_POLL, RATE_ADMIN, RATE_POLICIES };

/* In the flags of a route. */
#define ROUTE_RATE(policy) ((unsigned)(policy) << 4)
#define RATE_OF(flags) ((enum rate_policy)((flags) >> 4 & 3))

enum { RATE_SUBJECTS = 20000 }; /* remembered per loop */

struct door;
struct rates;

struct rates *rates_new(struct door *door);
struct rates *rates_free(struct rates *rates);

/* Counts an admitted request. Calls pass(req) when it may go on, perhaps later; else it is answered by 429.
 * exact: it is a command. */
void rate_check(struct request *req, bool exact, route_fn *pass);
