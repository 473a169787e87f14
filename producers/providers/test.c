/*
 * The payment method `test`: a provider whose books are two tables, written in transactions of their own, as
 * those of a real one would be. The token decides:
 *
 *     tok_ok               authorised            tok_declined         declined
 *     tok_slow             authorised after PAYMENT_TEST_SLOW_MS, whether or not the caller still waits
 *     tok_timeout          authorised, but the answer never comes
 *     tok_capture_refused  authorised, the capture is refused
 *
 * Any other token is declined. A void is a tombstone as well: an authorisation of that order that comes
 * later, or that is being made right now, finds the row of its own key taken and charges nothing.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "producers/providers/provider.h"

enum { WAIT_MS = 10000 };

static const struct token {
    const char *name;
    bool authorised, slow, mute, capture_refused;
} tokens[] = {
    {.name = "tok_ok", .authorised = true},
    {.name = "tok_declined"},
    {.name = "tok_slow", .authorised = true, .slow = true},
    {.name = "tok_timeout", .authorised = true, .mute = true},
    {.name = "tok_capture_refused", .authorised = true, .capture_refused = true},
};

static const struct pg_stmt begin_call = {
    "test_begin", "INSERT INTO payment_test_call (idempotency_key, operation, reference, outcome, created_ms)"
                  " VALUES ($1::text, 'authorise', $2::text, 'working', $3::bigint) ON CONFLICT DO NOTHING"};
static const struct pg_stmt select_call = {
    "test_call", "SELECT outcome, created_ms FROM payment_test_call WHERE idempotency_key = $1::text"};
/* Only a call that still works makes a charge; a tombstone is not one. */
static const struct pg_stmt make_charge = {
    "test_charge", "WITH c AS (UPDATE payment_test_call SET outcome = $2::text WHERE idempotency_key = "
                   "$1::text AND outcome = 'working'"
                   "  RETURNING reference)"
                   " INSERT INTO payment_test_charge (reference, amount, currency, state, updated_ms)"
                   " SELECT reference, $3::bigint, $4::text, $2::text, $5::bigint FROM c"};
static const struct pg_stmt capture_charge = {
    "test_capture",
    "WITH known AS (SELECT 1 FROM payment_test_call WHERE idempotency_key = $1::text), taken AS ("
    "  UPDATE payment_test_charge SET state = 'captured', updated_ms = $4::bigint WHERE reference = $2::text"
    "  AND state = 'authorised' AND $3::boolean AND NOT EXISTS (SELECT 1 FROM known) RETURNING 1)"
    " INSERT INTO payment_test_call (idempotency_key, operation, reference, outcome, created_ms)"
    " SELECT $1::text, 'capture', $2::text, CASE WHEN EXISTS (SELECT 1 FROM taken) THEN 'captured' ELSE "
    "'refused' END,"
    "  $4::bigint WHERE NOT EXISTS (SELECT 1 FROM known) ON CONFLICT DO NOTHING"};
static const struct pg_stmt block_authorise = {
    "test_block",
    "INSERT INTO payment_test_call AS c (idempotency_key, operation, reference, outcome, created_ms)"
    " VALUES ($1::text, 'authorise', $2::text, 'blocked', $3::bigint) ON CONFLICT (idempotency_key)"
    " DO UPDATE SET outcome = 'blocked' WHERE c.outcome = 'working'"};
static const struct pg_stmt void_charge = {
    "test_void", "UPDATE payment_test_charge SET state = 'voided', updated_ms = $2::bigint"
                 " WHERE reference = $1::text AND state IN ('authorised', 'captured')"};
static const struct pg_stmt note_void = {
    "test_note_void",
    "INSERT INTO payment_test_call (idempotency_key, operation, reference, outcome, created_ms)"
    " VALUES ($1::text, 'void', $2::text, 'voided', $3::bigint) ON CONFLICT DO NOTHING"};

static const struct token *token_find(struct str name)
{
    static const struct token unknown = {.name = ""};
    for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++)
        if (str_is(name, tokens[i].name))
            return &tokens[i];
    return &unknown;
}

static struct str reference_of(const struct charge *charge)
{
    return arena_printf(charge->arena, "test-%.*s", STR_ARG(charge->order_id));
}

