/*
 * See tail.h. One position per partition; whatever way an event comes, it counts only when it is the next
 * one.
 */
#include "api/tail.h"

#include <stdlib.h>

#include "api/door.h"
#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/lane.h"

/* What the memory of a loop depends on: always followed. */
static const bool remembered[TOPIC_COUNT] = {
    [TOPIC_USERS] = true, [TOPIC_CATALOG] = true, [TOPIC_STOCK] = true};

enum { SCRATCH = 8 << 20, DOUBT_MS = 2000 };

struct place {
    struct tail *tail;
    enum topic topic;
    int part;
    int64_t ms, seq;  /* of the last event that was told */
    int64_t seen;     /* the head at the last look */
    int64_t asked;    /* seq when the look at the heads that is under way began */
    int64_t doubt_ms; /* monotonic: until then the log is read alone, since Redis shows more than it has */
    bool headed;      /* that look has found a head */
    bool placed;      /* seq is known */
    bool fetching;    /* a read of the log is under way */
    bool gap;         /* the stream lacks what comes next: the log must bring it */
};

struct tail {
    struct door *door;
    const struct tail_hooks *hooks;
    void *data;
    struct redis_poll *redis;
    uv_timer_t timer;
    struct arena *scratch;
    bool placed, live, loading, asked_heads, reading;
    bool blind;    /* PostgreSQL did not answer: it may be another log that comes back */
    unsigned fell; /* how often the log was found to have lost its end */
    unsigned followers[TOPIC_COUNT];
    bool asked[TOPIC_COUNT]; /* topics in the look at the heads that is under way */
    struct place places[TOPIC_COUNT][PARTITIONS_MAX];
};

static void read_stream(struct tail *tail);

/* NULL: not followed. */
static struct place *place_of(struct tail *tail, enum topic topic, int part)
{
    return tail->followers[topic] && part < partitions() ? &tail->places[topic][part] : NULL;
}

static void ask_load(struct tail *tail)
{
    if (tail->loading)
        return;
    tail->loading = true;
    tail->hooks->load(tail->data);
}

/* Too much was missed to be told one by one: the next look at the heads places anew, then all is loaded anew.
 */
static void begin_anew(struct tail *tail)
{
    tail->placed = false;
}

void tail_loaded(struct tail *tail, err e)
{
    tail->loading = false;
    if (!failed(e))
        tail->live = true;
    else
        begin_anew(tail); /* positions first */
}

bool tail_is_live(const struct tail *tail)
{
    return tail && tail->live;
}

bool tail_reached(const struct tail *tail, enum topic topic, int part, int64_t seq)
{
    return !remembered[topic] || (tail_is_live(tail) && tail_seq(tail, topic, part) >= seq);
}

int64_t tail_seq(const struct tail *tail, enum topic topic, int part)
{
    const struct place *place = &tail->places[topic][part];
    return place->placed ? place->seq : TAIL_NOWHERE;
}

unsigned tail_fell(const struct tail *tail)
{
    return tail->fell;
}

void tail_follow(struct tail *tail, enum topic topic)
{
    tail->followers[topic]++;
}

void tail_leave(struct tail *tail, enum topic topic)
{
    if (--tail->followers[topic])
        return;
    for (int part = 0; part < PARTITIONS_MAX; part++)
        tail->places[topic][part].placed = false;
}

/* False: not the next one of its partition. */
static bool tell(struct place *place, const struct event *event)
{
    if (event->seq <= place->seq)
        return true;
    if (event->seq != place->seq + 1)
        return false;
    place->seq = event->seq;
    place->ms = event->ms;
    place->tail->hooks->event(place->tail->data, event);
    return true;
}

/* ---- from the log ---- */

static void fetch(struct place *place);

static void on_events(void *data, err e, struct pg_result *rows)
{
    struct place *place = data;
    struct tail *tail = place->tail;
    size_t n = 0;
    place->fetching = false;
    if (failed(e) || !place->placed)
        return; /* the next look asks again */
    struct event *events = eventlog_rows(rows, place->topic, place->part, tail->scratch, &n);
    for (size_t i = 0; i < n; i++)
        tell(place, &events[i]);
    arena_reset(tail->scratch);
    place->gap = n == TAIL_BATCH;
    if (place->gap)
        fetch(place);
}

