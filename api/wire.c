/*
 * See wire.h. The descriptor that uv_poll watches is a duplicate: the pump may close its own at any time, and
 * the number could be given to somebody else while libuv still watches it.
 */
#include "api/wire.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/log.h"

enum { TICK_MS = 250, BACKOFF_BASE_MS = 50, BACKOFF_CAP_MS = 250 };

struct watch { /* closed on its own, since a new connection may be there before libuv lets go of the old one
                */
    uv_poll_t poll;
    struct wire *wire;
    int fd;
    int events;
};

struct wire {
    uv_loop_t *loop;
    const struct wire_pump *pump;
    void *object;
    wire_fn *fn;
    void *data;
    int64_t silence_ms, last_sign_ms;
    int attempt;
    bool up, connecting, closing;
    int handles; /* open: timer and prepare */
    struct watch *watch;
    uv_prepare_t prepare;
    uv_timer_t timer;
    uv_work_t work;
    err outcome;
    char why[200];
};

static void connect_soon(struct wire *wire);

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    close(watch->fd);
    free(watch);
}

static void watch_close(struct wire *wire)
{
    struct watch *watch = STEAL(wire->watch);
    if (!watch)
        return;
    watch->wire = NULL;
    uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

/* The connection is gone: everybody was told by the pump. */
static void went_down(struct wire *wire)
{
    if (!wire->up)
        return;
    wire->up = false;
    watch_close(wire);
    if (wire->closing)
        return;
    log_warn("connection lost", kv("server", wire->pump->name));
    if (wire->fn)
        wire->fn(wire->data, false);
    connect_soon(wire);
}

static void on_ready(uv_poll_t *handle, int status, int events);

static void watch_update(struct wire *wire)
{
    int events = wire->pump->wants(wire->object) & POLLOUT ? UV_READABLE | UV_WRITABLE : UV_READABLE;
    if (!wire->watch || wire->watch->events == events)
        return;
    wire->watch->events = events;
    uv_poll_start(&wire->watch->poll, events, on_ready);
}

static void run_pump(struct wire *wire, short ready)
{
    wire->pump->pump(wire->object, ready);
    if (!wire->pump->is_up(wire->object))
        went_down(wire);
    else
        watch_update(wire);
}

/* An error of the descriptor is told as readable: the pump's own read meets it and answers everybody. */
static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct watch *watch = handle->data;
    struct wire *wire = watch->wire;
    if (!wire)
        return;
    wire->last_sign_ms = clock_mono_ms();
    short ready = 0;
    if (status < 0 || (events & UV_READABLE))
        ready |= POLLIN;
    if (events & UV_WRITABLE)
        ready |= POLLOUT;
    run_pump(wire, ready);
}

/* Before the loop sleeps: what was queued in this turn leaves together. */
static void on_prepare(uv_prepare_t *handle)
{
    struct wire *wire = handle->data;
    if (wire->up && (wire->pump->wants(wire->object) & POLLOUT) && !(wire->watch->events & UV_WRITABLE))
        run_pump(wire, 0);
}

static void watch_silence(struct wire *wire)
{
    int64_t now = clock_mono_ms();
    if (!wire->pump->waiting(wire->object)) {
        wire->last_sign_ms = now;
    } else if (now - wire->last_sign_ms > wire->silence_ms) {
        log_warn("server is silent", kv("server", wire->pump->name), kv("ms", now - wire->last_sign_ms));
        shutdown(wire->pump->fd(wire->object), SHUT_RDWR); /* the pump reads the end and answers everybody */
        run_pump(wire, POLLIN);
    }
}

static void on_timer(uv_timer_t *handle)
{
    struct wire *wire = handle->data;
    if (wire->up)
        watch_silence(wire);
    else if (!wire->connecting && !wire->closing)
        connect_soon(wire);
}

static void came_up(struct wire *wire)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        abort();
    watch->fd = dup(wire->pump->fd(wire->object));
    watch->wire = wire;
    watch->poll.data = watch;
    assert(watch->fd >= 0);
    int bad = uv_poll_init(wire->loop, &watch->poll, watch->fd);
    assert(!bad);
    wire->watch = watch;
    wire->up = true;
    wire->attempt = 0;
    wire->last_sign_ms = clock_mono_ms();
    uv_timer_start(&wire->timer, on_timer, TICK_MS, TICK_MS);
    watch_update(wire);
    log_info("connected", kv("server", wire->pump->name));
    if (wire->fn)
        wire->fn(wire->data, true);
}

static void free_when_idle(struct wire *wire)
{
    if (!wire->closing || wire->handles || wire->connecting)
        return;
    wire->pump->free(wire->object);
    free(wire);
}

static void work_connect(uv_work_t *work)
{
    struct wire *wire = work->data;
    wire->outcome = wire->pump->connect(wire->object);
    snprintf(wire->why, sizeof(wire->why), "%s", failed(wire->outcome) ? err_text(wire->outcome) : "");
}

static void on_connected(uv_work_t *work, int status)
{
    struct wire *wire = work->data;
    wire->connecting = false;
    if (wire->closing) {
        free_when_idle(wire);
        return;
    }
    if (status == 0 && !failed(wire->outcome)) {
        came_up(wire);
        return;
    }
    if (wire->attempt == 0)
        log_warn("no connection", kv("server", wire->pump->name), kv("why", (const char *)wire->why));
    int64_t pause = backoff_ms(wire->attempt++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
    uv_timer_start(&wire->timer, on_timer, (uint64_t)pause + 10, TICK_MS);
}

static void connect_soon(struct wire *wire)
{
    wire->connecting = true;
    uv_timer_stop(&wire->timer);
    uv_queue_work(wire->loop, &wire->work, work_connect, on_connected);
}

struct wire *wire_new(uv_loop_t *loop, const struct wire_pump *pump, void *object, int64_t silence_ms,
                      wire_fn *fn, void *data)
{
    struct wire *wire = calloc(1, sizeof(*wire));
    if (!wire)
        abort();
    *wire = (struct wire){.loop = loop,
                          .pump = pump,
                          .object = object,
                          .silence_ms = silence_ms,
                          .fn = fn,
                          .data = data,
                          .handles = 2};
    uv_prepare_init(loop, &wire->prepare);
    uv_timer_init(loop, &wire->timer);
    wire->prepare.data = wire->timer.data = wire->work.data = wire;
    uv_prepare_start(&wire->prepare, on_prepare);
    connect_soon(wire);
    return wire;
}

void *wire_up(const struct wire *wire)
{
    /* Also from inside a pump that is just telling everybody that it broke. */
    return wire && wire->up && wire->pump->is_up(wire->object) ? wire->object : NULL;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct wire *wire = handle->data;
    wire->handles--;
    free_when_idle(wire);
}

void wire_free(struct wire *wire)
{
    if (!wire)
        return;
    wire->closing = true;
    if (wire->up) /* not by reading to the end: an answer that arrived would find half of its owner gone */
        wire->pump->stop(wire->object);
    watch_close(wire);
    wire->up = false;
    uv_close((uv_handle_t *)&wire->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&wire->timer, on_handle_closed);
}
