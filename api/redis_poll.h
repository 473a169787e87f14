/*
 * A connection to Redis inside a libuv loop: drives the pump of bus/redis by uv_poll, reconnects with backoff
 * on a worker thread (connecting may block for two seconds, the loop must not), and breaks a connection whose
 * oldest command has had no sign of life for REDIS_POLL_SILENCE_MS, so that everybody who waits gets an
 * answer. What is queued during one turn of the loop leaves with one write.
 */
#pragma once

#include <uv.h>

#include "bus/redis/redis.h"

enum { REDIS_POLL_SILENCE_MS = 4000 };

struct redis_poll;

/* Told on the loop each time the connection is there (true) or was lost (false). On true subscriptions and
 * waiting reads are to be made anew. Everything that waited was answered with NULL before false is told. */
typedef void redis_poll_fn(void *data, bool up);

/* Begins to connect at once. url lives as long as the process; fn may be NULL. */
struct redis_poll *redis_poll_new(uv_loop_t *loop, const char *url, redis_poll_fn *fn, void *data);
/* The connection, NULL while there is none. Valid until the loop turns. */
struct redis *redis_poll_up(const struct redis_poll *poll);
/* Closes; memory goes when the loop has run its closing callbacks. NULL is fine. Returns NULL. */
struct redis_poll *redis_poll_free(struct redis_poll *poll);
