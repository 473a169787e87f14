/*
 * daydream-producers: whoever emits without an HTTP request. The main thread sweeps the relay (what is in the
 * log and not yet in its stream) and trims; one thread fires timers and schedules, one deletes what need not
 * be kept, and the job runner does outside work. Any number of these processes may run. SIGTERM ends it
 * within two seconds: nothing is under way that its own transaction or lease does not cover.
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/message.h"
#include "bus/meta.h"
#include "bus/relay.h"
#include "bus/shared_metrics.h"
#include "bus/trace.h"
#include "producers/jobs.h"
#include "producers/link.h"
#include "producers/retention.h"
#include "producers/schedules.h"
#include "producers/timers.h"
#include "producers/webhooks.h"

enum {
    SWEEP_MS = 50,
    TRIM_MS = 500,
    TIMER_MS = 50,
    SCHEDULES_MS = 1000,
    RETENTION_MS = 60000,
    GIVE_BACK_MS = 2000,
    DRAIN_MS = 1500,
    SCRATCH = 32 << 20,
    KEPT = 256 << 10, /* a sweep under load takes less; a larger one makes up for a standstill */
    BACKOFF_BASE_MS = 20,
    BACKOFF_CAP_MS = 1000,
};

static volatile bool stop; /* set once, by the signal thread */
static struct relay_budget budget;
static volatile bool ended; /* set once, when every other thread has ended */
static struct bell sweep_bell, timer_bell, retention_bell, end_bell;

/* ---- timers and schedules ---- */

/* Schedules have minutes, so they are looked at once a second; at once again after a full pass. */
static err fire_schedules(struct link *link, struct schedules *schedules, struct arena *arena,
                          int64_t *looked_ms)
{
    size_t fired = 0;
    if (clock_mono_ms() - *looked_ms < SCHEDULES_MS)
        return OK;
    *looked_ms = clock_mono_ms();
    TRY(schedules_fire(schedules, link->pg, arena, &fired));
    if (fired >= SCHEDULES_BATCH)
        *looked_ms -= SCHEDULES_MS;
    if (fired)
        bell_ring(&sweep_bell);
    return OK;
}

/* What a sweep behind a standstill, or many webhooks at once, have left between pieces in use. This thread
 * has the least to do. */
static void give_back(int64_t *given_ms)
{
    if (clock_mono_ms() - *given_ms < GIVE_BACK_MS)
        return;
    *given_ms = clock_mono_ms();
    arena_give_back();
}

static void *run_timers(void *unused)
{
    (void)unused;
    struct link link = {.loop = "timers"};
    struct arena *arena = arena_new(SCRATCH);
    struct schedules *schedules = schedules_new();
    int64_t looked_ms = -SCHEDULES_MS, given_ms = clock_mono_ms();
    while (!stop) {
        size_t fired = 0;
        err e = OK;
        if (link_up(&link))
            e = timers_fire(link.pg, arena, &fired);
        if (fired)
            bell_ring(&sweep_bell);
        arena_reset(arena);
        if (link.pg && !failed(e))
            e = fire_schedules(&link, schedules, arena, &looked_ms);
        arena_reset(arena);
        give_back(&given_ms);
        link_rest(&link, e, &timer_bell, fired == TIMERS_BATCH ? 0 : TIMER_MS);
    }
    schedules_free(schedules);
    arena_free(arena);
    link_close(&link);
    return NULL;
}

/* ---- retention ---- */

static void *run_retention(void *unused)
{
    (void)unused;
    struct link link = {.loop = "retention"};
    while (!stop) {
        bool more = false;
        err e = OK;
        if (link_up(&link))
            e = retention_pass(link.pg, &more);
        if (link.pg && !failed(e) && !more)
            e = retention_log(link.pg, &stop);
        if (!more && !failed(e) && link.pg)
            link_close(&link); /* a connection for one minute's work is not kept */
        link_rest(&link, e, &retention_bell, more ? 0 : RETENTION_MS);
    }
    link_close(&link);
    return NULL;
}

/* ---- the relay ---- */

static err reconnect(struct pg *pg, struct redis *redis)
{
    if (!pg_is_up(pg))
        TRY(pg_reopen(pg));
    if (!redis_is_up(redis))
        TRY(redis_reopen(redis));
    return OK;
}

