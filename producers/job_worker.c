/*
 * A worker: takes the job it is given, makes one attempt within its time, and records how it ended. What
 * cannot be recorded is left to the lease: another attempt follows, under the same idempotency key.
 */
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "producers/jobs_internal.h"

enum { RETRY_BASE_MS = 500, RETRY_CAP_MS = 60000 };

static bool stopping(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    bool stop = jobs->stop;
    pthread_mutex_unlock(&jobs->lock);
    return stop;
}

static bool followed(struct slot *slot)
{
    pthread_mutex_lock(&slot->jobs->lock);
    bool yes = slot->job.followed;
    pthread_mutex_unlock(&slot->jobs->lock);
    return yes;
}

/* Tells the breaker, and the log when it opened. An attempt that was ended by us, or by our database, says
 * nothing about the other side. */
static void note_breaker(struct slot *slot, err e, bool ended_by_us)
{
    struct jobs *jobs = slot->jobs;
    struct breaker *breaker = &jobs->breakers[job_kind_index(slot->job.kind)];
    bool opened = false;
    pthread_mutex_lock(&jobs->lock);
    bool ours = ended_by_us || e.code == ERR_PG_DOWN || e.code == ERR_PG_RETRY;
    if (failed(e) && ours)
        breaker_forget(breaker);
    else
        opened = breaker_ended(breaker, !failed(e), clock_mono_ms());
    pthread_mutex_unlock(&jobs->lock);
    if (opened)
        log_warn("the breaker opened: many attempts in a row failed", kv("kind", slot->job.kind->name));
}

/* From here on what the attempt causes is below its span. */
static void begin_span(struct slot *slot)
{
    struct job *job = &slot->job;
    if (!trace_follow(job->traceparent, &job->trace))
        return;
    job->began_ns = trace_now();
    job->traceparent = trace_text(&job->trace, slot->arena);
}

/* outcome: its word; NULL: the attempt failed and another will follow. */
static void end_span(const struct job *job, const char *outcome)
{
    struct span *span =
        span_open(&job->trace, SPAN_CLIENT, str_of(job->kind->name), job->began_ns, trace_now());
    span_int(span, "attempt", job->attempt);
    span_str(span, "messaging.message.conversation_id", job->correlation);
    span_str(span, "outcome", str_of(outcome));
    if (!outcome)
        span_failed(span, "the attempt failed");
    span_close(span);
}

static void finish(struct slot *slot, const struct job_outcome *outcome)
{
    bool accepted = false;
    err e = job_finish(slot->link.pg, &slot->job, outcome, slot->arena, &accepted);
    if (!failed(e) && accepted)
        end_span(&slot->job, outcome->word);
    if (!failed(e) && accepted && FAULT(JOB_AFTER_COMMIT))
        return;
    if (failed(e))
        log_warn("the outcome of a job could not be recorded and will be asked again",
                 kv("kind", slot->job.kind->name), kv("job", slot->job.id),
                 kv("correlationid", slot->job.correlation), kv("why", err_text(e)));
    else if (!accepted)
        log_info("a job's outcome came after its lease", kv("kind", slot->job.kind->name),
                 kv("job", slot->job.id), kv("correlationid", slot->job.correlation));
    else
        bell_ring(slot->jobs->told);
}

/* Later, with full jitter; at once when it was interrupted by our own end. */
static void retry(struct slot *slot, err why, bool stop)
{
    int attempt = slot->job.attempt < 20 ? (int)slot->job.attempt : 20;
    int64_t due_ms = stop ? 0 : clock_ms() + backoff_ms(attempt, RETRY_BASE_MS, RETRY_CAP_MS);
    if (!stop && err_class_of(why.code) != ERR_CLASS_RETRY)
        log_error("a job failed in a way that is ours", kv("kind", slot->job.kind->name),
                  kv("job", slot->job.id), kv("correlationid", slot->job.correlation),
                  kv("attempt", slot->job.attempt), kv("why", err_text(why)));
    else if (!stop)
        log_warn("a job is tried again", kv("kind", slot->job.kind->name), kv("job", slot->job.id),
                 kv("correlationid", slot->job.correlation), kv("attempt", slot->job.attempt),
                 kv("why", err_text(why)));
    if (!stop)
        end_span(&slot->job, NULL);
    err e = link_up(&slot->link) ? job_put_back(slot->link.pg, &slot->job, due_ms)
                                 : FAIL(PG_DOWN, "no connection");
    if (failed(e))
        log_warn("a job could not be put back; its lease will end", kv("job", slot->job.id),
                 kv("correlationid", slot->job.correlation), kv("why", err_text(e)));
}

static void attempt(struct slot *slot)
{
    const struct job_kind *kind = slot->job.kind;
    begin_span(slot);
    struct job_run run = {&slot->job, slot->link.pg, slot->arena, &slot->patience};
    struct job_outcome outcome = {NULL, MESSAGE_NONE, NULL};
    if (kind->give_way && followed(slot)) {
        note_breaker(slot, FAIL(UNAVAILABLE, "not tried"), true);
        kind->give_way(&run, &outcome);
        finish(slot, &outcome);
        return;
    }
    err e = kind->run(&run, &outcome);
    if (!failed(e) && FAULT(JOB_AFTER_CALL))
        e = FAIL(UNAVAILABLE, "crash point");
    bool stop = stopping(slot->jobs);
    bool gives_way = failed(e) && kind->give_way && followed(slot);
    note_breaker(slot, e, stop || gives_way);
    if (failed(e) && !gives_way) {
        retry(slot, e, stop);
        return;
    }
    if (gives_way)
        kind->give_way(&run, &outcome);
    finish(slot, &outcome);
}

/* Waits for the next job; false when there will be none. */
static bool take(struct slot *slot)
{
    struct jobs *jobs = slot->jobs;
    pthread_mutex_lock(&jobs->lock);
    while (slot->state != SLOT_GIVEN && !jobs->stop)
        pthread_cond_wait(&jobs->given, &jobs->lock);
    bool given = slot->state == SLOT_GIVEN;
    if (given)
        slot->state = SLOT_RUNNING;
    pthread_mutex_unlock(&jobs->lock);
    return given;
}

static void give_back(struct slot *slot)
{
    pthread_mutex_lock(&slot->jobs->lock);
    slot->state = SLOT_IDLE;
    pthread_mutex_unlock(&slot->jobs->lock);
    bell_ring(&slot->jobs->bell);
}

void *job_worker(void *p)
{
    struct slot *slot = p;
    while (take(slot)) {
        if (!link_up(&slot->link))
            note_breaker(slot, FAIL(PG_DOWN, "no connection"),
                         true); /* the lease ends, somebody tries again */
        else if (stopping(slot->jobs))
            retry(slot, OK, true);
        else
            attempt(slot);
        if (slot->link.pg && pg_is_up(slot->link.pg))
            slot->link.attempt = 0;
        arena_reset(slot->arena);
        give_back(slot);
    }
    link_close(&slot->link);
    return NULL;
}
