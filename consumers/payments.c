/*
 * The payments group: what an order asked of its payment, and what the provider answered. The provider is
 * called by the job runner (producers/); jobs of an order run one at a time in the order in which they are
 * added here, so a void runs behind the authorisation it has to undo, answered or not. Tokens stay sealed and
 * are forgotten when the payment ends.
 */
#include "bus/base/json.h"
#include "consumers/group.h"

struct payment {
    struct row row;
    struct uuid order_id, user_id;
    struct str method;
    int64_t amount;
    struct str currency;
    struct str token; /* sealed; absent once nothing can be asked any more */
    struct str status, reference, reason;
    int64_t created_ms, updated_ms;
};

static const struct table payment_table = {
    .name = "payment",
    .size = sizeof(struct payment),
    .keys = 1,
    .columns = {COLUMN(UUID, payment, order_id), COLUMN(UUID, payment, user_id),
                COLUMN(TEXT, payment, method), COLUMN(INT, payment, amount), COLUMN(TEXT, payment, currency),
                COLUMN(TEXT, payment, token), COLUMN(TEXT, payment, status), COLUMN(TEXT, payment, reference),
                COLUMN(TEXT, payment, reason), COLUMN(INT, payment, created_ms),
                COLUMN(INT, payment, updated_ms)},
};

static void want_payment(struct batch *b, struct uuid order_id)
{
    want(b, &payment_table, "order_id", VALUE_UUID(order_id));
}

static struct payment *payment_of(struct batch *b, struct uuid order_id)
{
    return row_find(b, &payment_table, "order_id", VALUE_UUID(order_id));
}

static bool status_is(const struct payment *payment, const char *status)
{
    return payment && str_is(payment->status, status);
}

static void set_status(struct batch *b, struct payment *payment, struct str status)
{
    payment->status = status;
    payment->updated_ms = batch_now(b);
    row_save(b, payment);
}

static struct str order_key(struct batch *b, struct uuid order_id)
{
    return uuid_str(order_id, batch_arena(b));
}

/* The payload says all the worker needs; the token stays sealed. */
static void add_job(struct batch *b, const char *kind, const struct payment *payment)
{
    struct str key = order_key(b, payment->order_id);
    struct buf text = buf_new(batch_arena(b), 256);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "order_id", key);
    json_kstr(&j, "method", payment->method);
    json_kint(&j, "amount", payment->amount);
    json_kstr(&j, "currency", payment->currency);
    if (payment->token.p)
        json_kstr(&j, "token", payment->token);
    json_close(&j, '}');
    job_add(b, kind, key, buf_view(&text));
}

/* ---- what orders ask ---- */

static void load_authorise_requested(struct batch *b, const struct payment_authorise_requested *e)
{
    want_payment(b, e->order_id);
}

static enum answer authorise(struct batch *b, const struct payment_authorise_requested *e)
{
    if (payment_of(b, e->order_id))
        return ANSWER_DONE;
    struct payment *payment = row_new(b, &payment_table);
    payment->order_id = e->order_id;
    payment->user_id = e->user_id;
    payment->method = e->method;
    payment->amount = e->amount;
    payment->currency = e->currency;
    payment->token = e->token;
    payment->created_ms = batch_now(b);
    set_status(b, payment, STR("asked"));
    add_job(b, "payment.authorise", payment);
    return ANSWER_DONE;
}

static void load_capture_requested(struct batch *b, const struct payment_capture_requested *e)
{
    want_payment(b, e->order_id);
}

static enum answer capture(struct batch *b, const struct payment_capture_requested *e)
{
    struct payment *payment = payment_of(b, e->order_id);
    if (status_is(payment, "capturing") || status_is(payment, "captured"))
        return ANSWER_DONE;
    if (!status_is(payment, "authorised")) {
        struct order_payment_capture_failed failed = {.order_id = e->order_id,
                                                      .reason = STR("not_authorised")};
        emit_order_payment_capture_failed(b, order_key(b, e->order_id), &failed);
        return ANSWER_DONE;
    }
    set_status(b, payment, STR("capturing"));
    add_job(b, "payment.capture", payment);
    return ANSWER_DONE;
}

