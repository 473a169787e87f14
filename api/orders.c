/*
 * The cart and orders. One's own, or everybody's for those who see orders; somebody else's is not there.
 */
#include "api/listing.h"
#include "api/orders.h"
#include "api/queries.h"
#include "bus/base/conf.h"

/* ---- the cart ---- */

/* id, product_id, name, sku, price, currency, quantity, is_available */
static const struct pg_stmt select_cart = {
    "door_select_cart",
    "SELECT id, product_id, name, sku, price, currency, quantity, is_available FROM door_cart "
    "WHERE user_id = $1::uuid ORDER BY created_ms, id"};

/* Price by quantity of a line of the cart; false when no amount can hold it. */
static bool line_total(const struct pg_result *rows, int row, int64_t *ret)
{
    return !__builtin_mul_overflow(pg_get_int(rows, row, 4), pg_get_int(rows, row, 6), ret);
}

/* What cannot be said is null: an order of it is refused, too. */
static void put_total(struct json *j, const char *key, bool fits, int64_t minor, struct str currency)
{
    if (fits) {
        put_money(j, key, minor, currency);
        return;
    }
    json_key(j, key);
    json_nil(j);
}

static void put_cart_line(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    struct str currency = pg_get_str(rows, row, 5);
    int64_t total = 0;
    bool fits = line_total(rows, row, &total);
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, 0), arena);
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 1), arena);
    put_text(j, "name", rows, row, 2);
    put_text(j, "sku", rows, row, 3);
    put_money(j, "unit_price", pg_get_int(rows, row, 4), currency);
    json_kstr(j, "currency", currency);
    put_int(j, "quantity", rows, row, 6);
    put_total(j, "line_total", fits, total, currency);
    json_kbool(j, "is_available", pg_get_bool(rows, row, 7));
    json_close(j, '}');
}

/* An order has one currency; while a cart mixes several there is no sum. */
static void put_cart_sum(struct json *j, const struct pg_result *rows)
{
    int n = pg_rows(rows);
    struct str currency = n ? pg_get_str(rows, 0, 5) : conf_str(SET_DEFAULT_CURRENCY);
    int64_t sum = 0, total = 0;
    bool mixed = false, fits = true;
    for (int i = 0; i < n; i++) {
        mixed |= !str_eq(pg_get_str(rows, i, 5), currency);
        fits = fits && line_total(rows, i, &total) && !__builtin_add_overflow(sum, total, &sum);
    }
    put_total(j, "subtotal", fits && !mixed, sum, currency);
    json_kstr(j, "currency", mixed ? STR_NONE : currency);
}

static void on_cart(struct request *req, const struct pg_result *rows, void *data)
{
    (void)data;
    struct buf b = buf_new(req->arena, 2048);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_key(&j, "items");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(rows); i++)
        put_cart_line(&j, rows, i, req->arena);
    json_close(&j, ']');
    put_cart_sum(&j, rows);
    json_close(&j, '}');
    respond(req, 200, buf_view(&b));
}

void get_cart(struct request *req)
{
    struct pg_param user = pg_uuid(who_of(req)->user);
    door_select(req, &select_cart, 1, &user, on_cart, NULL);
}

/* ---- orders ---- */

/* Lines and timeline come as JSON that PostgreSQL puts together, amounts in minor units, which are printed
 * here. */
#define ORDER_COLUMNS                                                                                        \
    "id, order_number, user_id, status, payment_status, reason, payment_method, shipping_address, "          \
    "currency, "                                                                                             \
    "subtotal, discount_amount, shipping_amount, tax_amount, total_amount, version, created_ms, updated_ms"
enum {
    O_ID,
    O_NUMBER,
    O_USER,
    O_STATUS,
    O_PAYMENT_STATUS,
    O_REASON,
    O_PAYMENT_METHOD,
    O_ADDRESS,
    O_CURRENCY,
    O_SUBTOTAL,
    O_DISCOUNT,
    O_SHIPPING,
    O_TAX,
    O_TOTAL,
    O_VERSION,
    O_CREATED,
    O_UPDATED
};

