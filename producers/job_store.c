/*
 * SQL of outside work. Who holds a job is (state, attempt); leases are compared with PostgreSQL's clock only,
 * due times with ours, since handlers set them.
 */
#include "producers/job_store.h"

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/message.h"

enum { WAIT_MS = 10000 };

#define FAMILY(job) "split_part(" job ".kind, '.', 1)"
#define LEASE "clock_timestamp() + make_interval(secs => 5)" /* JOB_LEASE_MS */
/* kinds: the parameter with the kinds that overtake */
#define FOLLOWED(job, kinds)                                                                                 \
    "EXISTS (SELECT 1 FROM job b WHERE b.key = " job ".key AND b.n > " job ".n AND b.state <> 'done'"        \
    " AND b.kind = ANY(" kinds "::text[]) AND " FAMILY("b") " = " FAMILY(job) ")"

static const struct pg_stmt claim = {
    "job_claim",
    "WITH open AS (SELECT j.id FROM job j"
    "  WHERE j.state = 'waiting' AND j.kind = ANY($1::text[]) AND j.due_ms <= $2::bigint"
    "  AND NOT EXISTS (SELECT 1 FROM job o WHERE o.key = j.key AND o.n < j.n AND o.state <> 'done'"
    "   AND " FAMILY("o") " = " FAMILY(
        "j") ")"
             "  ORDER BY j.due_ms, j.n LIMIT $3::bigint FOR UPDATE OF j SKIP LOCKED)"
             " UPDATE job j SET state = 'running', attempt = j.attempt + 1, owner = $4::text, lease_until "
             "= " LEASE " FROM open WHERE j.id = open.id RETURNING j.id, j.kind, j.key, j.payload, j.attempt,"
             "  j.correlationid, j.actor, j.traceparent, " FOLLOWED("j", "$5")};

static const struct pg_stmt recover = {"job_recover",
                                       "UPDATE job SET state = 'waiting', owner = NULL WHERE state = "
                                       "'running' AND lease_until < clock_timestamp()"};

static const struct pg_stmt hurry = {
    "job_hurry", "UPDATE job a SET due_ms = $2::bigint WHERE a.state = 'waiting' AND a.kind = ANY($1::text[])"
                 " AND a.due_ms > $2::bigint AND " FOLLOWED("a", "$3")};

static const struct pg_stmt renew = {
    "job_renew",
    "UPDATE job j SET lease_until = " LEASE " FROM unnest($1::uuid[], $2::bigint[]) x(id, attempt)"
    " WHERE j.id = x.id AND j.attempt = x.attempt AND j.state = 'running' RETURNING j.id, " FOLLOWED("j",
                                                                                                     "$3")};

static const struct pg_stmt finish = {
    "job_finish", "UPDATE job SET state = 'done', outcome = $3::text, owner = NULL, lease_until = NULL"
                  " WHERE id = $1::uuid AND attempt = $2::bigint AND state = 'running'"};

static const struct pg_stmt put_back = {
    "job_put_back", "UPDATE job SET state = 'waiting', due_ms = $3::bigint, owner = NULL, lease_until = NULL"
                    " WHERE id = $1::uuid AND attempt = $2::bigint AND state = 'running'"};

static const struct job_kind *kind_of(struct str name)
{
    int i = 0;
    while (job_kinds[i] && !str_is(name, job_kinds[i]->name))
        i++;
    return job_kinds[i];
}

static struct job job_read(const struct pg_result *r, int row, struct arena *arena)
{
    return (struct job){.id = pg_get_uuid(r, row, 0),
                        .kind = kind_of(pg_get_str(r, row, 1)),
                        .key = arena_str(arena, pg_get_str(r, row, 2)),
                        .payload = arena_str(arena, pg_get_str(r, row, 3)),
                        .attempt = pg_get_int(r, row, 4),
                        .correlation = arena_str(arena, pg_get_str(r, row, 5)),
                        .actor = arena_str(arena, pg_get_str(r, row, 6)),
                        .traceparent = arena_str(arena, pg_get_str(r, row, 7)),
                        .followed = pg_get_bool(r, row, 8)};
}

/* Names of the kinds that have the property. */
static struct pg_array kinds_that(bool (*have)(const struct job_kind *kind), struct arena *arena)
{
    struct pg_array names = pg_array(arena, PG_TEXT, JOB_KINDS_MAX);
    for (int i = 0; job_kinds[i]; i++)
        if (have(job_kinds[i]))
            pg_array_text(&names, str_of(job_kinds[i]->name));
    return names;
}

