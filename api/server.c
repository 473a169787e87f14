/* The server as a whole: settings, sockets, threads, signals. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/loop.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

/* Every connection is a descriptor, and each loop has some of its own. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* argon2 takes 19 MiB per thread of the pool, so there are no more of them than cores. */
static void size_pool(long cores)
{
    char n[24];

    snprintf(n, sizeof(n), "%ld", cores < 4 ? cores : 4);
    setenv("UV_THREADPOOL_SIZE", n, 0);
}

/* "a, b,c" as a list ended by STR_NONE. */
static struct str *split(struct str text, struct arena *arena)
{
    size_t n = 0;
    struct str *list = arena_array(arena, struct str, text.n + 2);

    for (size_t from = 0; from < text.n;) {
        struct str rest = str_slice(text, from, text.n);
        struct str item = str_trim(str_slice(rest, 0, str_find(rest, ',')));

        from += str_find(rest, ',') + 1;
        if (item.n > 0)
            list[n++] = item;
    }
    return list;
}

static int loops_wanted(int asked)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t n = asked > 0 ? asked : conf_int(SET_API_LOOPS);

    cores = cores > 0 ? cores : 1;
    size_pool(cores);
    return (int)(n > 0 ? n : cores);
}

static struct server *server_new(const struct server_options *options)
{
    struct server *server = calloc(1, sizeof(*server));

    if (!server)
        abort();
    server->options = *options;
    server->router = router_new(options->routes);
    server->metrics = route_metrics_new(options->routes);
    server->lists = arena_new(1 << 20);
    server->names = split(conf_str(SET_ALLOWED_HOSTS), server->lists);
    server->origins = split(conf_str(SET_CORS_ALLOWED_ORIGINS), server->lists);
    server->connections_max = conf_int(SET_MAX_CONNECTIONS);
    server->port = options->port >= 0 ? options->port : (int)conf_int(SET_PORT);
    server->n = loops_wanted(options->loops);
    server->loops = calloc((size_t)server->n, sizeof(*server->loops));
    if (!server->loops)
        abort();
    sem_init(&server->started, 0, 0);
    for (int i = 0; i < server->n; i++) {
        server->loops[i].server = server;
        server->loops[i].index = i;
        server->loops[i].fd = -1;
    }
    return server;
}

static struct server *server_free(struct server *server)
{
    for (int i = 0; i < server->n; i++)
        if (server->loops[i].fd >= 0)
            close(server->loops[i].fd);
    sem_destroy(&server->started);
    free(server->loops);
    arena_free(server->lists);
    router_free(server->router);
    route_metrics_free(server->metrics);
    free(server);
    return NULL;
}

static err bind_all(struct server *server)
{
    const char *address = server->options.bind;
    struct str set = conf_str(SET_BIND);

    if (!address)
        address = arena_cstr(server->lists, set);
    for (int i = 0; i < server->n; i++)
        TRY(listen_bind(address, &server->port, &server->loops[i].fd));
    return OK;
}

/* Signals are the main thread's alone, save those that a thread brings upon itself. */
static void start_threads(struct server *server)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t all, before;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < server->n; i++)
        if (pthread_create(&server->loops[i].thread, NULL, loop_run, &server->loops[i]) != 0)
            abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static err wait_for_threads(struct server *server)
{
    for (int i = 0; i < server->n; i++)
        while (sem_wait(&server->started) < 0 && errno == EINTR)
            ;
    for (int i = 0; i < server->n; i++)
        if (failed(server->loops[i].started))
            return err_fail(server->loops[i].started.code, __FILE__, __LINE__, "%s", server->loops[i].why);
    return OK;
}

err server_start(const struct server_options *options, struct server **ret)
{
    struct server *server = server_new(options);
    err e;

    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    e = bind_all(server);
    if (failed(e)) {
        server_free(server);
        return e;
    }
    start_threads(server);
    e = wait_for_threads(server);
    if (failed(e)) {
        server_stop(server);
        return e;
    }
    *ret = server;
    return OK;
}

int server_port(const struct server *server)
{
    return server->port;
}

void server_drain(struct server *server)
{
    if (atomic_exchange(&server->draining, true))
        return;
    for (int i = 0; i < server->n; i++)
        uv_async_send(&server->loops[i].wake);
}

struct server *server_stop(struct server *server)
{
    if (!server)
        return NULL;
    server_drain(server);
    for (int i = 0; i < server->n; i++)
        pthread_join(server->loops[i].thread, NULL);
    return server_free(server);
}

/* ---- for main ---- */

static sigset_t ends(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

void server_block_signals(void)
{
    sigset_t set = ends();

    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void abort_on_signal(int signal)
{
    (void)signal;
    _exit(1);
}

void server_run(struct server *server)
{
    struct sigaction second = {.sa_handler = abort_on_signal};
    sigset_t set = ends();
    int got;

    server_block_signals();
    sigwait(&set, &got);
    sigaction(SIGTERM, &second, NULL);
    sigaction(SIGINT, &second, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    log_info("draining", kv("signal", got));
    server_stop(server);
}
