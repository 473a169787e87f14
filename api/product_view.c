/*
 * A row of door_product as JSON; the same members in the same order as the catalog group's results.
 */
#include "api/product_view.h"

/* {"id","name","slug"}: the slug of a category or brand is its id. Null when there is none. */
static void put_label(struct json *j, const char *key, struct str slug, struct str name)
{
    json_key(j, key);
    if (!slug.p) {
        json_nil(j);
        return;
    }
    json_open(j, '{');
    json_kstr(j, "id", slug);
    json_kstr(j, "name", name.p ? name : slug);
    json_kstr(j, "slug", slug);
    json_close(j, '}');
}

static void put_optional_money(struct json *j, const char *key, int64_t minor, struct str currency)
{
    if (minor) {
        put_money(j, key, minor, currency);
        return;
    }
    json_key(j, key);
    json_nil(j);
}

static void put_raw(struct json *j, const char *key, struct str text, const char *otherwise)
{
    json_kraw(j, key, text.n ? text : str_of(otherwise));
}

static void put_numbers(struct json *j, const struct pg_result *rows, int row, bool staff)
{
    struct str currency = pg_get_str(rows, row, P_CURRENCY);
    put_money(j, "price", pg_get_int(rows, row, P_PRICE), currency);
    json_kstr(j, "currency", currency);
    put_optional_money(j, "compare_price", pg_get_int(rows, row, P_COMPARE_PRICE), currency);
    if (staff)
        put_optional_money(j, "cost_price", pg_get_int(rows, row, P_COST_PRICE), currency);
    put_int(j, "weight_grams", rows, row, P_WEIGHT_GRAMS);
    json_key(j, "rating");
    json_decimal(j, pg_get_int(rows, row, P_RATING), 2);
    put_int(j, "reviews_count", rows, row, P_REVIEWS_COUNT);
    put_int(j, "stock", rows, row, P_STOCK);
}

static void put_texts(struct json *j, const struct pg_result *rows, int row)
{
    put_text(j, "description", rows, row, P_DESCRIPTION);
    put_text(j, "short_description", rows, row, P_SHORT_DESCRIPTION);
    put_text(j, "meta_title", rows, row, P_META_TITLE);
    put_text(j, "meta_description", rows, row, P_META_DESCRIPTION);
    put_raw(j, "images", pg_get_str(rows, row, P_IMAGES), "[]");
    put_raw(j, "dimensions", pg_get_str(rows, row, P_DIMENSIONS), "null");
}

void product_put(struct json *j, const struct pg_result *rows, int row, bool staff, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, P_ID), arena);
    put_text(j, "name", rows, row, P_NAME);
    put_text(j, "slug", rows, row, P_SLUG);
    put_text(j, "sku", rows, row, P_SKU);
    put_numbers(j, rows, row, staff);
    put_label(j, "category", pg_get_str(rows, row, P_CATEGORY), pg_get_str(rows, row, P_CATEGORY_NAME));
    put_label(j, "brand", pg_get_str(rows, row, P_BRAND), pg_get_str(rows, row, P_BRAND_NAME));
    put_texts(j, rows, row);
    json_kbool(j, "is_active", pg_get_bool(rows, row, P_IS_ACTIVE));
    json_kbool(j, "is_featured", pg_get_bool(rows, row, P_IS_FEATURED));
    put_int(j, "version", rows, row, P_VERSION);
    put_time(j, "created_at", rows, row, P_CREATED);
    put_time(j, "updated_at", rows, row, P_UPDATED);
    json_close(j, '}');
}

struct str product_etag(const struct pg_result *rows, int row, struct arena *arena)
{
    return arena_printf(arena, "\"%lld-%lld\"", (long long)pg_get_int(rows, row, P_VERSION),
                        (long long)pg_get_int(rows, row, P_STOCK_VERSION));
}
