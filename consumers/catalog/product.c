/*
 * Products: creating, changing, withdrawing. A creation is a change of an empty product, so both are applied
 * by the same functions. sku and slug are unique among products that are not withdrawn; the loads look for
 * both, so a race that the unique index decides is answered 409 when the batch is decided anew.
 */
#include "consumers/catalog/catalog.h"

#include <inttypes.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"

static const struct uuid nobody;

/* ---- finding ---- */

static struct product *product_of(struct batch *b, struct uuid id)
{
    struct product *product = row_find(b, &product_table, "id", VALUE_UUID(id));
    return product && !product->is_deleted ? product : NULL;
}

/* Does another product than `self` have that value? */
static bool taken(struct batch *b, const char *column, struct str value, struct uuid self)
{
    struct product *p = NULL;
    while ((p = rows_next(b, &product_table, column, VALUE_TEXT(value), p)))
        if (!p->is_deleted && !uuid_eq(p->id, self))
            return true;
    return false;
}

static void want_text(struct batch *b, const struct table *table, const char *column, struct str value)
{
    if (value.n)
        want(b, table, column, VALUE_TEXT(value));
}

/* A category or brand is named by its slug or by its name. */
static struct str label_slug(struct batch *b, struct str named)
{
    return named.p ? slug_make(named, batch_arena(b)) : STR_NONE;
}

static void want_labels(struct batch *b, struct str category, struct str brand)
{
    want_text(b, &category_table, "slug", category);
    want_text(b, &brand_table, "slug", brand);
}

/* ---- checking: nothing is changed before all of this has passed ----
 * Each check answers ANSWER_DONE, which is 0, or has refused. */

/* A money member of a change: what the command says, what the product has. */
struct money_change {
    const char *field;
    bool given;
    int64_t present;
};

/* Amounts have the decimals of the currency they were sent in, so no amount may be carried into another one.
 */
static enum answer check_currency(struct batch *b, const struct product *product,
                                  const struct product_update *c)
{
    const struct money_change money[] = {{"price", c->has_price, product->price},
                                         {"compare_price", c->has_compare_price, product->compare_price},
                                         {"cost_price", c->has_cost_price, product->cost_price}};
    bool any = c->has_price || c->has_compare_price || c->has_cost_price;
    struct str sent = c->currency.p ? c->currency : any ? conf_str(SET_DEFAULT_CURRENCY) : product->currency;
    if (str_eq(sent, product->currency))
        return ANSWER_DONE;
    if (!c->currency.p)
        return reject_field(b, "currency",
                            "must be named with an amount: this product has another currency than the"
                            " shop's own");
    if (!c->has_price)
        return reject_field(b, "price", "is needed with another currency");
    for (size_t i = 0; i < sizeof(money) / sizeof(*money); i++)
        if (money[i].present && !money[i].given)
            return reject_field(b, money[i].field, "is needed with another currency");
    return ANSWER_DONE;
}

static enum answer check_unique(struct batch *b, struct str sku, struct str slug, struct uuid self)
{
    if (sku.p && taken(b, "sku", sku, self))
        return reject(b, ERR_CONFLICT, "Another product has this sku.");
    if (slug.p && taken(b, "slug", slug, self))
        return reject(b, ERR_CONFLICT, "Another product has this slug.");
    return ANSWER_DONE;
}

static enum answer check_labels(struct batch *b, const struct product_update *c)
{
    static const char sentence[] = "needs a letter or a digit";
    if (c->category.p && label_slug(b, c->category).n == 0)
        return reject_field(b, "category", sentence);
    if (c->brand.p && label_slug(b, c->brand).n == 0)
        return reject_field(b, "brand", sentence);
    return ANSWER_DONE;
}

/* ---- applying ---- */

static struct str images_json(struct batch *b, const struct str *images, size_t n)
{
    struct buf text = buf_new(batch_arena(b), 256);
    struct json j = json_on(&text);
    json_open(&j, '[');
    for (size_t i = 0; i < n; i++)
        json_str(&j, images[i]);
    json_close(&j, ']');
    return buf_view(&text);
}

static void set_text(struct str *to, struct str given)
{
    if (given.p)
        *to = given;
}

