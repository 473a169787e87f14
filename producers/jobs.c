/*
 * The dispatcher: one thread that claims what is due for the workers that are free, keeps the leases of what
 * runs, and ends attempts that were overtaken (a void behind an authorisation that does not answer) or lost.
 */
#include "producers/jobs.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "producers/jobs_internal.h"

/* BUSY: while jobs were claimed a moment ago. */
enum {
    POLL_MS = 50,
    POLL_BUSY_MS = 10,
    BUSY_FOR_MS = 500,
    KEEP_MS = 250,
    STACK = 256 << 10,
    SCRATCH = 8 << 20
};

int job_kind_index(const struct job_kind *kind)
{
    int i = 0;
    while (job_kinds[i] != kind)
        i++;
    return i;
}

static bool should_stop(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    bool stop = jobs->stop;
    pthread_mutex_unlock(&jobs->lock);
    return stop;
}

/* ---- claiming ---- */

/* Which kinds may be claimed, and how many jobs: all workers that are free for kinds whose breaker is closed;
 * when probing, one job of one kind whose time has come. */
static int room_for(struct jobs *jobs, bool probing, bool kinds[static JOB_KINDS_MAX])
{
    int64_t now = clock_mono_ms();
    int free_slots = 0;
    bool any = false;
    pthread_mutex_lock(&jobs->lock);
    for (int i = 0; i < jobs->n; i++)
        free_slots += jobs->slots[i].state == SLOT_IDLE;
    for (int i = 0; job_kinds[i]; i++) {
        int room = breaker_room(&jobs->breakers[i], now);
        kinds[i] = probing ? room == 1 && !any : room == INT_MAX;
        any = any || kinds[i];
    }
    pthread_mutex_unlock(&jobs->lock);
    if (!any)
        return 0;
    return probing && free_slots > 1 ? 1 : free_slots;
}

/* False when all shall stop: the workers may have gone. */
static bool give(struct jobs *jobs, const struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    if (jobs->stop) {
        pthread_mutex_unlock(&jobs->lock);
        return false;
    }
    int i = 0;
    while (jobs->slots[i].state != SLOT_IDLE)
        i++;
    assert(i < jobs->n); /* only the dispatcher fills slots */
    struct slot *slot = &jobs->slots[i];
    slot->job = *job;
    slot->job.key = arena_str(slot->arena, job->key);
    slot->job.payload = arena_str(slot->arena, job->payload);
    slot->job.correlation = arena_str(slot->arena, job->correlation);
    slot->job.actor = arena_str(slot->arena, job->actor);
    slot->job.traceparent = arena_str(slot->arena, job->traceparent);
    patience_begin(&slot->patience, conf_int(SET_JOB_TIMEOUT_MS));
    breaker_began(&jobs->breakers[job_kind_index(job->kind)]);
    slot->state = SLOT_GIVEN;
    pthread_cond_broadcast(&jobs->given);
    pthread_mutex_unlock(&jobs->lock);
    return true;
}

static err claim(struct jobs *jobs, struct pg *pg, struct arena *arena, bool probing, int *ret_claimed)
{
    char owner[32];
    snprintf(owner, sizeof(owner), "producers-%d", (int)getpid());
    bool kinds[JOB_KINDS_MAX] = {false};
    int room = room_for(jobs, probing, kinds), n = 0;
    struct job *claimed = arena_array(arena, struct job, JOB_WORKERS_MAX);
    TRY(job_claim(pg, str_of(owner), kinds, room, arena, claimed, &n));
    if (n && FAULT(JOB_AFTER_CLAIM))
        return FAIL(UNAVAILABLE, "crash point"); /* nobody runs them: their leases end */
    for (int i = 0; i < n; i++)
        if (!give(jobs, &claimed[i]))
            TRY(job_put_back(pg, &claimed[i], 0));
    *ret_claimed += n;
    return OK;
}

/* ---- keeping ---- */

static size_t held_now(struct jobs *jobs, struct job_held *ret, struct slot **ret_slots)
{
    size_t n = 0;
    pthread_mutex_lock(&jobs->lock);
    for (int i = 0; i < jobs->n; i++)
        if (jobs->slots[i].state != SLOT_IDLE) {
            ret_slots[n] = &jobs->slots[i];
            ret[n++] = (struct job_held){.id = jobs->slots[i].job.id, .attempt = jobs->slots[i].job.attempt};
        }
    pthread_mutex_unlock(&jobs->lock);
    return n;
}

