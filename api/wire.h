/*
 * What the two adapters between a pump (bus/redis, bus/pg) and libuv share: one descriptor watched by
 * uv_poll, a prepare handle that writes once per turn of the loop, a timer for backoff and for noticing
 * silence, and connecting on a worker thread. The pump is a table of functions; all but `connect` run on the
 * loop. While connecting, the worker alone touches the pump's object.
 */
#pragma once

#include <uv.h>

#include "bus/base/err.h"

struct wire_pump {
    const char *name;              /* for the log */
    err (*connect)(void *object);  /* blocking, on a worker thread; the object is down before */
    int (*fd)(const void *object); /* of a connection that is up, also right before it breaks */
    bool (*is_up)(const void *object);
    short (*wants)(const void *object);
    size_t (*waiting)(const void *object);
    void (*pump)(void *object, short ready);
    void (*stop)(void *object); /* breaks the connection: whoever waits is told before it returns */
    void (*free)(void *object);
};

struct wire;

/* Told on the loop when the connection came up or went down. */
typedef void wire_fn(void *data, bool up);

/* Takes ownership of the object, which is not connected yet; begins at once. silence_ms: how long something
 * may wait without any byte arriving before the connection is broken. */
struct wire *wire_new(uv_loop_t *loop, const struct wire_pump *pump, void *object, int64_t silence_ms,
                      wire_fn *fn, void *data);
/* NULL while there is no connection. */
void *wire_up(const struct wire *wire);
/* Closes: whoever waits is told that the connection is gone before this returns, nobody is told anything
 * later. The memory goes with the loop's closing callbacks. The owner is not told any more. Not from inside a
 * pump. */
void wire_free(struct wire *wire);
