/*
 * bus dlq retry: asks the owners of parked keys to run what waits through their handlers. One request per
 * key, all written in one transaction: what is tried again is what was parked when the operator said so, and
 * keys that are parked meanwhile are not drawn in. The owners do the work (consumers/retry.c); here is only
 * waited for, and when the wait is over the requests stand.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/dlq.h"

enum { WAIT_S = 60, LOOK_MS = 25 };

static const struct pg_stmt select_keys = {
    "ctl_retry_keys",
    "SELECT grp, topic, key FROM (SELECT DISTINCT ON (grp, topic, key) grp, topic, key, reason FROM "
    "dead_letter"
    "  WHERE state = 'parked' AND ($1::text IS NULL OR grp = $1) AND ($2::text IS NULL OR topic = $2)"
    "   AND ($3::text IS NULL OR key = $3) ORDER BY grp, topic, key, n) k"
    " WHERE $4::text IS NULL OR reason = $4"};

/* A request for the key that is open already serves both who asked. */
static const struct pg_stmt insert_requests = {
    "ctl_retry_ask",
    "WITH asked AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])"
    "  AS x(grp, topic, part, key)),"
    " added AS (INSERT INTO parked_action (action, grp, topic, part, key, actor, reason, asked_ms)"
    "  SELECT 'retry', grp, topic, part::int, key, $5, $6, $7::bigint FROM asked"
    "  ON CONFLICT (grp, topic, key) WHERE done_ms IS NULL AND action = 'retry' DO NOTHING RETURNING id)"
    " SELECT id FROM added UNION ALL SELECT a.id FROM parked_action a JOIN asked x ON a.grp = x.grp"
    "  AND a.topic = x.topic AND a.key = x.key WHERE a.action = 'retry' AND a.done_ms IS NULL"};

static const struct pg_stmt count_open = {
    "ctl_retry_open", "SELECT count(*) FROM parked_action WHERE id = ANY($1::bigint[]) AND done_ms IS NULL"};

static const struct pg_stmt select_outcomes = {
    "ctl_retry_outcomes",
    "SELECT a.grp, a.topic, a.part, a.key, a.handled, CASE WHEN a.done_ms IS NULL THEN NULL ELSE a.remain "
    "END,"
    " d.reason, d.detail, coalesce(o.lease_until > now(), false) FROM parked_action a"
    " LEFT JOIN consumer_offset o ON o.grp = a.grp AND o.topic = a.topic AND o.part = a.part"
    " LEFT JOIN LATERAL (SELECT reason, detail FROM dead_letter d WHERE d.grp = a.grp AND d.topic = a.topic"
    "  AND d.key = a.key AND d.state = 'parked' ORDER BY n LIMIT 1) d ON true"
    " WHERE a.id = ANY($1::bigint[]) ORDER BY a.id"};

struct requests {
    struct ctl *ctl;
    struct pg_array ids;
    int n;
};

/* ---- asking ---- */

static bool says_which(const struct ctl *ctl)
{
    bool some = ctl_option(ctl, "all") || ctl_option(ctl, "group") || ctl_option(ctl, "topic") ||
                ctl_option(ctl, "reason");
    return ctl->n_args ? !some : some;
}

static err keys_meant(struct ctl *ctl, struct pg_result **ret)
{
    struct dlq_key key = {dlq_text(ctl, "group"), dlq_text(ctl, "topic"), STR_NONE};
    if (ctl->n_args)
        TRY(dlq_key(ctl, &key));
    struct pg_param params[] = {pg_text(key.grp), pg_text(key.topic), pg_text(key.key),
                                pg_text(dlq_text(ctl, "reason"))};
    return pg_call(ctl->pg, &select_keys, 4, params, ret);
}

static err ask(struct requests *q)
{
    struct ctl *ctl = q->ctl;
    _cleanup_(pg_result_freep) struct pg_result *keys = NULL, *ids = NULL;
    TRY(keys_meant(ctl, &keys));
    int n = pg_rows(keys);
    struct pg_array a[4] = {pg_array(ctl->arena, PG_TEXT, n), pg_array(ctl->arena, PG_TEXT, n),
                            pg_array(ctl->arena, PG_INT8, n), pg_array(ctl->arena, PG_TEXT, n)};
    for (int i = 0; i < n; i++) {
        pg_array_text(&a[0], pg_get_str(keys, i, 0));
        pg_array_text(&a[1], pg_get_str(keys, i, 1));
        pg_array_int(&a[2], partition_of(pg_get_str(keys, i, 2)));
        pg_array_text(&a[3], pg_get_str(keys, i, 2));
    }
    struct str why = dlq_text(ctl, "why");
    struct pg_param params[] = {
        pg_array_param(&a[0]),   pg_array_param(&a[1]),          pg_array_param(&a[2]), pg_array_param(&a[3]),
        pg_text(dlq_actor(ctl)), pg_text(why.p ? why : STR("")), pg_int(clock_ms())};
    TRY(pg_call(ctl->pg, &insert_requests, 7, params, &ids));
    q->n = pg_rows(ids);
    q->ids = pg_array(ctl->arena, PG_INT8, q->n);
    for (int i = 0; i < q->n; i++)
        pg_array_int(&q->ids, pg_get_int(ids, i, 0));
    return OK;
}