static void fetch(struct place *place)
{
    struct pg *pg = pg_poll_up(place->tail->door->pg);
    if (!pg || place->fetching)
        return;
    place->fetching = true;
    eventlog_queue_read(pg, place->topic, place->part, place->seq, TAIL_BATCH, EVENTLOG_READ_BYTES, on_events,
                        place);
    pg_sync(pg, NULL, NULL);
}

/* Was something told that is no event of this log? It has lost its end, or Redis shows what it never had.
 * What was told before the look began was committed before. */
static bool has_fallen(const struct place *place, const struct head *head)
{
    return head->seq < place->asked || (head->seq == place->seq && head->ms != place->ms);
}

static void fall(struct place *place, int64_t head)
{
    struct tail *tail = place->tail;
    log_error("the log does not have what was told; all is read anew", kv("topic", topic_name(place->topic)),
              kv("part", place->part), kv("told", place->seq), kv("head", head));
    place->doubt_ms = clock_mono_ms() + DOUBT_MS;
    tail->fell++;
    begin_anew(tail);
}

static void find_fallen(struct tail *tail, const struct pg_result *rows)
{
    for (int i = 0; i < pg_rows(rows); i++) {
        struct head head = {topic_find(pg_get_str(rows, i, 0)), (int)pg_get_int(rows, i, 1),
                            pg_get_int(rows, i, 2), pg_get_int(rows, i, 3)};
        struct place *place = place_of(tail, head.topic, head.part);
        if (!place)
            continue;
        place->headed = true;
        if (place->placed && has_fallen(place, &head))
            fall(place, head.seq);
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; tail->asked[topic] && part < partitions(); part++) {
            struct place *place = &tail->places[topic][part];
            if (place->placed && !place->headed && place->asked > 0)
                fall(place, 0);
        }
}

static bool doubts(const struct place *place)
{
    return clock_mono_ms() < place->doubt_ms;
}

/* What Redis has not brought since the last look, it will not bring. */
static void look(struct place *place, const struct head *head, bool redis_up)
{
    bool alone = place->gap || !redis_up || doubts(place);
    if (head->seq - place->seq > TAIL_FAR)
        begin_anew(place->tail);
    else if (head->seq > place->seq && (alone || place->seq < place->seen))
        fetch(place);
    place->seen = head->seq;
}

static void put(struct place *place, int64_t seq, int64_t ms)
{
    place->seq = place->seen = seq;
    place->ms = ms;
    place->gap = false;
    place->placed = true;
}

static void unplace(struct tail *tail)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; part < PARTITIONS_MAX; part++)
            tail->places[topic][part].placed = false;
}

/* Partitions without a head have no event yet. */
static void place_rest(struct tail *tail)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; tail->asked[topic] && tail->followers[topic] && part < partitions(); part++)
            if (!tail->places[topic][part].placed)
                put(&tail->places[topic][part], 0, 0);
}

static void take_heads(struct tail *tail, const struct pg_result *rows)
{
    find_fallen(tail, rows);
    if (tail->blind)
        begin_anew(tail);
    tail->blind = false;
    bool placed = tail->placed, redis_up = redis_poll_up(tail->redis) != NULL;
    if (!placed)
        unplace(tail);
    for (int i = 0; i < pg_rows(rows); i++) {
        struct head head = {.topic = topic_find(pg_get_str(rows, i, 0)),
                            .part = (int)pg_get_int(rows, i, 1),
                            .seq = pg_get_int(rows, i, 2),
                            .ms = pg_get_int(rows, i, 3)};
        struct place *place = place_of(tail, head.topic, head.part);
        if (place && place->placed)
            look(place, &head, redis_up);
        else if (place)
            put(place, head.seq, head.ms);
    }
    place_rest(tail);
    if (placed)
        return;
    tail->placed = true;
    ask_load(tail);
}

static void on_heads(void *data, err e, struct pg_result *rows)
{
    struct tail *tail = data;
    tail->asked_heads = false;
    tail->blind |= failed(e);
    if (failed(e))
        return;
    take_heads(tail, rows);
    read_stream(tail);
}

/* topic, part, seq, ms */
static const struct pg_stmt select_heads = {
    "door_select_heads", "SELECT topic, part, seq, ms FROM stream_head WHERE topic = ANY($1::text[])"};

