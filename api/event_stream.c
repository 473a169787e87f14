/*
 * A stream has a place in every partition of its topics: the last event it is done with, sent or not wanted.
 * A place is live, then it takes what the tail tells when that is the next one; or it lags, then its events
 * come from the log, STREAM_READ at a time and one read per stream, until it has met the tail:
 *
 *   tail at 40, place at 12, lagging  → reads 13 … 40 from the log; meanwhile the tail tells 41: not taken
 *   place at 40, tail at 41           → reads 41; place and tail are equal: live
 *   the tail tells 42                 → it is the next one: written
 *
 * So nothing is missed and nothing comes twice, whatever the tail leaves out. A reader who takes bytes slower
 * than they come lags in the same way: at most STREAM_HIGH bytes and one event wait for him in memory, the
 * rest is in the log. Who takes nothing for CONN_WRITE_MS is cut off by his connection.
 */
#include <stdlib.h>

#include "api/admit.h"
#include "api/door.h"
#include "api/event_history.h"
#include "api/events.h"
#include "api/tail.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/event_form.h"

enum {
    SCRATCH = 8 << 20,
    PASSED_MAX = 1000, /* events that were not wanted, after which the position is told by itself */
};

struct stream {
    struct stream *next;
    struct streams *streams;
    struct request *req; /* NULL: over, and waiting for a read to come back */
    struct type_filter filter;
    struct event_reader reader;
    struct position at;
    bool *lags;                /* per place of `at` */
    size_t first[TOPIC_COUNT]; /* index of a topic's partition 0 in `at`, if the filter has the topic */
    size_t turn;               /* the place that is read next */
    bool reading, full;
    int64_t wrote_ms, admitted_ms;
    int passed;    /* events since the position was last told */
    unsigned fell; /* as the tail said when it began */
};

struct streams {
    struct door *door;
    struct stream *first; /* those that are over included */
    bool drained, closed;
    uv_timer_t timer;
    struct arena *scratch;
};

/* ---- ends ---- */

static void stream_free_all(struct stream *stream)
{
    for (struct stream **at = &stream->streams->first; *at; at = &(*at)->next)
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    free(stream->at.places);
    free(stream->lags);
    free(stream);
}

/* The request is not ours any more; the memory goes when nothing refers to it. */
static void end(struct stream *stream)
{
    struct request *req = stream->req;
    struct door *door = stream->streams->door;
    stream->req = NULL;
    req->on_gone = req->on_drain = NULL;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (stream->filter.topics[topic])
            tail_leave(door->tail, (enum topic)topic);
    atomic_fetch_sub(&door->shop->streams, 1);
    counter_add(COUNTER_EVENT_STREAMS, -1);
    stream_end(req);
}

/* Not while the list is walked. */
static void forget_ended(struct streams *streams)
{
    struct stream *next;
    for (struct stream *stream = streams->first; stream; stream = next) {
        next = stream->next;
        if (!stream->req && !stream->reading)
            stream_free_all(stream);
    }
}

/* A read on the thread pool may outlast all else. */
static bool free_if_closed(struct streams *streams)
{
    if (!streams->closed)
        return false;
    forget_ended(streams);
    if (streams->first)
        return true;
    arena_free(streams->scratch);
    free(streams);
    return true;
}

/* ---- writing ---- */

static void write_out(struct stream *stream, struct str block)
{
    stream->wrote_ms = clock_mono_ms();
    stream->full = !stream_write(stream->req, block);
}

static struct str position_line(const struct stream *stream)
{
    struct arena *arena = stream->streams->scratch;
    return arena_printf(arena, "id: %.*s\n", STR_ARG(position_text(&stream->at, arena)));
}

/* One event is one block and one chunk: whatever is cut off, is cut off between events, or is a block without
 * its end, which readers drop. */
static void write_event(struct stream *stream, const struct event *event)
{
    struct arena *arena = stream->streams->scratch;
    bool staff = (stream->reader.rights & ~(unsigned)EVENTS_OWN) != 0;
    struct str id = position_line(stream), json = event_json(&event->envelope, staff, arena);
    write_out(stream, arena_printf(arena, "%.*sevent: %.*s\ndata: %.*s\n\n", STR_ARG(id),
                                   STR_ARG(event->envelope.type), STR_ARG(json)));
    stream->passed = 0;
    counter_add(COUNTER_EVENTS_STREAMED, 1);
}