static err sweep_once(struct relay *relay, struct pg *pg, struct redis *redis, int64_t *trimmed_ms)
{
    TRY(reconnect(pg, redis));
    err e = relay_sweep(relay, NULL);
    if (clock_mono_ms() - *trimmed_ms < TRIM_MS || (failed(e) && e.code != ERR_REDIS_REFUSED))
        return e;
    /* Also when Redis refuses the append for want of memory: trimming is what gives it some. */
    *trimmed_ms = clock_mono_ms();
    err trimmed = relay_retain(relay, &budget, conf_int(SET_RETENTION_EVENTS));
    return failed(e) ? e : trimmed;
}

static void run_sweep(struct pg *pg, struct redis *redis)
{
    struct relay *relay = relay_new(redis, pg);
    int64_t trimmed_ms = clock_mono_ms();
    int attempt = 0;
    while (!stop) {
        err e = sweep_once(relay, pg, redis, &trimmed_ms);
        if (failed(e) && attempt == 0)
            log_warn("a sweep failed and is repeated", kv("why", err_text(e)));
        if (!failed(e) && attempt)
            log_info("sweeping again", kv("failures", attempt));
        attempt = failed(e) ? attempt + 1 : 0;
        bell_wait(&sweep_bell, attempt
                                   ? backoff_ms(attempt < 8 ? attempt : 8, BACKOFF_BASE_MS, BACKOFF_CAP_MS)
                                   : SWEEP_MS);
    }
    relay_free(relay);
}

/* ---- starting and ending ---- */

/* If a thread hangs (a server that does not answer), the process ends all the same: transactions and leases
 * cover it. */
static void *run_signals(void *set)
{
    int signal_number;
    while (sigwait(set, &signal_number) != 0)
        continue;
    stop = true;
    bell_ring(&sweep_bell);
    bell_ring(&timer_bell);
    bell_ring(&retention_bell);
    bell_wait(&end_bell, DRAIN_MS);
    if (!ended)
        _exit(0);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *data)
{
    int failed_to = pthread_create(thread, NULL, run, data);
    assert(!failed_to);
}

static int help(void)
{
    puts("daydream-producers: relays the event log, fires timers, does outside work. Settings:");
    conf_print(stdout, false, false);
    return 0;
}

static bool configure(void)
{
    err e = conf_load("daydream-producers");
    if (!failed(e))
        e = conf_require(SET_DATABASE_URL);
    if (!failed(e))
        e = conf_require(SET_REDIS_URL);
    if (!failed(e))
        e = conf_require(SET_ENCRYPTION_KEY);
    if (!failed(e))
        e = message_pin(conf_str(SET_EMIT_PINNED));
    if (!failed(e))
        e = relay_budget_parse(conf_str(SET_REDIS_BUDGET), &budget);
    if (!failed(e)) {
        metrics_share("daydream-producers", NULL);
        e = trace_start("daydream-producers", metrics_instance());
    }
    if (failed(e))
        fprintf(stderr, "daydream-producers: %s\n", err_text(e));
    return !failed(e);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return help();
    static sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "daydream-producers");
    arena_keep_memory(KEPT);
    if (!configure())
        return 2;
    bell_init(&sweep_bell);
    bell_init(&timer_bell);
    bell_init(&retention_bell);
    bell_init(&end_bell);

    pthread_t signals, timers, retention;
    start_thread(&signals, run_signals, &ends);

    struct pg *pg;
    struct redis *redis;
    if (!meta_wait(&stop, &pg, "dd_producers", &redis))
        return stop ? 0 : 1;
    log_info("started", kv("pid", (int64_t)getpid()));
    struct jobs *jobs = jobs_start(&sweep_bell);
    struct webhooks *webhooks = NULL;
    err e = webhooks_start(&sweep_bell, &webhooks);
    if (failed(e))
        log_error("no webhooks are sent", kv("why", err_text(e)));
    start_thread(&timers, run_timers, NULL);
    start_thread(&retention, run_retention, NULL);
    run_sweep(pg, redis);

    webhooks_stop(webhooks);
    jobs_stop(jobs);
    pthread_join(timers, NULL);
    pthread_join(retention, NULL);
    redis_close(redis);
    pg_close(pg);
    trace_stop();
    log_info("ended");
    ended = true;
    bell_ring(&end_bell);
    pthread_join(signals, NULL);
    return 0;
}
