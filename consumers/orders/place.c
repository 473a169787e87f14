/*
 * Placing an order: from `order.place` (the client's items) or `order.place-requested` (a cart that checks
 * out). Prices are fixed here, from orders' own projection; what a client sent is only compared. Both ways
 * decide by the same function and differ in how a refusal is told: a command is rejected; a cart's command is
 * completed as rejected and its lines are offered back.
 */
#include <assert.h>
#include <inttypes.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/money.h"
#include "consumers/orders/order.h"

/* What is asked, whoever asks. */
struct request {
    struct uuid order_id, user_id;
    const struct sent_line *sent;
    const int64_t *prices; /* of each sent line, in ten-thousandths; -1: none was sent. NULL: from a cart */
    size_t n;
    struct str shipping_address, payment_method, payment_token;
    bool from_cart;
};

struct refusal {
    enum err_code code; /* ERR_NONE: not refused */
    const char *field;  /* 422: the field concerned, or NULL */
    struct str detail;
    struct str members; /* further members of the problem, or absent */
    struct str missing; /* the product that is not known (yet) */
};

/* A product of the order, lines summed. */
struct priced {
    const struct order_product *product;
    int64_t quantity, total, tax;
};

struct quote {
    struct priced *lines;
    size_t n;
    struct str currency;
    int64_t subtotal, tax;
};

/* Payment methods and what they need. */
static const struct method {
    const char *name;
    bool token;
    bool play; /* charges nobody: not in production */
} methods[] = {{"test", true, true}};

static struct refusal refuse_method(const struct request *request)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (!str_is(request->payment_method, methods[i].name) || (methods[i].play && conf_production()))
            continue;
        if (methods[i].token && !request->payment_token.p)
            return (struct refusal){ERR_INVALID, "payment_token",
                                    STR("This payment method needs a payment token."), STR_NONE, STR_NONE};
        return (struct refusal){.code = ERR_NONE};
    }
    return (struct refusal){ERR_INVALID, "payment_method", STR("There is no such payment method."), STR_NONE,
                            STR_NONE};
}

static struct refusal refusal(struct batch *b, enum err_code code, const char *sentence, struct uuid product)
{
    char id[UUID_TEXT + 1];
    uuid_print(product, id);
    return (struct refusal){.code = code,
                            .detail = arena_printf(batch_arena(b), "Product %s %s.", id, sentence)};
}

/* Sums the sent lines into one per product, in the order of first mention. */
static struct refusal sum_lines(struct batch *b, const struct request *request, struct quote *quote)
{
    quote->lines = arena_array(batch_arena(b), struct priced, request->n);
    for (size_t i = 0; i < request->n; i++) {
        struct uuid id = request->sent[i].product_id;
        struct order_product *product = row_find(b, &order_product_table, "product_id", VALUE_UUID(id));
        if (!product) {
            struct refusal missing = refusal(b, ERR_NOT_FOUND, "does not exist", id);
            missing.missing = uuid_str(id, batch_arena(b));
            return missing;
        }
        if (!product->is_active)
            return refusal(b, ERR_CONFLICT, "is not for sale", id);
        size_t at = 0;
        while (at < quote->n && quote->lines[at].product != product)
            at++;
        if (at == quote->n)
            quote->lines[quote->n++] = (struct priced){.product = product};
        quote->lines[at].quantity += request->sent[i].quantity;
    }
    return (struct refusal){.code = ERR_NONE};
}

/* One order, one currency; tax is the part included in each line's total, rounded half up per line. */
static struct refusal price_lines(struct batch *b, struct quote *quote)
{
    quote->currency = quote->lines[0].product->currency;
    for (size_t i = 0; i < quote->n; i++) {
        struct priced *line = &quote->lines[i];
        if (!str_eq(line->product->currency, quote->currency))
            return (struct refusal){.code = ERR_CONFLICT,
                                    .detail =
                                        STR("One order has one currency; these products have several.")};
        if (__builtin_mul_overflow(line->product->price, line->quantity, &line->total) ||
            __builtin_add_overflow(quote->subtotal, line->total, &quote->subtotal) ||
            quote->subtotal > MONEY_MAX)
            return refusal(b, ERR_CONFLICT, "makes the order's total too large", line->product->product_id);
        line->tax = money_included_tax(line->total, conf_int(SET_TAX_BASIS_POINTS));
        quote->tax += line->tax;
    }
    return (struct refusal){.code = ERR_NONE};
}

/* Is the price sent, in ten-thousandths, the product's own? */
static bool same_price(int64_t sent, int64_t own, int decimals)
{
    int64_t unit = 1;
    for (int i = decimals; i < MONEY_MAX_DECIMALS; i++)
        unit *= 10;
    return sent % unit == 0 && sent / unit == own;
}

