/*
 * One flush: everything a batch decided becomes one transaction with one Sync; after the commit, and only
 * then, the events go to their streams, the commands are acknowledged and deleted, and whoever waits for a
 * result is woken. A crash before the commit repeats the batch; a crash after it is repaired by the sweep
 * (events), by the command rows (the repeat of an unacknowledged command finds its row) and by the doors'
 * polling (hints).
 */
#include <poll.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/metrics.h"
#include "consumers/flush_queue.h"
#include "consumers/spans.h"

enum { FLUSH_MS = 15000 };

/* Which fence rows the batch touches, and how far each event lane is decided. */
static void mark_partitions(struct worker *w, const struct batch *b)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        p->touched = p->owned && p->skipped > p->seq;
        p->hi = p->skipped;
        p->hi_ms = p->skipped_ms;
    }
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = b->items[i];
        struct partition *p = item->at;
        if (item->fate == ITEM_CUT)
            continue;
        p->touched = true;
        if (!item->entry->command && !item->letter && item->entry->seq > p->hi) {
            p->hi = item->entry->seq;
            p->hi_ms = item->entry->ms;
        }
    }
}

static void refuse_late(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->fate == ITEM_LATE) {
            b->items[i]->http = err_http(ERR_UNAVAILABLE);
            b->items[i]->result =
                STR("{\"error\":\"UNAVAILABLE\",\"detail\":\"A fact this command needs has not arrived in"
                    " time; repeat it.\"}");
        }
}

static err commit(struct worker *w, struct batch *b, struct pg_result **ret_completed)
{
    flush_queue_fence(w, b);
    rows_queue_writes(b, w->pg, w->group->tables);
    if (FAULT(RUNNER_MID_FLUSH))
        return FAIL(PG_DOWN, "fault injected in a flush");
    flush_queue_commands(w, b);
    flush_queue_completions(w, b, ret_completed);
    flush_queue_timers(w, b);
    flush_queue_jobs(w, b);
    parked_queue(w, b);
    retry_queue(w, b);
    suspect_queue(w, b);
    eventlog_queue(w->pg, b->events.p, b->events.n, b->arena);
    pg_sync(w->pg, NULL, NULL);
    pg_flush(w->pg);
    if (FAULT(RUNNER_FLUSH_SENT))
        return FAIL(PG_DOWN, "fault injected after sending a flush");
    return pg_wait(w->pg, FLUSH_MS);
}

static void settle_partitions(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        if (!p->touched)
            continue;
        p->flush++;
        p->seq = p->skipped = p->hi;
        p->ms = p->skipped_ms = p->hi_ms;
    }
    w->skipped_since_ms = 0;
}

/* Events of our own that this group has no slot for, and that follow right behind our position, are passed
 * without being read back; their offset is committed with the next flush. A gap means that somebody else's
 * stand between. */
static void pass_own(struct worker *w, const struct batch *b)
{
    for (size_t i = 0; i < b->events.n; i++) {
        const struct event *event = &b->events.p[i];
        struct partition *p = worker_partition(w, event->topic, event->part);
        if (!p || !p->owned || event->seq != p->skipped + 1 ||
            handlers_has(&w->group->on, message_find(event->envelope.type)))
            continue;
        p->skipped = event->seq;
        p->skipped_ms = event->ms;
        if (!w->skipped_since_ms)
            w->skipped_since_ms = clock_mono_ms();
    }
}

/* ---- after the commit ---- */

/* Replies to acknowledgements and hints carry nothing we act upon: what is lost here is repeated or polled.
 */
static void on_reply(void *data, const struct redis_reply *reply)
{
    (void)data;
    (void)reply;
}

struct hint {
    struct str replyto;
    struct uuid id;
};

/* One message per channel with all ids for it: they are often as many as the commands. */
static void publish_hints(struct worker *w, struct hint *hints, size_t n, struct arena *arena)
{
    for (size_t i = 0; i < n; i++) {
        struct str replyto = hints[i].replyto;
        if (!replyto.n)
            continue;
        struct buf ids = buf_new(arena, (n - i) * (UUID_TEXT + 1));
        for (size_t k = i; k < n; k++) {
            char text[UUID_TEXT + 1];
            if (!str_eq(hints[k].replyto, replyto))
                continue;
            uuid_print(hints[k].id, text);
            buf_printf(&ids, "%s%s", ids.n ? " " : "", text);
            hints[k].replyto = STR_NONE;
        }
        redis_sendf(w->outward, on_reply, NULL, "PUBLISH %b %b", replyto, buf_view(&ids));
    }
}

