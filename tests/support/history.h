/*
 * A history of orders in the event log, as read models read it: placed, stock held (which reports skips),
 * confirmed or cancelled, and now and then a product that ran low. Made by the log's own append, from a
 * seeded generator, so two runs have the same orders. Ends the process when it fails.
 */
#pragma once

#include "bus/eventlog.h"

struct history {
    struct pg *pg;
    struct arena *arena; /* reset with every call of history_add */
    uint64_t state;      /* of the generator */
    int64_t orders, events;
};

enum { HISTORY_PRODUCTS = 200, HISTORY_PER_ORDER = 4 };

/* Appends that many orders, about HISTORY_PER_ORDER events each, in transactions of some hundred. */
void history_add(struct history *h, int64_t orders);
