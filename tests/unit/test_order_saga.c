/*
 * The order's saga, checked exhaustively: a small model of the shop (inventory per product, the payment's
 * provider, the timer, a customer who may cancel) answers in every possible order, with every possible
 * answer, and repeats answers at will. Every reachable state is visited once.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "consumers/orders/saga.h"

enum { PRODUCTS_MAX = 3 };

/* What inventory has for one product of the order, and what it was asked and has not answered, in order. */
enum ask { ASK_NONE, ASK_HOLD, ASK_COMMIT, ASK_RELEASE };
enum have { HAVE_NOTHING, HAVE_HOLD, HAVE_TAKEN };

/* A provider works on one job after another. */
enum job { JOB_NONE, JOB_AUTHORISE, JOB_CAPTURE, JOB_VOID };
enum charge { CHARGE_NONE, CHARGE_RESERVED, CHARGE_TAKEN };

/* The whole world; compared byte by byte, so it has no padding and no pointers. */
struct world {
    unsigned char step, payment, why, void_asked, void_done,
        outcome; /* outcome: 0 open, 1 confirmed, 2 cancelled */
    unsigned char stock[PRODUCTS_MAX];
    unsigned char asks[PRODUCTS_MAX][2];    /* at most a hold and its release wait */
    unsigned char answers[PRODUCTS_MAX][2]; /* inputs on their way to the order, + 1 */
    unsigned char have[PRODUCTS_MAX];
    unsigned char jobs[2], told[3], charge, timer, cancelled;
    unsigned short seen; /* inputs delivered once: any may come again */
};

enum { WORLDS = 1 << 22 };
static struct world *worlds;
static size_t worlds_n;
static unsigned *slots; /* open addressing: index + 1 */
static size_t products;
static size_t confirmed, cancelled;

static size_t world_hash(const struct world *w)
{
    size_t h = 1469598103934665603U;
    for (size_t i = 0; i < sizeof(*w); i++)
        h = (h ^ ((const unsigned char *)w)[i]) * 1099511628211U;
    return h ^ h >> 29;
}

static void visit(const struct world *w)
{
    size_t at = world_hash(w) % (WORLDS * 2U);
    while (slots[at]) {
        if (memcmp(&worlds[slots[at] - 1], w, sizeof(*w)) == 0)
            return;
        at = (at + 1) % (WORLDS * 2U);
    }
    cr_assert(worlds_n < WORLDS, "the model is larger than expected");
    worlds[worlds_n++] = *w;
    slots[at] = (unsigned)worlds_n;
}

static void push(unsigned char *queue, size_t room, int what)
{
    size_t i = 0;
    while (i < room && queue[i])
        i++;
    cr_assert(i < room, "more is asked than can be under way");
    queue[i] = (unsigned char)what;
}

static int pull(unsigned char *queue, size_t room)
{
    int what = queue[0];
    memmove(queue, queue + 1, room - 1);
    queue[room - 1] = 0;
    return what;
}

static void ask_all(struct world *w, enum ask ask)
{
    for (size_t i = 0; i < products; i++)
        push(w->asks[i], 2, (int)ask);
}

static void check_confirmed(struct world *w)
{
    cr_assert_eq(w->outcome, 0);
    cr_assert_eq(w->charge, CHARGE_TAKEN);
    for (size_t i = 0; i < products; i++)
        cr_assert_eq(w->have[i], HAVE_TAKEN);
    w->outcome = 1;
    confirmed++;
}

static void check_cancelled(struct world *w)
{
    cr_assert_eq(w->outcome, 0);
    cr_assert_eq(w->charge, CHARGE_NONE);
    for (size_t i = 0; i < products; i++) {
        cr_assert_eq(w->have[i], HAVE_NOTHING);
        cr_assert_eq(w->asks[i][0], ASK_NONE);
    }
    cr_assert_eq(w->jobs[0], JOB_NONE);
    w->outcome = 2;
    cancelled++;
}

