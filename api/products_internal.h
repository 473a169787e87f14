/*
 * What products.c and product_list.c share: the memory of products of one loop.
 */
#pragma once

#include "api/http.h"
#include "api/idmap.h"
#include "api/products.h"

enum { PRODUCT_MARKS = 256 };

struct body {
    struct idmap_node node;
    struct blob *blob;
};

/* How many products a filter finds; true as long as nothing it depends on has changed. */
struct total {
    char *filter; /* NULL: free */
    uint64_t change;
    int64_t n;
};

struct products {
    struct idmap bodies;
    uint64_t marks[PRODUCT_MARKS];
    uint64_t changes[2]; /* of products; of stock */
    struct total totals[TOTALS_KEPT];
};