/* The next event of a place: done with, whether it is shown or not. */
static void take(struct stream *stream, size_t place, const struct event *event)
{
    stream->at.places[place].seq = event->seq;
    stream->passed++;
    if (type_filter_wants(&stream->filter, event->envelope.type) &&
        event_rights_see(&stream->reader, &event->envelope, stream->streams->scratch))
        write_event(stream, event);
}

/* ---- from the log ---- */

static void read_on(struct stream *stream);

static bool has_met(const struct stream *stream, size_t place)
{
    const struct position_place *at = &stream->at.places[place];
    int64_t tail = tail_seq(stream->streams->door->tail, at->topic, at->part);
    return tail != TAIL_NOWHERE && at->seq >= tail;
}

/* Events of the place that is being read; false when the next one is missing. */
static bool take_events(struct stream *stream, size_t place, const struct event *events, size_t n)
{
    if (n == 0)
        return false;
    for (size_t i = 0; i < n && !stream->full && stream->req; i++) {
        if (events[i].seq != stream->at.places[place].seq + 1)
            return false;
        take(stream, place, &events[i]);
    }
    return true;
}

static void on_history(void *data, err e, const struct event *events, size_t n)
{
    struct stream *stream = data;
    const struct position_place *at = &stream->at.places[stream->turn];
    stream->reading = false;
    if (free_if_closed(stream->streams))
        return;
    if (!stream->req || failed(e))
        return; /* the timer frees it, or asks again */
    if (!take_events(stream, stream->turn, events, n)) {
        log_error("events are missing from the log", kv("topic", topic_name(at->topic)), kv("part", at->part),
                  kv("after", at->seq));
        end(stream);
        return;
    }
    arena_reset(stream->streams->scratch);
    read_on(stream);
}

/* More than he can be given at once would be read in vain, and again for the next piece. */
static const struct event_history_page page = {.events = STREAM_READ, .bytes = STREAM_HIGH};

/* Asks for the next piece of the next place that lags. One that has met the tail is live from here on. */
static void read_on(struct stream *stream)
{
    for (size_t i = 0; i < stream->at.n && !stream->reading && !stream->full && stream->req; i++) {
        stream->turn = (stream->turn + 1) % stream->at.n;
        const struct position_place *at = &stream->at.places[stream->turn];
        stream->lags[stream->turn] = stream->lags[stream->turn] && !has_met(stream, stream->turn);
        if (!stream->lags[stream->turn] ||
            tail_seq(stream->streams->door->tail, at->topic, at->part) == TAIL_NOWHERE)
            continue;
        stream->reading = !failed(event_history_read(stream->streams->door, at->topic, at->part, at->seq,
                                                     page, on_history, stream));
        return;
    }
}

/* ---- from the tail ---- */

static void tell(struct stream *stream, const struct event *event)
{
    size_t place = stream->first[event->topic] + (size_t)event->part;
    int64_t seq = stream->at.places[place].seq;
    if (event->seq <= seq)
        return;
    if (stream->full || event->seq != seq + 1)
        stream->lags[place] = true;
    if (!stream->lags[place])
        take(stream, place, event);
}

void streams_tell(struct streams *streams, const struct event *event)
{
    for (struct stream *stream = streams->first; stream; stream = stream->next)
        if (stream->req && stream->filter.topics[event->topic])
            tell(stream, event);
    arena_reset(streams->scratch);
}

/* ---- the timer ---- */

/* The tail began anew: it left out what no event that follows would tell us. */
static void find_lags(struct stream *stream)
{
    for (size_t i = 0; i < stream->at.n; i++)
        if (!has_met(stream, i))
            stream->lags[i] = true;
}

static void beat(struct stream *stream, int64_t now)
{
    struct str id = stream->passed > PASSED_MAX ? position_line(stream) : STR("");
    if (stream->full || (!id.n && now < stream->wrote_ms + STREAM_HEARTBEAT_MS))
        return;
    if (id.n)
        stream->passed = 0;
    write_out(stream, arena_printf(stream->streams->scratch, ": here\n%.*s\n", STR_ARG(id)));
}

static void turn(struct stream *stream, int64_t now)
{
    if (now >= stream->admitted_ms + STREAM_ADMIT_MS) {
        stream->admitted_ms = now;
        if (!admit_again(stream->req)) {
            end(stream);
            return;
        }
    }
    if (stream->fell != tail_fell(stream->streams->door->tail)) {
        end(stream); /* whoever comes again with a position behind the end of the log is told */
        return;
    }
    beat(stream, now);
    find_lags(stream);
    read_on(stream);
}

