/*
 * Catching up: from where the streams are to the heads of the log, in rounds. A round takes pages of up to
 * eight partitions: read from the log, append, see what became of it. While Redis works on one round
 * PostgreSQL already reads the next, on the assumption that all goes well; pages for which that turned out
 * wrong are thrown away.
 */
#include <poll.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/relay_internal.h"

enum { ROUND = 8 };

struct page {
    struct relay *relay;
    struct stream *stream;
    int64_t after; /* the page begins behind this seq */
    struct pg_result *result;
    struct event *events;
    size_t n;
};

struct round {
    struct page pages[ROUND];
    size_t n;
};

static void on_page(void *data, const struct redis_reply *reply)
{
    struct page *page = data;
    struct stream *stream = page->stream;
    switch (relay_append_answer(page->relay, reply, &stream->last_ms, &stream->last)) {
    case APPEND_DONE:
        stream->last = page->events[page->n - 1].seq;
        stream->last_ms = page->events[page->n - 1].ms;
        page->relay->appended += (int64_t)page->n;
        counter_add(COUNTER_RELAY_APPENDED, (int64_t)page->n);
        break;
    case APPEND_MISSING:
        stream->state = STREAM_MISSING;
        page->relay->again = true;
        break;
    case APPEND_CONFLICT: /* another relay was first, a tail was lost, or somebody else writes: `last` is what
                             stands there, and the log has to say whether it is an event */
        stream->checked = false;
        break;
    case APPEND_FAILED:
        break;
    }
}

/* Partitions that are behind, each in its turn; their reads are queued and on their way. */
static void round_read(struct relay *relay, struct round *round)
{
    *round = (struct round){.n = 0};
    for (size_t i = 0; i < relay->n && round->n < ROUND; i++) {
        struct stream *stream = &relay->streams[(relay->turn + i) % relay->n];
        if (stream->state == STREAM_GOOD && stream->sent < stream->head)
            round->pages[round->n++] = (struct page){.relay = relay, .stream = stream, .after = stream->sent};
    }
    if (round->n == 0)
        return;
    relay->turn = (size_t)(round->pages[round->n - 1].stream - relay->streams) + 1;
    for (size_t i = 0; i < round->n; i++) {
        struct page *page = &round->pages[i];
        eventlog_queue_read(relay->pg, page->stream->topic, page->stream->part, page->after, RELAY_BATCH,
                            EVENTLOG_READ_BYTES, pg_keep, &page->result);
    }
    pg_sync(relay->pg, NULL, NULL);
    pg_flush(relay->pg);
}

/* A stream that is made anew may begin further back than the log: then the archive has what comes next. When
 * its file cannot be read the stream waits for the next look; the others go on. */
static err page_from_archive(struct relay *relay, struct page *page)
{
    if (page->n && page->events[0].seq == page->after + 1)
        return OK;
    struct event *events;
    size_t n;
    err e = archive_read(relay->pg, page->stream->topic, page->stream->part, page->after, RELAY_BATCH,
                         relay->arena, &events, &n);
    if (e.code == ERR_UNAVAILABLE) {
        relay_unread(page->stream, page->after + 1, e);
        page->stream->state = STREAM_UNKNOWN;
        page->events = NULL;
        return OK;
    }
    TRY(e);
    if (n) {
        page->events = events;
        page->n = n;
    }
    return OK;
}

/* The pages of the round, read. After a failure, or with nothing to be done with them, only lets go of them.
 */
static err round_take(struct relay *relay, struct round *round, bool wanted)
{
    err e = round->n ? pg_wait(relay->pg, RELAY_TIMEOUT_MS) : OK;
    arena_reset(relay->arena);
    for (size_t i = 0; i < round->n; i++) {
        struct page *page = &round->pages[i];
        bool fits = page->stream->state == STREAM_GOOD && page->after == page->stream->last;
        if (!failed(e) && wanted && fits)
            page->events =
                eventlog_rows(page->result, page->stream->topic, page->stream->part, relay->arena, &page->n);
        page->result = pg_result_free(page->result);
    }
    for (size_t i = 0; i < round->n && !failed(e); i++)
        if (round->pages[i].events)
            e = page_from_archive(relay, &round->pages[i]);
    return relay_read_failed(relay, e);
}

/* The log is gapless by construction; one with a gap must not be relayed. */
static bool page_is_next(const struct page *page)
{
    if (page->n && page->events[0].seq == page->after + 1)
        return true;
    log_error("the log has a gap; its partition is not relayed", kv("stream", page->stream->name),
              kv("after", page->after), kv("head", page->stream->head));
    page->stream->state = STREAM_UNKNOWN;
    return false;
}

static void round_send(struct relay *relay, struct round *round)
{
    for (size_t i = 0; i < round->n; i++) {
        struct page *page = &round->pages[i];
        if (page->events && page_is_next(page)) {
            page->stream->sent = page->events[page->n - 1].seq;
            page->events[0].before_ms = page->stream->last_ms;
            relay_append_send(relay, page->stream->name, page->events, page->n, on_page, page, relay->arena);
            redis_pump(relay->redis, POLLOUT);
        }
        if (i == round->n / 2 && FAULT(RELAY_MID_APPEND))
            break;
    }
}

/* Rounds until every stream has reached the head that was read, or the time is over. */
err relay_catch_up(struct relay *relay, int64_t until)
{
    struct round rounds[2], *now = &rounds[0], *next = &rounds[1], *spare;
    for (size_t i = 0; i < relay->n; i++)
        relay->streams[i].sent = relay->streams[i].last;
    round_read(relay, now);
    while (now->n) {
        bool late = clock_mono_ms() >= until;
        TRY(round_take(relay, now, !late));
        if (late)
            return OK;
        if (FAULT(RELAY_AFTER_SELECT))
            return FAIL(REDIS_DOWN, "fault");
        round_send(relay, now);
        round_read(relay, next);
        err e = relay_wait(relay);
        for (size_t i = 0; i < now->n; i++)
            now->pages[i].stream->sent = now->pages[i].stream->last;
        if (!failed(e))
            e = relay_check_last_ids(relay);
        if (failed(e)) {
            err dropped = round_take(relay, next, false);
            return failed(dropped) ? dropped : e;
        }
        spare = now;
        now = next;
        next = spare;
        if (now->n == 0)
            round_read(relay, now); /* what a conflict left open */
    }
    return OK;
}
