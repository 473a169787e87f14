/*
 * daydream-consumers: runs every group, some threads each, which share its partitions as members of the
 * group: while one waits for PostgreSQL another reads and decides. An instance has a stable name
 * (instance.h), so that a restarted one takes its own partitions back at once. SIGTERM drains: the batch in
 * hand is finished, leases are released, the process leaves in less than two seconds; a second SIGTERM ends
 * it on the spot, which is safe by design. With an errand on its command line (errand.h) it does that
 * instead, for daydreamctl, and takes no part in the groups' work.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bus/base/arena.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/message.h"
#include "bus/meta.h"
#include "bus/shared_metrics.h"
#include "consumers/errand.h"
#include "consumers/instance.h"
#include "consumers/watchdog.h"

enum { GROUPS_MAX = 64, WORKERS_MAX = 64, KEPT = 1 << 20, KEEP_MS = 100 };

static atomic_bool stop;
static volatile bool stop_waiting; /* for meta_wait() */

static void on_signal(int signal_number)
{
    if (atomic_exchange(&stop, true))
        _exit(128 + signal_number);
    stop_waiting = true;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void *run_group(void *data)
{
    struct worker *w = data;
    prctl(PR_SET_NAME, w->group->name);
    worker_run(w);
    return NULL;
}

/* Thread number n of a group, counted from 0; the name of the first is the instance's own. */
static pthread_t start_worker(const struct group *group, const char *instance, int n, struct worker **ret)
{
    static char names[WORKERS_MAX][112]; /* the same for all groups; workers borrow them */
    pthread_t thread;
    snprintf(names[n], sizeof(names[n]), n ? "%s.%d" : "%s", instance, n + 1);
    struct worker *w = *ret = worker_new(group, names[n], &stop);
    w->build = groups;
    w->siblings = (size_t)conf_int(SET_WORKERS);
    if (pthread_create(&thread, NULL, run_group, w) != 0)
        abort();
    return thread;
}

/* Is the group one of CONSUMER_GROUPS? */
static bool runs_here(const struct group *group)
{
    struct str left = conf_str(SET_CONSUMER_GROUPS);
    bool found = left.n == 0;
    while (!found && left.n) {
        size_t end = str_find(left, ',');
        found = str_is(str_trim(str_slice(left, 0, end)), group->name);
        left = str_slice(left, end < left.n ? end + 1 : end, left.n);
    }
    return found;
}

/* Until the signal, or until somebody else has our name. */
static bool keep_name(const char *instance)
{
    while (!atomic_load(&stop)) {
        clock_sleep_ms(KEEP_MS);
        if (instance_keep())
            continue;
        log_error("another process has the name of this one, which ends and comes again under another",
                  kv("instance", instance));
        atomic_store(&stop, true);
        return false;
    }
    return true;
}

/* False: the name is gone. */
static bool run_groups(const char *instance)
{
    static pthread_t threads[GROUPS_MAX * WORKERS_MAX];
    static struct worker *workers[GROUPS_MAX * WORKERS_MAX];
    size_t n = 0;
    for (int worker = 0; worker < conf_int(SET_WORKERS); worker++)
        for (size_t g = 0; groups[g] && g < GROUPS_MAX; g++)
            if (runs_here(groups[g])) {
                threads[n] = start_worker(groups[g], instance, worker, &workers[n]);
                n++;
            }
    struct watchdog *watchdog = watchdog_start(workers, n);
    log_info("consumers are running", kv("instance", instance), kv("threads", (int64_t)n));
    bool kept = keep_name(instance);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    watchdog_stop(watchdog);
    for (size_t i = 0; i < n; i++)
        worker_free(workers[i]);
    return kept;
}

/* Waits for the servers, checks what is fixed and takes a name, before any thread starts. NULL: that cannot
 * be, or a signal came. */
static const char *ready(void)
{
    struct pg *pg = NULL;
    struct redis *redis = NULL;
    const char *instance = NULL;
    bool up = meta_wait(&stop_waiting, &pg, NULL, &redis);
    redis_close(redis);
    err e = up ? instance_take(pg, &stop_waiting, &instance) : OK;
    if (failed(e))
        log_error("the consumers cannot start", kv("why", err_text(e)));
    return failed(e) ? NULL : instance;
}

static err share_numbers(const char *instance)
{
    metrics_share("daydream-consumers", instance);
    return trace_start("daydream-consumers", instance);
}

static int refuse(err e)
{
    fprintf(stderr, "daydream-consumers: %s\n", err_text(e));
    return 2;
}

int main(int argc, char **argv)
{
    if (errand_named(argc, argv)) {
        catch_signals();
        return errand_run(argc, argv, &stop);
    }
    if (argc > 1) {
        conf_print(stdout, false, false);
        return strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    prctl(PR_SET_NAME, "daydream-consumers");
    arena_keep_memory(KEPT);
    catch_signals();
    err e = conf_load("daydream-consumers");
    if (!failed(e))
        e = message_pin(conf_str(SET_EMIT_PINNED));
    if (!failed(e))
        e = instance_place();
    if (failed(e))
        return refuse(e);
    const char *instance = ready();
    if (!instance)
        return stop_waiting ? 0 : 1;
    e = share_numbers(instance);
    if (failed(e))
        return refuse(e);
    bool kept = run_groups(instance);
    trace_stop();
    return kept ? 0 : 1;
}
