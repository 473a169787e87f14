/*
 * A few connections to PostgreSQL inside a libuv loop, for statements that are a transaction of their own.
 * Drives the pump of bus/pg like redis_poll.h does for Redis: reconnects with backoff off the loop, and
 * breaks a connection that gave no sign for PG_POLL_SILENCE_MS while something waited. A statement goes to
 * the connection with the shortest queue.
 */
#pragma once

#include <uv.h>

#include "bus/pg/pg.h"

enum { PG_POLL_SILENCE_MS = 5000, PG_POLL_CONNECTIONS_MAX = 8 };

/* What the connections are for: short walks along an index, or looking at much. The latter shall not stand in
 * the way of the former. */
enum pg_poll_use { PG_POLL_WALKS, PG_POLL_COUNTS };

struct pg_poll;

/* Begins to connect at once. url and role live as long as the process. connections: 1 to
 * PG_POLL_CONNECTIONS_MAX. */
struct pg_poll *pg_poll_new(uv_loop_t *loop, const char *url, const char *role, enum pg_poll_use use,
                            int connections);
/* Queues one statement and its Sync; fn is told later on the loop, exactly once. PG_DOWN: no connection, fn
 * is not told. */
err pg_poll_query(struct pg_poll *poll, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                  pg_fn *fn, void *data) _must_use_;
/* The connection with the shortest queue, for statements that other layers queue (each to be followed by
 * pg_sync); NULL while there is none. Valid until the loop turns. */
struct pg *pg_poll_up(const struct pg_poll *poll);
/* Closes; memory goes with the loop's closing callbacks. NULL is fine. Returns NULL. */
struct pg_poll *pg_poll_free(struct pg_poll *poll);
