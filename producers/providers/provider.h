/*
 * What a payment provider must be able to do. Every operation carries an idempotency key (order id and
 * operation): asked again with the same key, it does nothing more and answers the same. Providers are called
 * by workers, one call of an order at a time.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/pg/pg.h"
#include "producers/bell.h"

struct charge {
    struct str key;      /* idempotency key of this operation */
    struct str order_id; /* what the charge belongs to: one charge per order */
    int64_t amount;      /* minor units */
    struct str currency;
    struct str token;          /* in clear, only in memory; absent for a void */
    struct patience *patience; /* how long to wait for the provider */
    struct pg *pg;
    struct arena *arena;
};

struct charge_answer {
    bool done;            /* false: refused, for good */
    struct str reference; /* the provider's name of the charge */
    struct str reason;    /* of a refusal; a stable word */
};

/* RETRY errors: no answer (in time); nothing is known about the effect. */
struct provider {
    const char *name;
    /* Reserves the amount. */
    err (*authorise)(const struct charge *charge, struct charge_answer *ret);
    /* Takes what is reserved. */
    err (*capture)(const struct charge *charge, struct charge_answer *ret);
    /* Leaves no charge of the order, whatever has happened, and lets none arise later. Cannot be refused. */
    err (*void_charge)(const struct charge *charge, struct charge_answer *ret);
};

extern const struct provider test_provider;
