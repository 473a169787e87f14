/*
 * order.placed. v1 had the totals flat in the event and the tax as one sum; the currency of a line was
 * optional. v2 has the totals in one object, and each line says the tax in it; the lines' taxes add up to the
 * order's.
 */
#include "messages.h"

/* The part of tax that falls on the lines up to here, of whole: rounded down, so that the shares, each the
 * difference of two such parts, add up to tax exactly. A whole of 0 has no tax to share. */
static int64_t tax_up_to(int64_t tax, int64_t so_far, int64_t whole)
{
    return whole > 0 ? (int64_t)((__int128)tax * so_far / whole) : 0;
}

/* What the lines of v1 say together: the base over which the order's tax is shared. At most 200 lines of at
 * most MONEY_MAX: no overflow. */
static int64_t lines_total(const struct order_placed *from)
{
    int64_t total = 0;
    for (size_t i = 0; i < from->lines_n; i++)
        total += from->lines[i].line_total;
    return total;
}

static const struct order_placed_v2_lines *lift_lines(const struct order_placed *from, struct arena *arena)
{
    struct order_placed_v2_lines *lines = arena_array(arena, struct order_placed_v2_lines, from->lines_n);
    int64_t whole = lines_total(from), so_far = 0, shared = 0;
    for (size_t i = 0; i < from->lines_n; i++) {
        const struct order_placed_lines *line = &from->lines[i];
        so_far += line->line_total;
        int64_t up_to = tax_up_to(from->tax_amount, so_far, whole);
        lines[i] =
            (struct order_placed_v2_lines){.product_id = line->product_id,
                                           .sku = line->sku,
                                           .name = line->name,
                                           .unit_price = line->unit_price,
                                           .currency = line->currency.p ? line->currency : from->currency,
                                           .quantity = line->quantity,
                                           .line_total = line->line_total,
                                           .tax_amount = up_to - shared,
                                           .product_version = line->product_version};
        shared = up_to;
    }
    return lines;
}

void lift_order_placed_v2(const struct order_placed *from, struct order_placed_v2 *to, struct arena *arena)
{
    *to = (struct order_placed_v2){.order_id = from->order_id,
                                   .user_id = from->user_id,
                                   .order_number = from->order_number,
                                   .lines = lift_lines(from, arena),
                                   .lines_n = from->lines_n,
                                   .totals = {.subtotal = from->subtotal,
                                              .discount_amount = from->discount_amount,
                                              .shipping_amount = from->shipping_amount,
                                              .tax_amount = from->tax_amount,
                                              .total_amount = from->total_amount,
                                              .currency = from->currency},
                                   .payment_method = from->payment_method,
                                   .from_cart = from->from_cart};
}

/* The tax of the single lines is lost; nobody who reads v1 knows of it. */
void lower_order_placed_v2(const struct order_placed_v2 *from, struct order_placed *to, struct arena *arena)
{
    struct order_placed_lines *lines = arena_array(arena, struct order_placed_lines, from->lines_n);
    for (size_t i = 0; i < from->lines_n; i++) {
        const struct order_placed_v2_lines *line = &from->lines[i];
        lines[i] = (struct order_placed_lines){.product_id = line->product_id,
                                               .sku = line->sku,
                                               .name = line->name,
                                               .unit_price = line->unit_price,
                                               .currency = line->currency,
                                               .quantity = line->quantity,
                                               .line_total = line->line_total,
                                               .product_version = line->product_version};
    }
    *to = (struct order_placed){.order_id = from->order_id,
                                .user_id = from->user_id,
                                .order_number = from->order_number,
                                .lines = lines,
                                .lines_n = from->lines_n,
                                .subtotal = from->totals.subtotal,
                                .discount_amount = from->totals.discount_amount,
                                .shipping_amount = from->totals.shipping_amount,
                                .tax_amount = from->totals.tax_amount,
                                .total_amount = from->totals.total_amount,
                                .currency = from->totals.currency,
                                .payment_method = from->payment_method,
                                .from_cart = from->from_cart};
}