static void put_difference(struct json *j, const struct order_product *product, int64_t sent, int decimals)
{
    char id[UUID_TEXT + 1];
    uuid_print(product->product_id, id);
    json_open(j, '{');
    json_kstr(j, "product_id", str_of(id));
    json_key(j, "sent");
    json_decimal(j, sent, MONEY_MAX_DECIMALS);
    json_key(j, "price");
    json_decimal(j, product->price, decimals);
    json_kstr(j, "currency", product->currency);
    json_close(j, '}');
}

static struct refusal compare_prices(struct batch *b, const struct request *request)
{
    struct buf members = buf_new(batch_arena(b), 256);
    buf_lit(&members, "\"differences\":");
    struct json j = json_on(&members);
    size_t differences = 0;
    json_open(&j, '[');
    for (size_t i = 0; request->prices && i < request->n; i++) {
        struct value id = VALUE_UUID(request->sent[i].product_id);
        const struct order_product *product = row_find(b, &order_product_table, "product_id", id);
        int decimals = money_decimals(product->currency);
        if (request->prices[i] < 0 || same_price(request->prices[i], product->price, decimals))
            continue;
        put_difference(&j, product, request->prices[i], decimals);
        differences++;
    }
    json_close(&j, ']');
    if (!differences)
        return (struct refusal){.code = ERR_NONE};
    return (struct refusal){.code = ERR_CONFLICT,
                            .detail = STR("A price that was sent is not the present price."),
                            .members = buf_view(&members)};
}

static struct refusal decide(struct batch *b, const struct request *request, struct quote *quote)
{
    struct refusal no = refuse_method(request);
    if (no.code == ERR_NONE)
        no = sum_lines(b, request, quote);
    if (no.code == ERR_NONE)
        no = price_lines(b, quote);
    if (no.code == ERR_NONE)
        no = compare_prices(b, request);
    return no;
}

/* ---- making the order ---- */

static struct order *make_order(struct batch *b, const struct request *request, const struct quote *quote)
{
    struct order *order = row_new(b, &order_table);
    order->id = request->order_id;
    order->order_number = order_number(request->order_id, batch_arena(b));
    order->user_id = request->user_id;
    order->status = STR("pending");
    order->payment_status = payment_word(PAYMENT_PENDING);
    order->step = step_word(STEP_HOLDING);
    order->payment_method = request->payment_method;
    order->payment_token = request->payment_token;
    order->shipping_address = request->shipping_address;
    order->currency = quote->currency;
    order->subtotal = quote->subtotal;
    order->tax_amount = quote->tax;
    order->total_amount = order->subtotal - order->discount_amount + order->shipping_amount;
    order->from_cart = request->from_cart;
    order->created_ms = order->updated_ms = batch_now(b);
    row_save(b, order);
    return order;
}

static void make_lines(struct batch *b, const struct order *order, const struct quote *quote)
{
    for (size_t i = 0; i < quote->n; i++) {
        const struct priced *priced = &quote->lines[i];
        struct order_line *line = row_new(b, &order_line_table);
        line->order_id = order->id;
        line->product_id = priced->product->product_id;
        line->position = (int64_t)i + 1;
        line->sku = priced->product->sku;
        line->name = priced->product->name;
        line->unit_price = priced->product->price;
        line->quantity = priced->quantity;
        line->line_total = priced->total;
        line->product_version = priced->product->version;
        line->stock = stock_word(STOCK_ASKED);
        row_save(b, line);
    }
}

static void tell_placed(struct batch *b, const struct order *order, const struct quote *quote)
{
    struct order_placed_v2_lines *lines = arena_array(batch_arena(b), struct order_placed_v2_lines, quote->n);
    for (size_t i = 0; i < quote->n; i++)
        lines[i] = (struct order_placed_v2_lines){.product_id = quote->lines[i].product->product_id,
                                                  .sku = quote->lines[i].product->sku,
                                                  .name = quote->lines[i].product->name,
                                                  .unit_price = quote->lines[i].product->price,
                                                  .currency = quote->currency,
                                                  .quantity = quote->lines[i].quantity,
                                                  .line_total = quote->lines[i].total,
                                                  .tax_amount = quote->lines[i].tax,
                                                  .product_version = quote->lines[i].product->version};
    struct order_placed_v2 placed = {.order_id = order->id,
                                     .user_id = order->user_id,
                                     .order_number = order->order_number,
                                     .lines = lines,
                                     .lines_n = quote->n,
                                     .totals = {.subtotal = order->subtotal,
                                                .discount_amount = order->discount_amount,
                                                .shipping_amount = order->shipping_amount,
                                                .tax_amount = order->tax_amount,
                                                .total_amount = order->total_amount,
                                                .currency = order->currency},
                                     .payment_method = order->payment_method,
                                     .from_cart = order->from_cart};
    emit_order_placed_v2(b, uuid_str(order->id, batch_arena(b)), &placed);
}

