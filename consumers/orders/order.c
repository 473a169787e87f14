/*
 * Rows of the orders group, and how an order looks to clients.
 */
#include "consumers/orders/order.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "bus/base/json.h"
#include "bus/base/money.h"

const struct table order_product_table = {
    .name = "order_product",
    .size = sizeof(struct order_product),
    .keys = 1,
    .columns = {COLUMN(UUID, order_product, product_id), COLUMN(TEXT, order_product, name),
                COLUMN(TEXT, order_product, sku), COLUMN(INT, order_product, price),
                COLUMN(TEXT, order_product, currency), COLUMN(BOOL, order_product, is_active),
                COLUMN(INT, order_product, version)},
};

const struct table order_table = {
    .name = "orders",
    .size = sizeof(struct order),
    .keys = 1,
    .columns = {COLUMN(UUID, order, id),
                COLUMN(TEXT, order, order_number),
                COLUMN(UUID, order, user_id),
                COLUMN(TEXT, order, status),
                COLUMN(TEXT, order, payment_status),
                COLUMN(TEXT, order, step),
                COLUMN(TEXT, order, reason),
                COLUMN(TEXT, order, payment_method),
                COLUMN(TEXT, order, payment_token),
                COLUMN(TEXT, order, shipping_address),
                COLUMN(TEXT, order, currency),
                COLUMN(INT, order, subtotal),
                COLUMN(INT, order, discount_amount),
                COLUMN(INT, order, shipping_amount),
                COLUMN(INT, order, tax_amount),
                COLUMN(INT, order, total_amount),
                COLUMN(BOOL, order, from_cart),
                COLUMN(BOOL, order, void_asked),
                COLUMN(BOOL, order, void_done),
                COLUMN(UUID, order, cancel_command),
                COLUMN(INT, order, version),
                COLUMN(INT, order, created_ms),
                COLUMN(INT, order, updated_ms)},
};

const struct table order_line_table = {
    .name = "order_line",
    .size = sizeof(struct order_line),
    .keys = 2,
    .columns = {COLUMN(UUID, order_line, order_id), COLUMN(UUID, order_line, product_id),
                COLUMN(INT, order_line, position), COLUMN(TEXT, order_line, sku),
                COLUMN(TEXT, order_line, name), COLUMN(INT, order_line, unit_price),
                COLUMN(INT, order_line, quantity), COLUMN(INT, order_line, line_total),
                COLUMN(INT, order_line, product_version), COLUMN(TEXT, order_line, stock)},
};

const struct table order_timeline_table = {
    .name = "order_timeline",
    .size = sizeof(struct order_timeline),
    .keys = 2,
    .columns = {COLUMN(UUID, order_timeline, order_id), COLUMN(INT, order_timeline, n),
                COLUMN(TEXT, order_timeline, what), COLUMN(TEXT, order_timeline, detail),
                COLUMN(INT, order_timeline, at_ms)},
};

struct str step_word(enum saga_step step)
{
    static const char *const words[STEPS] = {"holding",   "authorising", "committing",
                                             "capturing", "undoing",     "done"};
    return str_of(words[step]);
}

struct str stock_word(enum saga_stock stock)
{
    static const char *const words[STOCKS] = {"asked", "held",      "refused", "taking",
                                              "taken", "releasing", "released"};
    return str_of(words[stock]);
}

struct str payment_word(enum saga_payment payment)
{
    static const char *const words[PAYMENTS] = {"pending", "authorised", "paid", "failed", "voided"};
    return str_of(words[payment]);
}

void order_want(struct batch *b, struct uuid id, bool timeline)
{
    want(b, &order_table, "id", VALUE_UUID(id));
    want(b, &order_line_table, "order_id", VALUE_UUID(id));
    /* A later round: whose cancel waits, its result shows the timeline. */
    const struct order *order = row_find(b, &order_table, "id", VALUE_UUID(id));
    if (timeline || (order && !uuid_is_nil(order->cancel_command)))
        want(b, &order_timeline_table, "order_id", VALUE_UUID(id));
}

struct order *order_find(struct batch *b, struct uuid id)
{
    return row_find(b, &order_table, "id", VALUE_UUID(id));
}

static int by_position(const void *a, const void *b)
{
    const struct order_line *const *x = a, *const *y = b;
    return (*x)->position < (*y)->position ? -1 : (*x)->position > (*y)->position;
}

struct order_line **order_lines(struct batch *b, const struct order *order, size_t *ret_n)
{
    struct order_line **lines = arena_array(batch_arena(b), struct order_line *, ORDER_LINES_MAX);
    size_t n = 0;
    struct value id = VALUE_UUID(order->id);
    for (struct order_line *l = NULL; (l = rows_next(b, &order_line_table, "order_id", id, l));) {
        assert(n < ORDER_LINES_MAX);
        lines[n++] = l;
    }
    qsort(lines, n, sizeof(*lines), by_position);
    *ret_n = n;
    return lines;
}

