/*
 * Pairs of a write and a read that must see it: a command, whose result brings an X-Event-Position, and a
 * query of another kind, at another door, that sends it along. Kinds and products are drawn from a seed.
 */
#pragma once

#include "tests/support/measure.h"
#include "tests/support/shop.h"

enum pair_kind {
    PAIR_PRODUCT, /* a product is renamed; its page, which doors keep in memory */
    PAIR_STOCK,   /* units arrive; the stock, and the product's page with its figure */
    PAIR_CART,    /* units go into a cart; the cart */
    PAIR_ORDER,   /* an order is placed; the order */
    PAIR_SALES,   /* an order ends; the statistics of the reports group */
    PAIR_KINDS
};
extern const char *const pair_names[PAIR_KINDS];

struct pairs_result {
    int made[PAIR_KINDS];
    int past[PAIR_KINDS];               /* the read did not show the write: must be 0 */
    int behind[PAIR_KINDS];             /* it was told so: `behind` */
    int past_told;                      /* of those behind, how many did not show the write: allowed */
    struct latencies reads[PAIR_KINDS]; /* whole queries, the wait included */
};

/* n pairs against a shop of at least one door, one after another; ends the test when a verb is refused. */
void pairs_run(struct shop *shop, int n, uint64_t seed, struct pairs_result *ret);
