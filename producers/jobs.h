/*
 * Outside work. A job is a row; whoever claims it holds it by a lease and an attempt number, and its outcome
 * is accepted once, in the same transaction as the event that tells it. Jobs of one key run one at a time in
 * the order of their insertion; many keys run at once, on a fixed number of worker threads. A job that fails
 * for reasons of infrastructure stays and is tried again; what the other side refuses is an outcome. Every
 * outside effect carries an idempotency key, so an attempt whose end nobody saw is repeated without harm.
 */
#pragma once

#include "bus/eventlog.h"
#include "bus/trace.h"
#include "producers/bell.h"

/* A claimed job. Strings live as long as the attempt. */
struct job {
    struct uuid id;
    const struct job_kind *kind;
    struct str key, payload;
    int64_t attempt; /* from 1 */
    bool followed;   /* a job that overtakes waits behind it */
    struct str correlation, actor, traceparent;
    struct trace trace; /* the span of this attempt; empty when it is not sampled */
    int64_t began_ns;   /* of it */
};

/* What a worker has: its own connection, an arena for the attempt, and the attempt's time. */
struct job_run {
    const struct job *job;
    struct pg *pg;
    struct arena *arena;
    struct patience *patience;
};

/* How a job ended: one word for the row, and an event of that type under the job's key. data: the message's
 * struct, in the arena of the attempt. */
struct job_outcome {
    const char *word;
    enum message event;
    const void *data;
};

struct job_kind {
    const char *name; /* "family.what"; jobs of one key wait for each other within a family */
    /* One attempt. RETRY: tried again later. Any other error is a fault of ours: logged, tried again too. */
    err (*run)(const struct job_run *run, struct job_outcome *ret);
    /* When a job that overtakes waits behind and this one has no answer: its outcome instead of another
     * attempt. NULL: it is tried until it ends. */
    void (*give_way)(const struct job_run *run, struct job_outcome *ret);
    bool overtakes; /* whatever waits for an answer before it gives way */
};

/* All kinds, in an explicit list (kinds.c), NULL-terminated. */
extern const struct job_kind *const job_kinds[];
enum { JOB_KINDS_MAX = 16 };

struct jobs;

/* Starts the dispatcher and JOB_WORKERS workers. told is rung whenever events were committed. */
struct jobs *jobs_start(struct bell *told);
/* Ends attempts that wait, puts unfinished jobs back, joins all threads. Takes NULL, returns NULL. */
struct jobs *jobs_stop(struct jobs *jobs);
