/*
 * One row of a foreign product list. Numbers are taken as they are written, never through a floating point
 * number: a price that the currency cannot hold is refused, not rounded.
 */
#include "bus/base/money.h"
#include "bus/ctl/import.h"

enum { IMAGES_MAX = 20 };

static err need_text(struct str object, const char *member, struct arena *arena, struct str *ret)
{
    *ret = str_trim(json_member_str(object, member, arena));
    return str_empty(*ret) ? FAIL(INVALID, "%s is missing", member) : OK;
}

static struct str text_or_none(struct str object, const char *member, struct arena *arena)
{
    struct str text = json_member_str(object, member, arena);
    return text.p && !str_empty(str_trim(text)) ? str_trim(text) : STR_NONE;
}

static err read_price(struct str object, struct str currency, struct arena *arena, int64_t *ret)
{
    struct str number = json_member(object, "price", arena);
    int64_t ignored;
    if (!number.p)
        return FAIL(INVALID, "price is missing");
    if (!failed(money_parse(number, money_decimals(currency), ret)))
        return OK;
    if (!failed(money_parse(number, MONEY_MAX_DECIMALS, &ignored)))
        return FAIL(INVALID, "price %.*s has more decimals than %.*s (see --currency)",
                    (int)(number.n < 24 ? number.n : 24), number.p, STR_ARG(currency));
    return FAIL(INVALID, "price is not an amount of money");
}

/* A whole number from 0 up; absent is fine. */
static err read_count(struct str object, const char *member, struct arena *arena, bool *ret_has, int64_t *ret)
{
    struct str number = json_member(object, member, arena);
    if (!number.p || str_is(number, "null"))
        return OK;
    if (failed(money_parse(number, 0, ret)))
        return FAIL(INVALID, "%s is not a whole number from 0 up", member);
    *ret_has = true;
    return OK;
}

/* Hundredths, rounded half up from at most four decimals. */
static err read_rating(struct str object, struct arena *arena, struct product_create *p)
{
    struct str number = json_member(object, "rating", arena);
    int64_t tenthousandths;
    if (!number.p || str_is(number, "null"))
        return OK;
    if (failed(money_parse(number, 4, &tenthousandths)) || tenthousandths > 50000)
        return FAIL(INVALID, "rating is not a number from 0 to 5");
    p->has_rating_hundredths = true;
    p->rating_hundredths = (tenthousandths + 50) / 100;
    return OK;
}

static err read_images(struct str object, struct arena *arena, struct product_create *p)
{
    struct str list = json_member(object, "images", arena);
    struct str *images = arena_array(arena, struct str, IMAGES_MAX);
    struct json_in in = json_in(list, arena);
    bool first = true, more = false;
    if (!list.p || str_is(list, "null"))
        return OK;
    if (failed(json_enter(&in, JSON_ARRAY)))
        return FAIL(INVALID, "images is not a list");
    for (;;) {
        TRY(json_next(&in, &first, &more, NULL));
        if (!more)
            break;
        if (p->images_n == IMAGES_MAX || failed(json_read_string(&in, &images[p->images_n])))
            return FAIL(INVALID, "images is not a list of at most %d texts", IMAGES_MAX);
        p->images_n++;
    }
    p->images = images;
    return OK;
}

static err count_reviews(struct str object, struct arena *arena, struct product_create *p)
{
    struct str list = json_member(object, "reviews", arena);
    struct json_in in = json_in(list, arena);
    bool first = true, more = true;
    if (!list.p || failed(json_enter(&in, JSON_ARRAY)))
        return OK;
    for (;;) {
        TRY(json_next(&in, &first, &more, NULL));
        if (!more)
            break;
        TRY(json_skip(&in, NULL));
        p->reviews_count++;
    }
    p->has_reviews_count = true;
    return OK;
}

/* Grams, fractions dropped. */
static err read_weight(struct str object, struct arena *arena, struct product_create *p)
{
    struct str number = json_member(object, "weight", arena);
    int64_t tenthousandths;
    if (!number.p || str_is(number, "null"))
        return OK;
    if (failed(money_parse(number, 4, &tenthousandths)))
        return FAIL(INVALID, "weight is not a number from 0 up");
    p->has_weight_grams = true;
    p->weight_grams = tenthousandths / 10000;
    return OK;
}

err import_row_read(struct str object, struct str currency, struct arena *arena, struct import_row *row)
{
    struct product_create *p = &row->product;
    p->currency = currency;
    TRY(need_text(object, "sku", arena, &p->sku));
    TRY(need_text(object, json_member(object, "title", arena).p ? "title" : "name", arena, &p->name));
    TRY(read_price(object, currency, arena, &p->price));
    TRY(read_count(object, "stock", arena, &p->has_stock, &p->stock));
    TRY(read_rating(object, arena, p));
    TRY(read_images(object, arena, p));
    TRY(count_reviews(object, arena, p));
    TRY(read_weight(object, arena, p));
    p->description = text_or_none(object, "description", arena);
    p->category = text_or_none(object, "category", arena);
    p->brand = text_or_none(object, "brand", arena);
    struct str dimensions = json_member(object, "dimensions", arena);
    if (dimensions.p && dimensions.n && dimensions.p[0] == '{')
        p->dimensions = json_compact(dimensions, arena);
    return OK;
}
