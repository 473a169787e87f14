/*
 * From the log to deliveries: one cursor per partition for all endpoints together, moved by compare-and-set
 * in the statement that inserts the deliveries. So an event makes one delivery per endpoint, whoever runs and
 * whoever crashes.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/pg/pg.h"

enum { FANOUT_EVENTS = 500, FANOUT_ROWS = 5000 };

/* Looks at every partition that is behind its head once: at most FANOUT_EVENTS events, and about FANOUT_ROWS
 * deliveries. ret: deliveries made or asked for again; ret_more: some partition is still behind. */
err webhook_fanout(struct pg *pg, struct arena *arena, size_t *ret, bool *ret_more) _must_use_;
