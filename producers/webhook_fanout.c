/*
 * One pass. The heads are read first, then the endpoints, and only events up to those heads are looked at: an
 * endpoint that is not in the list was committed after the heads were read, so it begins behind all of them,
 * and skipping it is right. An endpoint that is in the list gets nothing up to its start (webhook_start).
 *
 * A crash anywhere leaves the cursor and the deliveries as they were before the statement, or as after it.
 */
#include "producers/webhook_fanout.h"

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "bus/base/metrics.h"
#include "bus/event_rights.h"
#include "bus/eventlog.h"
#include "bus/type_filter.h"

/* LAZY: a cursor nobody waits for is moved when it is that far behind: what is read in vain should somebody
 * come. */
enum { WAIT_MS = 30000, LAZY = 1000 };

static const struct pg_stmt select_behind = {
    "fanout_behind", "SELECT h.topic, h.part, h.seq, c.seq FROM stream_head h LEFT JOIN webhook_cursor c"
                     " ON c.topic = h.topic AND c.part = h.part WHERE c.seq IS NULL OR c.seq < h.seq"};
static const struct pg_stmt insert_cursor = {
    "fanout_cursor", "INSERT INTO webhook_cursor (topic, part, seq) VALUES ($1::text, $2::bigint, 0)"
                     " ON CONFLICT DO NOTHING"};
static const struct pg_stmt select_endpoints = {"fanout_endpoints",
                                                "SELECT id, types, rights FROM webhook WHERE is_active"};
static const struct pg_stmt move_cursors = {
    "fanout_move",
    "UPDATE webhook_cursor c SET seq = u.hi FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])"
    " AS u(topic, part, lo, hi) WHERE c.topic = u.topic AND c.part = u.part AND c.seq = u.lo"};

/* Whether a key is free is decided under this lock, which whoever ends a delivery holds shared
 * (webhook_store.c): else the end of the one before and the arrival of the next could miss each other, and
 * the next would be held for ever. It is taken by a statement of its own, so that the next one's snapshot is
 * later. The commit is not waited for on disk: should PostgreSQL lose it, it loses cursor and deliveries
 * together. */
static const struct pg_stmt lock_partition = {
    "fanout_lock", "SELECT pg_advisory_xact_lock(hashtextextended('webhook:' || $1::text, $2::bigint)),"
                   " set_config('synchronous_commit', 'off', true)"};

static const struct pg_stmt insert_deliveries = {
    "fanout_insert",
    "WITH moved AS (UPDATE webhook_cursor SET seq = $4::bigint"
    "  WHERE topic = $1::text AND part = $2::bigint AND seq = $3::bigint RETURNING 1),"
    " again AS (UPDATE webhook_delivery SET due_ms = $5::bigint, since_ms = $5, done_ms = NULL,"
    "   manual = manual OR state <> 'waiting', state = 'waiting'"
    "  WHERE id = ANY ($12::uuid[]) AND state IN ('waiting', 'delivered', 'failed') AND EXISTS (TABLE "
    "moved)),"
    " fresh AS (SELECT u.*, row_number() OVER (PARTITION BY webhook_id, key ORDER BY seq) AS n"
    "  FROM unnest($6::uuid[], $7::uuid[], $8::bigint[], $9::text[], $10::uuid[], $11::text[])"
    "   AS u(id, webhook_id, seq, key, event_id, type)"
    "  WHERE NOT EXISTS (SELECT 1 FROM webhook_start s WHERE s.webhook_id = u.webhook_id AND s.topic = $1"
    "   AND s.part = $2 AND s.seq >= u.seq)"
    "  AND NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.webhook_id = u.webhook_id AND d.topic = $1"
    "   AND d.part = $2 AND d.seq = u.seq))" /* there already when somebody set the cursor back */
    " INSERT INTO webhook_delivery (id, webhook_id, topic, part, seq, partitionkey, event_id, type, due_ms,"
    "  since_ms, created_ms, state)"
    " SELECT f.id, f.webhook_id, $1, $2, f.seq, f.key, f.event_id, f.type, $5, $5, $5,"
    "  CASE WHEN f.n > 1 OR EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.webhook_id = f.webhook_id"
    "   AND d.topic = $1 AND d.partitionkey = f.key AND d.state IN ('held', 'waiting', 'running')"
    "   AND NOT d.manual) THEN 'held' ELSE 'waiting' END"
    " FROM fresh f WHERE EXISTS (TABLE moved)"};

/* foreign: patterns that another version of the shop let in; they may want any topic. */
struct endpoint {
    struct uuid id;
    struct str types;
    struct type_filter filter;
    unsigned rights;
    bool foreign;
};

