/*
 * See tail.h. One position per partition; whatever way an event comes, it counts only when it is the next
 * one.
 */
#include "api/tail.h"

#include <stdlib.h>

#include "api/door.h"
#include "bus/base/log.h"
#include "bus/lane.h"

static const enum topic followed[] = {TOPIC_USERS, TOPIC_CATALOG, TOPIC_STOCK};
enum { FOLLOWED = sizeof(followed) / sizeof(*followed) };

enum { BLOCK_MS = 1000, SCRATCH = 8 << 20 };

struct place {
    struct tail *tail;
    enum topic topic;
    int part;
    int64_t ms, seq; /* of the last event that was told */
    int64_t seen;    /* the head at the last look */
    bool fetching;   /* a read of the log is under way */
    bool gap;        /* the stream lacks what comes next: the log must bring it */
};

struct tail {
    struct door *door;
    const struct tail_hooks *hooks;
    void *data;
    struct redis_poll *redis;
    uv_timer_t timer;
    struct arena *scratch;
    bool placed, live, loading, asked_heads, reading;
    struct place places[FOLLOWED][PARTITIONS_MAX];
};

static void read_stream(struct tail *tail);

static struct place *place_of(struct tail *tail, enum topic topic, int part)
{
    for (size_t i = 0; i < FOLLOWED; i++)
        if (followed[i] == topic)
            return &tail->places[i][part];
    return NULL;
}

static void ask_load(struct tail *tail)
{
    if (tail->loading)
        return;
    tail->loading = true;
    tail->hooks->load(tail->data);
}

void tail_loaded(struct tail *tail, err e)
{
    tail->loading = false;
    if (!failed(e))
        tail->live = true;
    else
        tail->placed = false; /* begin again: positions first */
}

bool tail_is_live(const struct tail *tail)
{
    return tail && tail->live;
}

bool tail_reached(const struct tail *tail, enum topic topic, int part, int64_t seq)
{
    for (size_t i = 0; i < FOLLOWED; i++)
        if (followed[i] == topic)
            return tail_is_live(tail) && tail->placed && tail->places[i][part].seq >= seq;
    return true;
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
    if (failed(e))
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
    eventlog_queue_read(pg, place->topic, place->part, place->seq, TAIL_BATCH, on_events, place);
    pg_sync(pg, NULL, NULL);
}

/* Too much was missed to be told one by one: the next look at the heads places anew, then all is loaded anew.
 */
static void begin_anew(struct tail *tail)
{
    tail->placed = false;
}

/* What Redis has not brought since the last look, it will not bring. */
static void look(struct place *place, const struct head *head, bool redis_up)
{
    if (head->seq - place->seq > TAIL_FAR)
        begin_anew(place->tail);
    else if (head->seq > place->seq && (place->gap || !redis_up || place->seq < place->seen))
        fetch(place);
    place->seen = head->seq;
}

static void put(struct place *place, const struct head *head)
{
    place->seq = place->seen = head->seq;
    place->ms = head->ms;
    place->gap = false;
}

static void take_heads(struct tail *tail, const struct pg_result *rows)
{
    bool placed = tail->placed, redis_up = redis_poll_up(tail->redis) != NULL;
    for (int i = 0; i < pg_rows(rows); i++) {
        struct head head = {.topic = topic_find(pg_get_str(rows, i, 0)),
                            .part = (int)pg_get_int(rows, i, 1),
                            .seq = pg_get_int(rows, i, 2),
                            .ms = pg_get_int(rows, i, 3)};
        struct place *place = place_of(tail, head.topic, head.part);
        if (place && head.part < partitions() && placed)
            look(place, &head, redis_up);
        else if (place && head.part < partitions())
            put(place, &head);
    }
    if (placed)
        return;
    tail->placed = true;
    ask_load(tail);
}

static void on_heads(void *data, err e, struct pg_result *rows)
{
    struct tail *tail = data;
    tail->asked_heads = false;
    if (failed(e))
        return;
    take_heads(tail, rows);
    read_stream(tail);
}

/* topic, part, seq, ms */
static const struct pg_stmt select_heads = {
    "door_select_heads",
    "SELECT topic, part, seq, ms FROM stream_head WHERE topic IN ('users', 'catalog', 'stock')"};

static void on_timer(uv_timer_t *timer)
{
    struct tail *tail = timer->data;
    if (!tail->asked_heads && !failed(pg_poll_query(tail->door->pg, &select_heads, 0, NULL, on_heads, tail)))
        tail->asked_heads = true;
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
    if (!place || entry->broken || !tell(place, &event)) {
        if (place)
            place->gap = true;
        return false;
    }
    return true;
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
        if (!tell_entry(tail, &entries[i])) {
            struct place *place = place_of(tail, entries[i].topic, entries[i].part);
            if (place)
                fetch(place);
        }
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
    struct str words[6 + 2 * FOLLOWED * PARTITIONS_MAX] = {STR("XREAD"), STR("COUNT"), STR("200"),
                                                           STR("BLOCK"), STR("1000"),  STR("STREAMS")};
    struct str ids[FOLLOWED * PARTITIONS_MAX];
    for (size_t i = 0; i < FOLLOWED; i++)
        for (int part = 0; part < partitions(); part++) {
            struct place *place = &tail->places[i][part];
            char name[STREAM_NAME];
            if (place->gap)
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
    for (size_t i = 0; i < FOLLOWED; i++)
        for (int part = 0; part < PARTITIONS_MAX; part++)
            tail->places[i][part] = (struct place){.tail = tail, .topic = followed[i], .part = part};
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