/* Ends the transaction whose last statement is the look at the call with this key. */
static err commit_and_look(const struct charge *charge, struct str *ret_outcome, int64_t *ret_created_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *call = NULL;
    struct pg_param key = pg_text(charge->key);
    TRY(pg_call(charge->pg, &select_call, 1, &key, &call));
    if (pg_rows(call) != 1)
        return FAIL(UNAVAILABLE, "the test provider lost a call");
    *ret_outcome = arena_str(charge->arena, pg_get_str(call, 0, 0));
    if (ret_created_ms)
        *ret_created_ms = pg_get_int(call, 0, 1);
    return OK;
}

/* The slow work goes on while nobody asks: a later attempt waits only for what is left. */
static err wait_for_slow(const struct charge *charge, int64_t created_ms)
{
    int64_t left = created_ms + conf_int(SET_PAYMENT_TEST_SLOW_MS) - clock_ms();
    if (left > 0 && !patience_wait(charge->patience, left))
        return FAIL(UNAVAILABLE, "the test provider did not answer in time");
    return OK;
}

static err decide(const struct charge *charge, const struct token *token, struct str *outcome)
{
    struct pg_param params[] = {pg_text(charge->key),
                                pg_text(token->authorised ? STR("authorised") : STR("declined")),
                                pg_int(charge->amount), pg_text(charge->currency), pg_int(clock_ms())};
    pg_queue(charge->pg, &make_charge, 5, params, NULL, NULL);
    return commit_and_look(charge, outcome, NULL);
}

static err authorise(const struct charge *charge, struct charge_answer *ret)
{
    const struct token *token = token_find(charge->token);
    struct str reference = reference_of(charge), outcome;
    int64_t created_ms;
    struct pg_param params[] = {pg_text(charge->key), pg_text(reference), pg_int(clock_ms())};
    pg_queue(charge->pg, &begin_call, 3, params, NULL, NULL);
    TRY(commit_and_look(charge, &outcome, &created_ms));
    if (str_is(outcome, "working")) {
        if (token->slow)
            TRY(wait_for_slow(charge, created_ms));
        TRY(decide(charge, token, &outcome));
        if (FAULT(PROVIDER_MID_CHARGE))
            return FAIL(UNAVAILABLE, "crash point");
    }
    if (token->mute && str_is(outcome, "authorised")) {
        patience_wait(charge->patience, INT64_MAX);
        return FAIL(UNAVAILABLE, "the test provider did not answer in time");
    }
    ret->done = str_is(outcome, "authorised");
    ret->reference = reference;
    ret->reason = ret->done                     ? STR_NONE
                  : str_is(outcome, "declined") ? STR("declined_by_provider")
                                                : STR("voided");
    return OK;
}

static err capture(const struct charge *charge, struct charge_answer *ret)
{
    struct str outcome;
    bool allowed = !token_find(charge->token)->capture_refused;
    ret->reference = reference_of(charge);
    struct pg_param params[] = {pg_text(charge->key), pg_text(ret->reference), pg_bool(allowed),
                                pg_int(clock_ms())};
    pg_queue(charge->pg, &capture_charge, 4, params, NULL, NULL);
    TRY(commit_and_look(charge, &outcome, NULL));
    if (FAULT(PROVIDER_MID_CHARGE))
        return FAIL(UNAVAILABLE, "crash point");
    ret->done = str_is(outcome, "captured");
    ret->reason = ret->done ? STR_NONE : STR("capture_refused_by_provider");
    return OK;
}

static err void_all(const struct charge *charge, struct charge_answer *ret)
{
    ret->done = true;
    ret->reference = reference_of(charge);
    struct str authorise_key = arena_printf(charge->arena, "%.*s/authorise", STR_ARG(charge->order_id));
    int64_t now = clock_ms();
    struct pg_param block[] = {pg_text(authorise_key), pg_text(ret->reference), pg_int(now)};
    struct pg_param undo[] = {pg_text(ret->reference), pg_int(now)};
    struct pg_param note[] = {pg_text(charge->key), pg_text(ret->reference), pg_int(now)};
    pg_queue(charge->pg, &block_authorise, 3, block, NULL, NULL);
    pg_queue(charge->pg, &void_charge, 2, undo, NULL, NULL);
    pg_queue(charge->pg, &note_void, 3, note, NULL, NULL);
    pg_sync(charge->pg, NULL, NULL);
    return pg_wait(charge->pg, WAIT_MS);
}

const struct provider test_provider = {"test", authorise, capture, void_all};
