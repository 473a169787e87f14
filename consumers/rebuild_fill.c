/*
 * The fillers of a rebuild: workers of the group like those of daydream-consumers, but on the copies, since
 * their search_path begins with the generation's schema, and reading the log instead of the streams, in far
 * larger batches. Everything else is the runner's own: load, decide, fence, flush. Positions and rows are
 * committed together, so a filler that is killed has lost a batch and nothing else. They do not wait for the
 * disk at each commit: the swap does, once, and what stands before it in the WAL is on disk then.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "consumers/rebuild.h"

enum {
    PAGE_EVENTS = 4096, /* of all partitions of one filler together */
    PAGE_MIN = 256,     /* of one partition */
    NEAR = 512,         /* a page below this: the end of the log is near enough to stop */
    STANDSTILL_MS = 2000,
    LOOK_MS = 5,
    PACE_MS = 100
};

/* The disk is waited for once, by the swap. */
static const char filler_setup[] = "SET synchronous_commit = off";

static const struct pg_stmt read_offsets = {
    "rebuild_offsets", "SELECT topic, part, epoch, flush, seq, ms FROM consumer_offset WHERE grp = $1"};

struct filler {
    struct filling *f;
    struct worker *w;
    size_t behind;         /* partitions that brought something last time: they share the next page */
    int64_t others_events; /* of all fillers, when a standstill last saw progress */
    pthread_t thread;
    err e;
    char why[256];
};

/* ---- opening ---- */

/* Every FILLERS-th partition, at the position its row says. */
static err take_partitions(struct worker *w, size_t n)
{
    struct pg_param name = pg_text(str_of(w->group->name));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &read_offsets, 1, &name, &r));
    for (int i = 0; i < pg_rows(r); i++) {
        struct partition *p = worker_partition(w, topic_find(pg_get_str(r, i, 0)), (int)pg_get_int(r, i, 1));
        if (!p || (size_t)(p - w->parts) % FILLERS != n)
            continue;
        p->owned = true;
        p->commands = false;
        p->epoch = pg_get_int(r, i, 2);
        p->flush = pg_get_int(r, i, 3);
        p->seq = p->skipped = pg_get_int(r, i, 4);
        p->ms = p->skipped_ms = pg_get_int(r, i, 5);
    }
    return parked_load(w);
}

static err open_worker(struct filling *f, const struct group *group, size_t n)
{
    char role[64], setup[512];
    struct worker *w = f->workers[n] = worker_new(group, "rebuild", f->stop);
    w->replays = true;
    snprintf(role, sizeof(role), "dd_%s", group->name);
    snprintf(setup, sizeof(setup), "%s; %s; SET search_path = \"rebuild_%s\", public", worker_setup,
             filler_setup, group->name);
    TRY(pg_open_within(conf_str(SET_DATABASE_URL).p, role, setup, PG_PATIENT_MS, &w->pg));
    if (n == 0)
        TRY(store_fence(w->pg));
    return take_partitions(w, n);
}

err filling_open(struct filling *f, const struct group *group, const atomic_bool *stop)
{
    f->stop = stop;
    for (size_t n = 0; n < FILLERS; n++)
        TRY(open_worker(f, group, n));
    return OK;
}

void filling_close(struct filling *f)
{
    for (size_t n = 0; n < FILLERS; n++)
        f->workers[n] = worker_free(f->workers[n]);
}

/* ---- one page ---- */

static bool waits(const struct worker *w, const struct partition *p)
{
    const struct standstill *s = &w->standstill;
    return s->active && !s->passed && !s->late && s->at == p;
}

static err read_partition(struct filler *f, struct partition *p, int64_t page)
{
    struct worker *w = f->w;
    struct event *events;
    size_t n;
    if (f->f->limit && f->f->limit->seq[p->topic][p->part] - p->skipped < page)
        page = f->f->limit->seq[p->topic][p->part] - p->skipped;
    if (page <= 0 || waits(w, p))
        return OK;
    TRY(eventlog_read(w->pg, p->topic, p->part, p->skipped, (int)page, w->arena, &events, &n));
    struct entry *all = arena_array(w->arena, struct entry, w->n_read + n + 1);
    if (w->n_read)
        memcpy(all, w->read, w->n_read * sizeof(*all));
    for (size_t i = 0; i < n; i++)
        all[w->n_read + i] = entry_of_event(&events[i]);
    w->read = all;
    w->n_read += n;
    f->behind += n > 0;
    return OK;
}