static void put_order_head(struct json *j, const struct pg_result *rows, int row, int from,
                           struct arena *arena)
{
    put_uuid(j, "id", pg_get_uuid(rows, row, from + O_ID), arena);
    put_text(j, "order_number", rows, row, from + O_NUMBER);
    put_uuid(j, "user_id", pg_get_uuid(rows, row, from + O_USER), arena);
    put_text(j, "status", rows, row, from + O_STATUS);
    put_text(j, "payment_status", rows, row, from + O_PAYMENT_STATUS);
    if (!pg_is_null(rows, row, from + O_REASON))
        put_text(j, "reason", rows, row, from + O_REASON);
    put_text(j, "payment_method", rows, row, from + O_PAYMENT_METHOD);
}

static void put_order_amounts(struct json *j, const struct pg_result *rows, int row, int from)
{
    static const struct {
        const char *name;
        int column;
    } amounts[] = {{"subtotal", O_SUBTOTAL},
                   {"discount_amount", O_DISCOUNT},
                   {"shipping_amount", O_SHIPPING},
                   {"tax_amount", O_TAX},
                   {"total_amount", O_TOTAL}};
    struct str currency = pg_get_str(rows, row, from + O_CURRENCY);
    for (size_t i = 0; i < sizeof(amounts) / sizeof(*amounts); i++)
        put_money(j, amounts[i].name, pg_get_int(rows, row, from + amounts[i].column), currency);
    json_kstr(j, "currency", currency);
}

static void put_order_tail(struct json *j, const struct pg_result *rows, int row, int from)
{
    put_int(j, "version", rows, row, from + O_VERSION);
    put_time(j, "created_at", rows, row, from + O_CREATED);
    put_time(j, "updated_at", rows, row, from + O_UPDATED);
}

/* ---- one order: head, lines and timeline as three parts of one row set ---- */

/* Every row: part 0 the head, part 1 a line, part 2 an entry of the timeline. One statement sees one moment.
 */
static const struct pg_stmt select_order = {
    "door_select_order",
    "SELECT 0 AS part, " ORDER_COLUMNS ", 0::bigint AS n FROM door_order WHERE id = $1::uuid "
    "UNION ALL SELECT 1, product_id, sku, NULL, name, NULL, NULL, NULL, NULL, NULL, unit_price, quantity, "
    "line_total, "
    "NULL, NULL, NULL, NULL, NULL, position FROM door_order_line WHERE order_id = $1 "
    "UNION ALL SELECT 2, NULL, what, NULL, detail, NULL, NULL, NULL, NULL, NULL, at_ms, NULL, NULL, NULL, "
    "NULL, NULL, "
    "NULL, NULL, n FROM door_order_timeline WHERE order_id = $1 ORDER BY part, n"};

static void put_order_line(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    struct str currency = pg_get_str(rows, 0, 1 + O_CURRENCY);
    json_open(j, '{');
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 1), arena);
    put_text(j, "name", rows, row, 4);
    put_text(j, "sku", rows, row, 2);
    put_money(j, "unit_price", pg_get_int(rows, row, 10), currency);
    put_int(j, "quantity", rows, row, 11);
    put_money(j, "line_total", pg_get_int(rows, row, 12), currency);
    json_close(j, '}');
}

static void put_timeline_entry(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    (void)arena;
    json_open(j, '{');
    put_text(j, "what", rows, row, 2);
    if (!pg_is_null(rows, row, 4))
        put_text(j, "detail", rows, row, 4);
    put_time(j, "at", rows, row, 10);
    json_close(j, '}');
}

static void put_part(struct json *j, const char *key, const struct pg_result *rows, int part, put_row_fn *put,
                     struct arena *arena)
{
    json_key(j, key);
    json_open(j, '[');
    for (int i = 0; i < pg_rows(rows); i++)
        if (pg_get_int(rows, i, 0) == part)
            put(j, rows, i, arena);
    json_close(j, ']');
}

