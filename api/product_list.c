/*
 * GET /products: pages of products by filter and sort. Every combination of what decides the index (sort,
 * category or brand, by cursor or by page) is a statement of its own, so that one plan fits it always: a walk
 * along an index that stops after a page. The other filters are tested along the way.
 *
 * A cursor names the last row of a page: sort, its value, its id. The first page is the walk from before
 * everything. Totals are counted once per filter and kept until an event says that something changed.
 */
#include <stdlib.h>

#include "api/product_view.h"
#include "api/products_internal.h"
#include "bus/base/money.h"

/* ---- parameters ---- */

enum sort { SORT_NEWEST, SORT_PRICE_ASC, SORT_PRICE_DESC, SORT_RATING, SORT_NAME, SORTS };
static const char *const sort_words[SORTS + 1] = {"newest", "price_asc", "price_desc",
                                                  "rating", "name",      NULL};

struct product_query {
    struct paging paging;
    struct str category, brand, search, sort, cursor;
    int64_t min_price, max_price;
    bool in_stock, has_in_stock, has_min_price, has_max_price;
};
static const struct field query_fields[] = {
    QUERY_PAGING(product_query),
    QUERY_TEXT(product_query, category, 200, NULL),
    QUERY_TEXT(product_query, brand, 200, NULL),
    QUERY_TEXT(product_query, search, 200, NULL),
    QUERY_TEXT(product_query, sort, 20, sort_words),
    QUERY_TEXT(product_query, cursor, 600, NULL),
    QUERY_AMOUNT(product_query, min_price),
    QUERY_AMOUNT(product_query, max_price),
    QUERY_BOOL(product_query, in_stock),
};
const struct shape product_list_params = {"products", sizeof(struct product_query), query_fields,
                                          sizeof(query_fields) / sizeof(*query_fields)};

/* ---- statements ---- */

/* $1 amount from, $2 to, $3 pattern or NULL, $4 in stock or NULL, $5 brand beside a category or NULL, $6 the
 * category or brand that the walk goes along */
#define WHERE_REST                                                                                           \
    " AND amount >= $1::bigint AND amount <= $2::bigint"                                                     \
    " AND ($3::text IS NULL OR name ILIKE $3 OR description ILIKE $3 OR sku ILIKE $3)"                       \
    " AND ($5::text IS NULL OR brand = $5)"
#define IN_STOCK " AND ($4::boolean IS NULL OR (stock > 0) = $4)"
/* The same for a walk, which asks row by row. */
#define IN_STOCK_BY_ROW                                                                                      \
    " AND ($4::boolean IS NULL OR EXISTS (SELECT 1 FROM door_stock s WHERE s.product_id = p.id"              \
    " AND s.quantity > s.reserved) = $4)"
#define WHERE_ALL "is_active AND $6::text IS NULL" WHERE_REST
#define WHERE_CATEGORY "is_active AND category = $6::text" WHERE_REST
#define WHERE_BRAND "is_active AND brand = $6::text" WHERE_REST
/* A literal limit lets the planner know how little is wanted. */
#define WALK(where, column, type, beyond, direction, most)                                                   \
    "SELECT " PRODUCT_COLUMNS " FROM door_product p WHERE " where IN_STOCK_BY_ROW " AND (" column            \
    ", id) " beyond " ($7::" type ", $8::uuid) ORDER BY " column " " direction ", id " direction             \
    " LIMIT " most
/* Rows that are skipped are not joined with anything. */
#define PAGE(where, column, direction)                                                                       \
    "WITH page AS MATERIALIZED (SELECT id AS page_id, " column                                               \
    " AS place FROM door_product p WHERE " where IN_STOCK_BY_ROW " ORDER BY " column " " direction           \
    ", id " direction " LIMIT $7::bigint OFFSET $8::bigint) "                                                \
    "SELECT " PRODUCT_COLUMNS " FROM page JOIN door_product ON id = page_id ORDER BY place " direction       \
    ", id " direction

