/* The catalogue's tables and what its files share. Private to consumers/catalog/. */
#pragma once

#include "consumers/group.h"

struct product {
    struct row row;
    struct uuid id;
    struct str name, slug, sku;
    int64_t price; /* minor units of currency, like compare_price and cost_price, where 0 is none */
    struct str currency;
    int64_t compare_price, cost_price;
    struct str description, short_description;
    struct str category, brand;    /* slugs */
    struct str images, dimensions; /* JSON */
    int64_t weight_grams, rating_hundredths, reviews_count;
    bool is_active, is_featured;
    struct str meta_title, meta_description;
    bool is_deleted;
    int64_t deleted_ms; /* 0: not deleted */
    int64_t version, created_ms, updated_ms;
};
/* Deleted products are never loaded, so their sku and slug are free again. */
extern const struct table product_table;

/* A category or a brand; they are never deleted. Brands have no description. */
struct label {
    struct row row;
    struct str slug, name, description;
    int64_t created_ms;
};
extern const struct table category_table, brand_table;

/* A slug from a name: lower-case ASCII letters and digits joined by single dashes, accents folded, at most
 * SLUG_MADE bytes. Empty when the name has no letter or digit that can be told so. */
enum { SLUG_MADE = 180 };
struct str slug_make(struct str name, struct arena *arena);
/* The same with a short suffix from the id; an empty slug becomes "product-…". */
struct str slug_with_suffix(struct str slug, struct uuid id, struct arena *arena);

/* The API's JSON of a product. category_name, brand_name: what to call a label that has no row yet. stock:
 * NULL when it is not known here; the catalogue keeps none. */
struct str product_json(struct batch *b, const struct product *product, struct str category_name,
                        struct str brand_name, const int64_t *stock);

void load_product_create(struct batch *b, const struct product_create *c);
enum answer create_product(struct batch *b, const struct product_create *c);
void load_product_update(struct batch *b, const struct product_update *c);
enum answer update_product(struct batch *b, const struct product_update *c);
void load_product_delete(struct batch *b, const struct product_delete *c);
enum answer delete_product(struct batch *b, const struct product_delete *c);
