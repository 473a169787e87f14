/*
 * bus tail: events as they come, one line each. They come from the streams of Redis; what a stream does not
 * show (it was lost, trimmed or holds something foreign, or Redis does not answer) is read from the log, so
 * that a tail has neither holes nor repeats within a partition.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/span.h"
#include "bus/lane.h"

enum { BLOCK_MS = 500, LOOK_MS = 1000, WORDS_HEAD = 6, PAGE = 256 };

/* One partition. Two cursors, since a stream may hold what the log does not know. */
struct position {
    struct span span;
    char name[STREAM_NAME], last[48]; /* XREAD goes on behind `last` */
    int64_t seq;                      /* told or passed over up to here */
    int64_t looked;                   /* seq at the last look at the heads */
};

struct tail {
    struct ctl *ctl;
    struct position *lanes;
    size_t n;
    const char *prefix;        /* of types, NULL: all */
    struct type_filter filter; /* of types */
    bool filtered;
    struct str key; /* absent: all */
    int64_t left, next_look_ms;
    bool troubled;             /* a server does not answer, and that was said */
    struct arena *arena, *log; /* of one read; of one page of the log */
};

/* ---- printing ---- */

static bool wanted(const struct tail *tail, const struct envelope *e)
{
    return (!tail->prefix || str_starts(e->type, str_of(tail->prefix))) &&
           (!tail->filtered || type_filter_wants(&tail->filter, e->type)) &&
           (!tail->key.p || str_eq(e->partitionkey, tail->key));
}

static void tell(struct tail *tail, const struct event *event)
{
    if (tail->left == 0 || !wanted(tail, &event->envelope))
        return;
    tail->left -= tail->left > 0;
    if (!tail->ctl->json) {
        span_print(stdout, event);
        return;
    }
    struct buf b = buf_new(tail->log, 1024);
    struct json j = json_on(&b);
    span_json(&j, event);
    ctl_print_json(&b);
}

/* ---- from the log ---- */

static void stand_at(struct position *lane, int64_t ms, int64_t seq)
{
    lane->seq = seq;
    snprintf(lane->last, sizeof(lane->last), "%" PRId64 "-%" PRId64, ms, seq);
}

/* Tells what the log has behind the lane's position, up to a number. */
static err catch_up(struct tail *tail, struct position *lane, int64_t to)
{
    while (lane->seq < to && tail->left != 0 && !ctl_stop) {
        struct event *events;
        size_t n;
        arena_reset(tail->log);
        int64_t most = to - lane->seq < PAGE ? to - lane->seq : PAGE;
        TRY(eventlog_read(tail->ctl->pg, lane->span.topic, lane->span.part, lane->seq, (int)most, tail->log,
                          &events, &n));
        for (size_t i = 0; i < n; i++) {
            tell(tail, &events[i]);
            stand_at(lane, events[i].ms, events[i].seq);
        }
        if (n == 0)
            return OK;
    }
    return OK;
}

/* A lane that stands still while its head is ahead has a stream that does not show what the log has. */
static err look_at_heads(struct tail *tail)
{
    struct head *heads;
    size_t n;
    if (clock_mono_ms() < tail->next_look_ms)
        return OK;
    if (!pg_is_up(tail->ctl->pg))
        TRY(pg_reopen(tail->ctl->pg));
    TRY(eventlog_heads(tail->ctl->pg, tail->arena, &heads, &n));
    for (size_t i = 0; i < tail->n; i++) {
        struct position *lane = &tail->lanes[i];
        for (size_t h = 0; h < n; h++)
            if (heads[h].topic == lane->span.topic && heads[h].part == lane->span.part &&
                heads[h].seq > lane->seq && lane->looked == lane->seq)
                TRY(catch_up(tail, lane, heads[h].seq));
        lane->looked = lane->seq;
    }
    tail->next_look_ms = clock_mono_ms() + LOOK_MS;
    return OK;
}

/* ---- from the streams ---- */