static void apply_texts(struct batch *b, struct product *p, const struct product_update *c)
{
    set_text(&p->name, c->name);
    set_text(&p->sku, c->sku);
    set_text(&p->slug, c->slug);
    set_text(&p->currency, c->currency);
    set_text(&p->description, c->description);
    set_text(&p->short_description, c->short_description);
    set_text(&p->category, label_slug(b, c->category));
    set_text(&p->brand, label_slug(b, c->brand));
    set_text(&p->dimensions, c->dimensions);
    set_text(&p->meta_title, c->meta_title);
    set_text(&p->meta_description, c->meta_description);
    if (c->images)
        p->images = images_json(b, c->images, c->images_n);
}

static void set_int(int64_t *to, bool given, int64_t value)
{
    if (given)
        *to = value;
}

static void apply_numbers(struct product *p, const struct product_update *c)
{
    set_int(&p->price, c->has_price, c->price);
    set_int(&p->compare_price, c->has_compare_price, c->compare_price);
    set_int(&p->cost_price, c->has_cost_price, c->cost_price);
    set_int(&p->weight_grams, c->has_weight_grams, c->weight_grams);
    set_int(&p->rating_hundredths, c->has_rating_hundredths, c->rating_hundredths);
    set_int(&p->reviews_count, c->has_reviews_count, c->reviews_count);
    if (c->has_is_active)
        p->is_active = c->is_active;
    if (c->has_is_featured)
        p->is_featured = c->is_featured;
}

/* Labels are never deleted, so one that is seen need not be asked for. */
static void request_labels(struct batch *b, const struct product_update *c)
{
    struct str category = label_slug(b, c->category), brand = label_slug(b, c->brand);
    if (category.p && !row_find(b, &category_table, "slug", VALUE_TEXT(category)))
        emit_category_ensure_requested(
            b, category, &(struct category_ensure_requested){.slug = category, .name = c->category});
    if (brand.p && !row_find(b, &brand_table, "slug", VALUE_TEXT(brand)))
        emit_brand_ensure_requested(b, brand,
                                    &(struct brand_ensure_requested){.slug = brand, .name = c->brand});
}

/* What every change of a product does. The caller emits the event. */
static void apply(struct batch *b, struct product *product, const struct product_update *c)
{
    apply_texts(b, product, c);
    apply_numbers(product, c);
    product->version++;
    product->updated_ms = batch_now(b);
    row_save(b, product);
    request_labels(b, c);
}

/* The members of product.created and product.updated: what the product is now. */
#define SNAPSHOT(p)                                                                                          \
    .product_id = (p)->id, .name = (p)->name, .slug = (p)->slug, .sku = (p)->sku, .price = (p)->price,       \
    .currency = (p)->currency, .category = (p)->category, .brand = (p)->brand, .is_active = (p)->is_active,  \
    .has_is_featured = true, .is_featured = (p)->is_featured, .version = (p)->version

/* ---- creating ---- */

void load_product_create(struct batch *b, const struct product_create *c)
{
    struct str slug = c->slug.p ? c->slug : slug_make(c->name, batch_arena(b));
    want_text(b, &product_table, "sku", c->sku);
    want_text(b, &product_table, "slug", slug);
    if (!c->slug.p)
        want_text(b, &product_table, "slug", slug_with_suffix(slug, batch_message(b)->id, batch_arena(b)));
    want_labels(b, label_slug(b, c->category), label_slug(b, c->brand));
}

/* The slug given, or one made from the name that is free. */
static struct str pick_slug(struct batch *b, const struct product_create *c)
{
    if (c->slug.p)
        return c->slug;
    struct str made = slug_make(c->name, batch_arena(b));
    if (made.n && !taken(b, "slug", made, nobody))
        return made;
    return slug_with_suffix(made, batch_message(b)->id, batch_arena(b));
}