enum { BY_ALL, BY_CATEGORY, BY_BRAND, BYS };
enum { WALK_21, WALK_101, BY_PAGE, MODES };

#define MODES_OF(tag, where, column, type, beyond, direction)                                                \
    {                                                                                                        \
        {"door_products_" tag "_walk21", WALK(where, column, type, beyond, direction, "21")},                \
            {"door_products_" tag "_walk101", WALK(where, column, type, beyond, direction, "101")},          \
            {"door_products_" tag "_page", PAGE(where, column, direction)},                                  \
    }
#define FILTERS_OF(tag, column, type, beyond, direction)                                                     \
    {                                                                                                        \
        MODES_OF(tag, WHERE_ALL, column, type, beyond, direction),                                           \
            MODES_OF(tag "_category", WHERE_CATEGORY, column, type, beyond, direction),                      \
            MODES_OF(tag "_brand", WHERE_BRAND, column, type, beyond, direction),                            \
    }
static const struct pg_stmt select_page[SORTS][BYS][MODES] = {
    [SORT_NEWEST] = FILTERS_OF("newest", "created_ms", "bigint", "<", "DESC"),
    [SORT_PRICE_ASC] = FILTERS_OF("cheapest", "amount", "bigint", ">", "ASC"),
    [SORT_PRICE_DESC] = FILTERS_OF("dearest", "amount", "bigint", "<", "DESC"),
    [SORT_RATING] = FILTERS_OF("rating", "rating_hundredths", "bigint", "<", "DESC"),
    [SORT_NAME] = FILTERS_OF("name", "name", "text", ">", "ASC"),
};

static const struct pg_stmt count_filter[BYS] = {
    {"door_count_products", "SELECT count(*) FROM door_product p WHERE " WHERE_ALL IN_STOCK},
    {"door_count_products_category", "SELECT count(*) FROM door_product p WHERE " WHERE_CATEGORY IN_STOCK},
    {"door_count_products_brand", "SELECT count(*) FROM door_product p WHERE " WHERE_BRAND IN_STOCK},
};

/* ---- a request ---- */

struct place { /* in the order of a sort: of the row before the first one wanted */
    int64_t number;
    struct str text;
    struct uuid id;
};

struct listing {
    struct request *req;
    struct product_query q;
    enum sort sort;
    struct place from;
    struct pg_param filter[6];
    int by;
    struct str filter_text; /* names the filter among the kept totals */
    uint64_t change;        /* when the total began to be counted */
    struct str data;        /* the rows as JSON */
    struct str cursor;      /* of the last row; absent: nothing follows */
};

static bool descending(enum sort sort)
{
    return sort == SORT_NEWEST || sort == SORT_PRICE_DESC || sort == SORT_RATING;
}

/* Amounts begin where the filter does: an index is entered by the row comparison alone. */
static struct place before_all(enum sort sort, int64_t least, int64_t most)
{
    struct place place = {.number = descending(sort) ? INT64_MAX : INT64_MIN, .text = STR("")};
    if (sort == SORT_PRICE_ASC)
        place.number = least - 1;
    if (sort == SORT_PRICE_DESC && most < INT64_MAX)
        place.number = most + 1;
    memset(place.id.b, descending(sort) ? 0xff : 0, sizeof(place.id.b));
    return place;
}

/* "%" and "_" stand for themselves. */
static struct str like_pattern(struct str words, struct arena *arena)
{
    struct buf b = buf_new(arena, 2 * words.n + 2);
    buf_char(&b, '%');
    for (size_t i = 0; i < words.n; i++) {
        if (strchr("%_\\", words.p[i]))
            buf_char(&b, '\\');
        buf_char(&b, words.p[i]);
    }
    buf_char(&b, '%');
    return buf_view(&b);
}

