/*
 * Parking. When a message cannot be handled, its key is parked for (group, topic, key): it and all later
 * messages of that key wait in dead_letter, in order; everybody else flows. The set of parked keys is kept in
 * memory and read anew with each lease turn; while it is empty the check costs nothing. A key whose retry is
 * under way is in the set until it is done. How keys come back: retry.c.
 */
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/json.h"
#include "bus/base/metrics.h"
#include "consumers/worker.h"

static const struct pg_stmt read_parked = {
    "read_parked", "SELECT topic, key FROM dead_letter WHERE grp = $1 AND state = 'parked'"
                   " UNION SELECT topic, key FROM parked_action WHERE grp = $1 AND action = 'retry'"
                   " AND done_ms IS NULL"};

static const struct pg_stmt insert_parked = {
    "insert_parked", "INSERT INTO dead_letter (grp, topic, key, lane, entry, seq, "
                     "command_id, type, reason, detail, attempts, build,"
                     " envelope, id, correlationid, replayed, parked_ms)"
                     " SELECT $1, topic, key, lane, entry, seq, command_id, type, "
                     "reason, detail, attempts, $2, envelope, id, correlationid,"
                     " replayed, $3::bigint"
                     " FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], "
                     "$8::bigint[], $9::uuid[], $10::text[], $11::text[],"
                     "  $12::text[], $13::bigint[], $14::text[], $15::text[],"
                     "  $16::text[], $17::boolean[]) WITH ORDINALITY"
                     "  AS x(topic, key, lane, entry, seq, command_id, type, reason, "
                     "detail, attempts, envelope, id, correlationid, replayed, n) ORDER BY n"};

bool parked_has(const struct worker *w, enum topic topic, struct str key)
{
    if (w->n_parked == 0)
        return false;
    uint64_t hash = str_hash(key);
    for (size_t i = 0; i < w->n_parked; i++)
        if (w->parked[i].hash == hash && w->parked[i].topic == topic && str_eq(w->parked[i].key, key))
            return true;
    return false;
}

void parked_add(struct worker *w, enum topic topic, struct str key)
{
    if (parked_has(w, topic, key))
        return;
    if (w->n_parked == w->parked_cap) {
        w->parked_cap = w->parked_cap ? 2 * w->parked_cap : 64;
        struct parked_key *more = arena_array(w->parked_arena, struct parked_key, w->parked_cap);
        if (w->n_parked)
            memcpy(more, w->parked, w->n_parked * sizeof(*more));
        w->parked = more;
    }
    w->parked[w->n_parked++] = (struct parked_key){topic, str_hash(key), arena_str(w->parked_arena, key)};
}

void parked_remove(struct worker *w, enum topic topic, struct str key)
{
    uint64_t hash = str_hash(key);
    for (size_t i = 0; i < w->n_parked; i++)
        if (w->parked[i].hash == hash && w->parked[i].topic == topic && str_eq(w->parked[i].key, key)) {
            w->parked[i] = w->parked[--w->n_parked];
            return;
        }
}

err parked_load(struct worker *w)
{
    struct pg_param name = pg_text(str_of(w->group->name));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &read_parked, 1, &name, &r));
    arena_reset(w->parked_arena);
    w->n_parked = 0;
    w->parked_cap = (size_t)pg_rows(r) + 64;
    w->parked = arena_array(w->parked_arena, struct parked_key, w->parked_cap);
    for (int i = 0; i < pg_rows(r); i++) {
        struct str key = arena_str(w->parked_arena, pg_get_str(r, i, 1));
        w->parked[w->n_parked++] = (struct parked_key){topic_find(pg_get_str(r, i, 0)), str_hash(key), key};
    }
    return OK;
}

/* Bytes that no JSON holds are not kept: what was there is shown as well as it can be, and is never handled
 * (retry.c). */
static struct str storable(struct str data, struct arena *arena)
{
    struct buf b = buf_new(arena, data.n);
    for (size_t i = 0; i < data.n; i++)
        buf_char(&b, data.p[i] ? data.p[i] : '?');
    return buf_view(&b);
}

/* The whole envelope as one JSON object, so that a retry needs nothing else. */
static struct str envelope_json(const struct envelope *e, struct arena *arena)
{
    struct buf text = buf_new(arena, 512);
    struct json j = json_on(&text);
    json_open(&j, '{');
#define FIELD(member, name)                                                                                  \
    if (e->member.p)                                                                                         \
        json_kstr(&j, name, e->member);
    ENVELOPE_FIELDS(FIELD)
    ENVELOPE_COMMAND_FIELDS(FIELD)
#undef FIELD
    json_close(&j, '}');
    return buf_view(&text);
}

enum { PARKED_COLUMNS = 14 };

static void put_parked(struct pg_array *a, const struct item *item, struct arena *arena)
{
    const struct entry *entry = item->entry;
    struct envelope envelope = entry->envelope;
    bool whole = gather_is_text(envelope.data);
    if (!whole)
        envelope.data = storable(envelope.data, arena);
    pg_array_text(&a[0], str_of(topic_name(entry->topic)));
    pg_array_text(&a[1], item->message.key);
    pg_array_text(&a[2], entry->command ? STR("command") : STR("event"));
    pg_array_text(&a[3], entry->entry);
    if (entry->command)
        pg_array_null(&a[4]);
    else
        pg_array_int(&a[4], entry->seq);
    if (entry->command && !uuid_is_nil(item->message.id))
        pg_array_uuid(&a[5], item->message.id);
    else
        pg_array_null(&a[5]);
    pg_array_text(&a[6], entry->envelope.type);
    pg_array_text(&a[7], whole ? str_of(item->park_reason) : STR("unreadable-bytes"));
    pg_array_text(&a[8], item->park_detail);
    pg_array_int(&a[9], item->poison ? 1 : 0);
    pg_array_text(&a[10], envelope_json(&envelope, arena));
    pg_array_text(&a[11], envelope.id);
    pg_array_text(&a[12], envelope.correlationid);
    pg_array_bool(&a[13], item->message.replay);
}

/* A letter that fails again has its row. */
static bool is_new(const struct item *item)
{
    return item->fate == ITEM_PARK && !item->letter;
}

void parked_queue(struct worker *w, struct batch *b)
{
    int n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += is_new(b->items[i]);
    if (n == 0)
        return;
    static const enum pg_type types[PARKED_COLUMNS] = {PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_INT8,
                                                       PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT, PG_INT8,
                                                       PG_TEXT, PG_TEXT, PG_TEXT, PG_BOOL};
    struct pg_array a[PARKED_COLUMNS];
    struct pg_param params[3 + PARKED_COLUMNS] = {pg_text(str_of(w->group->name)),
                                                  pg_text(STR(DAYDREAM_BUILD)), pg_int(b->now)};
    for (int i = 0; i < PARKED_COLUMNS; i++)
        a[i] = pg_array(b->arena, types[i], n);
    for (size_t i = 0; i < b->n; i++)
        if (is_new(b->items[i]))
            put_parked(a, b->items[i], b->arena);
    for (int i = 0; i < PARKED_COLUMNS; i++)
        params[3 + i] = pg_array_param(&a[i]);
    pg_queue(w->pg, &insert_parked, 3 + PARKED_COLUMNS, params, NULL, NULL);
    counter_add(COUNTER_PARKED, n);
}
