/* What the dispatcher (jobs.c) and the workers (job_worker.c) share. */
#pragma once

#include "producers/breaker.h"
#include "producers/job_store.h"
#include "producers/link.h"

enum { JOB_WORKERS_MAX = 64 };

enum slot_state { SLOT_IDLE, SLOT_GIVEN, SLOT_RUNNING };

/* A worker thread and the job in its hands. State and job change under the lock of jobs; link and arena are
 * the worker's own while it runs. */
struct slot {
    struct jobs *jobs;
    pthread_t thread;
    enum slot_state state;
    struct job job;
    struct arena *arena;
    struct patience patience;
    struct link link;
};

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t given; /* a slot was given a job, or all shall stop */
    bool stop;
    struct bell bell; /* wakes the dispatcher */
    struct bell *told;
    pthread_t dispatcher;
    struct slot slots[JOB_WORKERS_MAX];
    int n;
    struct breaker breakers[JOB_KINDS_MAX]; /* by index of job_kinds */
};

int job_kind_index(const struct job_kind *kind);
void *job_worker(void *slot);
