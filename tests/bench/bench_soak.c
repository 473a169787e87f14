/*
 * The soak: add-to-cart at half of what the shop accepts, minute after minute; nothing may grow. Prints a
 * line per minute; ends with 1 when the last minute has more than 5 % more resident memory in any program, or
 * a p99 above 1.2 times, than minute 2. The commands are spread over the users; latency counts from when a
 * request was due. Memory is the median of a look per second: a single look sees what one batch has in hand.
 * How long the disk answered nothing is printed beside it: no program can be faster than that.
 * Half of what is accepted is measured with few connections, as the bench does, and sent over many: with few
 * a second of slow fsyncs makes the load generator fall behind, and what it then measures is its own queue.
 *
 * bench_soak [--minutes N] [--rate COMMANDS_PER_SECOND]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/clock.h"
#include "tests/bench/support/disk.h"
#include "tests/bench/support/rows.h"

enum { CONNECTIONS = 32, MANY_CONNECTIONS = 256, MEASURED = 20000, MINUTES_MAX = 600, SETTLED = 2 };
enum { LOOK_MS = 1000, LOOKS_MAX = 600, DISK_LOOK_MS = 20 };

static struct minute {
    double p99_ms;
    int64_t memory[PROGRAMS];
} minutes[MINUTES_MAX + 1];

/* What looks at the memory, and whether the disk answers, while the load is sent. */
static struct looks {
    struct shop *shop;
    pthread_t thread;
    atomic_bool stop;
    double seen[PROGRAMS][LOOKS_MAX];
    int n;
    struct disk disk;
} looks;

static void look_at_memory(struct looks *l)
{
    for (enum program p = 0; p < PROGRAMS; p++)
        l->seen[p][l->n] = (double)memory_resident(shop_pid(l->shop, p, 0));
    l->n++;
}

static void *look(void *arg)
{
    struct looks *l = arg;
    int64_t next_ms = 0;
    while (!atomic_load(&l->stop)) {
        disk_look(&l->disk, clock_mono_ms());
        if (clock_mono_ms() >= next_ms && l->n < LOOKS_MAX) {
            look_at_memory(l);
            next_ms = clock_mono_ms() + LOOK_MS;
        }
        clock_sleep_ms(DISK_LOOK_MS);
    }
    return NULL;
}

static void looks_start(struct shop *shop)
{
    looks.shop = shop;
    looks.n = 0;
    disk_open(&looks.disk, servers_dir(shop_servers(shop)));
    atomic_store(&looks.stop, false);
    if (pthread_create(&looks.thread, NULL, look, &looks) != 0)
        shop_die(shop, "no thread to look at the memory");
}

static void looks_stop(int64_t medians[PROGRAMS])
{
    atomic_store(&looks.stop, true);
    pthread_join(looks.thread, NULL);
    for (enum program p = 0; p < PROGRAMS; p++)
        medians[p] = (int64_t)median(looks.seen[p], looks.n);
}

static void run(struct bench *b, const struct str *requests, int64_t n, double rate, struct load_result *r)
{
    load_run(&(struct load){.port = shop_port(b->shop, 0),
                            .connections = rate > 0 ? MANY_CONNECTIONS : CONNECTIONS,
                            .requests = requests,
                            .n_requests = BENCH_USERS,
                            .total = n,
                            .per_second = rate,
                            .expected = 202},
             r);
    if (r->good != n)
        shop_die(b->shop, "%lld of %lld commands were accepted; one was answered %d", (long long)r->good,
                 (long long)n, r->other_status);
}

static void measure_minute(struct bench *b, const struct str *requests, double rate, int minute)
{
    struct load_result r;
    struct minute *m = &minutes[minute];
    looks_start(b->shop);
    run(b, requests, (int64_t)(rate * 60), rate, &r);
    looks_stop(m->memory);
    m->p99_ms = (double)latency_quantile(&r.latencies, 0.99) / 1e6;
    printf("minute %3d  %6.0f/s  p50 %6.2f ms  p99 %7.2f ms  backlog %6lld  MB: door %.1f, consumers %.1f, "
           "producers %.1f  disk still %lld ms\n",
           minute, (double)r.good / r.seconds, (double)latency_quantile(&r.latencies, 0.5) / 1e6, m->p99_ms,
           (long long)bench_backlog(b, "carts"), (double)m->memory[PROGRAM_API] / 1048576,
           (double)m->memory[PROGRAM_CONSUMERS] / 1048576, (double)m->memory[PROGRAM_PRODUCERS] / 1048576,
           (long long)looks.disk.still_ms);
}

static bool verdict(int last)
{
    static const char *const names[PROGRAMS] = {"door", "consumers", "producers"};
    const struct minute *early = &minutes[SETTLED < last ? SETTLED : 1], *late = &minutes[last];
    bool good = late->p99_ms <= early->p99_ms * 1.2;
    printf("p99 %.2f -> %.2f ms: x %.2f, at most 1.2: %s\n", early->p99_ms, late->p99_ms,
           late->p99_ms / early->p99_ms, good ? "ok" : "short");
    for (enum program p = 0; p < PROGRAMS; p++) {
        double growth = 100.0 * (double)(late->memory[p] - early->memory[p]) / (double)early->memory[p];
        printf("memory of %s %+.1f %%, at most +5: %s\n", names[p], growth, growth <= 5 ? "ok" : "short");
        good &= growth <= 5;
    }
    return good;
}

int main(int argc, char **argv)
{
    int last = 10;
    double rate = 0;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--minutes") == 0)
            last = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--rate") == 0)
            rate = atof(argv[i + 1]);
    if (argc % 2 == 0 || last < 1 || last > MINUTES_MAX || rate < 0) {
        fprintf(stderr, "usage: bench_soak [--minutes N] [--rate COMMANDS_PER_SECOND]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct bench *b = bench_start(MEASURED);
    struct str requests[BENCH_USERS];
    struct load_result r;
    bench_scene(b);
    for (int i = 0; i < BENCH_USERS; i++)
        requests[i] = bench_add_to_cart(b, i, -1, b->arena);
    if (rate <= 0) {
        run(b, requests, MEASURED, 0, &r);
        rate = (double)MEASURED / r.seconds / 2;
        shop_is_quiet(b->shop, 0);
    }
    for (int minute = 1; minute <= last; minute++)
        measure_minute(b, requests, rate, minute);
    bool good = verdict(last);
    if (!shop_is_quiet(b->shop, 0))
        shop_die(b->shop, "the shop does not come to rest");
    bench_stop(b);
    return good ? 0 : 1;
}