void order_tell(struct batch *b, struct order *order, const char *what, struct str detail)
{
    struct order_timeline *entry = row_new(b, &order_timeline_table);
    entry->order_id = order->id;
    entry->n = ++order->version;
    entry->what = str_of(what);
    entry->detail = detail;
    entry->at_ms = batch_now(b);
    row_save(b, entry);
    order->updated_ms = entry->at_ms;
    row_save(b, order);
}

/* ---- JSON ---- */

static void put_money(struct json *j, const char *key, int64_t minor, int decimals)
{
    json_key(j, key);
    json_decimal(j, minor, decimals);
}

static void put_items(struct batch *b, struct json *j, const struct order *order, int decimals)
{
    char id[UUID_TEXT + 1];
    size_t n;
    struct order_line **lines = order_lines(b, order, &n);
    json_key(j, "items");
    json_open(j, '[');
    for (size_t i = 0; i < n; i++) {
        uuid_print(lines[i]->product_id, id);
        json_open(j, '{');
        json_kstr(j, "product_id", str_of(id));
        json_kstr(j, "name", lines[i]->name);
        json_kstr(j, "sku", lines[i]->sku);
        put_money(j, "unit_price", lines[i]->unit_price, decimals);
        json_kint(j, "quantity", lines[i]->quantity);
        put_money(j, "line_total", lines[i]->line_total, decimals);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static int by_n(const void *a, const void *b)
{
    const struct order_timeline *const *x = a, *const *y = b;
    return (*x)->n < (*y)->n ? -1 : (*x)->n > (*y)->n;
}

static void put_timeline(struct batch *b, struct json *j, const struct order *order)
{
    /* The version counts the entries, so it bounds them. */
    struct order_timeline **entries = arena_array(batch_arena(b), struct order_timeline *, order->version);
    size_t n = 0;
    struct value id = VALUE_UUID(order->id);
    for (struct order_timeline *t = NULL; (t = rows_next(b, &order_timeline_table, "order_id", id, t));) {
        assert(n < (size_t)order->version);
        entries[n++] = t;
    }
    qsort(entries, n, sizeof(*entries), by_n);
    json_key(j, "timeline");
    json_open(j, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(j, '{');
        json_kstr(j, "what", entries[i]->what);
        if (entries[i]->detail.p)
            json_kstr(j, "detail", entries[i]->detail);
        json_ktime(j, "at", entries[i]->at_ms);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void put_amounts(struct json *j, const struct order *order, int decimals)
{
    put_money(j, "subtotal", order->subtotal, decimals);
    put_money(j, "discount_amount", order->discount_amount, decimals);
    put_money(j, "shipping_amount", order->shipping_amount, decimals);
    put_money(j, "tax_amount", order->tax_amount, decimals);
    put_money(j, "total_amount", order->total_amount, decimals);
    json_kstr(j, "currency", order->currency);
}

struct str order_json(struct batch *b, const struct order *order)
{
    char id[UUID_TEXT + 1];
    int decimals = money_decimals(order->currency);
    struct buf text = buf_new(batch_arena(b), 1024);
    struct json j = json_on(&text);
    json_open(&j, '{');
    uuid_print(order->id, id);
    json_kstr(&j, "id", str_of(id));
    json_kstr(&j, "order_number", order->order_number);
    uuid_print(order->user_id, id);
    json_kstr(&j, "user_id", str_of(id));
    json_kstr(&j, "status", order->status);
    json_kstr(&j, "payment_status", order->payment_status);
    if (order->reason.p)
        json_kstr(&j, "reason", order->reason);
    json_kstr(&j, "payment_method", order->payment_method);
    put_items(b, &j, order, decimals);
    put_amounts(&j, order, decimals);
    put_timeline(b, &j, order);
    json_kint(&j, "version", order->version);
    json_ktime(&j, "created_at", order->created_ms);
    json_ktime(&j, "updated_at", order->updated_ms);
    json_close(&j, '}');
    return buf_view(&text);
}

struct str order_number(struct uuid id, struct arena *arena)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t bits = 0;
    for (int i = 8; i < 16; i++)
        bits = bits << 8 | id.b[i];
    char text[15];
    for (int i = 13; i >= 0; i--) {
        bool dash = i == 4 || i == 9;
        text[i] = dash ? '-' : digits[bits & 31];
        bits >>= dash ? 0 : 5;
    }
    text[14] = '\0';
    time_t seconds = (time_t)(uuid_ms(id) / 1000);
    struct tm day;
    gmtime_r(&seconds, &day);
    return arena_printf(arena, "DS-%02d%02d%02d-%s", day.tm_year % 100, day.tm_mon + 1, day.tm_mday, text);
}

void order_offer_back(struct batch *b, struct uuid order_id, struct uuid user_id,
                      const struct cart_merge_requested_lines *lines, size_t n)
{
    struct cart_merge_requested back = {
        .user_id = user_id, .order_id = order_id, .lines = lines, .lines_n = n};
    emit_cart_merge_requested(b, uuid_str(user_id, batch_arena(b)), &back);
}
