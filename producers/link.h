/*
 * A loop's own connection to PostgreSQL, opened when needed and again after it broke. Only loops use it,
 * hence it logs: once when the connection is lost, once when it is back.
 */
#pragma once

#include "bus/pg/pg.h"
#include "producers/bell.h"

struct link {
    const char *loop; /* for the log */
    struct pg *pg;
    int attempt; /* failures in a row */
};

/* True when the connection is up; else it was tried once. */
bool link_up(struct link *link);
/* After a pass of the loop: waits ms for the bell when e is OK, else with backoff; logs a failure that is
 * new. */
void link_rest(struct link *link, err e, struct bell *bell, int64_t ms);
/* Until link_up opens it again. */
void link_close(struct link *link);
