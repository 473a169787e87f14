/*
 * Appending to and reading from the event log. The append is one statement: it takes the next sequence
 * numbers of all heads concerned (creating missing heads and locking in sorted order) and inserts, in the
 * caller's transaction. If that transaction is void, so are the numbers: there are no gaps.
 */
#include "bus/eventlog.h"

#include <assert.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/fault.h"

enum { READ_TIMEOUT_MS = 30000 };

#define TAKE_NUMBERS                                                                                         \
    "WITH h AS (INSERT INTO stream_head AS s (topic, part, seq, ms)"                                         \
    "  SELECT topic, part::int, n, $1::bigint FROM unnest($2::text[], $3::bigint[], $4::bigint[])"           \
    "   AS x(topic, part, n) ORDER BY 1, 2"                                                                  \
    "  ON CONFLICT (topic, part) DO UPDATE SET seq = s.seq + excluded.seq, ms = greatest(s.ms, "             \
    "excluded.ms),"                                                                                          \
    "   before_ms = s.ms RETURNING topic, part, seq, ms, before_ms)"
/* A left join: an event without a head must fail. */
#define INSERT_EVENTS                                                                                        \
    " l AS (INSERT INTO event_log (topic, part, seq, ms, id, source, type, subject, time, dataschema,"       \
    "  partitionkey, correlationid, causationid, actor, traceparent, data)"                                  \
    "  SELECT h.topic, h.part, h.seq - e.behind, h.ms, e.id, e.source, e.type, e.subject, e.time,"           \
    "   e.dataschema, e.partitionkey, e.correlationid, e.causationid, e.actor, e.traceparent, e.data"        \
    "  FROM unnest($5::text[], $6::bigint[], $7::bigint[], $8::uuid[], $9::text[], $10::text[],"             \
    "   $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],"          \
    "   $18::text[], $19::text[]) AS e(topic, part, behind, id, source, type, subject, time, dataschema,"    \
    "   partitionkey, correlationid, causationid, actor, traceparent, data)"                                 \
    "  LEFT JOIN h ON h.topic = e.topic AND h.part = e.part)"                                                \
    " SELECT topic, part, seq, ms, before_ms FROM h"

/* The upsert of the heads is what locks: SELECT … FOR UPDATE would miss heads that do not exist yet. Each
 * returned row is a head after the append; the events of that partition have the sequence numbers up to it,
 * in the given order. How many events each head gets, and how many of its partition stand behind an event, is
 * counted by the caller: counted here, by window functions, it cost as much as writing the rows. */
static const struct pg_stmt append_events = {"append_events", TAKE_NUMBERS "," INSERT_EVENTS};

#ifdef DAYDREAM_FAULTS
/* The mutant: numbers are taken in a transaction of their own, and whoever fails or dies behind it leaves a
 * gap. */
static const struct pg_stmt take_numbers = {"mutant_take_numbers", TAKE_NUMBERS " SELECT count(*) FROM h"};
static const struct pg_stmt insert_events = {
    "mutant_insert_events",
    "WITH h AS (SELECT s.topic, s.part, s.seq, s.ms, s.before_ms FROM stream_head s"
    "  JOIN unnest($2::text[], $3::bigint[], $4::bigint[]) AS x(topic, part, n) USING (topic, part)"
    "  WHERE $1::bigint > 0)," INSERT_EVENTS};
#endif

/* At most so many bytes of data, but always the first row. The upper bound of seq says what LIMIT would,
 * since the log has no gaps; beyond that it keeps a read of what is archived from walking the log behind it
 * for nothing. */
static const struct pg_stmt read_events = {
    "read_events",
    "SELECT seq, ms, id, source, type, subject, time, dataschema, partitionkey, correlationid, causationid,"
    " actor, traceparent, data"
    " FROM (SELECT *, sum(octet_length(data)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS total"
    "  FROM (SELECT * FROM event_log WHERE topic = $1::text AND part = $2::bigint::int AND seq > $3::bigint"
    "   AND seq <= $3::bigint + $4::bigint ORDER BY seq) page) summed"
    " WHERE total - octet_length(data) < $5::bigint ORDER BY seq"};

