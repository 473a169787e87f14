/*
 * See link.h. The descriptor that uv_poll watches is a duplicate: the pump may close its own at any time, and
 * the number could be given to somebody else while libuv still watches it.
 */
#include "api/link.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/log.h"

enum { TICK_MS = 250, BACKOFF_BASE_MS = 50, BACKOFF_CAP_MS = 1000 };

struct watch { /* closed on its own, since a new connection may be there before libuv lets go of the old one
                */
    uv_poll_t poll;
    struct link *link;
    int fd;
    int events;
};

struct link {
    uv_loop_t *loop;
    const struct link_pump *pump;
    void *object;
    link_fn *fn;
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

static void connect_soon(struct link *link);

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    close(watch->fd);
    free(watch);
}

static void watch_close(struct link *link)
{
    struct watch *watch = STEAL(link->watch);
    if (!watch)
        return;
    watch->link = NULL;
    uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

/* The connection is gone: everybody was told by the pump. */
static void went_down(struct link *link)
{
    if (!link->up)
        return;
    link->up = false;
    watch_close(link);
    if (link->closing)
        return;
    log_warn("connection lost", kv("server", link->pump->name));
    if (link->fn)
        link->fn(link->data, false);
    connect_soon(link);
}

static void on_ready(uv_poll_t *handle, int status, int events);

static void watch_update(struct link *link)
{
    int events = link->pump->wants(link->object) & POLLOUT ? UV_READABLE | UV_WRITABLE : UV_READABLE;
    if (!link->watch || link->watch->events == events)
        return;
    link->watch->events = events;
    uv_poll_start(&link->watch->poll, events, on_ready);
}

static void run_pump(struct link *link, short ready)
{
    link->pump->pump(link->object, ready);
    if (!link->pump->is_up(link->object))
        went_down(link);
    else
        watch_update(link);
}

/* An error of the descriptor is told as readable: the pump's own read meets it and answers everybody. */
static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct watch *watch = handle->data;
    struct link *link = watch->link;
    if (!link)
        return;
    link->last_sign_ms = clock_mono_ms();
    short ready = 0;
    if (status < 0 || (events & UV_READABLE))
        ready |= POLLIN;
    if (events & UV_WRITABLE)
        ready |= POLLOUT;
    run_pump(link, ready);
}

/* Before the loop sleeps: what was queued in this turn leaves together. */
static void on_prepare(uv_prepare_t *handle)
{
    struct link *link = handle->data;
    if (link->up && (link->pump->wants(link->object) & POLLOUT) && !(link->watch->events & UV_WRITABLE))
        run_pump(link, 0);
}

static void watch_silence(struct link *link)
{
    int64_t now = clock_mono_ms();
    if (!link->pump->waiting(link->object)) {
        link->last_sign_ms = now;
    } else if (now - link->last_sign_ms > link->silence_ms) {
        log_warn("server is silent", kv("server", link->pump->name), kv("ms", now - link->last_sign_ms));
        shutdown(link->pump->fd(link->object), SHUT_RDWR); /* the pump reads the end and answers everybody */
        run_pump(link, POLLIN);
    }
}

static void on_timer(uv_timer_t *handle)
{
    struct link *link = handle->data;
    if (link->up)
        watch_silence(link);
    else if (!link->connecting && !link->closing)
        connect_soon(link);
}

static void came_up(struct link *link)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        abort();
    watch->fd = dup(link->pump->fd(link->object));
    watch->link = link;
    watch->poll.data = watch;
    assert(watch->fd >= 0);
    int bad = uv_poll_init(link->loop, &watch->poll, watch->fd);
    assert(!bad);
    link->watch = watch;
    link->up = true;
    link->attempt = 0;
    link->last_sign_ms = clock_mono_ms();
    uv_timer_start(&link->timer, on_timer, TICK_MS, TICK_MS);
    watch_update(link);
    log_info("connected", kv("server", link->pump->name));
    if (link->fn)
        link->fn(link->data, true);
}

static void free_when_idle(struct link *link)
{
    if (!link->closing || link->handles || link->connecting)
        return;
    link->pump->free(link->object);
    free(link);
}

static void work_connect(uv_work_t *work)
{
    struct link *link = work->data;
    link->outcome = link->pump->connect(link->object);
    snprintf(link->why, sizeof(link->why), "%s", failed(link->outcome) ? err_text(link->outcome) : "");
}

static void on_connected(uv_work_t *work, int status)
{
    struct link *link = work->data;
    link->connecting = false;
    if (link->closing) {
        free_when_idle(link);
        return;
    }
    if (status == 0 && !failed(link->outcome)) {
        came_up(link);
        return;
    }
    if (link->attempt == 0)
        log_warn("no connection", kv("server", link->pump->name), kv("why", (const char *)link->why));
    int64_t pause = backoff_ms(link->attempt++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
    uv_timer_start(&link->timer, on_timer, (uint64_t)pause + 10, TICK_MS);
}

static void connect_soon(struct link *link)
{
    link->connecting = true;
    uv_timer_stop(&link->timer);
    uv_queue_work(link->loop, &link->work, work_connect, on_connected);
}

struct link *link_new(uv_loop_t *loop, const struct link_pump *pump, void *object, int64_t silence_ms,
                      link_fn *fn, void *data)
{
    struct link *link = calloc(1, sizeof(*link));
    if (!link)
        abort();
    *link = (struct link){.loop = loop,
                          .pump = pump,
                          .object = object,
                          .silence_ms = silence_ms,
                          .fn = fn,
                          .data = data,
                          .handles = 2};
    uv_prepare_init(loop, &link->prepare);
    uv_timer_init(loop, &link->timer);
    link->prepare.data = link->timer.data = link->work.data = link;
    uv_prepare_start(&link->prepare, on_prepare);
    connect_soon(link);
    return link;
}

void *link_up(const struct link *link)
{
    /* Also from inside a pump that is just telling everybody that it broke. */
    return link && link->up && link->pump->is_up(link->object) ? link->object : NULL;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    link->handles--;
    free_when_idle(link);
}

void link_free(struct link *link)
{
    if (!link)
        return;
    link->closing = true;
    if (link->up) { /* whoever waits is told now, while all are alive */
        shutdown(link->pump->fd(link->object), SHUT_RDWR);
        link->pump->pump(link->object, POLLIN);
    }
    watch_close(link);
    link->up = false;
    uv_close((uv_handle_t *)&link->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&link->timer, on_handle_closed);
}