static struct position *lane_of(struct tail *tail, const struct entry *entry)
{
    for (size_t i = 0; i < tail->n; i++)
        if (tail->lanes[i].span.topic == entry->topic && tail->lanes[i].span.part == entry->part)
            return &tail->lanes[i];
    return NULL;
}

/* What is not the next number is not believed: the log says what stands there. */
static err take_entry(struct tail *tail, const struct entry *entry)
{
    struct position *lane = lane_of(tail, entry);
    if (!lane)
        return OK;
    if (entry->seq > lane->seq + 1 || (entry->broken && entry->seq > lane->seq))
        TRY(catch_up(tail, lane, entry->broken ? entry->seq : entry->seq - 1));
    snprintf(lane->last, sizeof(lane->last), "%.*s", STR_ARG(entry->entry));
    if (entry->broken || entry->seq != lane->seq + 1)
        return OK;
    tell(tail, &(struct event){.topic = entry->topic,
                               .part = entry->part,
                               .seq = entry->seq,
                               .ms = entry->ms,
                               .envelope = entry->envelope});
    lane->seq = entry->seq;
    return OK;
}

static err read_streams(struct tail *tail)
{
    const struct redis_reply *reply = NULL;
    struct entry *entries;
    size_t n = 0;
    if (!redis_is_up(tail->ctl->redis))
        TRY(redis_reopen(tail->ctl->redis));
    struct str *words = arena_array(tail->arena, struct str, WORDS_HEAD + 2 * tail->n), *w = words;
    *w++ = STR("XREAD");
    *w++ = STR("COUNT");
    *w++ = STR("100");
    *w++ = STR("BLOCK");
    *w++ = arena_printf(tail->arena, "%d", BLOCK_MS);
    *w++ = STR("STREAMS");
    for (size_t i = 0; i < tail->n; i++)
        *w++ = str_of(tail->lanes[i].name);
    for (size_t i = 0; i < tail->n; i++)
        *w++ = str_of(tail->lanes[i].last);
    TRY(redis_call(tail->ctl->redis, &reply, (size_t)(w - words), words));
    TRY(lane_entries(reply, tail->arena, &entries, &n));
    for (size_t i = 0; i < n; i++)
        TRY(take_entry(tail, &entries[i]));
    return OK;
}

/* ---- the loop ---- */

/* Said once per trouble, not once per try. */
static void say_trouble(struct tail *tail, err e)
{
    if (!tail->troubled)
        fprintf(stderr, "daydreamctl: %s; going on as soon as it answers\n", err_text(e));
    tail->troubled = true;
    clock_sleep_ms(BLOCK_MS);
}

/* Without Redis the log goes on being told; without PostgreSQL the streams are, as long as they have no hole.
 */
static void tail_once(struct tail *tail)
{
    arena_reset(tail->arena);
    arena_reset(tail->log);
    err e = read_streams(tail);
    err f = look_at_heads(tail);
    fflush(stdout);
    if (failed(e) || failed(f))
        say_trouble(tail, failed(e) ? e : f);
    else
        tail->troubled = false;
}

/* ---- where to begin ---- */

static void on_first(void *data, const struct redis_reply *reply)
{
    struct position *lane = data;
    int64_t ms, seq;
    if (reply && reply->kind == REDIS_ARRAY && reply->n && reply->items[0].kind == REDIS_ARRAY &&
        reply->items[0].n && !failed(entry_id_parse(reply->items[0].items[0].text, &ms, &seq)) && seq > 0 &&
        seq - 1 <= lane->span.high)
        lane->seq = seq - 1;
}

/* Whatever the stream holds. One that is lost, or begins with what the log does not know, is the whole log.
 */
static err begin_all(struct tail *tail)
{
    for (size_t i = 0; i < tail->n; i++) {
        struct position *lane = &tail->lanes[i];
        lane->seq = 0;
        snprintf(lane->last, sizeof(lane->last), "0-0");
        redis_sendf(tail->ctl->redis, on_first, lane, "XRANGE %s - + COUNT 1", lane->name);
    }
    return redis_wait(tail->ctl->redis, 10000);
}