static const struct pg_stmt read_heads = {
    "read_heads", "SELECT topic, part, seq, ms FROM stream_head ORDER BY topic, part"};

/* What is archived has no row: the catalogue says whose file it is in, and from when to when that goes. */
static const struct pg_stmt has_events = {
    "has_events",
    "SELECT coalesce(l.yes, a.yes, false) FROM"
    " unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS x(topic, part, seq, ms,"
    "  n)"
    " LEFT JOIN LATERAL (SELECT true AS yes FROM event_log e WHERE e.topic = x.topic AND e.part = x.part::int"
    "  AND e.seq = x.seq AND e.ms = x.ms LIMIT 1) l ON true"
    " LEFT JOIN LATERAL (SELECT f.first_seq <= x.seq AND x.ms BETWEEN f.first_ms AND f.last_ms AS yes"
    "  FROM event_archive f WHERE l.yes IS NULL AND f.topic = x.topic AND f.part = x.part::int"
    "  AND f.last_seq >= x.seq ORDER BY f.last_seq LIMIT 1) a ON true ORDER BY x.n"};

/* The text columns of the log between id and the end, in the order of both statements. */
static const size_t text_columns[] = {
    offsetof(struct envelope, source),        offsetof(struct envelope, type),
    offsetof(struct envelope, subject),       offsetof(struct envelope, time),
    offsetof(struct envelope, dataschema),    offsetof(struct envelope, partitionkey),
    offsetof(struct envelope, correlationid), offsetof(struct envelope, causationid),
    offsetof(struct envelope, actor),         offsetof(struct envelope, traceparent),
    offsetof(struct envelope, data),
};
enum { TEXT_COLUMNS = sizeof(text_columns) / sizeof(*text_columns) };

static struct str *column_of(struct envelope *e, int column)
{
    return (struct str *)(void *)((char *)e + text_columns[column]);
}

/* ---- append ---- */

struct append {
    struct event *events;
    size_t n;
    struct head *heads; /* while queueing: seq counts the events of each; then as returned: where the next
                           event from behind goes */
    int64_t *before_ms; /* of the event before the first one, for each head */
    int n_heads;
};

/* NULL when there is none. */
static struct head *head_of(const struct append *append, const struct event *event)
{
    for (int i = 0; i < append->n_heads; i++)
        if (append->heads[i].topic == event->topic && append->heads[i].part == event->part)
            return &append->heads[i];
    return NULL;
}

static struct head *head_or_new(struct append *append, const struct event *event)
{
    struct head *head = head_of(append, event);
    if (!head) {
        head = &append->heads[append->n_heads++];
        *head = (struct head){.topic = event->topic, .part = event->part};
    }
    return head;
}

static void on_appended(void *data, err e, struct pg_result *result)
{
    struct append *append = data;
    if (failed(e))
        return;
    assert(pg_rows(result) == append->n_heads);
    for (int i = 0; i < append->n_heads; i++) {
        append->heads[i] = (struct head){.topic = topic_find(pg_get_str(result, i, 0)),
                                         .part = (int)pg_get_int(result, i, 1),
                                         .seq = pg_get_int(result, i, 2),
                                         .ms = pg_get_int(result, i, 3)};
        append->before_ms[i] = pg_get_int(result, i, 4);
    }
    for (size_t i = append->n; i-- > 0;) {
        struct head *head = head_of(append, &append->events[i]);
        assert(head); /* the statement returns a head for each partition it was given */
        append->events[i].seq = head->seq--;
        append->events[i].ms = append->events[i].before_ms = head->ms;
    }
    for (size_t i = append->n; i-- > 0;) {
        const struct head *head = head_of(append, &append->events[i]);
        if (append->events[i].seq == head->seq + 1)
            append->events[i].before_ms = append->before_ms[head - append->heads];
    }
}

