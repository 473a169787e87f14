/*
 * From the log to deliveries: one cursor per partition for all endpoints together, moved by compare-and-set
 * in the statement that inserts the deliveries. So an event makes one delivery per endpoint, whoever runs and
 * whoever crashes.
 */
#pragma once

#include "bus/envelope.h"
#include "bus/pg/pg.h"

enum { FANOUT_EVENTS = 500, FANOUT_ROWS = 5000 };

/* Looks at every partition that is behind its head once: at most FANOUT_EVENTS events, and about FANOUT_ROWS
 * deliveries. ret: deliveries made or asked for again; ret_more: some partition is still behind. */
err webhook_fanout(struct pg *pg, struct arena *arena, size_t *ret, bool *ret_more) _must_use_;

/* May an endpoint of these rights (enum event_right) be told of that event? Of a ping only the one it names.
 * Of a type that this build does not know nobody can tell whose it is: it takes every right. */
bool webhook_may_hear(unsigned rights, struct uuid webhook, const struct envelope *event,
                      struct arena *arena);
