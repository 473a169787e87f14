/*
 * How a product looks, and the columns of door_product in the order in which they are read.
 */
#pragma once

#include "api/listing.h"

/* Columns 0 … of product_put. Constant text for statements. */
#define PRODUCT_COLUMNS                                                                                      \
    "id, name, slug, sku, price, currency, compare_price, cost_price, stock, category, category_name, "      \
    "brand, "                                                                                                \
    "brand_name, description, short_description, meta_title, meta_description, images, dimensions, "         \
    "weight_grams, rating_hundredths, reviews_count, is_active, is_featured, version, stock_version, "       \
    "created_ms, updated_ms, amount"
enum product_column {
    P_ID,
    P_NAME,
    P_SLUG,
    P_SKU,
    P_PRICE,
    P_CURRENCY,
    P_COMPARE_PRICE,
    P_COST_PRICE,
    P_STOCK,
    P_CATEGORY,
    P_CATEGORY_NAME,
    P_BRAND,
    P_BRAND_NAME,
    P_DESCRIPTION,
    P_SHORT_DESCRIPTION,
    P_META_TITLE,
    P_META_DESCRIPTION,
    P_IMAGES,
    P_DIMENSIONS,
    P_WEIGHT_GRAMS,
    P_RATING,
    P_REVIEWS_COUNT,
    P_IS_ACTIVE,
    P_IS_FEATURED,
    P_VERSION,
    P_STOCK_VERSION,
    P_CREATED,
    P_UPDATED,
    P_AMOUNT,
};

/* staff: what a product costs the shop is shown too. */
void product_put(struct json *j, const struct pg_result *rows, int row, bool staff, struct arena *arena);
/* "\"7-12\"": the product's version, then its stock's. */
struct str product_etag(const struct pg_result *rows, int row, struct arena *arena);
