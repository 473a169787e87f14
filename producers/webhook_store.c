/*
 * SQL of deliveries. Who holds one is (state, attempts); leases are compared with PostgreSQL's clock only,
 * due times with ours. Only the first unfinished delivery of an endpoint, topic and key is ever waiting, so a
 * claim looks at nothing that may not go, however long the queue behind a bad endpoint has grown.
 */
#include "producers/webhook_store.h"

#include "bus/base/clock.h"
#include "bus/codec.h"
#include "bus/event_rights.h"

enum { WAIT_MS = 10000 };

#define LEASE "clock_timestamp() + make_interval(secs => 5)" /* WEBHOOK_LEASE_MS */

/* Only what this build can read and judge: topics of a newer one that runs beside it are left to that, and
 * its types as well, but for endpoints that may hear all. Rights and url are those of one moment. A probe
 * shall say how the endpoint is, which one that may not even begin cannot. */
static const struct pg_stmt claim = {
    "delivery_claim",
    "WITH room AS (SELECT w.id, coalesce(x.room, $2::bigint) AS room, coalesce(x.probe, false) AS probe,"
    "   w.rights & $10::bigint = $10 AS hears_all"
    "  FROM webhook w LEFT JOIN unnest($3::uuid[], $4::bigint[], $5::boolean[]) AS x(id, room, probe)"
    "   ON x.id = w.id WHERE w.is_active AND coalesce(x.room, $2) > 0 ORDER BY random()),"
    " open AS (SELECT d.id FROM room r CROSS JOIN LATERAL (SELECT id FROM webhook_delivery d"
    "   WHERE d.webhook_id = r.id AND d.state = 'waiting' AND (d.due_ms <= $1::bigint"
    "    OR (r.probe AND d.error IS DISTINCT FROM 'archive'))"
    "    AND d.topic = ANY($8::text[]) AND (r.hears_all OR d.type = ANY($9::text[]))"
    "   ORDER BY d.due_ms LIMIT r.room FOR UPDATE SKIP LOCKED) d LIMIT $6::bigint)"
    " UPDATE webhook_delivery d SET state = 'running', attempts = d.attempts + 1, owner = $7::text,"
    "  lease_until = " LEASE " FROM open o, webhook w WHERE d.id = o.id AND w.id = d.webhook_id"
    " RETURNING d.id, d.webhook_id, d.topic, d.part, d.seq, d.attempts, d.since_ms, w.url, w.generation,"
    "  w.previous_until_ms > $1, w.rights"};

static const struct pg_stmt recover = {
    "delivery_recover", "UPDATE webhook_delivery SET state = 'waiting', owner = NULL, lease_until = NULL"
                        " WHERE state = 'running' AND lease_until < clock_timestamp()"};

static const struct pg_stmt renew = {"delivery_renew",
                                     "UPDATE webhook_delivery d SET lease_until = " LEASE
                                     " FROM unnest($1::uuid[], $2::bigint[]) AS x(id, attempt)"
                                     " WHERE d.id = x.id AND d.attempts = x.attempt AND d.state = 'running'"};

/* Shared with other ends, exclusive with arrivals: see webhook_fanout.c. The commit is not waited for on
 * disk: an end that PostgreSQL loses is an attempt made again. */
static const struct pg_stmt lock_partition = {
    "delivery_lock",
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('webhook:' || $1::text, $2::bigint)),"
    " set_config('synchronous_commit', 'off', true)"};

/* $1 id, $2 attempt, $3 state, $4 due, $5 status or NULL, $6 error, $7 latency, $8 now, $9 tried. Waiting for
 * anything but the endpoint does not count as trying. */