static err read_page(struct filler *f)
{
    struct worker *w = f->w;
    int64_t share = PAGE_EVENTS / (int64_t)(f->behind ? f->behind : w->n_parts);
    f->behind = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].owned)
            TRY(read_partition(f, &w->parts[i], share > PAGE_MIN ? share : PAGE_MIN));
    return OK;
}

/* An event waits for a fact of a partition that is not as far yet. Live there is little between them, and
 * after two seconds it is decided without; here there may be the whole log, so the time begins anew as long
 * as anybody gets on. Two that wait for each other are decided by the time, as they are live. */
static err be_patient(struct filler *f)
{
    struct standstill *s = &f->w->standstill;
    int64_t events = atomic_load(&f->f->events);
    if (!s->active || s->passed)
        return OK;
    if (events != f->others_events) {
        f->others_events = events;
        s->deadline_ms = clock_mono_ms() + STANDSTILL_MS;
    }
    return standstill_look(f->w);
}

/* *ret_left: there is more to do here. */
static err fill_page(struct filler *f, bool *ret_left)
{
    struct worker *w = f->w;
    worker_forget(w);
    TRY(be_patient(f));
    TRY(read_page(f));
    size_t n = w->n_read;
    if (n)
        TRY(worker_take(w));
    atomic_fetch_add(&f->f->events, (long long)n);
    TRY(worker_flush_skipped(w, n < NEAR));
    if (n && FAULT(REBUILD_FILLED))
        return FAIL(PG_DOWN, "fault injected after a page");
    *ret_left = f->f->limit ? n > 0 : n >= NEAR;
    if (w->standstill.active && !*ret_left) {
        *ret_left = true;
        clock_sleep_ms(LOOK_MS); /* the other fillers get on */
    }
    return OK;
}

/* ---- the threads ---- */

/* Not faster than this filler's part of the rate. */
static void pace(const struct filler *f, int64_t since_ms, long long events)
{
    int64_t until = since_ms + (f->f->rate ? events * 1000 / f->f->rate : 0);
    while (clock_mono_ms() < until && !atomic_load(f->f->stop))
        clock_sleep_ms(until - clock_mono_ms() < PACE_MS ? until - clock_mono_ms() : PACE_MS);
}

static err fill(struct filler *f)
{
    int64_t begun = clock_mono_ms();
    long long before = atomic_load(&f->f->events);
    for (bool left = true; left;) {
        if (atomic_load(f->f->stop))
            return FAIL(UNAVAILABLE, "stopped; the same command goes on where it is");
        if (f->f->deadline_ms && clock_mono_ms() > f->f->deadline_ms)
            return FAIL(PG_RETRY, "the rebuild did not catch up while the live group waited");
        TRY(fill_page(f, &left));
        pace(f, begun, atomic_load(&f->f->events) - before);
    }
    worker_forget(f->w);
    return OK;
}

static void *fill_thread(void *data)
{
    struct filler *f = data;
    f->e = fill(f);
    if (failed(f->e))
        snprintf(f->why, sizeof(f->why), "%s", err_text(f->e)); /* the text is of this thread */
    return NULL;
}

err filling_run(struct filling *filling)
{
    struct filler fillers[FILLERS];
    for (size_t n = 0; n < FILLERS; n++) {
        fillers[n] = (struct filler){.f = filling, .w = filling->workers[n]};
        if (pthread_create(&fillers[n].thread, NULL, fill_thread, &fillers[n]) != 0)
            abort();
    }
    for (size_t n = 0; n < FILLERS; n++)
        pthread_join(fillers[n].thread, NULL);
    for (size_t n = 0; n < FILLERS; n++)
        if (failed(fillers[n].e))
            return err_fail(fillers[n].e.code, __FILE__, __LINE__, "%s", fillers[n].why);
    return OK;
}
