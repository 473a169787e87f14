/*
 * Fetching. Redis is asked for what lies behind what was seen of each partition; an entry is believed only
 * when its number is the next one and the log has it, too: PostgreSQL may have lost its end, and anybody who
 * can write to Redis can write anything. Anything else (a gap, an entry that cannot be read, silence although
 * the log has a head that is further) is read from the log. So it does not matter what happens to Redis, nor
 * whether there is one.
 */
#include "bus/subscriber/internal.h"

#include <poll.h>

#include "bus/base/clock.h"
#include "bus/eventlog.h"

enum {
    BLOCK_MS = 500,
    HEADS_MS = 250,
    HEADS_ALONE_MS = 100,
    DRIFT_MS = 500,
    REDIS_REST_MS = 2000,
    ARCHIVE_REST_MS = 2000,
    DOUBT_MS = 2000,
    HAS_MS = 10000,
    STEP_MS = 100,
    DOWN_MS = 200,
};

/* ---- the queue ---- */

static bool wanted(const struct dds *sub, struct str type)
{
    return message_find(type) != MESSAGE_NONE ? type_filter_wants(&sub->filter, type)
                                              : type_list_wants(str_of(sub->types), type);
}

static const char *text(struct dds *sub, struct str s)
{
    return s.p ? arena_cstr(sub->arena, s) : "";
}

static struct queued *new_queued(struct dds *sub)
{
    if (sub->n_queue == sub->cap_queue) {
        size_t cap = sub->cap_queue ? sub->cap_queue * 2 : 64;
        sub->queue = arena_grow(sub->arena, sub->queue, sub->cap_queue * sizeof(*sub->queue),
                                cap * sizeof(*sub->queue));
        sub->cap_queue = cap;
    }
    return &sub->queue[sub->n_queue++];
}

static void enqueue(struct dds *sub, struct place *place, int64_t seq, int64_t ms, const struct envelope *e)
{
    struct queued *queued = new_queued(sub);
    queued->place = place;
    queued->event = (struct dds_event){.topic = topic_name(place->topic),
                                       .partition = place->part,
                                       .seq = seq,
                                       .ms = ms,
                                       .data_len = e->data.n,
#define TEXT(member) .member = text(sub, e->member)
                                       TEXT(id),
                                       TEXT(type),
                                       TEXT(source),
                                       TEXT(subject),
                                       TEXT(time),
                                       TEXT(dataschema),
                                       TEXT(partitionkey),
                                       TEXT(correlationid),
                                       TEXT(causationid),
                                       TEXT(actor),
                                       TEXT(traceparent),
                                       TEXT(datacontenttype),
                                       TEXT(data)
#undef TEXT
    };
    place->queued++;
}

/* The event behind what was seen. */
static void see(struct dds *sub, struct place *place, int64_t seq, int64_t ms, const struct envelope *e)
{
    place->seen = seq;
    place->seen_ms = ms;
    if (wanted(sub, e->type))
        enqueue(sub, place, seq, ms, e);
    else if (place->queued == 0) {
        place->given = seq;
        place->given_ms = ms;
    }
}

static bool full(const struct dds *sub)
{
    return sub->n_queue >= (size_t)sub->batch;
}

const struct dds_event *sub_take(struct dds *sub)
{
    struct queued *queued = &sub->queue[sub->at++];
    struct place *place = queued->place;
    bool last = --place->queued == 0;
    place->given = last ? place->seen : queued->event.seq;
    place->given_ms = last ? place->seen_ms : queued->event.ms;
    place->owing = true;
    sub->stats.delivered++;
    return &queued->event;
}

/* ---- the log ---- */

/* One page. A full one means that there may be more. */
static err read_log(struct dds *sub, struct place *place)
{
    struct event *events;
    size_t n;
    int limit = sub->batch - (int)sub->n_queue;
    TRY(eventlog_read(sub->pg, place->topic, place->part, place->seen, limit, sub->arena, &events, &n));
    for (size_t i = 0; i < n; i++) {
        if (events[i].seq != place->seen + 1)
            return FAIL(PG_RETRY, "the log of %s has a hole at %lld", place->stream,
                        (long long)place->seen + 1);
        see(sub, place, events[i].seq, events[i].ms, &events[i].envelope);
        sub->stats.from_log++;
    }
    place->behind = n > 0;
    return OK;
}

static bool rests(const struct place *place)
{
    return clock_mono_ms() < place->rest_ms;
}

