/*
 * The rows of the orders group and what its files share: finding an order with its products, its timeline,
 * its JSON. Private to consumers/orders/.
 */
#pragma once

#include "consumers/group.h"
#include "consumers/orders/saga.h"

/* Orders' own projection of the catalogue: what a line's price is fixed from. */
struct order_product {
    struct row row;
    struct uuid product_id;
    struct str name, sku;
    int64_t price;
    struct str currency;
    bool is_active; /* false also when the product was withdrawn */
    int64_t version;
};
extern const struct table order_product_table;

struct order {
    struct row row;
    struct uuid id;
    struct str order_number;
    struct uuid user_id;
    struct str status, payment_status, step; /* words of the tables in order.c */
    struct str reason;                       /* why it is undone; absent while it goes forward */
    struct str payment_method;
    struct str payment_token;    /* sealed; forgotten once the authorisation was asked */
    struct str shipping_address; /* sealed */
    struct str currency;
    int64_t subtotal, discount_amount, shipping_amount, tax_amount, total_amount;
    bool from_cart, void_asked, void_done;
    struct uuid
        cancel_command; /* the customer's cancel that waits for order.cancelled; nil when there is none */
    int64_t version;    /* grows with every entry of the timeline, and is its number */
    int64_t created_ms, updated_ms;
};
extern const struct table order_table;

/* One row per product; lines of the same product are summed. */
struct order_line {
    struct row row;
    struct uuid order_id, product_id;
    int64_t position; /* from 1, in the order of the request */
    struct str sku, name;
    int64_t unit_price, quantity, line_total, product_version;
    struct str stock; /* word of enum saga_stock */
};
extern const struct table order_line_table;

struct order_timeline {
    struct row row;
    struct uuid order_id;
    int64_t n;
    struct str what, detail;
    int64_t at_ms;
};
extern const struct table order_timeline_table;

enum { ORDER_LINES_MAX = 200 };

/* Words of the enums, as stored and shown. */
struct str step_word(enum saga_step step);
struct str stock_word(enum saga_stock stock);
struct str payment_word(enum saga_payment payment);

/* ---- load phase ---- */
/* The order, its products, and its timeline when its JSON will be needed. */
void order_want(struct batch *b, struct uuid id, bool timeline);

/* ---- handlers ---- */
/* NULL when there is none. */
struct order *order_find(struct batch *b, struct uuid id);
/* Its products by position; at most ORDER_LINES_MAX; arena. */
struct order_line **order_lines(struct batch *b, const struct order *order, size_t *ret_n);
/* Adds an entry to the timeline and saves the order. detail may be absent; no personal data. */
void order_tell(struct batch *b, struct order *order, const char *what, struct str detail);
/* The order as clients see it: one JSON object, money as decimals of the currency, no personal field. The
 * timeline must be loaded or made in this batch. */
struct str order_json(struct batch *b, const struct order *order);
/* Readable and unique, made from the id alone: DS-<yymmdd of the id>-XXXX-XXXX-XXXX, the last 60 bits of the
 * id in Crockford's base 32. */
struct str order_number(struct uuid id, struct arena *arena);

/* Emits order.cancelled's counterpart for the cart: its lines are offered back. */
void order_offer_back(struct batch *b, struct uuid order_id, struct uuid user_id,
                      const struct cart_merge_requested_lines *lines, size_t n);

/* ---- handlers of messages, see group.c ---- */
void load_order_place(struct batch *b, const struct order_place *e);
enum answer place_order(struct batch *b, const struct order_place *e);
void load_place_requested(struct batch *b, const struct order_place_requested *e);
enum answer place_requested_order(struct batch *b, const struct order_place_requested *e);

void load_cancel(struct batch *b, const struct order_cancel *e);
enum answer cancel_order(struct batch *b, const struct order_cancel *e);
void load_confirm(struct batch *b, const struct order_confirm *e);
enum answer confirm_order(struct batch *b, const struct order_confirm *e);
void load_set_status(struct batch *b, const struct order_set_status *e);
enum answer set_status(struct batch *b, const struct order_set_status *e);

/* An answer for the order's saga: notes it, moves on, emits what is asked next. Absorbed when it does not
 * fit; returns whether it counted. product: nil unless the input is about one. told: detail for the timeline;
 * reason: why the order is undone if this undoes it (absent: the word of the input). */
bool order_note(struct batch *b, struct uuid order_id, enum saga_input input, struct uuid product,
                struct str told, struct str reason);
/* Asks inventory for everything a new order needs; lines as they were sent, not summed. */
struct sent_line {
    struct uuid product_id;
    int64_t quantity;
    bool has_variant_id;
    struct uuid variant_id;
};
void order_ask_stock(struct batch *b, const struct order *order, const struct sent_line *sent, size_t n);
