/*
 * The orders group: orders, their lines and timeline, and a projection of the catalogue. Owns the saga that
 * takes an order from pending to confirmed or cancelled; inventory and payments answer it, the timer ends its
 * patience.
 */
#include "consumers/orders/order.h"
#include "consumers/orders/products.h"

#include <inttypes.h>

static const struct uuid no_product;

/* ---- answers of inventory ---- */

static void load_stock_held(struct batch *b, const struct order_stock_held *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_held(struct batch *b, const struct order_stock_held *e)
{
    order_note(b, e->order_id, INPUT_HELD, e->product_id, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static void load_stock_refused(struct batch *b, const struct order_stock_refused *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_refused(struct batch *b, const struct order_stock_refused *e)
{
    char id[UUID_TEXT + 1];
    uuid_print(e->product_id, id);
    struct str told = arena_printf(batch_arena(b), "product %s", id);
    if (e->has_requested && e->has_available)
        told = arena_printf(batch_arena(b), "product %s: %" PRId64 " asked, %" PRId64 " available", id,
                            e->requested, e->available);
    order_note(b, e->order_id, INPUT_REFUSED, e->product_id, told, STR_NONE);
    return ANSWER_DONE;
}

static void load_stock_committed(struct batch *b, const struct order_stock_committed *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_committed(struct batch *b, const struct order_stock_committed *e)
{
    order_note(b, e->order_id, INPUT_COMMITTED, e->product_id, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static void load_stock_released(struct batch *b, const struct order_stock_released *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_released(struct batch *b, const struct order_stock_released *e)
{
    order_note(b, e->order_id, INPUT_RELEASED, e->product_id, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

/* ---- answers of payments and the timer ---- */

static void load_authorised(struct batch *b, const struct order_payment_authorised *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_authorised(struct batch *b, const struct order_payment_authorised *e)
{
    order_note(b, e->order_id, INPUT_AUTHORISED, no_product, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static void load_declined(struct batch *b, const struct order_payment_declined *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_declined(struct batch *b, const struct order_payment_declined *e)
{
    order_note(b, e->order_id, INPUT_DECLINED, no_product, e->reason, STR_NONE);
    return ANSWER_DONE;
}

static void load_captured(struct batch *b, const struct order_payment_captured *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_captured(struct batch *b, const struct order_payment_captured *e)
{
    order_note(b, e->order_id, INPUT_CAPTURED, no_product, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static void load_capture_failed(struct batch *b, const struct order_payment_capture_failed *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_capture_failed(struct batch *b, const struct order_payment_capture_failed *e)
{
    order_note(b, e->order_id, INPUT_CAPTURE_FAILED, no_product, e->reason, STR_NONE);
    return ANSWER_DONE;
}

static void load_voided(struct batch *b, const struct order_payment_voided *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_voided(struct batch *b, const struct order_payment_voided *e)
{
    order_note(b, e->order_id, INPUT_VOIDED, no_product, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static void load_timed_out(struct batch *b, const struct order_payment_timed_out *e)
{
    order_want(b, e->order_id, false);
}

static enum answer note_timed_out(struct batch *b, const struct order_payment_timed_out *e)
{
    order_note(b, e->order_id, INPUT_TIMED_OUT, no_product, STR_NONE, STR_NONE);
    return ANSWER_DONE;
}

static const struct table *const tables[] = {&order_product_table, &order_table, &order_line_table,
                                             &order_timeline_table, NULL};

extern const struct group orders_group;
const struct group orders_group = {
    .name = "orders",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = tables,
    .on =
        {
            .order_place = {load_order_place, place_order},
            .order_place_requested = {load_place_requested, place_requested_order},
            .order_cancel = {load_cancel, cancel_order},
            .order_confirm = {load_confirm, confirm_order},
            .order_set_status = {load_set_status, set_status},
            .order_stock_held = {load_stock_held, note_held},
            .order_stock_refused = {load_stock_refused, note_refused},
            .order_stock_committed = {load_stock_committed, note_committed},
            .order_stock_released = {load_stock_released, note_released},
            .order_payment_authorised = {load_authorised, note_authorised},
            .order_payment_declined = {load_declined, note_declined},
            .order_payment_captured = {load_captured, note_captured},
            .order_payment_capture_failed = {load_capture_failed, note_capture_failed},
            .order_payment_voided = {load_voided, note_voided},
            .order_payment_timed_out = {load_timed_out, note_timed_out},
            .product_created = {load_product_created, keep_created_product},
            .product_updated = {load_product_updated, keep_updated_product},
            .product_deleted = {load_product_deleted, withdraw_product},
        },
};
