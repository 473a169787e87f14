/*
 * The catalog group: products, and the categories and brands they name. A product names a label by its slug
 * only and asks for it by an event, since a label is an aggregate of its own, written in its own partition.
 */
#include "consumers/catalog/catalog.h"

#include "bus/base/json.h"

const struct table product_table = {
    .name = "product",
    .size = sizeof(struct product),
    .keys = 1,
    .where = "NOT is_deleted",
    .columns = {COLUMN(UUID, product, id),
                COLUMN(TEXT, product, name),
                COLUMN(TEXT, product, slug),
                COLUMN(TEXT, product, sku),
                COLUMN(INT, product, price),
                COLUMN(TEXT, product, currency),
                COLUMN(INT, product, compare_price),
                COLUMN(INT, product, cost_price),
                COLUMN(TEXT, product, description),
                COLUMN(TEXT, product, short_description),
                COLUMN(TEXT, product, category),
                COLUMN(TEXT, product, brand),
                COLUMN(TEXT, product, images),
                COLUMN(TEXT, product, dimensions),
                COLUMN(INT, product, weight_grams),
                COLUMN(INT, product, rating_hundredths),
                COLUMN(INT, product, reviews_count),
                COLUMN(BOOL, product, is_active),
                COLUMN(BOOL, product, is_featured),
                COLUMN(TEXT, product, meta_title),
                COLUMN(TEXT, product, meta_description),
                COLUMN(BOOL, product, is_deleted),
                COLUMN(INT, product, deleted_ms),
                COLUMN(INT, product, version),
                COLUMN(INT, product, created_ms),
                COLUMN(INT, product, updated_ms)},
};

const struct table category_table = {
    .name = "category",
    .size = sizeof(struct label),
    .keys = 1,
    .columns = {COLUMN(TEXT, label, slug), COLUMN(TEXT, label, name), COLUMN(TEXT, label, description),
                COLUMN(INT, label, created_ms)},
};

const struct table brand_table = {
    .name = "brand",
    .size = sizeof(struct label),
    .keys = 1,
    .columns = {COLUMN(TEXT, label, slug), COLUMN(TEXT, label, name), COLUMN(INT, label, created_ms)},
};

/* ---- labels ---- */

static struct label *label_of(struct batch *b, const struct table *table, struct str slug)
{
    return row_find(b, table, "slug", VALUE_TEXT(slug));
}

static struct label *add_label(struct batch *b, const struct table *table, struct str slug, struct str name,
                               struct str description)
{
    struct label *label = row_new(b, table);
    label->slug = slug;
    label->name = name;
    label->description = description;
    label->created_ms = batch_now(b);
    row_save(b, label);
    return label;
}

static struct str label_json(struct batch *b, const struct label *label)
{
    struct buf text = buf_new(batch_arena(b), 256);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "id", label->slug);
    json_kstr(&j, "name", label->name);
    json_kstr(&j, "slug", label->slug);
    if (label->description.p)
        json_kstr(&j, "description", label->description);
    json_ktime(&j, "created_at", label->created_ms);
    json_close(&j, '}');
    return buf_view(&text);
}

/* ---- categories ---- */

/* The one that stands stays as it is. true: it is new. */
static bool make_category(struct batch *b, struct str slug, struct str name, struct str description)
{
    if (label_of(b, &category_table, slug))
        return false;
    add_label(b, &category_table, slug, name, description);
    emit_category_created(b, slug, &(struct category_created){.slug = slug, .name = name});
    return true;
}

static void load_category_ensure(struct batch *b, const struct category_ensure *c)
{
    want(b, &category_table, "slug", VALUE_TEXT(c->slug));
}

static enum answer ensure_category(struct batch *b, const struct category_ensure *c)
{
    bool made = make_category(b, c->slug, c->name, c->description);
    return succeed(b, made ? 201 : 200, label_json(b, label_of(b, &category_table, c->slug)));
}

static void load_category_requested(struct batch *b, const struct category_ensure_requested *e)
{
    want(b, &category_table, "slug", VALUE_TEXT(e->slug));
}

static enum answer category_requested(struct batch *b, const struct category_ensure_requested *e)
{
    make_category(b, e->slug, e->name, STR_NONE);
    return ANSWER_DONE;
}

/* ---- brands ---- */

static bool make_brand(struct batch *b, struct str slug, struct str name)
{
    if (label_of(b, &brand_table, slug))
        return false;
    add_label(b, &brand_table, slug, name, STR_NONE);
    emit_brand_created(b, slug, &(struct brand_created){.slug = slug, .name = name});
    return true;
}

static void load_brand_ensure(struct batch *b, const struct brand_ensure *c)
{
    want(b, &brand_table, "slug", VALUE_TEXT(c->slug));
}

static enum answer ensure_brand(struct batch *b, const struct brand_ensure *c)
{
    bool made = make_brand(b, c->slug, c->name);
    return succeed(b, made ? 201 : 200, label_json(b, label_of(b, &brand_table, c->slug)));
}

static void load_brand_requested(struct batch *b, const struct brand_ensure_requested *e)
{
    want(b, &brand_table, "slug", VALUE_TEXT(e->slug));
}

static enum answer brand_requested(struct batch *b, const struct brand_ensure_requested *e)
{
    make_brand(b, e->slug, e->name);
    return ANSWER_DONE;
}

static const struct table *const tables[] = {&category_table, &brand_table, &product_table, NULL};

extern const struct group catalog_group;
const struct group catalog_group = {
    .name = "catalog",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = tables,
    .on =
        {
            .product_create = {load_product_create, create_product},
            .product_update = {load_product_update, update_product},
            .product_delete = {load_product_delete, delete_product},
            .category_ensure = {load_category_ensure, ensure_category},
            .category_ensure_requested = {load_category_requested, category_requested},
            .brand_ensure = {load_brand_ensure, ensure_brand},
            .brand_ensure_requested = {load_brand_requested, brand_requested},
        },
};