static void load_void_requested(struct batch *b, const struct payment_void_requested *e)
{
    want_payment(b, e->order_id);
}

/* Whatever has happened: declined, authorised, not answered yet. The job runs behind the authorisation's. */
static enum answer void_payment(struct batch *b, const struct payment_void_requested *e)
{
    struct payment *payment = payment_of(b, e->order_id);
    if (!payment || status_is(payment, "voided")) {
        struct order_payment_voided voided = {e->order_id};
        emit_order_payment_voided(b, order_key(b, e->order_id), &voided);
        return ANSWER_DONE;
    }
    if (status_is(payment, "voiding"))
        return ANSWER_DONE;
    set_status(b, payment, STR("voiding"));
    add_job(b, "payment.void", payment);
    return ANSWER_DONE;
}

/* ---- what the provider answered ---- */

static void load_authorise_answered(struct batch *b, const struct payment_authorise_answered *e)
{
    want_payment(b, e->order_id);
}

static enum answer note_authorise(struct batch *b, const struct payment_authorise_answered *e)
{
    struct payment *payment = payment_of(b, e->order_id);
    if (!payment)
        return ANSWER_DONE;
    bool authorised = str_is(e->outcome, "authorised");
    if (e->reference.p)
        payment->reference = e->reference;
    if (e->reason.p)
        payment->reason = e->reason;
    /* While it is voided the answer is only kept; the order is told all the same and absorbs it. */
    bool waited_for = status_is(payment, "asked");
    set_status(b, payment, !waited_for ? payment->status : authorised ? STR("authorised") : STR("declined"));
    struct str key = order_key(b, e->order_id);
    if (authorised) {
        struct order_payment_authorised told = {.order_id = e->order_id, .reference = e->reference};
        emit_order_payment_authorised(b, key, &told);
    } else {
        struct order_payment_declined told = {.order_id = e->order_id, .reason = e->reason};
        emit_order_payment_declined(b, key, &told);
    }
    return ANSWER_DONE;
}

static void load_capture_answered(struct batch *b, const struct payment_capture_answered *e)
{
    want_payment(b, e->order_id);
}

static enum answer note_capture(struct batch *b, const struct payment_capture_answered *e)
{
    struct payment *payment = payment_of(b, e->order_id);
    if (!status_is(payment, "capturing"))
        return ANSWER_DONE;
    struct str key = order_key(b, e->order_id);
    if (str_is(e->outcome, "captured")) {
        struct order_payment_captured told = {e->order_id};
        payment->token = STR_NONE;
        set_status(b, payment, STR("captured"));
        emit_order_payment_captured(b, key, &told);
        return ANSWER_DONE;
    }
    struct order_payment_capture_failed told = {.order_id = e->order_id, .reason = e->reason};
    payment->reason = e->reason;
    set_status(b, payment, STR("capture-failed"));
    emit_order_payment_capture_failed(b, key, &told);
    return ANSWER_DONE;
}

static void load_void_answered(struct batch *b, const struct payment_void_answered *e)
{
    want_payment(b, e->order_id);
}

static enum answer note_void(struct batch *b, const struct payment_void_answered *e)
{
    struct payment *payment = payment_of(b, e->order_id);
    if (!status_is(payment, "voiding"))
        return ANSWER_DONE;
    payment->token = STR_NONE;
    set_status(b, payment, STR("voided"));
    struct order_payment_voided told = {e->order_id};
    emit_order_payment_voided(b, order_key(b, e->order_id), &told);
    return ANSWER_DONE;
}

static const struct table *const tables[] = {&payment_table, NULL};

extern const struct group payments_group;
const struct group payments_group = {
    .name = "payments",
    .effects = EFFECTS_EXTERNAL,
    .start = START_EARLIEST,
    .idempotent = true,
    .tables = tables,
    .on =
        {
            .payment_authorise_requested = {load_authorise_requested, authorise},
            .payment_capture_requested = {load_capture_requested, capture},
            .payment_void_requested = {load_void_requested, void_payment},
            .payment_authorise_answered = {load_authorise_answered, note_authorise},
            .payment_capture_answered = {load_capture_answered, note_capture},
            .payment_void_answered = {load_void_answered, note_void},
        },
};
