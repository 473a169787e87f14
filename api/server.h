/*
 * The server: threads with one libuv loop each, each with a listener of its own (SO_REUSEPORT), sharing
 * nothing but counters. The upper layer gets a context per loop, made and ended on the loop's thread, for its
 * own connections. Drain: no new connections, answers say Connection: close, what waits is told by the drain
 * hook, all ends < 2 s later.
 */
#pragma once

#include <uv.h>

#include "api/route.h"

struct server;

struct server_hooks {
    /* On the loop's thread before it listens. A failure makes server_start fail. */
    err (*init)(struct loop *loop, void *data, void **ret_context);
    /* On the loop's thread when the drain begins: answer what waits for something that may take long. May be
     * NULL. */
    void (*drain)(struct loop *loop, void *context);
    /* On the loop's thread when the last connection is gone; every uv handle of the context must be closing
     * when it returns; the loop runs until their close callbacks were called, then free_context. */
    void (*fini)(struct loop *loop, void *context);
    /* After the loop's end. May be NULL. */
    void (*free_context)(void *context);
    /* Requests on .command and .query rows. They may pass req on to req->route->query. */
    route_fn *command, *query;
};

struct server_options {
    const char *bind;                  /* address; NULL: BIND */
    int port;                          /* 0: any free one; -1: PORT */
    int loops;                         /* 0: API_LOOPS, where 0 means one per core */
    const struct route *const *routes; /* NULL-terminated list of tables */
    struct server_hooks hooks;         /* all NULL is fine without .command and .query rows */
    void *data;                        /* for init */
};

/* Starts and returns when all loops listen. CONFIG: address; UNAVAILABLE: port taken; else what init said. */
err server_start(const struct server_options *options, struct server **ret) _must_use_;
int server_port(const struct server *server);
/* Begins the drain; from any thread; again: nothing. */
void server_drain(struct server *server);
/* Drains if nobody did, waits for the threads, frees. Takes NULL, returns NULL. */
struct server *server_stop(struct server *server);

/* For main: blocks SIGTERM and SIGINT in this thread and all it starts; call before anything starts threads.
 */
void server_block_signals(void);
/* For main: waits for SIGTERM or SIGINT, then server_stop. A second signal aborts the process with exit
 * code 1. */
void server_run(struct server *server);

/* ---- for the upper layer, on a loop's thread ---- */
uv_loop_t *loop_uv(struct loop *loop);
void *loop_context(struct loop *loop);
int loop_index(const struct loop *loop); /* 0 … loops - 1 */
bool loop_draining(const struct loop *loop);

/*
 * Bounded work on libuv's thread pool, for what burns CPU (argon2): run on a thread of the pool, then done on
 * the loop. At most WORK_LIMIT jobs are outstanding in the process; OVERLOADED above that, and neither is
 * called.
 */
enum { WORK_LIMIT = 64 };
typedef void work_fn(void *data);
err work_submit(struct loop *loop, work_fn *run, work_fn *done, void *data) _must_use_;