struct pass {
    struct pg *pg;
    struct arena *arena;
    struct endpoint *endpoints;
    size_t n, made;
    bool more;
    struct pg_array topics, parts, los,
        his; /* cursors that move without a delivery, all at once at the end */
};

struct behind {
    enum topic topic;
    int part;
    int64_t from, to;
};

/* The rows of one statement, column by column. */
struct rows_out {
    struct pg_array ids, webhooks, seqs, keys, events, types, again;
    size_t n;
};

static err load_endpoints(struct pass *pass)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pass->pg, &select_endpoints, 0, NULL, &result));
    pass->endpoints = arena_array(pass->arena, struct endpoint, pg_rows(result) + 1);
    for (int i = 0; i < pg_rows(result); i++) {
        struct endpoint *endpoint = &pass->endpoints[pass->n++];
        endpoint->id = pg_get_uuid(result, i, 0);
        endpoint->types = arena_str(pass->arena, pg_get_str(result, i, 1));
        endpoint->rights = (unsigned)pg_get_int(result, i, 2);
        endpoint->foreign = failed(type_filter_parse(endpoint->types, &endpoint->filter));
        event_rights_narrow(&(struct event_reader){.rights = endpoint->rights}, &endpoint->filter);
    }
    return OK;
}

/* Requests about an endpoint come as events of its own topic. */
static bool is_wanted(const struct pass *pass, enum topic topic)
{
    for (size_t i = 0; i < pass->n; i++)
        if (topic == TOPIC_WEBHOOKS || pass->endpoints[i].foreign || pass->endpoints[i].filter.topics[topic])
            return true;
    return false;
}

/* ---- one partition ---- */

static void add_row(struct rows_out *rows, const struct event *event, struct uuid webhook)
{
    struct uuid id;
    if (failed(uuid_parse(event->envelope.id, &id)))
        return; /* the column is a uuid: it cannot be */
    pg_array_uuid(&rows->ids, uuid_v7(clock_ms()));
    pg_array_uuid(&rows->webhooks, webhook);
    pg_array_int(&rows->seqs, event->seq);
    pg_array_text(&rows->keys, event->envelope.partitionkey);
    pg_array_uuid(&rows->events, id);
    pg_array_text(&rows->types, event->envelope.type);
    rows->n++;
}

static void add_again(struct rows_out *rows, const struct event *event, struct arena *arena)
{
    struct uuid id;
    if (!failed(uuid_parse(json_member_str(event->envelope.data, "delivery_id", arena), &id))) {
        pg_array_uuid(&rows->again, id);
        rows->n++;
    }
}

bool webhook_may_hear(unsigned rights, struct uuid webhook, const struct envelope *event, struct arena *arena)
{
    const struct event_reader reader = {.rights = rights};
    enum message type = message_find(event->type);
    if (type == WEBHOOK_PINGED)
        return str_eq(uuid_str(webhook, arena), event->partitionkey);
    if (type == MESSAGE_NONE)
        return (rights & EVENTS_ALL) == EVENTS_ALL;
    return event_rights_see(&reader, event, arena);
}

/* What this build does not know is decided by its name, since another version may run beside it and the
 * cursor passes each event once. A ping is wanted whatever the types. */
static bool wants(const struct endpoint *endpoint, const struct event *event, enum message type,
                  struct arena *arena)
{
    bool wanted = type == WEBHOOK_PINGED || (type == MESSAGE_NONE || endpoint->foreign
                                                 ? type_list_wants(endpoint->types, event->envelope.type)
                                                 : endpoint->filter.wants[type]);
    return wanted && webhook_may_hear(endpoint->rights, endpoint->id, &event->envelope, arena);
}

static void match(struct pass *pass, struct rows_out *rows, const struct event *event)
{
    enum message type = message_find(event->envelope.type);
    if (type == WEBHOOK_REDELIVERY_REQUESTED)
        add_again(rows, event, pass->arena);
    for (size_t i = 0; i < pass->n; i++)
        if (wants(&pass->endpoints[i], event, type, pass->arena))
            add_row(rows, event, pass->endpoints[i].id);
}

static struct rows_out rows_new_out(struct arena *arena)
{
    enum { FEW = 64 };
    return (struct rows_out){.ids = pg_array(arena, PG_UUID, FEW),
                             .webhooks = pg_array(arena, PG_UUID, FEW),
                             .seqs = pg_array(arena, PG_INT8, FEW),
                             .keys = pg_array(arena, PG_TEXT, FEW),
                             .events = pg_array(arena, PG_UUID, FEW),
                             .types = pg_array(arena, PG_TEXT, FEW),
                             .again = pg_array(arena, PG_UUID, 1)};
}