static bool overtakes(const struct job_kind *kind)
{
    return kind->overtakes;
}

static bool gives_way(const struct job_kind *kind)
{
    return kind->give_way != NULL;
}

err job_claim(struct pg *pg, struct str owner, const bool kinds[static JOB_KINDS_MAX], int room,
              struct arena *arena, struct job *ret, int *ret_n)
{
    *ret_n = 0;
    struct pg_array names = pg_array(arena, PG_TEXT, JOB_KINDS_MAX);
    for (int i = 0; job_kinds[i]; i++)
        if (kinds[i])
            pg_array_text(&names, str_of(job_kinds[i]->name));
    if (names.n == 0 || room == 0)
        return OK;
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array overtaking = kinds_that(overtakes, arena);
    struct pg_param params[] = {pg_array_param(&names), pg_int(clock_ms()), pg_int(room), pg_text(owner),
                                pg_array_param(&overtaking)};
    TRY(pg_call(pg, &claim, 5, params, &result));
    for (int i = 0; i < pg_rows(result); i++)
        ret[i] = job_read(result, i, arena);
    *ret_n = pg_rows(result);
    return OK;
}

err job_recover(struct pg *pg, struct arena *arena)
{
    struct pg_array giving = kinds_that(gives_way, arena), overtaking = kinds_that(overtakes, arena);
    struct pg_param params[] = {pg_array_param(&giving), pg_int(clock_ms()), pg_array_param(&overtaking)};
    pg_queue(pg, &recover, 0, NULL, NULL, NULL);
    pg_queue(pg, &hurry, 3, params, NULL, NULL);
    pg_sync(pg, NULL, NULL);
    return pg_wait(pg, WAIT_MS);
}

err job_renew(struct pg *pg, struct job_held *held, size_t n, struct arena *arena)
{
    struct pg_array ids = pg_array(arena, PG_UUID, (int)n), attempts = pg_array(arena, PG_INT8, (int)n);
    for (size_t i = 0; i < n; i++) {
        pg_array_uuid(&ids, held[i].id);
        pg_array_int(&attempts, held[i].attempt);
    }
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array overtaking = kinds_that(overtakes, arena);
    struct pg_param params[] = {pg_array_param(&ids), pg_array_param(&attempts), pg_array_param(&overtaking)};
    TRY(pg_call(pg, &renew, 3, params, &result));
    for (size_t i = 0; i < n; i++) {
        held[i].lost = true;
        for (int row = 0; row < pg_rows(result); row++)
            if (uuid_eq(pg_get_uuid(result, row, 0), held[i].id)) {
                held[i].lost = false;
                held[i].followed = pg_get_bool(result, row, 1);
            }
    }
    return OK;
}

static struct event outcome_event(const struct job *job, const struct job_outcome *outcome,
                                  struct arena *arena)
{
    enum message type;
    struct str data = message_encode(outcome->event, outcome->data, arena, &type);
    struct event event = event_new(&message_types[type], STR("jobs"), job->key, data, arena);
    event.envelope.correlationid = job->correlation;
    event.envelope.causationid = uuid_str(job->id, arena);
    event.envelope.actor = job->actor;
    event.envelope.traceparent = job->traceparent;
    return event;
}

/* The row first, its event only when the row was ours: both commit at the Sync. A crash in between leaves the
 * job running until its lease passes; the next attempt meets the same idempotency key. */
err job_finish(struct pg *pg, const struct job *job, const struct job_outcome *outcome, struct arena *arena,
               bool *ret)
{
    *ret = false;
    _cleanup_(pg_result_freep) struct pg_result *ended = NULL;
    struct pg_param params[] = {pg_uuid(job->id), pg_int(job->attempt), pg_text(str_of(outcome->word))};
    struct event event = outcome_event(job, outcome, arena);
    pg_queue(pg, &finish, 3, params, pg_keep, &ended);
    err e = pg_wait(pg, WAIT_MS);
    bool ours = !failed(e) && ended && pg_affected(ended) == 1;
    if (ours)
        eventlog_queue(pg, &event, 1, arena);
    pg_sync(pg, NULL, NULL);
    err committed = pg_wait(pg, WAIT_MS);
    TRY(e);
    TRY(committed);
    *ret = ours;
    return OK;
}

err job_put_back(struct pg *pg, const struct job *job, int64_t due_ms)
{
    struct pg_param params[] = {pg_uuid(job->id), pg_int(job->attempt), pg_int(due_ms)};
    return pg_call(pg, &put_back, 3, params, NULL);
}
