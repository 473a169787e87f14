/*
 * Events of the past for a stream: a piece of one partition from the log, off the loop's own time. What is no
 * longer in PostgreSQL is read by eventlog_read(), which knows where old ranges have gone; that may take a
 * while and blocks, so it runs on the thread pool with a connection of its own.
 */
#pragma once

#include "bus/eventlog.h"

struct door;

/* Events with a seq above `after`, ascending; the first is the next one unless that is really gone. They live
 * until the function returns. */
typedef void event_history_fn(void *data, err e, const struct event *events, size_t n);

/* At most so many events; as many as begin below so many bytes of data (1 MB where they are archived). */
struct event_history_page {
    int events;
    int64_t bytes;
};

/* The log must hold at least one event behind `after`. fn is told later, exactly once; not when this fails
 * (PG_DOWN: no connection). */
err event_history_read(struct door *door, enum topic topic, int part, int64_t after,
                       struct event_history_page page, event_history_fn *fn, void *data) _must_use_;
