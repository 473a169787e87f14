/*
 * import: product lists as other shops write them, {"title","price","sku","category","brand","stock",…}.
 * import_row.c reads one row, verb_import.c takes the file through the shop.
 */
#pragma once

#include "bus/ctl/publish.h"

struct import_row {
    int64_t n; /* place in the file, from 1 */
    struct product_create product;
    struct uuid existing; /* product of that sku; nil: none */
    bool unopened;        /* it is there, its stock is not yet */
    int64_t stock_version, stock_difference;
    struct str refused; /* why; absent while it is good */
    struct uuid command, adjustment;
    bool accepted;
};

/* Reads one product object (checked JSON) into row->product; INVALID with a sentence for the operator. Prices
 * must be exact in the currency. Strings go to the arena. */
err import_row_read(struct str object, struct str currency, struct arena *arena,
                    struct import_row *row) _must_use_;
