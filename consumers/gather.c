/*
 * From entries to items. Entries of partitions that are not ours and events that were seen are dropped; a gap
 * in the sequence is filled from the log; commands are decoded and told apart from repeats within the batch.
 * What cannot be read at all has no key of its own and is parked under its entry id.
 */
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/message.h"
#include "consumers/spans.h"
#include "consumers/worker.h"

enum { GAP_STEP = BATCH_MAX / 4, FIELD_MAX = 1024 };

struct entry entry_of_event(const struct event *event)
{
    return (struct entry){.topic = event->topic,
                          .part = event->part,
                          .ms = event->ms,
                          .seq = event->seq,
                          .envelope = event->envelope};
}

/* Read from a stream, not from the log. */
static bool is_of_stream(const struct entry *entry)
{
    return entry->entry.p;
}

static void offend(struct item *item, const char *reason, struct str detail)
{
    item->fate = ITEM_PARK;
    item->poison = true;
    item->park_reason = reason;
    item->park_detail = detail;
}

/* Decodes the data, lifted to the newest major; a message that we handle and cannot read is an offender. */
static void decode(struct worker *w, struct item *item)
{
    struct delivery *m = &item->message;
    err e = message_decode(m->type, item->entry->envelope.data, w->arena, &m->type, &m->data);
    if (failed(e))
        offend(item, "unreadable-data", arena_str(w->arena, str_of(err_text(e))));
}

bool gather_is_text(struct str s)
{
    size_t at = 0;
    while (at < s.n && s.p[at] && (unsigned char)s.p[at] < 0x80)
        at++;
    s = str_slice(s, at, s.n);
    return utf8_length(s) != SIZE_MAX && !(s.n && memchr(s.p, 0, s.n));
}

/* Something that PostgreSQL takes as text and as the key of an index, and that a person can read: "a%00b". */
static struct str made_text(struct str s, struct arena *arena)
{
    struct buf b = buf_new(arena, s.n);
    for (size_t i = 0; i < s.n && b.n < FIELD_MAX - 3; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c > 0x1f && c < 0x7f)
            buf_char(&b, (char)c);
        else
            buf_printf(&b, "%%%02X", c);
    }
    return buf_view(&b);
}

/* Whoever can write to Redis can write anything. An envelope that cannot be stored could not even be parked,
 * and its lane would stand still for ever. The data is not stored as it is, and has a decoder of its own. */
static void check_envelope(struct worker *w, struct item *item)
{
    struct envelope *e = &item->entry->envelope;
#define FIELD(member, name)                                                                                  \
    if (&e->member != &e->data && (e->member.n > FIELD_MAX || !gather_is_text(e->member))) {                 \
        e->member = made_text(e->member, w->arena);                                                          \
        offend(item, "unreadable-envelope", STR(name));                                                      \
    }
    ENVELOPE_FIELDS(FIELD)
    ENVELOPE_COMMAND_FIELDS(FIELD)
#undef FIELD
}

static void set_message(struct worker *w, struct item *item)
{
    const struct envelope *e = &item->entry->envelope;
    check_envelope(w, item);
    struct delivery *m = &item->message;
    int64_t expected = 0;
    m->command = item->entry->command;
    m->key = e->partitionkey.n ? e->partitionkey : item->entry->entry;
    m->correlation = e->correlationid;
    m->actor = e->actor;
    m->client = e->client;
    m->traceparent = e->traceparent;
    m->type = e->type.p ? message_find(e->type) : MESSAGE_NONE;
    if (e->expectedversion.n && failed(str_int64(e->expectedversion, &expected)))
        offend(item, "unreadable-envelope", STR("expectedversion"));
    m->expected_version = expected;
    if (!e->id.p || failed(uuid_parse(e->id, &m->id)))
        offend(item, "unreadable-envelope", STR("id"));
}

void gather_item(struct worker *w, struct entry *entry, struct partition *p, struct item *item)
{
    *item = (struct item){.entry = entry, .at = p, .replyto = entry->envelope.replyto};
    set_message(w, item);
    enum message type = item->message.type;
    bool handled = type != MESSAGE_NONE && handlers_has(&w->group->on, type);
    if (item->fate == ITEM_PARK)
        return;
    if (!entry->command && !handled)
        item->fate = ITEM_SKIP;
    else if (!handled || message_types[type].command != entry->command ||
             message_types[type].topic != entry->topic)
        offend(item, "unknown-type", entry->envelope.type);
    else
        decode(w, item);
    standstill_meet(w, item);
}

/* Could it be the type of a message of some build? What is none ("", "junk") concerns nobody in any build. */
static bool is_type(struct str type)
{
    return type.n <= FIELD_MAX && str_find(type, '.') < type.n && gather_is_text(type);
}

/* ---- events: contiguous from our position ---- */

struct gathered {
    struct worker *w;
    list_of(struct item *) items;
};

/* OUTDATED: the message is of a type that a newer build of this group reads. Nothing of the batch is handled.
 */
static err add_item(struct gathered *g, struct entry *entry, struct partition *p, struct item **ret)
{
    struct item *item = arena_new_of(g->w->arena, struct item);
    gather_item(g->w, entry, p, item);
    replay_mark(g->w, item);
    if (item->message.type == MESSAGE_NONE && is_type(entry->envelope.type))
        TRY(registry_check(g->w, entry));
    if (trace_on && item->fate != ITEM_SKIP)
        span_of_message(item, g->w->arena);
    *list_add(g->w->arena, &g->items) = item;
    *ret = item;
    return OK;
}

