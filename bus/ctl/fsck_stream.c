/*
 * I3: each event stream is a contiguous part of the log, byte for byte. Entries are read first and the log
 * after them: what is in a stream was committed before, so nothing in flight can look like a finding. A
 * stream that is trimmed or made anew while it is read is read again from its new front.
 */
#include <inttypes.h>

#include "bus/ctl/fsck.h"
#include "bus/eventlog.h"
#include "bus/lane.h"

enum { PAGE = 200, PAGE_MEMORY = 64 << 20 };

struct stream_check {
    struct fsck *fsck;
    struct fsck_mark *mark; /* NULL: none */
    enum topic topic;
    int part;
    char name[STREAM_NAME];
    int64_t last, last_ms; /* seq of the last entry compared; 0: none */
    char from[64];         /* XRANGE start */
    struct arena *arena;   /* of one page */
};

/* The next page of entries; XRANGE answers without the stream's name, so they are read one by one. */
static err read_page(struct stream_check *c, struct entry **ret, size_t *ret_n)
{
    const struct redis_reply *reply = NULL;
    arena_reset(c->arena);
    *ret_n = 0;
    err e =
        redis_callf(c->fsck->ctl->redis, &reply, "XRANGE %s %s + COUNT %d", c->name, c->from, (int64_t)PAGE);
    if (e.code == ERR_REDIS_REFUSED) {
        fsck_found(c->fsck, "I3 streams", "%s: %s", c->name, err_text(e));
        return OK;
    }
    TRY(e);
    struct redis_reply wrapped[2] = {{.kind = REDIS_STRING, .text = str_of(c->name)}, *reply};
    struct redis_reply stream = {.kind = REDIS_ARRAY, .n = 2, .items = wrapped};
    struct redis_reply whole = {.kind = REDIS_ARRAY, .n = 1, .items = &stream};
    return lane_entries(&whole, c->arena, ret, ret_n);
}

static bool same(const struct entry *entry, const struct event *event)
{
    struct str a[2 * ENVELOPE_COMMAND], b[2 * ENVELOPE_COMMAND];
    if (entry->broken || entry->ms != event->ms || entry->seq != event->seq)
        return false;
    size_t n = envelope_words(&entry->envelope, false, a);
    envelope_words(&event->envelope, false, b);
    for (size_t i = 0; i < n; i++)
        if (!str_eq(a[i], b[i]))
            return false;
    return true;
}

/* False after the first finding: what follows a hole or a foreign entry would only repeat it. */
static bool compare(struct stream_check *c, const struct entry *entries, size_t n, const struct event *events,
                    size_t m)
{
    for (size_t i = 0; i < n; i++) {
        const struct entry *entry = &entries[i];
        if (i >= m) {
            fsck_found(c->fsck, "I3 streams", "%s: %.*s is beyond the log", c->name, STR_ARG(entry->entry));
            return false;
        }
        if (!same(entry, &events[i])) {
            fsck_found(c->fsck, "I3 streams",
                       "%s: %.*s stands where the log has %" PRId64 "-%" PRId64 ", or differs from it",
                       c->name, STR_ARG(entry->entry), events[i].ms, events[i].seq);
            return false;
        }
    }
    return true;
}

/* Was the front cut since the last page? Then the stream begins at or behind this entry. */
static err was_trimmed(struct stream_check *c, int64_t seq, bool *ret)
{
    const struct redis_reply *reply = NULL;
    int64_t ms, first;
    TRY(redis_callf(c->fsck->ctl->redis, &reply, "XRANGE %s - + COUNT 1", c->name));
    *ret = reply->kind != REDIS_ARRAY || reply->n == 0;
    if (!*ret && reply->items[0].kind == REDIS_ARRAY && reply->items[0].n)
        *ret = failed(entry_id_parse(reply->items[0].items[0].text, &ms, &first)) || first >= seq;
    return OK;
}

/* The log's events for a page, in as many reads as its size takes. */
static err read_log(struct stream_check *c, int64_t after, size_t n, struct event **ret, size_t *ret_n)
{
    *ret = arena_array(c->arena, struct event, n);
    for (*ret_n = 0; *ret_n < n;) {
        struct event *events;
        size_t m;
        TRY(eventlog_read(c->fsck->ctl->pg, c->topic, c->part, after, (int)(n - *ret_n), c->arena, &events,
                          &m));
        if (m == 0)
            return OK;
        memcpy(*ret + *ret_n, events, m * sizeof(*events));
        *ret_n += m;
        after = events[m - 1].seq;
    }
    return OK;
}

static err check_page(struct stream_check *c, bool *ret_more)
{
    struct entry *entries;
    struct event *events;
    size_t n, m;
    TRY(read_page(c, &entries, &n));
    *ret_more = n > 0;
    if (n == 0)
        return OK;
    if (c->last && entries[0].seq != c->last + 1) {
        bool trimmed;
        TRY(was_trimmed(c, entries[0].seq, &trimmed));
        if (trimmed)
            c->last = 0;
    }
    TRY(read_log(c, c->last ? c->last : entries[0].seq - 1, n, &events, &m));
    *ret_more = compare(c, entries, n, events, m);
    c->last = entries[n - 1].seq;
    c->last_ms = entries[n - 1].ms;
    snprintf(c->from, sizeof(c->from), "(%.*s", STR_ARG(entries[n - 1].entry));
    return OK;
}

/* How far the stream was compared. One that is empty holds nothing back; one that has nothing new does. */
static err note_end(struct stream_check *c)
{
    const struct redis_reply *reply = NULL;
    if (!c->mark)
        return OK;
    c->mark->stream = c->last ? c->last : c->mark->seq;
    c->mark->stream_ms = c->last ? c->last_ms : c->mark->ms;
    if (c->last)
        return OK;
    err e = redis_callf(c->fsck->ctl->redis, &reply, "XLEN %s", c->name);
    if (e.code == ERR_REDIS_REFUSED)
        return OK; /* not a stream: a finding already */
    TRY(e);
    if (redis_integer(reply, 0) == 0)
        c->mark->stream = 0;
    return OK;
}

static err check_stream(struct stream_check *c)
{
    bool more = true;
    stream_name(c->topic, c->part, c->name);
    snprintf(c->from, sizeof(c->from), "-");
    if (c->mark && c->mark->seq && !c->fsck->full)
        snprintf(c->from, sizeof(c->from), "(%" PRId64 "-%" PRId64, c->mark->ms, c->mark->seq);
    while (more)
        TRY(check_page(c, &more));
    TRY(note_end(c));
    c->fsck->checked++;
    return OK;
}

err fsck_streams(struct fsck *fsck)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(PAGE_MEMORY);
    int64_t done = 0, total = 0;
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        total += topic_is(topic) ? partitions() : 0;
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            struct stream_check c = {.fsck = fsck, .topic = (enum topic)topic, .part = part, .arena = arena};
            c.mark = fsck_mark_of(fsck, c.topic, part);
            TRY(check_stream(&c));
            ctl_progress("streams", ++done, total);
        }
    return OK;
}
