/*
 * Commands about an order that exists: cancel, confirm by hand, move along its life.
 */
#include "consumers/orders/order.h"

void load_cancel(struct batch *b, const struct order_cancel *e)
{
    order_want(b, e->order_id, true);
}

void load_confirm(struct batch *b, const struct order_confirm *e)
{
    order_want(b, e->order_id, false);
}

void load_set_status(struct batch *b, const struct order_set_status *e)
{
    order_want(b, e->order_id, true);
}

/* The order a command is about; NULL with the refusal in *ret. */
static struct order *order_of_command(struct batch *b, struct uuid id, enum answer *ret)
{
    const struct delivery *message = batch_message(b);
    struct order *order = order_find(b, id);
    if (!order) {
        *ret = reject(b, ERR_NOT_FOUND, "There is no such order.");
        return NULL;
    }
    if (message->expected_version && message->expected_version != order->version) {
        *ret = reject(b, ERR_STALE, "The order has changed since it was read.");
        return NULL;
    }
    return order;
}

/* Accepted until the stock was asked to be taken. An order that is being undone already ends as the customer
 * wants, so the command waits for that end too; only one can wait. */
enum answer cancel_order(struct batch *b, const struct order_cancel *e)
{
    enum answer refused;
    struct order *order = order_of_command(b, e->order_id, &refused);
    if (!order)
        return refused;
    if (e->has_user_id && !uuid_eq(e->user_id, order->user_id))
        return reject(b, ERR_NOT_FOUND, "There is no such order.");
    if (!str_eq(order->status, STR("pending")))
        return reject(b, ERR_CONFLICT, "The order is %.*s.", STR_ARG(order->status));
    bool undoing = str_eq(order->step, step_word(STEP_UNDOING));
    if (undoing && !uuid_is_nil(order->cancel_command))
        return reject(b, ERR_CONFLICT, "The order is being cancelled already.");
    if (str_eq(order->step, step_word(STEP_COMMITTING)) || str_eq(order->step, step_word(STEP_CAPTURING)))
        return reject(b, ERR_CONFLICT, "The order is being completed and cannot be cancelled any more.");
    struct str why = e->reason.p && e->reason.n ? e->reason
                     : e->has_user_id           ? STR("cancelled_by_customer")
                                                : STR("cancelled_by_staff");
    order->cancel_command = batch_message(b)->id;
    if (undoing)
        order_tell(b, order, "cancel-requested", STR_NONE);
    else
        order_note(b, order->id, INPUT_CANCEL, (struct uuid){{0}}, STR_NONE, why);
    return run_on(b);
}

enum answer confirm_order(struct batch *b, const struct order_confirm *e)
{
    enum answer refused;
    struct order *order = order_of_command(b, e->order_id, &refused);
    if (!order)
        return refused;
    if (str_eq(order->status, STR("pending")))
        return reject(b, ERR_CONFLICT,
                      "The order confirms itself when its stock is taken and its payment captured.");
    return reject(b, ERR_CONFLICT, "The order is %.*s.", STR_ARG(order->status));
}

/* The legal moves by hand. pending ends by the saga alone: confirmed or cancelled. */
static const struct {
    const char *from, *to;
} moves[] = {
    {"confirmed", "processing"},
    {"processing", "shipped"},
    {"shipped", "delivered"},
    {"delivered", "completed"},
};

static const char *const statuses[] = {"pending",   "confirmed", "processing", "shipped",
                                       "delivered", "completed", "cancelled"};

/* The status with that name, any letter case; absent when there is none. */
static struct str status_named(struct str name)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        if (str_ieq(name, str_of(statuses[i])))
            return str_of(statuses[i]);
    return STR_NONE;
}

static bool legal(struct str from, struct str to)
{
    for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++)
        if (str_is(from, moves[i].from) && str_is(to, moves[i].to))
            return true;
    return false;
}

enum answer set_status(struct batch *b, const struct order_set_status *e)
{
    struct str to = status_named(e->status);
    if (!to.p)
        return reject_field(b, "status", "There is no such status.");
    enum answer refused;
    struct order *order = order_of_command(b, e->order_id, &refused);
    if (!order)
        return refused;
    struct str from = order->status;
    if (!legal(from, to))
        return reject(b, ERR_CONFLICT, "An order that is %.*s cannot become %.*s.", STR_ARG(from),
                      STR_ARG(to));
    order->status = to;
    order_tell(b, order, to.p, STR_NONE);
    struct order_status_changed changed = {.order_id = order->id, .from = from, .to = to};
    emit_order_status_changed(b, uuid_str(order->id, batch_arena(b)), &changed);
    return succeed(b, 200, order_json(b, order));
}