/* A slug; a name is taken as one where that is only a matter of case and spaces. */
static struct str as_slug(struct str text, struct arena *arena)
{
    char *slug = arena_alloc(arena, text.n + 1);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        slug[i] = (char)(c == ' ' ? '-' : c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    return text.p ? (struct str){slug, text.n} : STR_NONE;
}

/* Ten-thousandths as sent, thousandths as compared: rounded to the inside of the range. */
static void make_filter(struct listing *l)
{
    struct arena *arena = l->req->arena;
    const struct product_query *q = &l->q;
    struct str category = as_slug(q->category, arena), brand = as_slug(q->brand, arena);
    int64_t least = q->has_min_price ? (q->min_price + 9) / 10 : 0;
    int64_t most = q->has_max_price ? q->max_price / 10 : INT64_MAX;
    struct str pattern = q->search.p ? like_pattern(q->search, arena) : STR_NONE;
    if (!q->cursor.p)
        l->from = before_all(l->sort, least, most);
    l->by = category.p ? BY_CATEGORY : brand.p ? BY_BRAND : BY_ALL;
    l->filter[0] = pg_int(least);
    l->filter[1] = pg_int(most);
    l->filter[2] = pg_text(pattern);
    l->filter[3] = q->has_in_stock ? pg_bool(q->in_stock) : pg_null();
    l->filter[4] = pg_text(category.p ? brand : STR_NONE);
    l->filter[5] = pg_text(category.p ? category : brand);
    l->filter_text =
        arena_printf(arena, "%lld\n%lld\n%d\n%.*s\n%.*s\n%.*s", (long long)least, (long long)most,
                     q->has_in_stock ? q->in_stock : -1, STR_ARG(category), STR_ARG(brand), STR_ARG(pattern));
}

/* ---- cursors: base64url("sort\nid\nvalue") ---- */

static struct str make_cursor(enum sort sort, const struct pg_result *rows, int row, struct arena *arena)
{
    static const enum product_column columns[SORTS] = {P_CREATED, P_AMOUNT, P_AMOUNT, P_RATING, P_NAME};
    struct str id = uuid_str(pg_get_uuid(rows, row, P_ID), arena);
    struct str value =
        sort == SORT_NAME ? pg_get_str(rows, row, P_NAME)
                          : arena_printf(arena, "%lld", (long long)pg_get_int(rows, row, (int)columns[sort]));
    return base64url(arena_printf(arena, "%s\n%.*s\n%.*s", sort_words[sort], STR_ARG(id), STR_ARG(value)),
                     arena);
}

static err read_cursor(struct str text, enum sort sort, struct arena *arena, struct place *ret)
{
    struct str bytes;
    TRY(base64url_decode(text, arena, &bytes));
    size_t first = str_find(bytes, '\n');
    if (first == bytes.n || !str_is(str_slice(bytes, 0, first), sort_words[sort]))
        return FAIL(INVALID, "another sort");
    struct str rest = str_slice(bytes, first + 1, bytes.n);
    size_t second = str_find(rest, '\n');
    if (second == rest.n)
        return FAIL(INVALID, "no value");
    TRY(uuid_parse(str_slice(rest, 0, second), &ret->id));
    ret->text = str_slice(rest, second + 1, rest.n);
    if (sort != SORT_NAME)
        return str_int64(ret->text, &ret->number);
    return utf8_length(ret->text) == SIZE_MAX || memchr(ret->text.p, 0, ret->text.n)
               ? FAIL(INVALID, "not text")
               : OK;
}

/* ---- totals ---- */

static struct total *total_slot(struct products *products, struct str filter)
{
    return &products->totals[str_hash(filter) % TOTALS_KEPT];
}

/* What a total depends on: stock only when it was asked for. */
static uint64_t change_of(const struct listing *l)
{
    const struct products *products = door_of(l->req)->products;
    return products->changes[0] + (l->q.has_in_stock ? products->changes[1] : 0);
}

static void keep_total(struct listing *l, int64_t n)
{
    struct total *total = total_slot(door_of(l->req)->products, l->filter_text);
    free(total->filter);
    *total = (struct total){strdup(l->filter_text.p), l->change, n};
    if (!total->filter)
        abort();
}

static void answer(struct listing *l, int64_t total)
{
    struct buf b = buf_new(l->req->arena, l->data.n + 256);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kraw(&j, "data", l->data);
    put_pagination(&j, &l->q.paging, total);
    json_kstr(&j, "cursor", l->cursor);
    json_close(&j, '}');
    respond(l->req, 200, buf_view(&b));
}

static void on_total(struct request *req, const struct pg_result *rows, void *data)
{
    (void)req;
    struct listing *l = data;
    keep_total(l, pg_get_int(rows, 0, 0));
    answer(l, pg_get_int(rows, 0, 0));
}

/* n rows stand on this page. A page that is not full says where the end is. */
static void find_total(struct listing *l, int64_t n)
{
    const struct paging *paging = &l->q.paging;
    const struct total *kept = total_slot(door_of(l->req)->products, l->filter_text);
    l->change = change_of(l);
    if (kept->filter && kept->change == l->change && str_is(l->filter_text, kept->filter))
        answer(l, kept->n);
    else if (!l->q.cursor.p && !l->cursor.p && (n > 0 || paging->page == 1))
        answer(l, (paging->page - 1) * paging->limit + n);
    else
        door_select_slowly(l->req, &count_filter[l->by], 6, l->filter, on_total, l);
}

/* ---- rows ---- */

static void on_page(struct request *req, const struct pg_result *rows, void *data)
{
    struct listing *l = data;
    int n = pg_rows(rows), limit = (int)l->q.paging.limit;
    bool more = n > limit;
    struct buf b = buf_new(req->arena, 16384);
    struct json j = json_on(&b);
    json_open(&j, '[');
    for (int i = 0; i < n && i < limit; i++)
        product_put(&j, rows, i, false, req->arena);
    json_close(&j, ']');
    l->data = buf_view(&b);
    if (more)
        l->cursor = make_cursor(l->sort, rows, limit - 1, req->arena);
    find_total(l, more ? limit : n);
}

static void select_rows(struct listing *l)
{
    struct pg_param params[8];
    const struct paging *paging = &l->q.paging;
    bool walk = paging->page == 1 || l->q.cursor.p;
    int mode = !walk ? BY_PAGE : paging->limit <= 20 ? WALK_21 : WALK_101;
    memcpy(params, l->filter, sizeof(l->filter));
    params[6] = !walk                  ? pg_int(paging->limit + 1)
                : l->sort == SORT_NAME ? pg_text(l->from.text)
                                       : pg_int(l->from.number);
    params[7] = !walk ? page_offset(paging) : pg_uuid(l->from.id);
    door_select(l->req, &select_page[l->sort][l->by][mode], 8, params, on_page, l);
}

static enum sort sort_of(struct str word)
{
    for (int i = 0; i < SORTS; i++)
        if (str_is(word, sort_words[i]))
            return (enum sort)i;
    return SORT_NEWEST;
}

static void refuse_cursor(struct request *req)
{
    struct field_error error = {STR("cursor"), STR("is not one that a page of this sort gave")};
    respond_problem(req, &(struct problem){.code = ERR_INVALID, .errors = &error, .errors_n = 1});
}

void list_products(struct request *req)
{
    struct listing *l = arena_new_of(req->arena, struct listing);
    l->req = req;
    if (!query_read(req, &product_list_params, &l->q))
        return;
    l->sort = sort_of(l->q.sort);
    if (l->q.cursor.p && failed(read_cursor(l->q.cursor, l->sort, req->arena, &l->from))) {
        refuse_cursor(req);
        return;
    }
    make_filter(l);
    select_rows(l);
}