static void on_timer(uv_timer_t *timer)
{
    struct streams *streams = timer->data;
    int64_t now = clock_mono_ms();
    for (struct stream *stream = streams->first; stream; stream = stream->next)
        if (stream->req)
            turn(stream, now);
    arena_reset(streams->scratch);
    forget_ended(streams);
    if (!streams->first)
        uv_timer_stop(timer);
}

/* ---- begins ---- */

err streams_room(const struct streams *streams, struct uuid user)
{
    int64_t his = 0;
    if (streams->drained)
        return FAIL(UNAVAILABLE, "the door is closing");
    if (atomic_load(&streams->door->shop->streams) >= conf_int(SET_EVENT_STREAMS))
        return FAIL(OVERLOADED, "as many event streams as this door serves");
    for (const struct stream *stream = streams->first; stream; stream = stream->next)
        his += stream->req && uuid_eq(stream->reader.user, user);
    if (his >= conf_int(SET_EVENT_STREAMS_PER_USER))
        return FAIL(THROTTLED, "You have as many event streams open as one person may.");
    return OK;
}

static void on_gone(struct request *req)
{
    end(((struct visit *)req->data)->own);
}

static void on_drain(struct request *req)
{
    struct stream *stream = ((struct visit *)req->data)->own;
    stream->full = false;
    read_on(stream);
}

static void *copy_of(const void *p, size_t n)
{
    void *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    return memcpy(copy, p, n);
}

static struct stream *stream_new(struct streams *streams, const struct subscription *s)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    size_t n = s->from.n;
    if (!stream)
        abort();
    *stream = (struct stream){.next = streams->first,
                              .streams = streams,
                              .req = s->req,
                              .filter = s->filter,
                              .reader = s->reader,
                              .at = s->from,
                              .fell = tail_fell(streams->door->tail),
                              .admitted_ms = clock_mono_ms()};
    stream->at.places = copy_of(s->from.places, n * sizeof(*s->from.places));
    stream->lags = calloc(n + 1, sizeof(*stream->lags));
    if (!stream->lags)
        abort();
    for (size_t i = 0; i < n; i++) {
        stream->lags[i] = true; /* until it has met the tail */
        if (stream->at.places[i].part == 0)
            stream->first[stream->at.places[i].topic] = i;
    }
    streams->first = stream;
    return stream;
}

void stream_open(struct streams *streams, const struct subscription *s)
{
    if (s->req->gone) {
        respond_error(s->req, FAIL(UNAVAILABLE, "nobody reads any more"));
        return;
    }
    struct stream *stream = stream_new(streams, s);
    ((struct visit *)s->req->data)->own = stream;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (s->filter.topics[topic])
            tail_follow(streams->door->tail, (enum topic)topic);
    atomic_fetch_add(&streams->door->shop->streams, 1);
    counter_add(COUNTER_EVENT_STREAMS, 1);
    respond_header(s->req, "Cache-Control", STR("no-store"));
    respond_header(s->req, "X-Accel-Buffering", STR("no")); /* proxies in front shall not collect */
    s->req->on_gone = on_gone;
    s->req->on_drain = on_drain;
    stream_begin(s->req, 200, "text/event-stream");
    /* The position at once: who is cut off before his first event resumes without a loss. */
    write_out(stream, arena_printf(streams->scratch, "retry: %d\n%.*s\n", STREAM_RETRY_MS,
                                   STR_ARG(position_line(stream))));
    arena_reset(streams->scratch);
    if (!uv_is_active((uv_handle_t *)&streams->timer))
        uv_timer_start(&streams->timer, on_timer, 0, STREAM_TURN_MS);
}

/* ---- life ---- */

struct streams *streams_new(struct door *door)
{
    struct streams *streams = calloc(1, sizeof(*streams));
    if (!streams)
        abort();
    *streams = (struct streams){.door = door, .scratch = arena_new(SCRATCH)};
    uv_timer_init(loop_uv(door->loop), &streams->timer);
    streams->timer.data = streams;
    return streams;
}

void streams_drain(struct streams *streams)
{
    streams->drained = true;
    for (struct stream *stream = streams->first; stream; stream = stream->next)
        if (stream->req)
            end(stream);
}

static void on_closed(uv_handle_t *handle)
{
    struct streams *streams = handle->data;
    streams->closed = true;
    free_if_closed(streams);
}

struct streams *streams_free(struct streams *streams)
{
    if (streams)
        uv_close((uv_handle_t *)&streams->timer, on_closed);
    return NULL;
}