static bool doubts(const struct place *place)
{
    return clock_mono_ms() < place->doubt_ms;
}

/* Places known to be behind, in turn, so that one with a long history does not starve the others. One whose
 * archive cannot be read rests, and the caller hears of it when there is nothing else for him. */
static err catch_up(struct dds *sub)
{
    size_t first = sub->turn_first++;
    err unread = OK;
    for (size_t i = 0; i < sub->n_places && !full(sub); i++) {
        struct place *place = &sub->places[(first + i) % sub->n_places];
        if (!place->owned || !place->behind || rests(place))
            continue;
        err e = read_log(sub, place);
        if (e.code == ERR_UNAVAILABLE) {
            place->rest_ms = clock_mono_ms() + ARCHIVE_REST_MS;
            unread = e;
        } else {
            TRY(e);
        }
    }
    return sub->n_queue ? OK : unread;
}

/* With Redis it must have been silent since the last look: else every event would be read twice. */
static bool stuck(const struct dds *sub, struct place *place, int64_t head)
{
    bool alone = !sub->redis || !redis_is_up(sub->redis) || doubts(place);
    bool yes = head > place->seen &&
               (alone || (place->looked_head > place->seen && place->looked_seen == place->seen));
    place->looked_head = head;
    place->looked_seen = place->seen;
    return yes;
}

static err look_at_heads(struct dds *sub)
{
    struct head *heads;
    size_t n;
    TRY(eventlog_heads(sub->pg, sub->arena, &heads, &n));
    for (size_t i = 0; i < n; i++) {
        struct place *place = sub_place(sub, heads[i].topic, heads[i].part);
        if (place && place->owned && stuck(sub, place, heads[i].seq))
            place->behind = true;
    }
    sub->next_heads_ms = clock_mono_ms() + (sub->redis ? HEADS_MS : HEADS_ALONE_MS);
    return catch_up(sub);
}

/* ---- Redis ---- */

static void on_read(void *data, const struct redis_reply *reply)
{
    struct dds *sub = data;
    if (!reply)
        return;
    if (reply->kind == REDIS_ERROR || failed(lane_entries(reply, sub->arena, &sub->read, &sub->n_read)))
        sub->next_redis_ms =
            clock_mono_ms() + REDIS_REST_MS; /* no rights, no memory: the log goes on meanwhile */
}

/* Whether a place is read may change with the clock, so each is asked once. */
static void send_read(struct dds *sub)
{
    struct str *names = arena_array(sub->arena, struct str, 2 * sub->n_places), *ids = names + sub->n_places;
    size_t n = 0;
    for (size_t i = 0; i < sub->n_places; i++) {
        const struct place *place = &sub->places[i];
        if (!place->owned || rests(place) || doubts(place))
            continue;
        names[n] = str_of(place->stream);
        ids[n++] = arena_printf(sub->arena, "%lld-%lld", (long long)place->seen_ms, (long long)place->seen);
    }
    if (n == 0)
        return;
    struct str *words = arena_array(sub->arena, struct str, 6 + 2 * n), *w = words;
    *w++ = STR("XREAD");
    *w++ = STR("COUNT");
    *w++ = arena_printf(sub->arena, "%d", (int)(((size_t)sub->batch + n - 1) / n));
    *w++ = STR("BLOCK");
    *w++ = arena_printf(sub->arena, "%d", BLOCK_MS);
    *w++ = STR("STREAMS");
    memcpy(w, names, n * sizeof(*names));
    memcpy(w + n, ids, n * sizeof(*ids));
    redis_send(sub->redis, on_read, sub, 6 + 2 * n, words);
}

/* The place of an entry in hand; NULL: not for us now. */
static struct place *place_of(const struct dds *sub, const struct entry *entry)
{
    struct place *place = sub_place(sub, entry->topic, entry->part);
    return place && place->owned && !rests(place) && !doubts(place) && !entry->command ? place : NULL;
}

static void doubt(struct place *place)
{
    place->doubt_ms = clock_mono_ms() + DOUBT_MS;
    place->behind = true;
}

/* How far the entries in hand follow on what was seen. One that has the id of no event, or is younger than
 * what was seen and has a passed number, is of another log. */
static void find_shown(struct dds *sub)
{
    for (size_t i = 0; i < sub->n_places; i++)
        sub->places[i].shown = 0;
    for (size_t i = 0; i < sub->n_read; i++) {
        const struct entry *entry = &sub->read[i];
        struct place *place = place_of(sub, entry);
        if (!place)
            continue;
        if (entry->seq == 0 || (entry->seq <= place->seen && place->seen_ms && entry->ms > place->seen_ms)) {
            doubt(place);
        } else if (!entry->broken && entry->seq == (place->shown ? place->shown : place->seen) + 1) {
            place->shown = entry->seq;
            place->shown_ms = entry->ms;
        }
    }
}

