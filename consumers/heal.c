/*
 * Between the streams and the log, the log decides. What a stream does not show is read from there: positions
 * are compared with the heads now and then. What a stream shows is handled when the log has it, which is
 * asked with the load of each batch. What the log does not give either, since a file of the archive is
 * missing or damaged, concerns its own partition: that one rests and is tried again, all others go on.
 */
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "consumers/worker.h"

enum { REST_MS = 2000, DOUBT_MS = 2000 };

/* ---- what cannot be read ---- */

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

/* ---- what the log does not have ---- */

void heal_from_log(struct partition *p)
{
    p->doubt_ms = clock_mono_ms() + DOUBT_MS;
}

/* The relay sets the stream aside and makes it anew; meanwhile, and once in a while until then, the log has
 * everything. */
void heal_doubt(struct worker *w, struct partition *p, struct str entry)
{
    heal_from_log(p);
    log_error("a stream shows what the log does not have; the log is read instead",
              kv("group", w->group->name), kv("stream", p->stream), kv("entry", entry));
}

bool heal_doubts(const struct partition *p)
{
    return clock_mono_ms() < p->doubt_ms;
}

void heal_ask(struct worker *w, struct pg_result **ret)
{
    struct head *shown = arena_array(w->arena, struct head, w->n_parts);
    size_t n = 0;
    for (size_t i = 0; i < w->n_parts; i++) {
        const struct partition *p = &w->parts[i];
        if (p->shown)
            shown[n++] = (struct head){p->topic, p->part, p->shown, p->shown_ms};
    }
    if (n)
        eventlog_queue_has(w->pg, shown, n, w->arena, pg_keep, ret);
}

err heal_answer(struct worker *w, const struct pg_result *answers)
{
    bool all = true;
    size_t n = 0;
    for (size_t i = 0; answers && i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        if (!p->shown)
            continue;
        if (!eventlog_has(answers, n++) && !mutant(MUTANT_ASK_LOG)) {
            heal_doubt(w, p,
                       arena_printf(w->arena, "%lld-%lld", (long long)p->shown_ms, (long long)p->shown));
            all = false;
        }
        p->shown = 0;
    }
    return all ? OK : FAIL(PG_RETRY, "a stream showed what the log does not have");
}

/* ---- what a stream does not show ---- */

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
        if (!p || !reads_events(w, p) || p->shown || !stuck(p, heads[i].seq))
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
