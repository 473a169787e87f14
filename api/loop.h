/* A loop and its clients; private to loop.c, caller.c, server.c, work.c. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "api/conn.h"
#include "api/server.h"

enum {
    TICK_MS = 250,          /* resolution of deadlines */
    WHEEL_SLOTS = 256,      /* times TICK_MS: the longest deadline, and a little */
    READ_BYTES = 64 << 10,  /* one read */
    DRAIN_GRACE_MS = 300,   /* idle clients may still ask and hear Connection: close */
    DRAIN_CUT_MS = 1500,    /* then everybody is cut off */
    DRAIN_END_MS = 1700,    /* then the loop ends whatever is owed */
    TRIM_PEAK = 64,         /* so many callers … */
    TRIM_KEPT = 4 << 20,    /* … or bytes of answers must have gone … */
    TRIM_MS = 1000,         /* … and so much time, before memory is given back; */
    TRIM_ANYHOW_MS = 10000, /* without them after so much */
    HELD_MAX = 32 << 20,    /* bytes of unfinished requests, all loops together */
    KEPT_MAX = 64 << 20,    /* of answers nobody has read, the same */
};

/* One connection on its loop. */
struct caller {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct loop *loop;
    struct conn conn;
    struct caller *previous, *next; /* in its slot of the wheel */
    int slot;
    int64_t slot_ms; /* when the slot comes up; never after conn_deadline */
    struct caller *next_dirty;
    char *rest; /* bytes read that the connection would not take yet, malloc'ed */
    size_t rest_n;
    size_t writing_n; /* bytes given to uv_write; 0: none is under way */
    bool dirty, reading, eof, closing, closed;
};

struct loop {
    struct server *server;
    int index;
    int fd; /* bound, not yet listening; -1 afterwards */
    pthread_t thread;
    uv_loop_t uv;
    uv_tcp_t listener;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_async_t wake;
    struct conn_host host;
    void *context;
    struct caller *wheel[WHEEL_SLOTS];
    int64_t tick; /* the last one done: ms / TICK_MS */
    struct caller *dirty;
    unsigned callers;
    size_t peak, kept_peak; /* of callers, and of what answers hold, since memory was given back */
    int64_t trim_ms;        /* when it was */
    int64_t drain_ms;       /* since when; 0: not draining */
    bool ended;
    err started; /* what init or listen said, with its text */
    char why[256];
    char buffer[READ_BYTES];
};

struct server {
    struct server_options options;
    struct router *router;
    struct route_metrics *metrics;
    int port, n;
    int64_t connections_max;
    _Atomic int64_t connections;
    _Atomic bool draining;
    sem_t started;
    struct str *names, *origins; /* settings, split; the text lives in lists */
    struct arena *lists;
    struct loop *loops;
};

/* caller.c */
void caller_new(struct loop *loop, uv_stream_t *listener);
void caller_adopt(struct loop *loop, int fd);
void caller_close(struct caller *caller);
/* Feeds what waits, writes what can be written, sets the deadline anew. */
void caller_service(struct caller *caller);
void caller_on_output(struct conn *conn); /* conn_host.on_output */
void loop_service_dirty(struct loop *loop);

/* wheel.c */
void wheel_put(struct caller *caller);
void wheel_take(struct caller *caller);
/* Calls expired for every client whose deadline is there. */
void wheel_turn(struct loop *loop, void (*expired)(struct caller *caller));
/* Calls fn for every caller; fn may close it. */
void wheel_each(struct loop *loop, void (*fn)(struct caller *caller));

/* loop.c: the thread's function. */
void *loop_run(void *loop);

/* listen.c: a bound socket with SO_REUSEPORT, not blocking; *port 0 becomes the port it got. */
err listen_bind(const char *address, int *port, int *ret_fd) _must_use_;