/* Streams have no holes, so the last one answers for those before it. */
static err ask_log(struct dds *sub)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct head *shown = arena_array(sub->scratch, struct head, sub->n_places);
    size_t n = 0, answer = 0;
    for (size_t i = 0; i < sub->n_places; i++) {
        const struct place *place = &sub->places[i];
        if (place->shown)
            shown[n++] = (struct head){place->topic, place->part, place->shown, place->shown_ms};
    }
    if (n == 0)
        return OK;
    eventlog_queue_has(sub->pg, shown, n, sub->scratch, pg_keep, &result);
    pg_sync(sub->pg, NULL, NULL);
    TRY(pg_wait(sub->pg, HAS_MS));
    for (size_t i = 0; i < sub->n_places; i++)
        if (sub->places[i].shown && !eventlog_has(result, answer++))
            doubt(&sub->places[i]);
    return OK;
}

/* Entries in order; a place whose next one is missing is read from the log instead. */
static err take_entries(struct dds *sub)
{
    find_shown(sub);
    TRY(ask_log(sub));
    for (size_t i = 0; i < sub->n_read; i++) {
        const struct entry *entry = &sub->read[i];
        struct place *place = place_of(sub, entry);
        if (!place)
            continue;
        if (entry->seq <= place->seen)
            sub->stats.repeated++;
        else if (!entry->broken && entry->seq == place->seen + 1 && entry->seq <= place->shown)
            see(sub, place, entry->seq, entry->ms, &entry->envelope);
        else
            place->behind = true;
    }
    sub->n_read = 0;
    return catch_up(sub);
}

static err wait_for_redis(struct dds *sub, int64_t left_ms)
{
    if (redis_waiting(sub->redis) == 0)
        send_read(sub);
    redis_pump(sub->redis, POLLOUT);
    struct pollfd p = {.fd = redis_fd(sub->redis), .events = redis_wants(sub->redis)};
    if (redis_is_up(sub->redis) && poll(&p, 1, (int)left_ms) > 0)
        redis_pump(sub->redis, p.revents);
    return take_entries(sub);
}

/* ---- the whole ---- */

/* Events that nobody wants move the position too, or the stream could not be trimmed. */
static err drift(struct dds *sub)
{
    size_t n;
    sub->next_drift_ms = clock_mono_ms() + DRIFT_MS;
    struct move *moves = sub_moves(sub, true, &n);
    return n ? sub_commit_moves(sub, moves, n) : OK;
}

static int64_t earliest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static err step(struct dds *sub, int64_t until_ms)
{
    TRY(sub_up(sub));
    if (sub->lost)
        return OK;
    if (clock_mono_ms() >= sub->next_drift_ms)
        TRY(drift(sub));
    TRY(catch_up(sub));
    if (sub->n_queue == 0 && clock_mono_ms() >= sub->next_heads_ms)
        TRY(look_at_heads(sub));
    if (sub->n_queue)
        return OK;
    int64_t now = clock_mono_ms(), wake = earliest(earliest(until_ms, sub->next_heads_ms), now + STEP_MS);
    wake = earliest(wake, sub->next_turn_ms);
    if (sub->redis && redis_is_up(sub->redis) && now >= sub->next_redis_ms)
        return wait_for_redis(sub, wake > now ? wake - now : 0);
    if (wake > now)
        clock_sleep_ms(wake - now);
    return OK;
}

err sub_fetch(struct dds *sub, int64_t until_ms)
{
    sub->queue =
        NULL; /* a read may be on its way: its entries are put into the arena when they come, not before */
    sub->at = sub->n_queue = sub->cap_queue = sub->n_read = 0;
    arena_reset(sub->arena);
    err e;
    do {
        arena_reset(sub->scratch);
        e = step(sub, until_ms);
    } while (!failed(e) && sub->n_queue == 0 && !sub->lost && clock_mono_ms() < until_ms);
    int64_t left = until_ms - clock_mono_ms();
    if (err_class_of(e.code) == ERR_CLASS_RETRY && left > 0)
        clock_sleep_ms(left < DOWN_MS ? left : DOWN_MS); /* a caller that just calls again does not spin */
    return e;
}