static void heads_params(const struct append *append, struct arena *arena, struct pg_param ret[static 3])
{
    struct pg_array names = pg_array(arena, PG_TEXT, append->n_heads),
                    parts = pg_array(arena, PG_INT8, append->n_heads),
                    counts = pg_array(arena, PG_INT8, append->n_heads);
    for (int i = 0; i < append->n_heads; i++) {
        pg_array_text(&names, str_of(topic_name(append->heads[i].topic)));
        pg_array_int(&parts, append->heads[i].part);
        pg_array_int(&counts, append->heads[i].seq);
    }
    ret[0] = pg_array_param(&names);
    ret[1] = pg_array_param(&parts);
    ret[2] = pg_array_param(&counts);
}

enum { EVENT_COLUMNS = 4 + TEXT_COLUMNS };

static void events_params(const struct append *append, const int64_t *behind, struct arena *arena,
                          struct pg_param ret[static EVENT_COLUMNS])
{
    static const enum pg_type types[4] = {PG_TEXT, PG_INT8, PG_INT8, PG_UUID};
    struct pg_array a[EVENT_COLUMNS];
    for (int c = 0; c < EVENT_COLUMNS; c++)
        a[c] = pg_array(arena, c < 4 ? types[c] : PG_TEXT, (int)append->n);
    for (size_t i = 0; i < append->n; i++) {
        struct event *event = &append->events[i];
        struct uuid id;
        err e = uuid_parse(event->envelope.id, &id);
        assert(!failed(e)); /* event_new made it */
        pg_array_text(&a[0], str_of(topic_name(event->topic)));
        pg_array_int(&a[1], event->part);
        pg_array_int(&a[2], behind[i]);
        pg_array_uuid(&a[3], id);
        for (int c = 0; c < TEXT_COLUMNS; c++) {
            struct str value = *column_of(&event->envelope, c);
            pg_array_text(&a[4 + c], value.p ? value : STR(""));
        }
    }
    for (int c = 0; c < EVENT_COLUMNS; c++)
        ret[c] = pg_array_param(&a[c]);
}

void eventlog_queue(struct pg *pg, struct event *events, size_t n, struct arena *arena)
{
    struct pg_param params[4 + EVENT_COLUMNS] = {pg_int(clock_ms())};
    if (n == 0)
        return;
    struct append *append = arena_new_of(arena, struct append);
    *append =
        (struct append){events, n, arena_array(arena, struct head, n), arena_array(arena, int64_t, n), 0};
    int64_t *behind = arena_array(arena, int64_t, n);
    for (size_t i = n; i-- > 0;)
        behind[i] = head_or_new(append, &events[i])->seq++;
    heads_params(append, arena, params + 1);
    events_params(append, behind, arena, params + 4);
    const struct pg_stmt *stmt = &append_events;
#ifdef DAYDREAM_FAULTS
    if (mutant(MUTANT_HEAD_ORDER)) {
        pg_queue(pg, &take_numbers, 4, params, NULL, NULL);
        pg_sync(pg, NULL, NULL);
        stmt = &insert_events;
    }
#endif
    pg_queue(pg, stmt, 4 + EVENT_COLUMNS, params, on_appended, append);
}

/* ---- read ---- */

void eventlog_queue_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, int64_t bytes,
                         pg_fn *fn, void *data)
{
    const struct pg_param params[] = {pg_text(str_of(topic_name(topic))), pg_int(part), pg_int(after),
                                      pg_int(limit), pg_int(bytes)};
    pg_queue(pg, &read_events, 5, params, fn, data);
}