static const struct pg_stmt finish = {
    "delivery_finish",
    "WITH ended AS (UPDATE webhook_delivery SET state = $3::text, due_ms = $4::bigint, owner = NULL,"
    "   lease_until = NULL, error = $6::text, latency_ms = $7::bigint,"
    "   since_ms = since_ms + CASE WHEN $9::boolean THEN 0 ELSE greatest($4 - $8::bigint, 0) END,"
    "   done_ms = CASE WHEN $3 = 'waiting' THEN NULL ELSE $8::bigint END,"
    "   statuses = CASE WHEN $9::boolean THEN (statuses || $5::bigint::int)[greatest(1, "
    "cardinality(statuses) - 18):]"
    "    ELSE statuses END"
    "  WHERE id = $1::uuid AND attempts = $2::bigint AND state = 'running'"
    "  RETURNING webhook_id, topic, partitionkey, seq, manual),"
    " next AS (UPDATE webhook_delivery SET state = 'waiting' WHERE id = (SELECT d.id FROM ended e"
    "   JOIN webhook_delivery d ON d.webhook_id = e.webhook_id AND d.topic = e.topic"
    "   AND d.partitionkey = e.partitionkey AND d.state = 'held'"
    "   WHERE $3 <> 'waiting' AND NOT e.manual ORDER BY d.seq LIMIT 1))"
    " INSERT INTO webhook_health AS h (webhook_id, failing_since_ms, last_ok_ms)"
    " SELECT webhook_id, CASE WHEN $3 <> 'delivered' THEN $8 END, CASE WHEN $3 = 'delivered' THEN $8 END"
    " FROM ended WHERE $9"
    " ON CONFLICT (webhook_id) DO UPDATE SET last_ok_ms = coalesce(excluded.last_ok_ms, h.last_ok_ms),"
    "  failing_since_ms = CASE WHEN $3 = 'delivered' THEN NULL"
    "   ELSE coalesce(h.failing_since_ms, excluded.failing_since_ms) END"
    " RETURNING coalesce(failing_since_ms, 0)"};

static const struct pg_stmt hurry = {
    "delivery_hurry", "UPDATE webhook_delivery SET due_ms = $2::bigint WHERE webhook_id = $1::uuid"
                      " AND state = 'waiting' AND due_ms > $2"};

/* ---- claiming ---- */

static struct delivery_row row_read(const struct pg_result *r, int i, struct arena *arena)
{
    return (struct delivery_row){.id = pg_get_uuid(r, i, 0),
                                 .webhook = pg_get_uuid(r, i, 1),
                                 .topic = topic_find(pg_get_str(r, i, 2)),
                                 .part = (int)pg_get_int(r, i, 3),
                                 .seq = pg_get_int(r, i, 4),
                                 .attempt = pg_get_int(r, i, 5),
                                 .since_ms = pg_get_int(r, i, 6),
                                 .url = arena_str(arena, pg_get_str(r, i, 7)),
                                 .generation = pg_get_int(r, i, 8),
                                 .previous = pg_get_bool(r, i, 9),
                                 .rights = (unsigned)pg_get_int(r, i, 10)};
}

static struct pg_param own_topics(struct arena *arena)
{
    struct pg_array names = pg_array(arena, PG_TEXT, TOPIC_COUNT);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        if (topic_is(topic))
            pg_array_text(&names, str_of(topic_name((enum topic)topic)));
    return pg_array_param(&names);
}