/* What came since then: the log first, up to its heads of now, then the streams. */
static err begin_from(struct tail *tail, int64_t from_ms)
{
    struct span *spans = arena_array(tail->arena, struct span, tail->n);
    int64_t *ms = arena_array(tail->arena, int64_t, tail->n),
            *seq = arena_array(tail->arena, int64_t, tail->n);
    for (size_t i = 0; i < tail->n; i++) {
        spans[i] = tail->lanes[i].span;
        ms[i] = from_ms;
    }
    TRY(span_seek(tail->ctl, spans, tail->n, ms, tail->arena, seq));
    for (size_t i = 0; i < tail->n; i++) {
        tail->lanes[i].seq = seq[i] - 1;
        TRY(catch_up(tail, &tail->lanes[i], tail->lanes[i].span.high));
    }
    return OK;
}

static bool concerns(const struct tail *tail, enum topic topic, int part, enum topic only)
{
    return topic_is((int)topic) && (only == TOPIC_NONE || topic == only) && tail->filter.topics[topic] &&
           (!tail->key.p || part == partition_of(tail->key));
}

/* From now: behind the heads of the log, which may be ahead of the streams. */
static err make_lanes(struct tail *tail, enum topic only)
{
    struct head *heads;
    size_t n;
    TRY(eventlog_heads(tail->ctl->pg, tail->ctl->arena, &heads, &n));
    tail->lanes = arena_array(tail->ctl->arena, struct position, TOPIC_COUNT * partitions());
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; part < partitions(); part++) {
            if (!concerns(tail, (enum topic)topic, part, only))
                continue;
            struct position *lane = &tail->lanes[tail->n++];
            *lane = (struct position){.span = {(enum topic)topic, part, 1, 0}, .last = "0-0", .looked = -1};
            stream_name((enum topic)topic, part, lane->name);
            for (size_t h = 0; h < n; h++)
                if ((int)heads[h].topic == topic && heads[h].part == part) {
                    lane->span.high = heads[h].seq;
                    stand_at(lane, heads[h].ms, heads[h].seq);
                }
        }
    return OK;
}

static err begin(struct tail *tail, enum topic only, int64_t from_ms)
{
    TRY(ctl_connect(tail->ctl, CTL_BUS));
    TRY(make_lanes(tail, only));
    if (tail->n == 0)
        return FAIL(INVALID, "no topic has events like that");
    if (ctl_option(tail->ctl, "all"))
        return begin_all(tail);
    return from_ms ? begin_from(tail, from_ms) : OK;
}

static err read_words(struct tail *tail, enum topic *ret_only, int64_t *ret_from)
{
    const struct ctl *ctl = tail->ctl;
    const char *topic = ctl_option(ctl, "topic"), *from = ctl_option(ctl, "from");
    *ret_only = topic ? topic_find(str_of(topic)) : TOPIC_NONE;
    *ret_from = 0;
    tail->prefix = ctl_option(ctl, "type");
    tail->filtered = ctl_option(ctl, "types");
    tail->key = str_of(ctl_option(ctl, "key"));
    if (topic && *ret_only == TOPIC_NONE)
        return FAIL(INVALID, "there is no such topic");
    if (from && ctl_option(ctl, "all"))
        return FAIL(INVALID, "--from and --all are two beginnings");
    TRY(type_filter_parse(str_of(ctl_option(ctl, "types")), &tail->filter));
    if (from)
        TRY(span_time(str_of(from), clock_ms(), ret_from));
    return ctl_option_int(ctl, "max", 1, INT64_MAX, -1, &tail->left);
}

enum ctl_exit run_bus_tail(struct ctl *ctl)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20), *log = arena_new(64 << 20);
    struct tail tail = {.ctl = ctl, .arena = arena, .log = log};
    enum topic only;
    int64_t from_ms;
    err e = read_words(&tail, &only, &from_ms);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = begin(&tail, only, from_ms);
    ctl_catch_signals();
    if (failed(e))
        return ctl_fail(e);
    while (!ctl_stop && tail.left != 0 && !ferror(stdout))
        tail_once(&tail);
    return CTL_OK;
}
