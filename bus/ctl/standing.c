/*
 * Lag is head minus offset, both from PostgreSQL; what XINFO says about lag is wrong after a restart of
 * Redis. The age of a lag is the age of the first event behind the offset, one step along the primary key.
 */
#include "bus/ctl/standing.h"

#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/eventlog.h"
#include "bus/lane.h"

enum { REDIS_MS = 10000, PARKED_MAX = 100000 };

/* topic, part, grp, head, offset, owner, lease runs, epoch, ms of the oldest event ahead, gap_fetches,
 * repeats */
static const struct pg_stmt select_standing = {
    "ctl_standing",
    "SELECT coalesce(o.topic, h.topic), coalesce(o.part, h.part), o.grp, coalesce(h.seq, 0), coalesce(o.seq, "
    "0),"
    " o.owner, o.lease_until > now(), o.epoch,"
    " CASE WHEN o.seq < h.seq THEN coalesce((SELECT a.first_ms FROM event_archive a WHERE a.topic = o.topic"
    "  AND a.part = o.part AND a.first_seq <= o.seq + 1 AND a.last_seq > o.seq),"
    "  (SELECT e.ms FROM event_log e WHERE e.topic = o.topic AND e.part = o.part"
    "  AND e.seq > o.seq ORDER BY e.seq LIMIT 1)) END, o.gap_fetches, o.repeats, d.reason"
    " FROM consumer_offset o FULL JOIN stream_head h ON h.topic = o.topic AND h.part = o.part"
    " LEFT JOIN group_detached d ON d.grp = o.grp AND d.topic = o.topic AND d.part = o.part"
    " ORDER BY 1, 2, 3"};

static const struct pg_stmt select_parked = {
    "ctl_parked",
    "SELECT grp, topic, key FROM dead_letter WHERE state = 'parked' GROUP BY 1, 2, 3 LIMIT $1::bigint"};

/* ---- Redis ---- */

struct lane_state {
    int64_t backlog, oldest; /* -1: not known; ms of the oldest entry, 0: none */
    bool shown;
    char last[48];
};

static void on_backlog(void *data, const struct redis_reply *reply)
{
    struct lane_state *state = data;
    state->backlog = reply && reply->kind == REDIS_INTEGER ? reply->integer : -1;
}

static void on_oldest(void *data, const struct redis_reply *reply)
{
    struct lane_state *state = data;
    int64_t seq;
    if (reply && reply->kind == REDIS_ARRAY && reply->n && reply->items[0].kind == REDIS_ARRAY &&
        reply->items[0].n && failed(entry_id_parse(reply->items[0].items[0].text, &state->oldest, &seq)))
        state->oldest = 0;
}

static void on_stream(void *data, const struct redis_reply *reply)
{
    struct lane_state *state = data;
    for (size_t i = 0; reply && reply->kind == REDIS_ARRAY && i + 1 < reply->n; i += 2)
        if (str_is(reply->items[i].text, "last-generated-id"))
            snprintf(state->last, sizeof(state->last), "%.*s", STR_ARG(reply->items[i + 1].text));
}

static err ask_redis(struct redis *redis, struct lane_state *states)
{
    char name[STREAM_NAME];
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            struct lane_state *state = &states[topic * partitions() + part];
            lane_name((enum topic)topic, part, name);
            redis_sendf(redis, on_backlog, state, "XLEN %s", name);
            redis_sendf(redis, on_oldest, state, "XRANGE %s - + COUNT 1", name);
            stream_name((enum topic)topic, part, name);
            redis_sendf(redis, on_stream, state, "XINFO STREAM %s", name);
        }
    return redis_wait(redis, REDIS_MS);
}

/* ---- rows ---- */

/* Both clocks are those of programs of the shop: a little skew must not show as a negative age. */
static int64_t age(int64_t now, int64_t ms)
{
    return ms > 0 && now > ms ? now - ms : ms > 0;
}

static void take_lane(struct standing_row *row, struct lane_state *state, int64_t now)
{
    row->backlog = state->backlog;
    row->oldest_ms = age(now, state->oldest);
    memcpy(row->last, state->last, sizeof(row->last));
    state->shown = true;
}