static void on_order(struct request *req, const struct pg_result *rows, void *data)
{
    (void)data;
    const struct who *who = who_of(req);
    bool there = pg_rows(rows) > 0 && pg_get_int(rows, 0, 0) == 0;
    if (!there ||
        (!uuid_eq(pg_get_uuid(rows, 0, 1 + O_USER), who->user) && !role_may(who->role, SEE_ORDERS))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct str etag = arena_printf(req->arena, "\"%lld\"", (long long)pg_get_int(rows, 0, 1 + O_VERSION));
    if (respond_unchanged(req, etag))
        return;
    struct buf b = buf_new(req->arena, 4096);
    struct json j = json_on(&b);
    json_open(&j, '{');
    put_order_head(&j, rows, 0, 1, req->arena);
    put_text(&j, "shipping_address", rows, 0, 1 + O_ADDRESS);
    put_part(&j, "items", rows, 1, put_order_line, req->arena);
    put_order_amounts(&j, rows, 0, 1);
    put_part(&j, "timeline", rows, 2, put_timeline_entry, req->arena);
    put_order_tail(&j, rows, 0, 1);
    json_close(&j, '}');
    respond_opened(req, 200, buf_view(&b));
}

void get_order(struct request *req)
{
    struct uuid id;
    if (failed(uuid_parse(request_param(req, "order_id"), &id))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct pg_param param = pg_uuid(id);
    door_select(req, &select_order, 1, &param, on_order, NULL);
}

/* ---- lists ---- */

static const char *const status_words[] = {"pending",   "confirmed", "processing", "shipped",
                                           "delivered", "completed", "cancelled",  NULL};

struct order_query {
    struct paging paging;
    struct str status;
    struct uuid user_id;
    bool has_user_id;
};
static const struct field order_fields[] = {QUERY_PAGING(order_query),
                                            QUERY_TEXT(order_query, status, 20, status_words),
                                            QUERY_UUID(order_query, user_id)};
const struct shape order_list_params = {"orders", sizeof(struct order_query), order_fields, 4};

static void put_listed_order(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    json_open(j, '{');
    put_order_head(j, rows, row, 1, arena);
    put_order_amounts(j, rows, row, 1);
    put_order_tail(j, rows, row, 1);
    json_close(j, '}');
}

#define STATUS_IS " ($1::text IS NULL OR status = $1)"
static const struct pg_stmt select_orders = {
    "door_list_orders", PAGE_OF("door_order WHERE" STATUS_IS, ORDER_COLUMNS, "door_order WHERE" STATUS_IS,
                                "created_ms DESC, id DESC", "$2::bigint", "$3::bigint")};
static const struct pg_stmt select_orders_of = {
    "door_list_orders_of_user", PAGE_OF("door_order WHERE user_id = $2::uuid AND" STATUS_IS, ORDER_COLUMNS,
                                        "door_order WHERE user_id = $2::uuid AND" STATUS_IS,
                                        "created_ms DESC, id", "$3::bigint", "$4::bigint")};

void list_orders(struct request *req)
{
    struct order_query q;
    const struct who *who = who_of(req);
    if (!query_read(req, &order_list_params, &q))
        return;
    bool all = role_may(who->role, SEE_ORDERS);
    struct pg_param params[] = {pg_text(q.status), pg_uuid(all ? q.user_id : who->user)};
    if (all && !q.has_user_id)
        select_list(req, &q.paging, &select_orders, 1, params, put_listed_order);
    else
        select_list(req, &q.paging, &select_orders_of, 2, params, put_listed_order);
}

/* ---- commands about an order ---- */

/* No items: the cart becomes the order. "items": null is a mistake, not a cart. */
static enum message choose_place(const struct request *req)
{
    return json_member(req->body, "items", req->arena).p ? ORDER_PLACE : CART_CHECK_OUT;
}

const struct command_spec place_order_spec = {
    .own = true, .choose = choose_place, .otherwise = CART_CHECK_OUT, .location = "/api/v1/orders"};

/* user_id */
static const struct pg_stmt select_owner = {"door_select_order_owner",
                                            "SELECT user_id FROM door_order WHERE id = $1::uuid"};

/* A customer's name goes with the command, and orders compares it: an order that was accepted a moment ago is
 * not here yet, but stands before its cancel in their lane. Who runs orders cancels in nobody's name. */
static void on_owner(struct call *call, const struct pg_result *rows)
{
    struct order_cancel *c = call->message;
    const struct who *who = who_of(call->req);
    bool own = pg_rows(rows) && uuid_eq(pg_get_uuid(rows, 0, 0), who->user);
    bool staff = role_may(who->role, RUN_ORDERS);
    if (pg_rows(rows) && !own && !staff) {
        call_refuse(call, FAIL(NOT_FOUND, "There is no such order."));
        return;
    }
    c->has_user_id = own || !staff;
    c->user_id = who->user;
    call_publish(call);
}

static void prepare_cancel(struct call *call)
{
    const struct order_cancel *c = call->message;
    struct pg_param id = pg_uuid(c->order_id);
    call_select(call, &select_owner, 1, &id, on_owner);
}

const struct command_spec cancel_order_spec = {.prepare = prepare_cancel};