static struct pg_param own_types(struct arena *arena)
{
    struct pg_array names = pg_array(arena, PG_TEXT, MESSAGE_COUNT);
    for (int type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        if (!message_types[type].command)
            pg_array_text(&names, str_of(message_types[type].name));
    return pg_array_param(&names);
}

err delivery_claim(struct pg *pg, struct str owner, const struct endpoint_room *rooms, size_t n_rooms,
                   int per_endpoint, int most, struct arena *arena, struct delivery_row *ret, int *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array ids = pg_array(arena, PG_UUID, (int)n_rooms),
                    room = pg_array(arena, PG_INT8, (int)n_rooms),
                    probe = pg_array(arena, PG_BOOL, (int)n_rooms);
    *ret_n = 0;
    for (size_t i = 0; i < n_rooms; i++) {
        pg_array_uuid(&ids, rooms[i].webhook);
        pg_array_int(&room, rooms[i].room);
        pg_array_bool(&probe, rooms[i].probe);
    }
    struct pg_param params[] = {pg_int(clock_ms()),    pg_int(per_endpoint),   pg_array_param(&ids),
                                pg_array_param(&room), pg_array_param(&probe), pg_int(most),
                                pg_text(owner),        own_topics(arena),      own_types(arena),
                                pg_int(EVENTS_ALL)};
    TRY(pg_call(pg, &claim, sizeof(params) / sizeof(*params), params, &result));
    for (int i = 0; i < pg_rows(result); i++)
        ret[i] = row_read(result, i, arena);
    *ret_n = pg_rows(result);
    return OK;
}

err delivery_events(struct pg *pg, const struct delivery_row *rows, size_t n, struct arena *arena,
                    struct event *ret)
{
    struct pg_result **results = arena_array(arena, struct pg_result *, n + 1);
    for (size_t i = 0; i < n; i++)
        eventlog_queue_read(pg, rows[i].topic, rows[i].part, rows[i].seq - 1, 1, 1, pg_keep, &results[i]);
    pg_sync(pg, NULL, NULL);
    err e = pg_wait(pg, WAIT_MS);
    for (size_t i = 0; i < n; i++) {
        size_t found = 0;
        struct event *event =
            results[i] ? eventlog_rows(results[i], rows[i].topic, rows[i].part, arena, &found) : NULL;
        ret[i] = found && event->seq == rows[i].seq ? *event : (struct event){.seq = 0};
        pg_result_free(results[i]);
    }
    return e;
}

err delivery_event(struct pg *pg, const struct delivery_row *row, struct arena *arena, struct event *ret)
{
    struct event *events;
    size_t n;
    TRY(eventlog_read(pg, row->topic, row->part, row->seq - 1, 1, arena, &events, &n));
    if (n == 0 || events[0].seq != row->seq)
        return FAIL(NOT_FOUND, "the log has this event no more");
    *ret = events[0];
    return OK;
}

/* ---- keeping ---- */

err delivery_recover(struct pg *pg)
{
    return pg_call(pg, &recover, 0, NULL, NULL);
}

err delivery_renew(struct pg *pg, const struct delivery_row *const *rows, size_t n, struct arena *arena)
{
    struct pg_array ids = pg_array(arena, PG_UUID, (int)n), attempts = pg_array(arena, PG_INT8, (int)n);
    for (size_t i = 0; i < n; i++) {
        pg_array_uuid(&ids, rows[i]->id);
        pg_array_int(&attempts, rows[i]->attempt);
    }
    struct pg_param params[] = {pg_array_param(&ids), pg_array_param(&attempts)};
    return pg_call(pg, &renew, 2, params, NULL);
}

/* ---- ending ---- */

static const char *const fate_states[] = {[DELIVERY_DONE] = "delivered",
                                          [DELIVERY_AGAIN] = "waiting",
                                          [DELIVERY_FAILED] = "failed",
                                          [DELIVERY_UNTRIED] = "waiting",
                                          [DELIVERY_VOID] = "failed"};

static void queue_finish(struct pg *pg, const struct delivery_end *end, struct pg_result **ret)
{
    const struct delivery_row *row = end->row;
    bool tried = end->fate != DELIVERY_UNTRIED && end->fate != DELIVERY_VOID;
    struct pg_param lock[] = {pg_text(str_of(topic_name(row->topic))), pg_int(row->part)};
    struct pg_param params[] = {
        pg_uuid(row->id),        pg_int(row->attempt), pg_text(str_of(fate_states[end->fate])),
        pg_int(end->due_ms),     pg_int(end->status),  pg_text(str_of(end->error)),
        pg_int(end->latency_ms), pg_int(clock_ms()),   pg_bool(tried)};
    pg_queue(pg, &lock_partition, 2, lock, NULL, NULL);
    pg_queue(pg, &finish, sizeof(params) / sizeof(*params), params, pg_keep, ret);
    pg_sync(pg, NULL, NULL);
}

err delivery_finish(struct pg *pg, struct delivery_end *ends, size_t n, struct arena *arena)
{
    struct pg_result **results = arena_array(arena, struct pg_result *, n + 1);
    for (size_t i = 0; i < n; i++)
        queue_finish(pg, &ends[i], &results[i]);
    err e = pg_wait(pg, WAIT_MS);
    for (size_t i = 0; i < n; i++) {
        ends[i].failing_since_ms = results[i] && pg_rows(results[i]) ? pg_get_int(results[i], 0, 0) : 0;
        pg_result_free(results[i]);
    }
    return e;
}

err delivery_hurry(struct pg *pg, struct uuid webhook)
{
    struct pg_param params[] = {pg_uuid(webhook), pg_int(clock_ms())};
    return pg_call(pg, &hurry, 2, params, NULL);
}

err delivery_disable(struct pg *pg, struct uuid webhook, const char *reason, struct arena *arena)
{
    const struct message_type *type = &message_types[WEBHOOK_DISABLE_REQUESTED];
    struct webhook_disable_requested asked = {.webhook_id = webhook, .reason = str_of(reason)};
    struct str data = codec_encode(type->shape, &asked, arena);
    struct event event = event_new(type, STR("deliveries"), uuid_str(webhook, arena), data, arena);
    eventlog_queue(pg, &event, 1, arena);
    pg_sync(pg, NULL, NULL);
    return pg_wait(pg, WAIT_MS);
}

/* ---- retention ---- */

static const struct pg_stmt delete_old = {
    "delivery_delete_old",
    "DELETE FROM webhook_delivery WHERE id = ANY (ARRAY(SELECT id FROM webhook_delivery"
    " WHERE done_ms < $1::bigint AND state IN ('delivered', 'failed') ORDER BY done_ms LIMIT $2::bigint"
    " FOR UPDATE SKIP LOCKED))"};
/* Every endpoint there ever was has a row of its health, made with it. */
static const struct pg_stmt delete_orphans = {
    "delivery_delete_orphans",
    "DELETE FROM webhook_delivery WHERE id = ANY (ARRAY(SELECT d.id FROM webhook_health h"
    " JOIN webhook_delivery d ON d.webhook_id = h.webhook_id"
    " WHERE NOT EXISTS (SELECT 1 FROM webhook w WHERE w.id = h.webhook_id) LIMIT $1::bigint"
    " FOR UPDATE OF d SKIP LOCKED))"};
static const struct pg_stmt delete_traces = {
    "delivery_delete_traces",
    "WITH gone AS (DELETE FROM webhook_health h"
    "  WHERE NOT EXISTS (SELECT 1 FROM webhook w WHERE w.id = h.webhook_id)"
    "  AND NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.webhook_id = h.webhook_id)"
    "  RETURNING webhook_id)"
    " DELETE FROM webhook_start s USING gone WHERE s.webhook_id = gone.webhook_id"};

static err delete_some(struct pg *pg, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                       int64_t most, bool *ret_more)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, stmt, n, params, &result));
    *ret_more = *ret_more || pg_affected(result) == most;
    return OK;
}

err delivery_retire(struct pg *pg, int64_t before_ms, int64_t n, bool *ret_more)
{
    struct pg_param old[] = {pg_int(before_ms), pg_int(n)}, orphans[] = {pg_int(n)};
    TRY(delete_some(pg, &delete_old, 2, old, n, ret_more));
    TRY(delete_some(pg, &delete_orphans, 1, orphans, n, ret_more));
    return pg_call(pg, &delete_traces, 0, NULL, NULL);
}
