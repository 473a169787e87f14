/*
 * One loop: its thread, its listener, its clock, its drain. The order of a turn: timers, dirty clients
 * (prepare), poll (reads are answered as they come; Redis and PostgreSQL of the upper layer answer others),
 * dirty clients (check).
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/loop.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

enum { BACKLOG = 1024 };

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

void *loop_context(struct loop *loop)
{
    return loop->context;
}

int loop_index(const struct loop *loop)
{
    return loop->index;
}

bool loop_draining(const struct loop *loop)
{
    return loop->drain_ms != 0;
}

/* ---- the turn ---- */

static void renew_times(struct loop *loop)
{
    host_tick(&loop->host, (int64_t)uv_now(&loop->uv), clock_ms());
}

static void on_prepare(uv_prepare_t *prepare)
{
    loop_service_dirty(prepare->data);
}

static void on_check(uv_check_t *check)
{
    loop_service_dirty(check->data);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct loop *loop = listener->data;

    if (status < 0)
        log_warn("a connection could not be accepted", kv("why", uv_strerror(status)));
    else
        caller_new(loop, listener);
}

static void expired(struct caller *caller)
{
    if (conn_expire(&caller->conn)) {
        caller_close(caller);
    } else {
        wheel_take(caller);
        wheel_put(caller);
    }
}

/* ---- the drain ---- */

/* Connections that the kernel has completed would be reset with the listener; they are served instead. */
static void accept_the_rest(struct loop *loop)
{
    uv_os_fd_t listener;
    int fd;

    if (uv_fileno((uv_handle_t *)&loop->listener, &listener) < 0)
        return;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        caller_adopt(loop, fd);
}

static void begin_drain(struct loop *loop)
{
    if (loop->drain_ms != 0)
        return;
    loop->drain_ms = loop->host.now_ms;
    loop->host.draining = true;
    if (loop->listener.data) {
        accept_the_rest(loop);
        uv_close((uv_handle_t *)&loop->listener, NULL);
    }
    if (loop->context && loop->server->options.hooks.drain)
        loop->server->options.hooks.drain(loop, loop->context);
    uv_timer_set_repeat(&loop->timer, TICK_MS / 10);
    uv_timer_again(&loop->timer);
}

static void close_if_idle(struct caller *caller)
{
    if (conn_idle(&caller->conn) || caller->conn.lingering)
        caller_close(caller);
}

static void end(struct loop *loop)
{
    if (loop->ended)
        return;
    loop->ended = true;
    if (loop->context && loop->server->options.hooks.fini)
        loop->server->options.hooks.fini(loop, loop->context);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
}

static void drain_step(struct loop *loop)
{
    int64_t since = loop->host.now_ms - loop->drain_ms;

    if (since >= DRAIN_GRACE_MS)
        wheel_each(loop, close_if_idle);
    if (since >= DRAIN_CUT_MS)
        wheel_each(loop, caller_close);
    if ((loop->callers == 0 && loop->host.orphans == 0) || since >= DRAIN_END_MS)
        end(loop);
}

static bool has_gone(size_t now, size_t peak, size_t least)
{
    return peak >= least && now <= peak / 4;
}

/* After a flood free memory lies between what is in use, where malloc does not give it back by itself. So it
 * does when all callers have waited at once for a server that stood still, and nobody has gone: the first
 * loop looks after that, for all. */
static void give_memory_back(struct loop *loop)
{
    size_t callers = loop->callers, kept = loop->host.kept;
    int64_t since_ms = loop->host.now_ms - loop->trim_ms;

    loop->peak = callers > loop->peak ? callers : loop->peak;
    loop->kept_peak = kept > loop->kept_peak ? kept : loop->kept_peak;
    bool gone = has_gone(callers, loop->peak, TRIM_PEAK) || has_gone(kept, loop->kept_peak, TRIM_KEPT);
    if (since_ms < TRIM_MS || (!gone && (loop->index != 0 || since_ms < TRIM_ANYHOW_MS)))
        return;
    loop->peak = callers;
    loop->kept_peak = kept;
    loop->trim_ms = loop->host.now_ms;
    arena_give_back();
}

static void on_tick(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    renew_times(loop);
    wheel_turn(loop, expired);
    give_memory_back(loop);
    if (loop->drain_ms != 0)
        drain_step(loop);
}

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;

    if (atomic_load(&loop->server->draining))
        begin_drain(loop);
}

/* ---- life of the thread ---- */

static void set_up_host(struct loop *loop)
{
    struct server *server = loop->server;

    loop->host = (struct conn_host){
        .router = server->router,
        .metrics = server->metrics,
        .command = server->options.hooks.command,
        .query = server->options.hooks.query,
        .loop = loop,
        .names = server->names,
        .origins = server->origins,
        .body_limit = (size_t)conf_int(SET_BODY_LIMIT),
        .held_limit = HELD_MAX / (size_t)server->n,
        .kept_limit = KEPT_MAX / (size_t)server->n,
        .on_output = caller_on_output,
    };
    renew_times(loop);
    loop->tick = loop->host.now_ms / TICK_MS;
}

static void set_up_handles(struct loop *loop)
{
    uv_loop_init(&loop->uv);
    uv_timer_init(&loop->uv, &loop->timer);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_async_init(&loop->uv, &loop->wake, on_wake);
    loop->timer.data = loop->prepare.data = loop->check.data = loop->wake.data = loop;
    uv_timer_start(&loop->timer, on_tick, TICK_MS, TICK_MS);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
}

static err begin_listening(struct loop *loop)
{
    int failure;

    uv_tcp_init(&loop->uv, &loop->listener);
    loop->listener.data = loop;
    failure = uv_tcp_open(&loop->listener, loop->fd);
    if (failure == 0) {
        loop->fd = -1;
        failure = uv_listen((uv_stream_t *)&loop->listener, BACKLOG, on_connection);
    }
    if (failure < 0)
        return FAIL(UNAVAILABLE, "cannot listen on port %d: %s", loop->server->port, uv_strerror(failure));
    return OK;
}

static err begin(struct loop *loop)
{
    struct server_options *options = &loop->server->options;

    if (options->hooks.init)
        TRY(options->hooks.init(loop, options->data, &loop->context));
    return begin_listening(loop);
}

static void tear_down(struct loop *loop)
{
    struct server_hooks *hooks = &loop->server->options.hooks;

    if (loop->context && hooks->free_context)
        hooks->free_context(loop->context);
    host_deinit(&loop->host);
    if (loop->fd >= 0)
        close(loop->fd);
    if (uv_loop_close(&loop->uv) != 0)
        log_error("a loop ended with open handles", kv("loop", loop->index));
}

void *loop_run(void *data)
{
    struct loop *loop = data;
    char name[16];

    snprintf(name, sizeof(name), "door-%d", loop->index);
    pthread_setname_np(pthread_self(), name);
    set_up_handles(loop);
    set_up_host(loop);
    loop->started = begin(loop);
    if (failed(loop->started))
        snprintf(loop->why, sizeof(loop->why), "%s", err_text(loop->started));
    sem_post(&loop->server->started);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    tear_down(loop);
    return NULL;
}