static struct standing_row row_of(const struct pg_result *r, int i, int64_t now, struct arena *arena)
{
    struct standing_row row = {.topic = arena_str(arena, pg_get_str(r, i, 0)),
                               .part = (int)pg_get_int(r, i, 1),
                               .grp = arena_str(arena, pg_get_str(r, i, 2)),
                               .head = pg_get_int(r, i, 3),
                               .offset = pg_get_int(r, i, 4),
                               .owner = arena_str(arena, pg_get_str(r, i, 5)),
                               .lease_over = !pg_is_null(r, i, 6) && !pg_get_bool(r, i, 6),
                               .epoch = pg_get_int(r, i, 7),
                               .lag_ms = age(now, pg_get_int(r, i, 8)),
                               .gap_fetches = pg_get_int(r, i, 9),
                               .repeats = pg_get_int(r, i, 10),
                               .detached = arena_str(arena, pg_get_str(r, i, 11)),
                               .backlog = -1};
    row.lag = row.grp.p ? row.head - row.offset : 0;
    return row;
}

/* Commands that wait where no group has ever been. */
static void add_unattended(struct standing *s, struct lane_state *states)
{
    for (int i = 0; i < TOPIC_COUNT * partitions(); i++)
        if (!states[i].shown && states[i].backlog > 0) {
            struct standing_row *row = &s->rows[s->n++];
            *row = (struct standing_row){.topic = str_of(topic_name((enum topic)(i / partitions()))),
                                         .part = i % partitions()};
            take_lane(row, &states[i], s->at_ms);
        }
}

static void add_parked(struct standing *s, const struct pg_result *parked)
{
    for (int i = 0; i < pg_rows(parked); i++) {
        int part = partition_of(pg_get_str(parked, i, 2));
        for (size_t row = 0; row < s->n; row++)
            if (s->rows[row].part == part && str_eq(s->rows[row].grp, pg_get_str(parked, i, 0)) &&
                str_eq(s->rows[row].topic, pg_get_str(parked, i, 1)))
                s->rows[row].parked++;
    }
}

err standing_read(struct ctl *ctl, struct arena *arena, struct standing *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL, *parked = NULL;
    struct lane_state *states = arena_array(arena, struct lane_state, TOPIC_COUNT * partitions());
    struct pg_param most = pg_int(PARKED_MAX);
    TRY(ask_redis(ctl->redis, states));
    TRY(pg_call(ctl->pg, &select_standing, 0, NULL, &rows));
    TRY(pg_call(ctl->pg, &select_parked, 1, &most, &parked));
    int n = pg_rows(rows);
    *ret = (struct standing){.at_ms = clock_ms()};
    ret->rows = arena_array(arena, struct standing_row, n + TOPIC_COUNT * partitions());
    for (int i = 0; i < n; i++) {
        struct standing_row *row = &ret->rows[ret->n++];
        *row = row_of(rows, i, ret->at_ms, arena);
        enum topic topic = topic_find(row->topic);
        if (topic != TOPIC_NONE && row->part < partitions())
            take_lane(row, &states[(int)topic * partitions() + row->part], ret->at_ms);
    }
    add_parked(ret, parked);
    add_unattended(ret, states);
    return OK;
}

/* ---- printing ---- */

void standing_json(struct json *j, const struct standing_row *row)
{
    json_kstr(j, "topic", row->topic);
    json_kint(j, "part", row->part);
    json_kstr(j, "group", row->grp);
    json_kint(j, "head", row->head);
    json_kint(j, "offset", row->offset);
    json_kint(j, "lag", row->lag);
    json_key(j, "lag_s");
    json_decimal(j, row->lag_ms, 3);
    json_kstr(j, "redis_last_id", *row->last ? str_of(row->last) : STR_NONE);
    json_kint(j, "command_backlog", row->backlog);
    json_key(j, "oldest_command_s");
    json_decimal(j, row->oldest_ms, 3);
    json_kstr(j, "owner", row->owner);
    json_kbool(j, "lease_over", row->lease_over);
    json_kbool(j, "attached", !row->detached.p);
    json_kstr(j, "detached", row->detached);
    json_kint(j, "epoch", row->epoch);
    json_kint(j, "parked_keys", row->parked);
    json_kint(j, "gap_fetches", row->gap_fetches);
    json_kint(j, "repeats", row->repeats);
}

void standing_age(int64_t ms, char ret[static 16])
{
    static const struct {
        int64_t from_ms, unit_ms;
        int decimals;
        const char *unit;
    } units[] = {{172800000, 86400000, 0, "d"},
                 {7200000, 3600000, 0, "h"},
                 {120000, 60000, 0, "min"},
                 {1, 1000, 1, "s"}};
    snprintf(ret, 16, "-");
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (ms >= units[i].from_ms) {
            snprintf(ret, 16, "%.*f %s", units[i].decimals, (double)ms / (double)units[i].unit_ms,
                     units[i].unit);
            return;
        }
}