static void ask_heads(struct tail *tail)
{
    struct pg_array names = pg_array(tail->scratch, PG_TEXT, TOPIC_COUNT);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        tail->asked[topic] = tail->followers[topic];
        for (int part = 0; part < partitions(); part++) {
            struct place *place = &tail->places[topic][part];
            place->asked = place->placed ? place->seq : 0;
            place->headed = false;
        }
        if (tail->asked[topic])
            pg_array_text(&names, str_of(topic_name((enum topic)topic)));
    }
    struct pg_param param = pg_array_param(&names);
    tail->asked_heads = !failed(pg_poll_query(tail->door->pg, &select_heads, 1, &param, on_heads, tail));
    tail->blind |= !tail->asked_heads;
    arena_reset(tail->scratch);
}

static void on_timer(uv_timer_t *timer)
{
    struct tail *tail = timer->data;
    if (!tail->asked_heads)
        ask_heads(tail);
    read_stream(tail);
}

/* ---- from Redis ---- */

static bool tell_entry(struct tail *tail, const struct entry *entry)
{
    struct place *place = place_of(tail, entry->topic, entry->part);
    struct event event = {.topic = entry->topic,
                          .part = entry->part,
                          .seq = entry->seq,
                          .ms = entry->ms,
                          .envelope = entry->envelope};
    if (!place || !place->placed || doubts(place))
        return true; /* asked for while somebody still listened, or while it was still believed */
    if (!entry->broken && tell(place, &event))
        return true;
    place->gap = true;
    return false;
}

static void on_entries(void *data, const struct redis_reply *reply)
{
    struct tail *tail = data;
    struct entry *entries;
    size_t n;
    tail->reading = false;
    if (!reply || reply->kind == REDIS_ERROR || failed(lane_entries(reply, tail->scratch, &entries, &n)))
        return; /* the timer asks again */
    for (size_t i = 0; i < n; i++)
        if (!tell_entry(tail, &entries[i]))
            fetch(place_of(tail, entries[i].topic, entries[i].part));
    arena_reset(tail->scratch);
    read_stream(tail);
}

/* XREAD of all partitions without a gap, from the last event that was told. */
static void read_stream(struct tail *tail)
{
    struct redis *redis = redis_poll_up(tail->redis);
    if (!redis || !tail->placed || tail->reading)
        return;
    size_t n = 0;
    struct str words[6 + 2 * TOPIC_COUNT * PARTITIONS_MAX] = {STR("XREAD"), STR("COUNT"), STR("200"),
                                                              STR("BLOCK"), STR("1000"),  STR("STREAMS")};
    struct str ids[TOPIC_COUNT * PARTITIONS_MAX];
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; tail->followers[topic] && part < partitions(); part++) {
            struct place *place = &tail->places[topic][part];
            char name[STREAM_NAME];
            if (place->gap || !place->placed || doubts(place))
                continue;
            stream_name(place->topic, part, name);
            words[6 + n] = arena_str(tail->scratch, str_of(name));
            ids[n++] = arena_printf(tail->scratch, "%lld-%lld", (long long)place->ms, (long long)place->seq);
        }
    memcpy(words + 6 + n, ids, n * sizeof(*ids));
    if (n) {
        tail->reading = true;
        redis_send(redis, on_entries, tail, 6 + 2 * n, words);
    }
    arena_reset(tail->scratch);
}

static void on_link(void *data, bool up)
{
    if (up)
        read_stream(data);
}

/* ---- life ---- */

struct tail *tail_new(struct door *door, const struct tail_hooks *hooks, void *data)
{
    struct tail *tail = calloc(1, sizeof(*tail));
    if (!tail)
        abort();
    *tail = (struct tail){.door = door, .hooks = hooks, .data = data, .scratch = arena_new(SCRATCH)};
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        tail->followers[topic] = remembered[topic];
        for (int part = 0; part < PARTITIONS_MAX; part++)
            tail->places[topic][part] =
                (struct place){.tail = tail, .topic = (enum topic)topic, .part = part};
    }
    tail->redis = redis_poll_new(loop_uv(door->loop), door->shop->redis_url, on_link, tail);
    uv_timer_init(loop_uv(door->loop), &tail->timer);
    tail->timer.data = tail;
    uv_timer_start(&tail->timer, on_timer, 0, TAIL_HEADS_MS);
    return tail;
}

static void on_closed(uv_handle_t *handle)
{
    struct tail *tail = handle->data;
    arena_free(tail->scratch);
    free(tail);
}

struct tail *tail_free(struct tail *tail)
{
    if (!tail)
        return NULL;
    tail->redis = redis_poll_free(tail->redis);
    uv_close((uv_handle_t *)&tail->timer, on_closed);
    return NULL;
}
