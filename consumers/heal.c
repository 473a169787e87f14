/*
 * What a stream does not show is read from the log: positions are compared with the heads now and then. What
 * the log does not give either, since a file of the archive is missing or damaged, concerns its own
 * partition: that one rests and is tried again, all others go on.
 */
#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "consumers/worker.h"

enum { REST_MS = 2000 };

void heal_rest(struct worker *w, struct partition *p, err e)
{
    p->rest_ms = clock_mono_ms() + REST_MS;
    log_warn("events cannot be read; their partition waits", kv("group", w->group->name),
             kv("stream", p->stream), kv("after", p->read), kv("why", err_text(e)));
}

bool heal_rests(const struct partition *p)
{
    return clock_mono_ms() < p->rest_ms;
}

/* Behind the log, and no further than at the last look: the stream does not show what the log has. */
static bool stuck(struct partition *p, int64_t head)
{
    bool yes = p->looked_head > p->skipped && p->looked_skipped == p->skipped;
    p->looked_head = head;
    p->looked_skipped = p->skipped;
    return yes;
}

static err heal_partition(struct worker *w, struct partition *p)
{
    struct event *events;
    size_t n;
    TRY(eventlog_read(w->pg, p->topic, p->part, p->skipped, BATCH_MAX, w->arena, &events, &n));
    struct entry *all = arena_array(w->arena, struct entry, w->n_read + n);
    if (w->n_read)
        memcpy(all, w->read, w->n_read * sizeof(*all));
    for (size_t i = 0; i < n; i++)
        all[w->n_read + i] = entry_of_event(&events[i]);
    w->read = all;
    w->n_read += n;
    p->gap_fetches += (int64_t)n;
    counter_add(COUNTER_GAP_FETCHES, (int64_t)n);
    if (n == BATCH_MAX) { /* far behind: once these are passed, the next look reads on without waiting */
        p->looked_skipped = events[n - 1].seq;
        w->next_heal_ms = 0;
    }
    return OK;
}

err read_heal(struct worker *w)
{
    struct head *heads;
    size_t n;
    TRY(eventlog_heads(w->pg, w->arena, &heads, &n));
    for (size_t i = 0; i < n && w->n_read < BATCH_MAX; i++) {
        struct partition *p = worker_partition(w, heads[i].topic, heads[i].part);
        if (!p || !reads_events(w, p) || !stuck(p, heads[i].seq))
            continue;
        p->read = p->skipped;
        err e = heal_partition(w, p);
        if (e.code == ERR_UNAVAILABLE)
            heal_rest(w, p, e);
        else
            TRY(e);
    }
    return OK;
}
