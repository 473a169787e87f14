/*
 * Payloads to provider calls to events. The token is opened with its person's key right before the call and
 * lives only in the attempt's arena; when that key is destroyed the payment is declined.
 */
#include "producers/payment_jobs.h"

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/seal.h"
#include "producers/providers/provider.h"

static const struct provider *const providers[] = {&test_provider, NULL};

static const struct pg_stmt select_person_key = {"payment_person_key",
                                                 "SELECT wrapped FROM person_key WHERE person = $1::uuid"};

static const struct provider *provider_find(struct str method)
{
    int i = 0;
    while (providers[i] && !str_is(method, providers[i]->name))
        i++;
    return providers[i];
}

static struct uuid order_of(const struct job_run *run)
{
    struct uuid id = {{0}};
    err e = uuid_parse(run->job->key, &id);
    (void)e; /* the key of a payment's job is an order's id; a nil id is answered into a key nobody has */
    return id;
}

/* ---- the token ---- */

static err open_sealed(const struct job_run *run, struct str sealed, struct uuid person, struct str wrapped,
                       struct str *ret)
{
    struct seal_key master, key;
    struct str value;
    TRY(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &master));
    if (failed(seal_unwrap(&master, person, wrapped, &key)))
        return FAIL(CONFIG, "a person's key does not open with this ENCRYPTION_KEY");
    if (failed(seal_open(&key, sealed, run->arena, &value)))
        return OK;
    struct json_in in = json_in(value, run->arena);
    if (failed(json_read_string(&in, ret)))
        *ret = STR_NONE;
    return OK;
}

/* Absent when nobody can read it any more. */
static err open_token(const struct job_run *run, struct str sealed, struct str *ret)
{
    struct uuid person;
    *ret = STR_NONE;
    if (failed(seal_person(sealed, &person)))
        return OK;
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_param param = pg_uuid(person);
    TRY(pg_call(run->pg, &select_person_key, 1, &param, &result));
    if (pg_rows(result) == 0)
        return OK;
    return open_sealed(run, sealed, person, pg_get_str(result, 0, 0), ret);
}

/* ---- calling ---- */

typedef err operation(const struct charge *charge, struct charge_answer *ret);

static struct charge_answer refused(const char *reason)
{
    return (struct charge_answer){.reason = str_of(reason)};
}

static struct charge charge_of(const struct job_run *run, const char *what)
{
    struct str payload = run->job->payload;
    return (struct charge){.key = arena_printf(run->arena, "%.*s/%s", STR_ARG(run->job->key), what),
                           .order_id = run->job->key,
                           .amount = json_member_int(payload, "amount", 0, run->arena),
                           .currency = json_member_str(payload, "currency", run->arena),
                           .patience = run->patience,
                           .pg = run->pg,
                           .arena = run->arena};
}

static const struct provider *provider_of(const struct job_run *run)
{
    return provider_find(json_member_str(run->job->payload, "method", run->arena));
}

/* A call that needs the token. */
static err call_with_token(const struct job_run *run, operation *call, const char *what,
                           struct charge_answer *ret)
{
    struct charge charge = charge_of(run, what);
    TRY(open_token(run, json_member_str(run->job->payload, "token", run->arena), &charge.token));
    if (!charge.token.p) {
        *ret = refused("token_unreadable");
        return OK;
    }
    return call(&charge, ret);
}

static err run_authorise(const struct job_run *run, struct job_outcome *ret)
{
    const struct provider *provider = provider_of(run);
    struct charge_answer answer = refused("unknown_method");
    if (provider)
        TRY(call_with_token(run, provider->authorise, "authorise", &answer));
    struct payment_authorise_answered *told = arena_new_of(run->arena, struct payment_authorise_answered);
    *told = (struct payment_authorise_answered){.order_id = order_of(run),
                                                .outcome = answer.done ? STR("authorised") : STR("declined"),
                                                .reference = answer.reference,
                                                .reason = answer.reason};
    *ret = (struct job_outcome){answer.done ? "authorised" : "declined", PAYMENT_AUTHORISE_ANSWERED, told};
    return OK;
}

/* The void behind it undoes whatever this authorisation may have done. */
static void give_way_authorise(const struct job_run *run, struct job_outcome *ret)
{
    struct payment_authorise_answered *told = arena_new_of(run->arena, struct payment_authorise_answered);
    *told = (struct payment_authorise_answered){
        .order_id = order_of(run), .outcome = STR("failed"), .reason = STR("gave_way_to_void")};
    *ret = (struct job_outcome){"failed", PAYMENT_AUTHORISE_ANSWERED, told};
}

static err run_capture(const struct job_run *run, struct job_outcome *ret)
{
    const struct provider *provider = provider_of(run);
    struct charge_answer answer = refused("unknown_method");
    if (provider)
        TRY(call_with_token(run, provider->capture, "capture", &answer));
    struct payment_capture_answered *told = arena_new_of(run->arena, struct payment_capture_answered);
    *told = (struct payment_capture_answered){.order_id = order_of(run),
                                              .outcome = answer.done ? STR("captured") : STR("refused"),
                                              .reference = answer.reference,
                                              .reason = answer.reason};
    *ret = (struct job_outcome){answer.done ? "captured" : "refused", PAYMENT_CAPTURE_ANSWERED, told};
    return OK;
}

static err run_void(const struct job_run *run, struct job_outcome *ret)
{
    const struct provider *provider = provider_of(run);
    struct charge_answer answer = {.done = true};
    struct charge charge = charge_of(run, "void");
    if (provider)
        TRY(provider->void_charge(&charge, &answer));
    struct payment_void_answered *told = arena_new_of(run->arena, struct payment_void_answered);
    *told = (struct payment_void_answered){
        .order_id = order_of(run), .outcome = STR("voided"), .reference = answer.reference};
    *ret = (struct job_outcome){"voided", PAYMENT_VOID_ANSWERED, told};
    return OK;
}

const struct job_kind payment_authorise = {
    .name = "payment.authorise", .run = run_authorise, .give_way = give_way_authorise};
const struct job_kind payment_capture = {.name = "payment.capture", .run = run_capture};
const struct job_kind payment_void = {.name = "payment.void", .run = run_void, .overtakes = true};