static err insert(struct pass *pass, const struct behind *at, int64_t to, struct rows_out *rows)
{
    struct pg_param params[] = {pg_text(str_of(topic_name(at->topic))),
                                pg_int(at->part),
                                pg_int(at->from),
                                pg_int(to),
                                pg_int(clock_ms()),
                                pg_array_param(&rows->ids),
                                pg_array_param(&rows->webhooks),
                                pg_array_param(&rows->seqs),
                                pg_array_param(&rows->keys),
                                pg_array_param(&rows->events),
                                pg_array_param(&rows->types),
                                pg_array_param(&rows->again)};
    pg_queue(pass->pg, &lock_partition, 2, params, NULL, NULL);
    pg_queue(pass->pg, &insert_deliveries, sizeof(params) / sizeof(*params), params, NULL, NULL);
    pg_sync(pass->pg, NULL, NULL);
    TRY(pg_wait(pass->pg, WAIT_MS));
    counter_add(COUNTER_WEBHOOK_QUEUED, (int64_t)rows->n);
    pass->made += rows->n;
    return OK;
}

static err move_later(struct pass *pass, const struct behind *at, int64_t to)
{
    pg_array_text(&pass->topics, str_of(topic_name(at->topic)));
    pg_array_int(&pass->parts, at->part);
    pg_array_int(&pass->los, at->from);
    pg_array_int(&pass->his, to);
    return OK;
}

static err move_now(struct pass *pass)
{
    struct pg_param params[] = {pg_array_param(&pass->topics), pg_array_param(&pass->parts),
                                pg_array_param(&pass->los), pg_array_param(&pass->his)};
    return pass->topics.n ? pg_call(pass->pg, &move_cursors, 4, params, NULL) : OK;
}

static err fan_out(struct pass *pass, const struct behind *at)
{
    struct event *events;
    size_t n;
    int64_t to = at->from;
    struct rows_out rows = rows_new_out(pass->arena);
    if (!is_wanted(pass, at->topic))
        return at->to - at->from < LAZY ? OK : move_later(pass, at, at->to);
    TRY(eventlog_read(pass->pg, at->topic, at->part, at->from, FANOUT_EVENTS, pass->arena, &events, &n));
    for (size_t i = 0; i < n && events[i].seq <= at->to && rows.n < FANOUT_ROWS; i++) {
        match(pass, &rows, &events[i]);
        to = events[i].seq;
    }
    pass->more = pass->more || (to > at->from && to < at->to);
    if (to == at->from)
        return FAIL(UNAVAILABLE, "the log does not give what its head promises");
    return rows.n ? insert(pass, at, to, &rows) : move_later(pass, at, to);
}

/* ---- the pass ---- */

static err behind_of(struct pg *pg, struct arena *arena, struct behind **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &select_behind, 0, NULL, &result));
    struct behind *list = arena_array(arena, struct behind, pg_rows(result) + 1);
    size_t n = 0;
    for (int i = 0; i < pg_rows(result); i++) {
        struct behind at = {topic_find(pg_get_str(result, i, 0)), (int)pg_get_int(result, i, 1),
                            pg_get_int(result, i, 3), pg_get_int(result, i, 2)};
        if (at.topic == TOPIC_NONE)
            continue; /* a newer version's: it will see to it */
        struct pg_param params[] = {pg_text(str_of(topic_name(at.topic))), pg_int(at.part)};
        if (pg_is_null(result, i, 3))
            TRY(pg_call(pg, &insert_cursor, 2, params, NULL));
        list[n++] = at;
    }
    *ret = list;
    *ret_n = n;
    return OK;
}

err webhook_fanout(struct pg *pg, struct arena *arena, size_t *ret, bool *ret_more)
{
    struct pass pass = {.pg = pg,
                        .arena = arena,
                        .topics = pg_array(arena, PG_TEXT, 16),
                        .parts = pg_array(arena, PG_INT8, 16),
                        .los = pg_array(arena, PG_INT8, 16),
                        .his = pg_array(arena, PG_INT8, 16)};
    struct behind *behind;
    size_t n;
    *ret = 0;
    *ret_more = false;
    TRY(behind_of(pg, arena, &behind, &n));
    if (n == 0)
        return OK;
    TRY(load_endpoints(&pass));
    err first = OK;
    for (size_t i = 0; i < n && pg_is_up(pg); i++) {
        err e = fan_out(&pass, &behind[i]);
        if (failed(e) && !failed(first))
            first = e; /* of one partition; the others go on */
    }
    TRY(move_now(&pass));
    *ret = pass.made;
    *ret_more = pass.more;
    return first;
}