/* A creation as a change of an empty product. */
static struct product_update change_of(struct batch *b, const struct product_create *c)
{
    return (struct product_update){
        .product_id = batch_message(b)->id,
        .name = c->name,
        .sku = c->sku,
        .has_price = true,
        .price = c->price,
        .currency = c->currency.p ? c->currency : conf_str(SET_DEFAULT_CURRENCY),
        .slug = pick_slug(b, c),
        .description = c->description,
        .short_description = c->short_description,
        .category = c->category,
        .brand = c->brand,
        .images = c->images,
        .images_n = c->images_n,
        .has_compare_price = c->has_compare_price,
        .compare_price = c->compare_price,
        .has_cost_price = c->has_cost_price,
        .cost_price = c->cost_price,
        .has_weight_grams = c->has_weight_grams,
        .weight_grams = c->weight_grams,
        .dimensions = c->dimensions,
        .has_is_active = true,
        .is_active = !c->has_is_active || c->is_active,
        .has_is_featured = c->has_is_featured,
        .is_featured = c->is_featured,
        .meta_title = c->meta_title,
        .meta_description = c->meta_description,
        .has_rating_hundredths = c->has_rating_hundredths,
        .rating_hundredths = c->rating_hundredths,
        .has_reviews_count = c->has_reviews_count,
        .reviews_count = c->reviews_count,
    };
}

/* Opening stock is told in this transaction and always, so that inventory has a row for every product. */
enum answer create_product(struct batch *b, const struct product_create *c)
{
    struct product_update change = change_of(b, c);
    int64_t stock = c->has_stock ? c->stock : 0;
    if (check_unique(b, change.sku, change.slug, nobody) || check_labels(b, &change))
        return ANSWER_REJECTED;
    struct product *product = row_new(b, &product_table);
    product->id = change.product_id;
    product->created_ms = batch_now(b);
    apply(b, product, &change);
    struct str key = uuid_str(product->id, batch_arena(b));
    emit_product_created(b, key, &(struct product_created){SNAPSHOT(product)});
    emit_stock_opened(b, key, &(struct stock_opened){.product_id = product->id, .quantity = stock});
    return succeed(b, 201, product_json(b, product, c->category, c->brand, &stock));
}

/* ---- changing ---- */

/* The product's own labels are wanted in the second round, when it is there, to be shown by their names. */
void load_product_update(struct batch *b, const struct product_update *c)
{
    const struct product *product = product_of(b, c->product_id);
    want(b, &product_table, "id", VALUE_UUID(c->product_id));
    want_text(b, &product_table, "sku", c->sku);
    want_text(b, &product_table, "slug", c->slug);
    want_labels(b, label_slug(b, c->category), label_slug(b, c->brand));
    if (product)
        want_labels(b, product->category, product->brand);
}

/* Is it there, and in the version that the client has seen? */
static enum answer check_present(struct batch *b, const struct product *product)
{
    int64_t expected = batch_message(b)->expected_version;
    if (!product)
        return reject(b, ERR_NOT_FOUND, "There is no such product.");
    if (expected && expected != product->version)
        return reject(b, ERR_STALE, "The product was changed meanwhile; its version is %" PRId64 " now.",
                      product->version);
    return ANSWER_DONE;
}

enum answer update_product(struct batch *b, const struct product_update *c)
{
    struct product *product = product_of(b, c->product_id);
    if (check_present(b, product) || check_unique(b, c->sku, c->slug, c->product_id) || check_labels(b, c) ||
        check_currency(b, product, c))
        return ANSWER_REJECTED;
    apply(b, product, c);
    emit_product_updated(b, uuid_str(product->id, batch_arena(b)),
                         &(struct product_updated){SNAPSHOT(product)});
    return succeed(b, 200, product_json(b, product, c->category, c->brand, NULL));
}

/* ---- withdrawing ---- */

void load_product_delete(struct batch *b, const struct product_delete *c)
{
    want(b, &product_table, "id", VALUE_UUID(c->product_id));
}

/* The row stays, for orders that name it and for restoring; its sku and slug are free at once. */
enum answer delete_product(struct batch *b, const struct product_delete *c)
{
    struct product *product = product_of(b, c->product_id);
    if (check_present(b, product))
        return ANSWER_REJECTED;
    product->is_deleted = true;
    product->is_active = false;
    product->deleted_ms = product->updated_ms = batch_now(b);
    product->version++;
    row_save(b, product);
    emit_product_deleted(b, uuid_str(product->id, batch_arena(b)),
                         &(struct product_deleted){.product_id = product->id, .version = product->version});
    return succeed(b, 204, STR(""));
}
