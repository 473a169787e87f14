/*
 * The saga at work: answers of inventory, payments and the timer are noted in the order's rows, and what the
 * state machine (saga.c) asks for next is emitted. Rows in, rows out: the state of the saga is the order's
 * and its lines' columns, nothing else.
 */
#include <assert.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "consumers/orders/order.h"

static const char payment_timer[] = "payment";

/* An order whose saga is in hand. */
struct flow {
    struct batch *b;
    struct order *order;
    struct order_line **lines;
    struct saga saga;
};

static int word_index(struct str word, struct str (*word_of)(int), int n)
{
    int i = 0;
    while (i < n && !str_eq(word_of(i), word))
        i++;
    assert(i < n); /* the table's CHECK allows no other word */
    return i;
}

static struct str step_of(int i)
{
    return step_word((enum saga_step)i);
}

static struct str stock_of(int i)
{
    return stock_word((enum saga_stock)i);
}

static struct str payment_of(int i)
{
    return payment_word((enum saga_payment)i);
}

static struct flow flow_load(struct batch *b, struct order *order)
{
    struct flow flow = {.b = b, .order = order};
    flow.lines = order_lines(b, order, &flow.saga.n);
    flow.saga.stock = arena_array(batch_arena(b), enum saga_stock, flow.saga.n);
    for (size_t i = 0; i < flow.saga.n; i++)
        flow.saga.stock[i] = (enum saga_stock)word_index(flow.lines[i]->stock, stock_of, STOCKS);
    flow.saga.step = (enum saga_step)word_index(order->step, step_of, STEPS);
    flow.saga.payment = (enum saga_payment)word_index(order->payment_status, payment_of, PAYMENTS);
    flow.saga.void_asked = order->void_asked;
    flow.saga.void_done = order->void_done;
    return flow;
}

static void flow_store(const struct flow *flow)
{
    for (size_t i = 0; i < flow->saga.n; i++) {
        struct str word = stock_word(flow->saga.stock[i]);
        if (str_eq(flow->lines[i]->stock, word))
            continue;
        flow->lines[i]->stock = word;
        row_save(flow->b, flow->lines[i]);
    }
    flow->order->step = step_word(flow->saga.step);
    flow->order->payment_status = payment_word(flow->saga.payment);
    flow->order->void_asked = flow->saga.void_asked;
    flow->order->void_done = flow->saga.void_done;
    row_save(flow->b, flow->order);
}

static struct str key_of(const struct flow *flow, struct uuid id)
{
    return uuid_str(id, batch_arena(flow->b));
}

/* ---- asking ---- */

void order_ask_stock(struct batch *b, const struct order *order, const struct sent_line *sent, size_t n)
{
    size_t products;
    struct order_line **lines = order_lines(b, order, &products);
    for (size_t i = 0; i < products; i++) {
        struct stock_hold_requested_lines *held =
            arena_array(batch_arena(b), struct stock_hold_requested_lines, n);
        struct stock_hold_requested e = {
            .order_id = order->id, .product_id = lines[i]->product_id, .lines = held};
        for (size_t k = 0; k < n; k++)
            if (uuid_eq(sent[k].product_id, lines[i]->product_id))
                held[e.lines_n++] = (struct stock_hold_requested_lines){sent[k].has_variant_id,
                                                                        sent[k].variant_id, sent[k].quantity};
        emit_stock_hold_requested(b, uuid_str(lines[i]->product_id, batch_arena(b)), &e);
    }
}

static void ask_authorisation(struct flow *flow)
{
    struct order *order = flow->order;
    struct str key = key_of(flow, order->id);
    struct payment_authorise_requested ask = {.order_id = order->id,
                                              .user_id = order->user_id,
                                              .amount = order->total_amount,
                                              .currency = order->currency,
                                              .method = order->payment_method,
                                              .token = order->payment_token};
    emit_payment_authorise_requested(flow->b, key, &ask);
    order->payment_token = STR_NONE;
    struct order_payment_timed_out late = {.order_id = order->id};
    timer_set(flow->b, payment_timer, key, batch_now(flow->b) + conf_int(SET_PAYMENT_TIMEOUT_MS),
              ORDER_PAYMENT_TIMED_OUT, &late);
    order_tell(flow->b, order, "stock-held", STR("waiting for the payment"));
}

static void ask_commit(struct flow *flow)
{
    timer_cancel(flow->b, payment_timer, key_of(flow, flow->order->id));
    for (size_t i = 0; i < flow->saga.n; i++) {
        struct stock_commit_requested ask = {flow->order->id, flow->lines[i]->product_id};
        emit_stock_commit_requested(flow->b, key_of(flow, ask.product_id), &ask);
    }
    order_tell(flow->b, flow->order, "payment-authorised", STR("taking the stock"));
}

static void ask_capture(struct flow *flow)
{
    struct payment_capture_requested ask = {flow->order->id};
    emit_payment_capture_requested(flow->b, key_of(flow, ask.order_id), &ask);
    order_tell(flow->b, flow->order, "stock-taken", STR("capturing the payment"));
}

