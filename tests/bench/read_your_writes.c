/*
 * Read your writes: pairs of a write and a read, across groups and two doors, drawn from a seed; every read
 * sends the position of its write. Prints, per kind, the pairs, the reads of the past (must be none), those
 * that were told `behind`, and how long the reads took, waiting included. Ends with 1 when a read showed the
 * past.
 *
 * read_your_writes [--pairs N] [--seed N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/pairs.h"

enum { PAIRS = 10000, SEED = 1 };

static int64_t option(int argc, char **argv, const char *name, int64_t fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return atoll(argv[i + 1]);
    return fallback;
}

static double ms(const struct latencies *l, double q)
{
    return (double)latency_quantile(l, q) / 1e6;
}

int main(int argc, char **argv)
{
    static const char *const settings[] = {"RATE_LIMIT=off", NULL};
    static struct pairs_result r;
    struct latencies all = {.n = 0};
    int past = 0;
    struct shop *shop = shop_start(&(struct shop_options){.doors = 2, .partitions = 8, .settings = settings});

    pairs_run(shop, (int)option(argc, argv, "--pairs", PAIRS), (uint64_t)option(argc, argv, "--seed", SEED),
              &r);
    printf("kind      pairs   past  behind  read p50    p99    max (ms)\n");
    for (int kind = 0; kind < PAIR_KINDS; kind++) {
        latency_merge(&all, &r.reads[kind]);
        past += r.past[kind];
        printf("%-8s %6d %6d %7d %9.2f %6.2f %6.2f\n", pair_names[kind], r.made[kind], r.past[kind],
               r.behind[kind], ms(&r.reads[kind], 0.5), ms(&r.reads[kind], 0.99), ms(&r.reads[kind], 1));
    }
    printf("all      %6lld %6d         %9.2f %6.2f %6.2f\n", (long long)all.n, past, ms(&all, 0.5),
           ms(&all, 0.99), ms(&all, 1));
    shop_stop(shop);
    return past ? EXIT_FAILURE : EXIT_SUCCESS;
}