static void act(struct world *w, enum saga_action action)
{
    cr_assert_eq(w->outcome, 0, "nothing is asked after the end");
    switch (action) {
    case ACTION_AUTHORISE:
        push(w->jobs, 2, JOB_AUTHORISE);
        w->timer = 1;
        break;
    case ACTION_COMMIT:
        w->timer = 0;
        ask_all(w, ASK_COMMIT);
        break;
    case ACTION_CAPTURE:
        push(w->jobs, 2, JOB_CAPTURE);
        break;
    case ACTION_UNDO:
        ask_all(w, ASK_RELEASE);
        w->timer = 0;
        if (w->void_asked)
            push(w->jobs, 2, JOB_VOID);
        break;
    case ACTION_CONFIRM:
        check_confirmed(w);
        break;
    case ACTION_CANCEL:
        check_cancelled(w);
        break;
    case ACTION_NONE:
        break;
    }
}

/* Delivers an input to the saga, as order_note does. */
static bool deliver(struct world *w, enum saga_input input, size_t line)
{
    enum saga_stock stock[PRODUCTS_MAX];
    for (size_t i = 0; i < products; i++)
        stock[i] = (enum saga_stock)w->stock[i];
    struct saga saga = {.step = (enum saga_step)w->step,
                        .payment = (enum saga_payment)w->payment,
                        .void_asked = w->void_asked,
                        .void_done = w->void_done,
                        .stock = stock,
                        .n = products};
    bool counted = saga_note(&saga, input, line);
    enum saga_action action = ACTION_NONE;
    do {
        if (counted)
            action = saga_next(&saga);
        for (size_t i = 0; i < products; i++)
            w->stock[i] = (unsigned char)stock[i];
        w->step = (unsigned char)saga.step;
        w->payment = (unsigned char)saga.payment;
        w->why = (unsigned char)saga.why;
        w->void_asked = saga.void_asked;
        w->void_done = saga.void_done;
        if (action != ACTION_NONE)
            act(w, action);
    } while (action != ACTION_NONE);
    w->why = 0; /* not kept: an order whose saga has a reason is being undone */
    return counted;
}

/* Inventory answers the oldest ask of a product; yes: it has enough. */
static void inventory_answers(struct world w, size_t i, bool yes)
{
    enum saga_input answer;
    switch ((enum ask)pull(w.asks[i], 2)) {
    case ASK_HOLD:
        w.have[i] = yes ? HAVE_HOLD : HAVE_NOTHING;
        answer = yes ? INPUT_HELD : INPUT_REFUSED;
        break;
    case ASK_COMMIT:
        cr_assert_eq(w.have[i], HAVE_HOLD, "only what is held is taken");
        w.have[i] = HAVE_TAKEN;
        answer = INPUT_COMMITTED;
        break;
    default:
        w.have[i] = HAVE_NOTHING;
        answer = INPUT_RELEASED;
    }
    push(w.answers[i], 2, (int)answer + 1);
    visit(&w);
}

/* The provider ends its oldest job; yes: as the shop would like it. */
static void provider_answers(struct world w, bool yes)
{
    enum saga_input answer;
    switch ((enum job)pull(w.jobs, 2)) {
    case JOB_AUTHORISE:
        w.charge = yes ? CHARGE_RESERVED : CHARGE_NONE;
        answer = yes ? INPUT_AUTHORISED : INPUT_DECLINED;
        break;
    case JOB_CAPTURE:
        cr_assert_eq(w.charge, CHARGE_RESERVED);
        w.charge = yes ? CHARGE_TAKEN : CHARGE_RESERVED;
        answer = yes ? INPUT_CAPTURED : INPUT_CAPTURE_FAILED;
        break;
    default:
        w.charge = CHARGE_NONE;
        answer = INPUT_VOIDED;
    }
    push(w.told, 3, (int)answer + 1);
    visit(&w);
}