static void ask_undo(struct flow *flow)
{
    struct str key = key_of(flow, flow->order->id);
    for (size_t i = 0; i < flow->saga.n; i++) {
        struct stock_release_requested ask = {flow->order->id, flow->lines[i]->product_id};
        emit_stock_release_requested(flow->b, key_of(flow, ask.product_id), &ask);
    }
    if (flow->saga.void_asked) {
        struct payment_void_requested ask = {flow->order->id};
        emit_payment_void_requested(flow->b, key, &ask);
        timer_cancel(flow->b, payment_timer, key);
    }
    flow->order->payment_token = STR_NONE;
    order_tell(flow->b, flow->order, "undoing",
               flow->saga.void_asked ? STR("releasing the stock, voiding the payment")
                                     : STR("releasing the stock"));
}

/* ---- endings ---- */

static void confirm(struct flow *flow)
{
    struct order *order = flow->order;
    order->status = STR("confirmed");
    order_tell(flow->b, order, "confirmed", STR_NONE);
    struct order_confirmed confirmed = {.order_id = order->id,
                                        .user_id = order->user_id,
                                        .order_number = order->order_number,
                                        .total_amount = order->total_amount,
                                        .currency = order->currency};
    emit_order_confirmed(flow->b, key_of(flow, order->id), &confirmed);
}

static void offer_back(struct flow *flow)
{
    struct cart_merge_requested_lines *back =
        arena_array(batch_arena(flow->b), struct cart_merge_requested_lines, flow->saga.n);
    for (size_t i = 0; i < flow->saga.n; i++)
        back[i] = (struct cart_merge_requested_lines){flow->lines[i]->product_id, flow->lines[i]->quantity};
    order_offer_back(flow->b, flow->order->id, flow->order->user_id, back, flow->saga.n);
}

static void cancel(struct flow *flow)
{
    struct order *order = flow->order;
    order->status = STR("cancelled");
    order_tell(flow->b, order, "cancelled", order->reason);
    struct order_cancelled cancelled = {.order_id = order->id,
                                        .user_id = order->user_id,
                                        .order_number = order->order_number,
                                        .reason = order->reason};
    emit_order_cancelled(flow->b, key_of(flow, order->id), &cancelled);
    if (order->from_cart)
        offer_back(flow);
    if (uuid_is_nil(order->cancel_command))
        return;
    flow_store(flow); /* the result shows the order as it is now */
    complete(flow->b, order->cancel_command, 200, order_json(flow->b, order));
    order->cancel_command = (struct uuid){{0}};
}

/* ---- moving ---- */

static void act(struct flow *flow, enum saga_action action)
{
    static void (*const acts[])(struct flow *) = {
        [ACTION_AUTHORISE] = ask_authorisation,
        [ACTION_COMMIT] = ask_commit,
        [ACTION_CAPTURE] = ask_capture,
        [ACTION_UNDO] = ask_undo,
        [ACTION_CONFIRM] = confirm,
        [ACTION_CANCEL] = cancel,
    };
    acts[action](flow);
}

/* What the timeline says about an input, NULL when only the move it causes is told; and why an order ends by
 * it. */
static const struct tale {
    const char *what, *reason;
} tales[INPUTS] = {
    [INPUT_REFUSED] = {"stock-refused", "insufficient_stock"},
    [INPUT_DECLINED] = {"payment-declined", "payment_declined"},
    [INPUT_CAPTURED] = {"payment-captured", NULL},
    [INPUT_CAPTURE_FAILED] = {"capture-refused", "capture_refused"},
    [INPUT_VOIDED] = {"payment-voided", NULL},
    [INPUT_TIMED_OUT] = {"payment-timed-out", "payment_timeout"},
    [INPUT_CANCEL] = {"cancel-requested", "cancelled"},
};

/* Index of the product among the lines; false when the order does not have it. */
static bool line_of(const struct flow *flow, struct uuid product, size_t *ret)
{
    for (*ret = 0; *ret < flow->saga.n; ++*ret)
        if (uuid_eq(flow->lines[*ret]->product_id, product))
            return true;
    return false;
}

bool order_note(struct batch *b, struct uuid order_id, enum saga_input input, struct uuid product,
                struct str told, struct str reason)
{
    struct order *order = order_find(b, order_id);
    if (!order)
        return false;
    struct flow flow = flow_load(b, order);
    size_t line = 0;
    if (!uuid_is_nil(product) && !line_of(&flow, product, &line))
        return false;
    if (!saga_note(&flow.saga, input, line))
        return false;
    if (flow.saga.why != WHY_NONE)
        order->reason = reason.p ? reason : str_of(tales[input].reason);
    if (tales[input].what)
        order_tell(b, order, tales[input].what, told);
    for (enum saga_action action; (action = saga_next(&flow.saga)) != ACTION_NONE;)
        act(&flow, action);
    flow_store(&flow);
    return true;
}