/* A slot may have changed hands while PostgreSQL was asked: only the same attempt is concerned. */
static void tell_slot(struct jobs *jobs, struct slot *slot, const struct job_held *held)
{
    pthread_mutex_lock(&jobs->lock);
    bool same =
        slot->state != SLOT_IDLE && uuid_eq(slot->job.id, held->id) && slot->job.attempt == held->attempt;
    if (same && held->followed)
        slot->job.followed = true;
    if (same && (held->lost || (held->followed && slot->job.kind->give_way)))
        patience_end(&slot->patience);
    pthread_mutex_unlock(&jobs->lock);
}

static err keep(struct jobs *jobs, struct pg *pg, struct arena *arena)
{
    struct job_held held[JOB_WORKERS_MAX];
    struct slot *slots[JOB_WORKERS_MAX];
    size_t n = held_now(jobs, held, slots);
    if (n)
        TRY(job_renew(pg, held, n, arena));
    for (size_t i = 0; i < n; i++)
        tell_slot(jobs, slots[i], &held[i]);
    return job_recover(pg, arena);
}

/* ---- the loop ---- */

static err pass(struct jobs *jobs, struct pg *pg, struct arena *arena, int64_t *kept_ms, int *ret_claimed)
{
    *ret_claimed = 0;
    if (clock_mono_ms() - *kept_ms >= KEEP_MS) {
        TRY(keep(jobs, pg, arena));
        *kept_ms = clock_mono_ms();
    }
    TRY(claim(jobs, pg, arena, false, ret_claimed));
    return claim(jobs, pg, arena, true, ret_claimed);
}

static void *dispatch(void *p)
{
    struct jobs *jobs = p;
    struct link link = {.loop = "jobs"};
    struct arena *arena = arena_new(SCRATCH);
    int64_t kept_ms = 0, busy_until_ms = 0;
    while (!should_stop(jobs)) {
        int claimed = 0;
        err e = OK;
        if (link_up(&link))
            e = pass(jobs, link.pg, arena, &kept_ms, &claimed);
        if (claimed)
            busy_until_ms = clock_mono_ms() + BUSY_FOR_MS;
        arena_reset(arena);
        link_rest(&link, e, &jobs->bell, clock_mono_ms() < busy_until_ms ? POLL_BUSY_MS : POLL_MS);
    }
    arena_free(arena);
    link_close(&link);
    return NULL;
}

/* ---- starting and stopping ---- */

static void start_thread(pthread_t *thread, void *(*run)(void *), void *data)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    int failed_to = pthread_create(thread, &attributes, run, data);
    assert(!failed_to);
    pthread_attr_destroy(&attributes);
}

struct jobs *jobs_start(struct bell *told)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    if (!jobs)
        abort();
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->given, NULL);
    bell_init(&jobs->bell);
    jobs->told = told;
    jobs->n = (int)conf_int(SET_JOB_WORKERS);
    for (int i = 0; i < jobs->n; i++) {
        struct slot *slot = &jobs->slots[i];
        *slot = (struct slot){.jobs = jobs, .arena = arena_new(SCRATCH), .link = {.loop = "worker"}};
        patience_init(&slot->patience);
        start_thread(&slot->thread, job_worker, slot);
    }
    start_thread(&jobs->dispatcher, dispatch, jobs);
    return jobs;
}

struct jobs *jobs_stop(struct jobs *jobs)
{
    if (!jobs)
        return NULL;
    pthread_mutex_lock(&jobs->lock);
    jobs->stop = true;
    for (int i = 0; i < jobs->n; i++)
        patience_end(&jobs->slots[i].patience);
    pthread_cond_broadcast(&jobs->given);
    pthread_mutex_unlock(&jobs->lock);
    bell_ring(&jobs->bell);
    pthread_join(jobs->dispatcher, NULL);
    for (int i = 0; i < jobs->n; i++) {
        pthread_join(jobs->slots[i].thread, NULL);
        patience_deinit(&jobs->slots[i].patience);
        jobs->slots[i].arena = arena_free(jobs->slots[i].arena);
    }
    bell_deinit(&jobs->bell);
    pthread_cond_destroy(&jobs->given);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
    return NULL;
}