static void delivered(struct world w, int code, size_t line)
{
    w.seen |= (unsigned short)(1U << (code - 1));
    deliver(&w, (enum saga_input)(code - 1), line);
    visit(&w);
}

static void answers_arrive(const struct world *from)
{
    for (size_t i = 0; i < products; i++) {
        struct world w = *from;
        int code = pull(w.answers[i], 2);
        if (code)
            delivered(w, code, i);
    }
    struct world w = *from;
    int code = pull(w.told, 3);
    if (code)
        delivered(w, code, 0);
}

/* Any answer that came once comes again: at most its first coming may count. */
static void answers_repeat(const struct world *from)
{
    static const enum saga_input once[] = {INPUT_AUTHORISED, INPUT_DECLINED,       INPUT_CAPTURED,
                                           INPUT_VOIDED,     INPUT_CAPTURE_FAILED, INPUT_TIMED_OUT};
    for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++)
        if (from->seen & 1U << once[i]) {
            struct world w = *from;
            cr_assert_not(deliver(&w, once[i], 0), "input %d counted twice", (int)once[i]);
            cr_assert_eq(memcmp(&w, from, sizeof(w)), 0);
        }
}

static void others_act(const struct world *from)
{
    struct world w = *from;
    if (w.timer) {
        w.timer = 0;
        delivered(w, INPUT_TIMED_OUT + 1, 0);
    }
    w = *from;
    if (!w.cancelled) {
        w.cancelled = 1;
        bool open = w.step == STEP_HOLDING || w.step == STEP_AUTHORISING;
        cr_assert_eq(deliver(&w, INPUT_CANCEL, 0), open, "accepted until commit was requested");
        visit(&w);
    }
}

static void everything_happens(size_t at)
{
    const struct world from = worlds[at];
    for (size_t i = 0; i < products; i++)
        for (int yes = 0; yes < 2 && from.asks[i][0]; yes++)
            inventory_answers(from, i, yes);
    for (int yes = 0; yes < 2 && from.jobs[0]; yes++)
        provider_answers(from, yes);
    answers_arrive(&from);
    answers_repeat(&from);
    others_act(&from);
    bool quiet = !from.jobs[0] && !from.told[0] && !from.timer;
    for (size_t i = 0; i < products; i++)
        quiet = quiet && !from.asks[i][0] && !from.answers[i][0];
    if (quiet)
        cr_assert_neq(from.outcome, 0, "an order waits for nothing and has not ended");
}

static void explore(size_t n)
{
    products = n;
    worlds_n = confirmed = cancelled = 0;
    worlds = calloc(WORLDS, sizeof(*worlds));
    slots = calloc(WORLDS * (size_t)2, sizeof(*slots));
    struct world start = {.step = STEP_HOLDING};
    ask_all(&start, ASK_HOLD);
    visit(&start);
    for (size_t at = 0; at < worlds_n; at++)
        everything_happens(at);
    printf("%zu products: %zu states, %zu ways to confirm, %zu to cancel\n", n, worlds_n, confirmed,
           cancelled);
    cr_assert_gt(confirmed, 0);
    cr_assert_gt(cancelled, 0);
    free(worlds);
    free(slots);
}

Test(order_saga, one_product_ends_in_every_interleaving)
{
    explore(1);
}

Test(order_saga, two_products_end_in_every_interleaving)
{
    explore(2);
}

Test(order_saga, three_products_end_in_every_interleaving)
{
    explore(3);
}

Test(order_saga, cancel_is_refused_once_commit_was_requested)
{
    enum saga_stock stock[] = {STOCK_HELD};
    struct saga saga = {.step = STEP_AUTHORISING, .stock = stock, .n = 1};
    cr_assert(saga_note(&saga, INPUT_AUTHORISED, 0));
    cr_assert_eq(saga_next(&saga), ACTION_COMMIT);
    cr_assert_not(saga_note(&saga, INPUT_CANCEL, 0));
}
