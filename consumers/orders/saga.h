/*
 * The order's saga as a pure state machine: what an answer changes, and what has to be asked next. It knows
 * no rows, no messages and no clock, so that every interleaving of answers can be checked
 * (tests/unit/test_order_saga.c).
 *
 *     holding ──all held──▶ authorising ──authorised──▶ committing ──all taken──▶ capturing ──captured──▶
 * done │                      │                           │                        │ (confirmed) └──refused,
 * cancel     └──declined, timeout,       └──refused               └──refused │               cancel    │ │ │
 *                  └────────────────────▶ undoing ◀──────────────┴────────────────────────┘
 *                                            └──all released, voided when authorisation was asked──▶ done
 * (cancelled)
 *
 * Promises: confirmed only with all stock taken and the payment captured; cancelled only when nothing is
 * held, taken or charged any more; nothing is asked after done; an answer that does not fit the step is
 * absorbed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum saga_step {
    STEP_HOLDING,
    STEP_AUTHORISING,
    STEP_COMMITTING,
    STEP_CAPTURING,
    STEP_UNDOING,
    STEP_DONE,
    STEPS
};

/* Of one product of the order: what was asked of inventory, or what it answered. */
enum saga_stock {
    STOCK_ASKED,
    STOCK_HELD,
    STOCK_REFUSED,
    STOCK_TAKING,
    STOCK_TAKEN,
    STOCK_RELEASING,
    STOCK_RELEASED,
    STOCKS
};

enum saga_payment {
    PAYMENT_PENDING,
    PAYMENT_AUTHORISED,
    PAYMENT_PAID,
    PAYMENT_FAILED,
    PAYMENT_VOIDED,
    PAYMENTS
};

/* Why an order is undone; NONE while it goes forward. */
enum saga_why { WHY_NONE, WHY_NO_STOCK, WHY_DECLINED, WHY_TIMED_OUT, WHY_CAPTURE_REFUSED, WHY_CANCEL, WHYS };

enum saga_input {
    INPUT_HELD,
    INPUT_REFUSED,
    INPUT_COMMITTED,
    INPUT_RELEASED,
    INPUT_AUTHORISED,
    INPUT_DECLINED,
    INPUT_CAPTURED,
    INPUT_CAPTURE_FAILED,
    INPUT_VOIDED,
    INPUT_TIMED_OUT,
    INPUT_CANCEL,
    INPUTS
};

struct saga {
    enum saga_step step;
    enum saga_payment payment;
    enum saga_why why;
    bool void_asked, void_done;
    enum saga_stock *stock; /* n products, borrowed, changed in place */
    size_t n;
};

/* What to do when the saga moves. The saga is already in the state that follows. */
enum saga_action {
    ACTION_NONE,      /* wait for answers */
    ACTION_AUTHORISE, /* ask for the authorisation, start the payment's timer */
    ACTION_COMMIT,    /* stop the timer, ask inventory to take every product */
    ACTION_CAPTURE,   /* ask for the capture */
    ACTION_UNDO,      /* ask for a release of every product; for a void and no timer when void_asked */
    ACTION_CONFIRM,   /* the order is confirmed */
    ACTION_CANCEL,    /* the order is cancelled */
};

/* Records an answer; line is the index of the product for the first four inputs. False: it does not fit what
 * the saga waits for (late, repeated), nothing changed. */
bool saga_note(struct saga *saga, enum saga_input input, size_t line);

/* The next thing to do, to be called until it says ACTION_NONE after every saga_note that returned true. */
enum saga_action saga_next(struct saga *saga);
