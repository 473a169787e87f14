/*
 * Products as the public sees them: the body of one, from a cache of ready bytes that events keep true, and
 * lists.
 */
#pragma once

#include "api/http.h"
#include "bus/base/uuid.h"
#include "bus/codec.h"
#include "bus/topics.h"

enum { PRODUCTS_KEPT = 4096, TOTALS_KEPT = 256 };

struct products;

struct products *products_new(void);
struct products *products_free(struct products *products);
/* Something about that product was committed in that topic. */
void products_changed(struct products *products, enum topic topic, struct uuid id);
/* Anything may have changed. */
void products_forget(struct products *products);

extern const struct shape product_list_params;
void get_product(struct request *req);
void list_products(struct request *req);