/* ---- waiting ---- */

static err await(struct requests *q, int64_t wait_ms)
{
    int64_t until = clock_mono_ms() + wait_ms, open = q->n;
    while (open > 0 && !ctl_stop && clock_mono_ms() < until) {
        struct pg_param ids = pg_array_param(&q->ids);
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;
        TRY(pg_call(q->ctl->pg, &count_open, 1, &ids, &r));
        open = pg_get_int(r, 0, 0);
        ctl_progress("keys", q->n - open, q->n);
        if (open > 0)
            clock_sleep_ms(LOOK_MS);
    }
    return OK;
}

/* ---- telling ---- */

struct outcome {
    struct str grp, topic, key, reason, detail;
    int part;
    int64_t handled, remain; /* remain -1: under way */
    bool owned;
};

static void print_outcome(const struct outcome *o)
{
    printf("%.*s %.*s.%02d %.*s: %" PRId64 " handled", STR_ARG(o->grp), STR_ARG(o->topic), o->part,
           STR_ARG(o->key), o->handled);
    if (o->remain > 0)
        printf(", %" PRId64 " stay: %.*s %.*s", o->remain, STR_ARG(o->reason), STR_ARG(o->detail));
    if (o->remain < 0)
        printf(o->owned ? ", still under way" : ", nobody owns that partition; the request stands");
    putchar('\n');
}

static void put_outcome(struct json *j, const struct outcome *o)
{
    json_open(j, '{');
    json_kstr(j, "group", o->grp);
    json_kstr(j, "topic", o->topic);
    json_kint(j, "part", o->part);
    json_kstr(j, "key", o->key);
    json_kbool(j, "done", o->remain >= 0);
    json_kint(j, "handled", o->handled);
    if (o->remain >= 0)
        json_kint(j, "remain", o->remain);
    if (o->remain > 0) {
        json_kstr(j, "reason", o->reason);
        json_kstr(j, "detail", o->detail);
    }
    json_close(j, '}');
}

static err tell(struct requests *q, bool *ret_all)
{
    struct pg_param ids = pg_array_param(&q->ids);
    struct buf b = buf_new(q->ctl->arena, 4096);
    struct json j = json_on(&b);
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(q->ctl->pg, &select_outcomes, 1, &ids, &r));
    *ret_all = true;
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(r); i++) {
        struct outcome o = {.grp = pg_get_str(r, i, 0),
                            .topic = pg_get_str(r, i, 1),
                            .part = (int)pg_get_int(r, i, 2),
                            .key = pg_get_str(r, i, 3),
                            .handled = pg_get_int(r, i, 4),
                            .remain = pg_is_null(r, i, 5) ? -1 : pg_get_int(r, i, 5),
                            .reason = pg_get_str(r, i, 6),
                            .detail = pg_get_str(r, i, 7),
                            .owned = pg_get_bool(r, i, 8)};
        *ret_all &= o.remain == 0;
        if (q->ctl->json)
            put_outcome(&j, &o);
        else
            print_outcome(&o);
    }
    json_close(&j, ']');
    if (q->ctl->json)
        ctl_print_json(&b);
    return OK;
}

enum ctl_exit run_dlq_retry(struct ctl *ctl)
{
    struct requests q = {.ctl = ctl};
    bool all = false;
    int64_t wait_s;
    err e = ctl_option_int(ctl, "wait", 0, 86400, WAIT_S, &wait_s);
    if (failed(e) || !says_which(ctl))
        return ctl_usage(ctl, "%s", failed(e) ? err_text(e) : "either GROUP TOPIC KEY, or --all or a filter");
    e = ctl_connect(ctl, CTL_BUS);
    ctl_catch_signals();
    if (!failed(e))
        e = ask(&q);
    if (!failed(e) && q.n == 0 && ctl->n_args)
        e = FAIL(INVALID, "nothing waits for %s under %s %s", ctl->args[0], ctl->args[1], ctl->args[2]);
    if (!failed(e) && q.n)
        e = await(&q, wait_s * 1000);
    if (!failed(e))
        e = tell(&q, &all);
    if (failed(e))
        return ctl_fail(e);
    return all ? CTL_OK : CTL_FINDINGS;
}
