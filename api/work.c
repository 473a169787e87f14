/* Bounded work on libuv's thread pool: what burns CPU must not stand in the way of a loop, nor pile up. */
#include <stdatomic.h>
#include <stdlib.h>

#include "api/server.h"

struct job {
    uv_work_t work;
    work_fn *run, *done;
    void *data;
};

static _Atomic int outstanding;

static void on_work(uv_work_t *work)
{
    struct job *job = work->data;

    job->run(job->data);
}

static void on_done(uv_work_t *work, int status)
{
    struct job *job = work->data;

    (void)status; /* nothing is ever cancelled */
    atomic_fetch_sub(&outstanding, 1);
    job->done(job->data);
    free(job);
}

err work_submit(struct loop *loop, work_fn *run, work_fn *done, void *data)
{
    struct job *job;

    if (atomic_fetch_add(&outstanding, 1) >= WORK_LIMIT) {
        atomic_fetch_sub(&outstanding, 1);
        return FAIL(OVERLOADED, "%d jobs are waiting already", WORK_LIMIT);
    }
    job = malloc(sizeof(*job));
    if (!job)
        abort();
    *job = (struct job){.run = run, .done = done, .data = data};
    job->work.data = job;
    if (uv_queue_work(loop_uv(loop), &job->work, on_work, on_done) < 0)
        abort(); /* only without on_work */
    return OK;
}
