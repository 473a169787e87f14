/* How the API shows a product, as the result of a command that changed it. */
#include "consumers/catalog/catalog.h"

#include "bus/base/json.h"
#include "bus/base/money.h"

static void put_money(struct json *j, const char *key, int64_t amount, struct str currency)
{
    json_key(j, key);
    json_decimal(j, amount, money_decimals(currency));
}

/* Null when there is none. */
static void put_optional_money(struct json *j, const char *key, int64_t amount, struct str currency)
{
    if (amount) {
        put_money(j, key, amount, currency);
    } else {
        json_key(j, key);
        json_nil(j);
    }
}

/* {"id","name","slug"}; a label's slug is its id. Null when the product has none. */
static void put_label(struct json *j, struct batch *b, const char *key, const struct table *table,
                      struct str slug, struct str name)
{
    json_key(j, key);
    if (!slug.p) {
        json_nil(j);
        return;
    }
    const struct label *label = row_find(b, table, "slug", VALUE_TEXT(slug));
    json_open(j, '{');
    json_kstr(j, "id", slug);
    json_kstr(j, "name", label ? label->name : name.p ? name : slug);
    json_kstr(j, "slug", slug);
    json_close(j, '}');
}

static void put_texts(struct json *j, const struct product *p)
{
    json_kstr(j, "description", p->description);
    json_kstr(j, "short_description", p->short_description);
    json_kstr(j, "meta_title", p->meta_title);
    json_kstr(j, "meta_description", p->meta_description);
    json_kraw(j, "images", p->images.p ? p->images : STR("[]"));
    json_kraw(j, "dimensions", p->dimensions);
}

static void put_numbers(struct json *j, const struct product *p)
{
    put_money(j, "price", p->price, p->currency);
    json_kstr(j, "currency", p->currency);
    put_optional_money(j, "compare_price", p->compare_price, p->currency);
    put_optional_money(j, "cost_price", p->cost_price, p->currency);
    json_kint(j, "weight_grams", p->weight_grams);
    json_key(j, "rating");
    json_decimal(j, p->rating_hundredths, 2);
    json_kint(j, "reviews_count", p->reviews_count);
}

struct str product_json(struct batch *b, const struct product *p, struct str category_name,
                        struct str brand_name, const int64_t *stock)
{
    struct buf text = buf_new(batch_arena(b), 2048);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "id", uuid_str(p->id, batch_arena(b)));
    json_kstr(&j, "name", p->name);
    json_kstr(&j, "slug", p->slug);
    json_kstr(&j, "sku", p->sku);
    put_numbers(&j, p);
    if (stock)
        json_kint(&j, "stock", *stock);
    put_label(&j, b, "category", &category_table, p->category, category_name);
    put_label(&j, b, "brand", &brand_table, p->brand, brand_name);
    put_texts(&j, p);
    json_kbool(&j, "is_active", p->is_active);
    json_kbool(&j, "is_featured", p->is_featured);
    json_kint(&j, "version", p->version);
    json_ktime(&j, "created_at", p->created_ms);
    json_ktime(&j, "updated_at", p->updated_ms);
    json_close(&j, '}');
    return buf_view(&text);
}