static err add_event(struct gathered *g, struct entry *entry, struct partition *p)
{
    struct item *item;
    TRY(add_item(g, entry, p, &item));
    p->read = entry->seq;
    return OK;
}

/* A step at a time: a group that starts late may have the whole log before it. What does not fit comes again
 * with the next read, which begins at our position. ret_ends: the log ends before that event. */
static err fill_gap(struct gathered *g, struct partition *p, int64_t up_to, bool *ret_ends)
{
    *ret_ends = false;
    if (up_to > p->skipped + GAP_STEP)
        up_to = p->skipped + GAP_STEP;
    while (p->read < up_to) {
        struct event *events;
        size_t n;
        TRY(eventlog_read(g->w->pg, p->topic, p->part, p->read, (int)(up_to - p->read), g->w->arena, &events,
                          &n));
        *ret_ends = n == 0;
        if (n == 0)
            return OK;
        struct entry *entries = arena_array(g->w->arena, struct entry, n);
        for (size_t i = 0; i < n; i++) {
            entries[i] = entry_of_event(&events[i]);
            TRY(add_event(g, &entries[i], p));
        }
        p->gap_fetches += (int64_t)n;
        counter_add(COUNTER_GAP_FETCHES, (int64_t)n);
    }
    return OK;
}

/* An entry that is broken or out of sequence is not believed: the log says what stands there. Not before it
 * was asked for what the stream has shown so far: what is left out here comes again with the next read. */
static err fill_from_log(struct gathered *g, const struct entry *entry, struct partition *p)
{
    if (p->shown) {
        if (g->w->skipped_since_ms)
            g->w->skipped_since_ms = 1; /* the flush that asks is due */
        return OK;
    }
    bool ends;
    err e = fill_gap(g, p, entry->seq, &ends);
    if (e.code == ERR_UNAVAILABLE) {
        heal_rest(g->w, p, e);
        return OK;
    }
    if (ends && is_of_stream(entry))
        heal_doubt(g->w, p, entry->entry);
    return e;
}

/* The next one of a stream. A type that no build knows makes a member stand down, hence the log has to say so
 * itself. */
static err take_shown(struct gathered *g, struct entry *entry, struct partition *p)
{
    err e = add_event(g, entry, p);
    if (e.code == ERR_OUTDATED) {
        heal_from_log(p);
        return OK;
    }
    TRY(e);
    p->shown = entry->seq;
    p->shown_ms = entry->ms;
    return OK;
}

/* No event of our log: it has the id of none, or it is younger than our position and has a number that we
 * have passed. Then the log was another one when we passed it. */
static bool is_foreign(const struct entry *entry, const struct partition *p)
{
    return entry->seq == 0 || (entry->seq <= p->skipped && p->skipped_ms && entry->ms > p->skipped_ms);
}

static err take_event(struct gathered *g, struct entry *entry, struct partition *p)
{
    bool shown = is_of_stream(entry);
    if (heal_rests(p) || (shown && heal_doubts(p)))
        return OK;
    if (shown && is_foreign(entry, p)) {
        heal_doubt(g->w, p, entry->entry);
        return p->shown ? FAIL(PG_RETRY, "a stream is not the one that it was") : OK;
    }
    if (entry->seq <= p->read)
        return OK;
    if (entry->broken || entry->seq != p->read + 1)
        return fill_from_log(g, entry, p);
    return shown ? take_shown(g, entry, p) : add_event(g, entry, p);
}

/* ---- commands ---- */

static bool in_batch(const struct gathered *g, const struct item *item)
{
    for (size_t i = 0; i + 1 < g->items.n; i++)
        if (g->items.p[i]->message.command && uuid_eq(g->items.p[i]->message.id, item->message.id))
            return true;
    return false;
}

/* An entry in the PEL whose body was deleted from the lane, after its commit or by an operator: there is
 * nothing to handle, only to acknowledge. */
static void acknowledge_hole(struct worker *w, const struct partition *p, const struct entry *entry)
{
    log_warn("an entry without a body is acknowledged", kv("lane", p->lane), kv("entry", entry->entry));
    redis_sendf(w->commands, NULL, NULL, "XACK %s %s %b", p->lane, w->group->name, entry->entry);
}

static err take_command(struct gathered *g, struct entry *entry, struct partition *p)
{
    struct standstill *s = &g->w->standstill;
    if (stands_still(s)) {
        p->history = true; /* read before the standstill began; it comes again */
        return OK;
    }
    if (entry->broken) {
        acknowledge_hole(g->w, p, entry);
        return OK;
    }
    struct item *item;
    TRY(add_item(g, entry, p, &item));
    if (item->fate == ITEM_HANDLE && in_batch(g, item)) {
        item->fate = ITEM_REPEAT;
        p->repeats++;
        counter_add(COUNTER_MESSAGES_REPEATED, 1);
    }
    return OK;
}

err gather_items(struct worker *w, struct item ***ret, size_t *ret_n)
{
    struct gathered g = {.w = w};
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        p->read = p->skipped;
        p->shown = p->shown > p->skipped ? 0 : p->shown; /* left, and read again */
    }
    for (size_t i = 0; i < w->n_read; i++) {
        struct entry *entry = &w->read[i];
        struct partition *p = worker_partition(w, entry->topic, entry->part);
        if (!p || !p->owned || (entry->command && !p->commands))
            continue;
        if (entry->command)
            TRY(take_command(&g, entry, p));
        else
            TRY(take_event(&g, entry, p));
    }
    w->n_read = 0;
    *ret = g.items.p;
    *ret_n = g.items.n;
    return OK;
}