static void send_hints(struct worker *w, const struct batch *b, const struct pg_result *completed)
{
    int completions = completed ? pg_rows(completed) : 0;
    struct hint *hints = arena_array(b->arena, struct hint, b->n + (size_t)completions + 1);
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = b->items[i];
        bool final = item->fate != ITEM_CUT && item->fate != ITEM_PARK && item->answer != ANSWER_RUNNING;
        if (item->message.command && final)
            hints[n++] = (struct hint){item->replyto, item->message.id};
    }
    for (int i = 0; i < completions; i++)
        hints[n++] = (struct hint){pg_get_str(completed, i, 1), pg_get_uuid(completed, i, 0)};
    publish_hints(w, hints, n, b->arena);
}

/* XDEL and XACK of a lane's commands that are settled: the lane holds open work only. In this order: a crash,
 * or the end of a torn file, between the two leaves a hole in the PEL, which the next check finds; the other
 * way round it would leave an entry that nobody is ever given. */
static void acknowledge_lane(struct worker *w, const struct batch *b, const struct partition *p)
{
    struct str *words = arena_array(b->arena, struct str, b->n + 3);
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->at == p && b->items[i]->message.command && !b->items[i]->letter &&
            b->items[i]->fate != ITEM_CUT)
            words[3 + n++] = b->items[i]->entry->entry;
    if (n == 0)
        return;
    words[1] = STR("XDEL");
    words[2] = str_of(p->lane);
    redis_send(w->commands, on_reply, NULL, n + 2, words + 1);
    words[0] = STR("XACK");
    words[1] = str_of(p->lane);
    words[2] = str_of(w->group->name);
    redis_send(w->commands, on_reply, NULL, n + 3, words);
}

/* Commands behind a cut stay in the PEL; they come again with the history of their lane. */
static void leave_cut(const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->fate == ITEM_CUT && b->items[i]->message.command && !b->items[i]->letter)
            b->items[i]->at->history = true;
}

static err tell(struct worker *w, struct batch *b, const struct pg_result *completed)
{
    if (FAULT(RUNNER_AFTER_COMMIT))
        return FAIL(REDIS_DOWN, "fault injected after the commit");
    send_hints(w, b, completed);
    redis_pump(w->outward, POLLOUT);
    relay_append(w->relay, b->events.p, b->events.n, b->arena);
    redis_pump(w->outward, POLLOUT);
    if (FAULT(RUNNER_AFTER_RELAY))
        return FAIL(REDIS_DOWN, "fault injected after the relay");
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].commands)
            acknowledge_lane(w, b, &w->parts[i]);
    redis_pump(w->commands, POLLOUT);
    if (FAULT(RUNNER_AFTER_ACK))
        return FAIL(REDIS_DOWN, "fault injected after the acknowledgement");
    return OK;
}

static bool parks(const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->fate == ITEM_PARK)
            return true;
    return false;
}

/* What a group declares is what its handlers may do: a read model that emits could not be built anew. */
static bool exceeds(const struct batch *b)
{
    return b->group->effects == EFFECTS_NONE && (b->events.n || b->jobs.n || b->timers.n || b->completions.n);
}

err flush(struct worker *w, struct batch *b)
{
    _cleanup_(pg_result_freep) struct pg_result *completed = NULL;
    int64_t start = clock_mono_ns();
    if (exceeds(b))
        return FAIL(POISON, "group %s declares no effects and has some", b->group->name);
    mark_partitions(w, b);
    refuse_late(b);
    if (parks(b) && FAULT(RUNNER_BEFORE_PARK))
        return FAIL(PG_DOWN, "fault injected before parking");
    TRY(commit(w, b, &completed));
    histogram_observe(HISTOGRAM_FLUSH_SECONDS, clock_mono_ns() - start);
    counter_add(COUNTER_MESSAGES_HANDLED, (int64_t)b->n);
    if (trace_on)
        spans_of_batch(b);
    settle_partitions(w);
    pass_own(w, b);
    leave_cut(b);
    if (parks(b) && FAULT(RUNNER_AFTER_PARK))
        return FAIL(REDIS_DOWN, "fault injected after parking");
    return w->relay ? tell(w, b, completed) : OK;
}
