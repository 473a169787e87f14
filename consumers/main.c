/*
 * daydream-consumers: runs every group, some threads each, which share its partitions as members of the
 * group: while one waits for PostgreSQL another reads and decides. An instance has a stable name (the lowest
 * free number, held by a lock file), so that a restarted one takes its own partitions back at once. SIGTERM
 * drains: the batch in hand is finished, leases are released, the process leaves in less than two seconds; a
 * second SIGTERM ends it on the spot, which is safe by design. With an errand on its command
 * line (errand.h) it does that instead, for daydreamctl, and takes no part in the groups' work.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/arena.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/message.h"
#include "bus/meta.h"
#include "bus/shared_metrics.h"
#include "consumers/errand.h"
#include "consumers/watchdog.h"

enum { INSTANCES_MAX = 64, GROUPS_MAX = 64, WORKERS_MAX = 64, KEPT = 1 << 20 };

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

/* The lock is held until the process ends; the kernel releases it whatever the end was. */
static err instance_name(char *ret, size_t size)
{
    char host[65] = "", path[4200];
    gethostname(host, sizeof(host) - 1);
    snprintf(path, sizeof(path), "%s/run", conf_str(SET_DAYDREAM_HOME).p);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return FAIL(CONFIG, "cannot make the folder DAYDREAM_HOME/run (error %d)", errno);
    for (int n = 1; n <= INSTANCES_MAX; n++) {
        snprintf(path, sizeof(path), "%s/run/consumers-%d.lock", conf_str(SET_DAYDREAM_HOME).p, n);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            return FAIL(CONFIG, "cannot open a lock file in DAYDREAM_HOME/run (error %d)", errno);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            snprintf(ret, size, "%s-%d", host, n);
            return OK;
        }
        close(fd);
    }
    return FAIL(CONFIG, "more than %d consumers run in this home", INSTANCES_MAX);
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

static void run_groups(const char *instance)
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
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    watchdog_stop(watchdog);
    for (size_t i = 0; i < n; i++)
        worker_free(workers[i]);
}

/* Waits for the servers and checks what is fixed, before any thread starts. */
static bool ready(void)
{
    struct pg *pg = NULL;
    struct redis *redis = NULL;
    bool yes = meta_wait(&stop_waiting, &pg, NULL, &redis);
    pg_close(pg);
    redis_close(redis);
    return yes;
}

int main(int argc, char **argv)
{
    char instance[96];
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
        e = instance_name(instance, sizeof(instance));
    if (!failed(e)) {
        metrics_share("daydream-consumers", instance);
        e = trace_start("daydream-consumers", instance);
    }
    if (failed(e)) {
        fprintf(stderr, "daydream-consumers: %s\n", err_text(e));
        return 2;
    }
    if (ready())
        run_groups(instance);
    trace_stop();
    return 0;
}