struct event *eventlog_rows(const struct pg_result *result, enum topic topic, int part, struct arena *arena,
                            size_t *ret_n)
{
    int n = pg_rows(result);
    struct event *events = arena_array(arena, struct event, n + 1);
    for (int i = 0; i < n; i++) {
        struct event *event = &events[i];
        *event = (struct event){.topic = topic,
                                .part = part,
                                .seq = pg_get_int(result, i, 0),
                                .ms = pg_get_int(result, i, 1),
                                .envelope = {.specversion = STR("1.0"),
                                             .datacontenttype = STR("application/json"),
                                             .id = uuid_str(pg_get_uuid(result, i, 2), arena)}};
        for (int c = 0; c < TEXT_COLUMNS; c++)
            *column_of(&event->envelope, c) = arena_str(arena, pg_get_str(result, i, 3 + c));
    }
    *ret_n = (size_t)n;
    return events;
}

err eventlog_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, struct arena *arena,
                  struct event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    assert(pg_waiting(pg) == 0);
    eventlog_queue_read(pg, topic, part, after, limit, EVENTLOG_READ_BYTES, pg_keep, &result);
    pg_sync(pg, NULL, NULL);
    TRY(pg_wait(pg, READ_TIMEOUT_MS));
    *ret = eventlog_rows(result, topic, part, arena, ret_n);
    if (*ret_n && (*ret)[0].seq == after + 1)
        return OK;
    /* The next event is not in the log: it is archived, or there is none. */
    struct event *archived;
    size_t n;
    TRY(archive_read(pg, topic, part, after, limit, arena, &archived, &n));
    if (n) {
        *ret = archived;
        *ret_n = n;
    }
    return OK;
}

err eventlog_heads(struct pg *pg, struct arena *arena, struct head **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &read_heads, 0, NULL, &result));
    int n = pg_rows(result), known = 0;
    struct head *heads = arena_array(arena, struct head, n + 1);
    for (int i = 0; i < n; i++) {
        enum topic topic = topic_find(pg_get_str(result, i, 0));
        if (topic == TOPIC_NONE)
            continue; /* written by a newer version: not ours to relay or read */
        heads[known++] = (struct head){.topic = topic,
                                       .part = (int)pg_get_int(result, i, 1),
                                       .seq = pg_get_int(result, i, 2),
                                       .ms = pg_get_int(result, i, 3)};
    }
    *ret = heads;
    *ret_n = (size_t)known;
    return OK;
}

void eventlog_queue_has(struct pg *pg, const struct head *events, size_t n, struct arena *arena, pg_fn *fn,
                        void *data)
{
    struct pg_array topic = pg_array(arena, PG_TEXT, (int)n), part = pg_array(arena, PG_INT8, (int)n),
                    seq = pg_array(arena, PG_INT8, (int)n), ms = pg_array(arena, PG_INT8, (int)n);
    for (size_t i = 0; i < n; i++) {
        pg_array_text(&topic, str_of(topic_name(events[i].topic)));
        pg_array_int(&part, events[i].part);
        pg_array_int(&seq, events[i].seq);
        pg_array_int(&ms, events[i].ms);
    }
    const struct pg_param params[] = {pg_array_param(&topic), pg_array_param(&part), pg_array_param(&seq),
                                      pg_array_param(&ms)};
    pg_queue(pg, &has_events, 4, params, fn, data);
}

bool eventlog_has(const struct pg_result *result, size_t i)
{
    return (int)i < pg_rows(result) && pg_get_bool(result, (int)i, 0);
}

struct event event_new(const struct message_type *type, struct str source, struct str key, struct str data,
                       struct arena *arena)
{
    assert(!type->command);
    int64_t now = clock_ms();
    return (struct event){.topic = type->topic,
                          .part = partition_of(key),
                          .envelope = {.specversion = STR("1.0"),
                                       .id = uuid_str(uuid_v7(now), arena),
                                       .source = source,
                                       .type = str_of(type->name),
                                       .subject = key,
                                       .time = clock_text(now, arena),
                                       .dataschema = str_of(type->schema),
                                       .partitionkey = key,
                                       .datacontenttype = STR("application/json"),
                                       .data = data}};
}
