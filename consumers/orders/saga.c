/*
 * The rules of the saga: one table of answers (in which step, from which state of the product, what they
 * change) and one ordered list of moves.
 */
#include "consumers/orders/saga.h"

#include <assert.h>

#define IN(step) (1U << STEP_##step)

enum { NO_STOCK = STOCKS, SAME_PAYMENT = PAYMENTS };

/* Columns: steps in which the answer counts · product from → to (STOCKS: not about a product) · payment
 * becomes (PAYMENTS: stays) · why the order fails. */
static const struct rule {
    unsigned steps;
    int from, to, payment;
    enum saga_why why;
} rules[INPUTS] = {
    [INPUT_HELD] = {IN(HOLDING), STOCK_ASKED, STOCK_HELD, SAME_PAYMENT, WHY_NONE},
    [INPUT_REFUSED] = {IN(HOLDING), STOCK_ASKED, STOCK_REFUSED, SAME_PAYMENT, WHY_NO_STOCK},
    [INPUT_COMMITTED] = {IN(COMMITTING), STOCK_TAKING, STOCK_TAKEN, SAME_PAYMENT, WHY_NONE},
    [INPUT_RELEASED] = {IN(UNDOING), STOCK_RELEASING, STOCK_RELEASED, SAME_PAYMENT, WHY_NONE},
    [INPUT_AUTHORISED] = {IN(AUTHORISING), NO_STOCK, NO_STOCK, PAYMENT_AUTHORISED, WHY_NONE},
    [INPUT_DECLINED] = {IN(AUTHORISING), NO_STOCK, NO_STOCK, PAYMENT_FAILED, WHY_DECLINED},
    [INPUT_CAPTURED] = {IN(CAPTURING), NO_STOCK, NO_STOCK, PAYMENT_PAID, WHY_NONE},
    [INPUT_CAPTURE_FAILED] = {IN(CAPTURING), NO_STOCK, NO_STOCK, PAYMENT_FAILED, WHY_CAPTURE_REFUSED},
    [INPUT_VOIDED] = {IN(UNDOING), NO_STOCK, NO_STOCK, SAME_PAYMENT, WHY_NONE},
    [INPUT_TIMED_OUT] = {IN(AUTHORISING), NO_STOCK, NO_STOCK, SAME_PAYMENT, WHY_TIMED_OUT},
    [INPUT_CANCEL] = {IN(HOLDING) | IN(AUTHORISING), NO_STOCK, NO_STOCK, SAME_PAYMENT, WHY_CANCEL},
};

/* Inventory refuses to take what it does not hold: nobody but the saga releases a hold, so this is a second
 * net. */
static bool commit_refused(const struct saga *saga, enum saga_input input, size_t line)
{
    return input == INPUT_REFUSED && saga->step == STEP_COMMITTING && saga->stock[line] == STOCK_TAKING;
}

bool saga_note(struct saga *saga, enum saga_input input, size_t line)
{
    const struct rule *rule = &rules[input];
    bool of_product = rule->from != NO_STOCK;
    assert(!of_product || line < saga->n);
    if (commit_refused(saga, input, line)) {
        saga->stock[line] = STOCK_REFUSED;
        saga->why = WHY_NO_STOCK;
        return true;
    }
    if (!(rule->steps & 1U << saga->step) || (of_product && (int)saga->stock[line] != rule->from))
        return false;
    if (input == INPUT_VOIDED) {
        if (!saga->void_asked || saga->void_done)
            return false;
        saga->void_done = true;
    }
    if (of_product)
        saga->stock[line] = (enum saga_stock)rule->to;
    if (rule->payment != SAME_PAYMENT)
        saga->payment = (enum saga_payment)rule->payment;
    if (rule->why != WHY_NONE)
        saga->why = rule->why;
    return true;
}

static bool all(const struct saga *saga, enum saga_stock stock)
{
    for (size_t i = 0; i < saga->n; i++)
        if (saga->stock[i] != stock)
            return false;
    return true;
}

static enum saga_action move(struct saga *saga, enum saga_step step, enum saga_action action)
{
    saga->step = step;
    return action;
}

static void set_all(struct saga *saga, enum saga_stock stock)
{
    for (size_t i = 0; i < saga->n; i++)
        saga->stock[i] = stock;
}

/* Every product was asked for, so every one is released; a release queues behind its hold. A void is needed
 * as soon as an authorisation was asked, whatever was answered: it queues behind the authorisation. */
static enum saga_action undo(struct saga *saga)
{
    saga->void_asked = saga->step != STEP_HOLDING;
    set_all(saga, STOCK_RELEASING);
    return move(saga, STEP_UNDOING, ACTION_UNDO);
}

static enum saga_action cancel(struct saga *saga)
{
    if (saga->payment != PAYMENT_FAILED)
        saga->payment = PAYMENT_VOIDED;
    return move(saga, STEP_DONE, ACTION_CANCEL);
}

enum saga_action saga_next(struct saga *saga)
{
    if (saga->why != WHY_NONE && saga->step < STEP_UNDOING)
        return undo(saga);
    if (saga->step == STEP_HOLDING && all(saga, STOCK_HELD))
        return move(saga, STEP_AUTHORISING, ACTION_AUTHORISE);
    if (saga->step == STEP_AUTHORISING && saga->payment == PAYMENT_AUTHORISED) {
        set_all(saga, STOCK_TAKING);
        return move(saga, STEP_COMMITTING, ACTION_COMMIT);
    }
    if (saga->step == STEP_COMMITTING && all(saga, STOCK_TAKEN))
        return move(saga, STEP_CAPTURING, ACTION_CAPTURE);
    if (saga->step == STEP_CAPTURING && saga->payment == PAYMENT_PAID)
        return move(saga, STEP_DONE, ACTION_CONFIRM);
    if (saga->step == STEP_UNDOING && all(saga, STOCK_RELEASED) && (!saga->void_asked || saga->void_done))
        return cancel(saga);
    return ACTION_NONE;
}
