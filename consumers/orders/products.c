/*
 * What orders needs to know of the catalogue, kept from the catalogue's own events: name, sku, price, whether
 * it is for sale. Repeated and older events are absorbed by the product's version.
 */
#include "consumers/orders/products.h"

void load_product_created(struct batch *b, const struct product_created *e)
{
    want(b, &order_product_table, "product_id", VALUE_UUID(e->product_id));
}

void load_product_updated(struct batch *b, const struct product_updated *e)
{
    want(b, &order_product_table, "product_id", VALUE_UUID(e->product_id));
}

void load_product_deleted(struct batch *b, const struct product_deleted *e)
{
    want(b, &order_product_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer keep(struct batch *b, const struct order_product *seen)
{
    struct order_product *product =
        row_find(b, &order_product_table, "product_id", VALUE_UUID(seen->product_id));
    if (product && product->version >= seen->version)
        return ANSWER_DONE;
    if (!product)
        product = row_new(b, &order_product_table);
    struct row row = product->row;
    *product = *seen;
    product->row = row;
    row_save(b, product);
    return ANSWER_DONE;
}

enum answer keep_created_product(struct batch *b, const struct product_created *e)
{
    return keep(b, &(struct order_product){.product_id = e->product_id,
                                           .name = e->name,
                                           .sku = e->sku,
                                           .price = e->price,
                                           .currency = e->currency,
                                           .is_active = e->is_active,
                                           .version = e->version});
}

enum answer keep_updated_product(struct batch *b, const struct product_updated *e)
{
    return keep(b, &(struct order_product){.product_id = e->product_id,
                                           .name = e->name,
                                           .sku = e->sku,
                                           .price = e->price,
                                           .currency = e->currency,
                                           .is_active = e->is_active,
                                           .version = e->version});
}

/* The row stays: an order of a withdrawn product is refused by name instead of waiting for a product to
 * appear. */
enum answer withdraw_product(struct batch *b, const struct product_deleted *e)
{
    struct order_product *product =
        row_find(b, &order_product_table, "product_id", VALUE_UUID(e->product_id));
    if (!product || product->version >= e->version)
        return ANSWER_DONE;
    product->is_active = false;
    product->version = e->version;
    row_save(b, product);
    return ANSWER_DONE;
}
