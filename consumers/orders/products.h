/* Orders' projection of the catalogue. Private to consumers/orders/. */
#pragma once

#include "consumers/orders/order.h"

void load_product_created(struct batch *b, const struct product_created *e);
enum answer keep_created_product(struct batch *b, const struct product_created *e);
void load_product_updated(struct batch *b, const struct product_updated *e);
enum answer keep_updated_product(struct batch *b, const struct product_updated *e);
void load_product_deleted(struct batch *b, const struct product_deleted *e);
enum answer withdraw_product(struct batch *b, const struct product_deleted *e);