static struct order *make(struct batch *b, const struct request *request, const struct quote *quote)
{
    struct order *order = make_order(b, request, quote);
    make_lines(b, order, quote);
    order_tell(b, order, "placed", STR_NONE);
    tell_placed(b, order, quote);
    order_ask_stock(b, order, request->sent, request->n);
    struct str waits = arena_printf(batch_arena(b), "waiting for stock of %zu product%s", quote->n,
                                    quote->n == 1 ? "" : "s");
    order_tell(b, order, "stock-asked", waits);
    return order;
}

static void want_products(struct batch *b, struct uuid product)
{
    want(b, &order_product_table, "product_id", VALUE_UUID(product));
}

/* ---- order.place ---- */

void load_order_place(struct batch *b, const struct order_place *e)
{
    for (size_t i = 0; i < e->items_n; i++)
        want_products(b, e->items[i].product_id);
}

static enum answer refuse_command(struct batch *b, const struct refusal *no)
{
    if (no->field) {
        const char *sentence = arena_cstr(batch_arena(b), no->detail);
        return reject_field(b, no->field, sentence);
    }
    if (no->members.p)
        return reject_with(b, no->code, no->members, "%.*s", STR_ARG(no->detail));
    return reject(b, no->code, "%.*s", STR_ARG(no->detail));
}

enum answer place_order(struct batch *b, const struct order_place *e)
{
    struct arena *arena = batch_arena(b);
    const struct delivery *message = batch_message(b);
    struct sent_line *sent = arena_array(arena, struct sent_line, e->items_n);
    int64_t *prices = arena_array(arena, int64_t, e->items_n);
    for (size_t i = 0; i < e->items_n; i++) {
        sent[i] = (struct sent_line){e->items[i].product_id, e->items[i].quantity, e->items[i].has_variant_id,
                                     e->items[i].variant_id};
        prices[i] = e->items[i].has_price ? e->items[i].price : -1;
    }
    struct request request = {.order_id = message->id,
                              .user_id = e->user_id,
                              .sent = sent,
                              .prices = prices,
                              .n = e->items_n,
                              .shipping_address = e->shipping_address,
                              .payment_method = e->payment_method,
                              .payment_token = e->payment_token};
    struct quote quote = {0};
    struct refusal no = decide(b, &request, &quote);
    if (no.missing.p && !message->final)
        return not_yet(b, TOPIC_CATALOG, no.missing);
    if (no.code != ERR_NONE)
        return refuse_command(b, &no);
    return succeed(b, 201, order_json(b, make(b, &request, &quote)));
}

/* ---- order.place-requested ---- */

void load_place_requested(struct batch *b, const struct order_place_requested *e)
{
    order_want(b, e->order_id, false);
    for (size_t i = 0; i < e->lines_n; i++)
        want_products(b, e->lines[i].product_id);
}

static enum answer refuse_cart(struct batch *b, const struct order_place_requested *e,
                               const struct refusal *no)
{
    struct cart_merge_requested_lines *back =
        arena_array(batch_arena(b), struct cart_merge_requested_lines, e->lines_n);
    for (size_t i = 0; i < e->lines_n; i++)
        back[i] = (struct cart_merge_requested_lines){e->lines[i].product_id, e->lines[i].quantity};
    order_offer_back(b, e->order_id, e->user_id, back, e->lines_n);
    complete_rejected(b, e->order_id, no->code, "%.*s", STR_ARG(no->detail));
    return ANSWER_DONE;
}

enum answer place_requested_order(struct batch *b, const struct order_place_requested *e)
{
    if (order_find(b, e->order_id))
        return ANSWER_DONE;
    struct sent_line *sent = arena_array(batch_arena(b), struct sent_line, e->lines_n);
    for (size_t i = 0; i < e->lines_n; i++)
        sent[i] = (struct sent_line){.product_id = e->lines[i].product_id, .quantity = e->lines[i].quantity};
    struct request request = {.order_id = e->order_id,
                              .user_id = e->user_id,
                              .sent = sent,
                              .n = e->lines_n,
                              .shipping_address = e->shipping_address,
                              .payment_method = e->payment_method,
                              .payment_token = e->payment_token,
                              .from_cart = true};
    struct quote quote = {0};
    struct refusal no = decide(b, &request, &quote);
    if (no.missing.p && !batch_message(b)->final)
        return not_yet(b, TOPIC_CATALOG, no.missing);
    if (no.code != ERR_NONE)
        return refuse_cart(b, e, &no);
    complete(b, e->order_id, 201, order_json(b, make(b, &request, &quote)));
    return ANSWER_DONE;
}
