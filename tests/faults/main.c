/*
 * faults --prepare FOLDER          makes the scene of every case
 *
 * faults --list [--short]          names of cases: a disaster, or point:kill, point:stop, point:err
 *
 * faults --from FOLDER [--seed N] [--ops N] [--patience MS] [--mutant NAME] [--keep FOLDER] CASE
 *
 * Runs one case and prints what it saw; status 0 when every invariant holds. What it leaves in --keep (a
 * folder that exists) are ledgers, logs of the programs and the file `hits`, which names each crash point
 * that was passed.
 */
#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/faults/faults.h"

enum { RESUME_AFTER_MS = 900, HIT_MS = 20000, QUIET_MS = 45000 };

struct fault_case {
    const char *from, *keep, *mutant, *name;
    const struct disaster *disaster; /* NULL: none */
    int point;                       /* -1: none */
    char action[8], fault[100], hits[400];
    unsigned seed;
    int ops;
    int64_t patience_ms;
};

/* ---- which case ---- */

static void list_cases(bool only_short)
{
    static const char *const actions[] = {"kill", "stop", "err"};

    for (const struct disaster *d = disasters; d->name; d++)
        if ((d->flags & SHORT) || !only_short)
            printf("%s\n", d->name);
    for (int i = 0; i < FAULT_COUNT; i++)
        for (size_t a = 0; a < sizeof(actions) / sizeof(*actions); a++)
            if (!points[i].elsewhere && (!only_short || (points[i].is_short && a == 0)))
                printf("%s:%s\n", point_names[i], actions[a]);
}

static int find_point(const char *name, size_t n)
{
    for (int i = 0; i < FAULT_COUNT; i++)
        if (!points[i].elsewhere && strlen(point_names[i]) == n && memcmp(point_names[i], name, n) == 0)
            return i;
    return -1;
}

static bool understand(struct fault_case *c)
{
    const char *colon = strchr(c->name, ':');

    c->point = colon ? find_point(c->name, (size_t)(colon - c->name)) : -1;
    if (c->point >= 0) {
        const struct point *point = &points[c->point];

        snprintf(c->action, sizeof(c->action), "%s", colon + 1);
        snprintf(c->fault, sizeof(c->fault), "%s:%u:%s", point_names[c->point],
                 1 + (c->seed * 31 + (unsigned)c->point * 7) % (unsigned)point->at_most, c->action);
        c->disaster = point->disaster ? disaster_find(point->disaster) : NULL;
        return strcmp(c->action, "kill") == 0 || strcmp(c->action, "stop") == 0 ||
               strcmp(c->action, "err") == 0;
    }
    c->disaster = disaster_find(c->name);
    return c->disaster != NULL;
}

/* ---- the run ---- */

static bool was_passed(const struct fault_case *c)
{
    char line[200];
    bool found = false;
    size_t n = strlen(point_names[c->point]);
    FILE *f = fopen(c->hits, "re");

    while (f && !found && fgets(line, sizeof(line), f))
        found = strncmp(line, point_names[c->point], n) == 0 && line[n] == ' ';
    if (f)
        fclose(f);
    return found;
}

/* The point was passed and the process did what it was told to. */
static bool was_hit(const struct fault_case *c, struct shop *shop)
{
    if (points[c->point].program == PROGRAMS)
        return was_passed(c); /* the disaster has waited for the program's end */
    if (strcmp(c->action, "kill") == 0)
        return shop_self_killed(shop) > 0 && was_passed(c);
    if (strcmp(c->action, "stop") == 0)
        return shop_self_stopped(shop) > 0 && was_passed(c);
    return was_passed(c);
}

/* Timers, trimming and the like come by when they come by. */
static bool await_hit(const struct fault_case *c, struct shop *shop)
{
    int64_t deadline = shop_now_ms() + HIT_MS;

    while (c->point >= 0 && !was_hit(c, shop) && shop_now_ms() < deadline)
        shop_nap();
    return c->point < 0 || was_hit(c, shop);
}

static struct shop *open_shop(const struct fault_case *c)
{
    static char timeout[60];
    static const char *const settings[] = {timeout,
                                           "PAYMENT_TEST_SLOW_MS=300",
                                           "JOB_TIMEOUT_MS=500",
                                           "RETENTION_EVENTS=200",
                                           "LOG_LEVEL=info",
                                           "FAULT_POISON=poison",
                                           NULL};
    struct shop_options options = {.consumers = 2,
                                   .partitions = PARTS,
                                   .settings = settings,
                                   .mutant = c->mutant,
                                   .fault_log = c->hits,
                                   .from = c->from,
                                   .resume_after_ms = RESUME_AFTER_MS,
                                   .logs = c->keep};

    snprintf(timeout, sizeof(timeout), "PAYMENT_TIMEOUT_MS=%d", PAYMENT_TIMEOUT_MS);
    if (c->point >= 0 && points[c->point].program != PROGRAMS)
        options.fault[points[c->point].program] = c->fault;
    if (c->point >= 0 && points[c->point].alone)
        options.consumers = 1;
    return shop_start(&options);
}

static void complain(struct verdict *verdict, bool bad, const char *sentence)
{
    if (bad)
        check_failed(verdict, "the case", sentence, "");
}

/* The shop's own opinion; kept out of the way of mutants, whose case shows what the checker sees. */
static bool fsck_is_clean(struct shop *shop)
{
    char *output = NULL;
    int status = shop_ctl(shop, &output, (const char *const[]){"bus", "fsck", NULL});

    if (status != 0)
        printf("%s", output);
    free(output);
    return status == 0;
}

/* A schedule that has something to catch up with, so that it fires whenever producers are there. */
static void set_schedule(struct shop *shop)
{
    shop_sql(shop,
             "WITH made AS (INSERT INTO schedule (name, cron, zone, catch_up, next_ms, created_ms)"
             " SELECT 'minutes', '* * * * *', 'UTC', 'each', now - now %% 60000 - 300000, now"
             " FROM (SELECT %lld::bigint AS now) x RETURNING 1) SELECT count(*) FROM made",
             (long long)clock_ms());
}

/* Once all slots that were due have fired; false when they do not. A slot that came due while the shop is
 * judged would let the log grow under the checks. */
static bool end_schedule(const struct fault_case *c, struct shop *shop)
{
    bool fired = shop_sql_becomes(shop, 0, c->patience_ms,
                                  "SELECT count(*) FROM schedule WHERE next_ms <= (extract(epoch FROM "
                                  "clock_timestamp()) * 1000)::bigint");
    shop_sql(shop, "WITH ended AS (DELETE FROM schedule RETURNING 1) SELECT count(*) FROM ended");
    return fired;
}

static void judge(const struct fault_case *c, struct shop *shop, const struct crowd *crowd,
                  struct verdict *verdict)
{
    bool quiet;

    complain(verdict, !await_hit(c, shop), "the crash point was not hit");
    quiet =
        shop_is_ready(shop, c->patience_ms) && end_schedule(c, shop) && shop_is_quiet(shop, c->patience_ms);
    complain(verdict, !quiet, "the shop does not come to rest");
    complain(verdict, atomic_load(&crowd->unanswered) > 0, "something that was sent has no answer");
    complain(verdict, atomic_load(&crowd->late) > 0, "something took longer than it may");
    complain(verdict, shop_crashed(shop) > 0 && !verdict->crashes, "a program crashed");
    ledger_load(shop, c->keep);
    check_all(shop, verdict);
    if (!c->mutant)
        complain(verdict, !fsck_is_clean(shop), "daydreamctl bus fsck is not clean");
}

static int run_case(const struct fault_case *c)
{
    static struct scene scene;
    struct crowd crowd = {
        .scene = &scene, .folder = c->keep, .seed = c->seed, .ops = c->ops, .patience_ms = c->patience_ms};
    unsigned flags = c->disaster ? c->disaster->flags : 0;
    struct verdict verdict = {.may_lose = flags & LOSES,
                              .torn = flags & TEARS,
                              .poisoned = flags & POISONS,
                              .crashes = flags & CRASHES};
    struct follower *follower;
    int64_t begin = shop_now_ms(), worked, done;
    struct shop *shop;

    scene_read(c->from, &scene);
    shop = crowd.shop = open_shop(c);
    crowd.poisoned = verdict.poisoned;
    crowd.busy = flags & BUSY;
    crowd.fault = c->point >= 0 && points[c->point].program == PROGRAMS ? c->fault : NULL;
    check_begin(shop);
    worked = shop_now_ms();
    set_schedule(shop);
    follower = follower_start(shop);
    crowd_start(&crowd);
    while (atomic_load(&crowd.next) < c->ops / 3)
        shop_nap();
    if (c->disaster && c->disaster->strike)
        c->disaster->strike(&crowd);
    crowd.busy = false;
    crowd_wait(&crowd);
    done = shop_now_ms();
    judge(c, shop, &crowd, &verdict);
    follower_stop(follower, &verdict);
    printf("%s %s: start %.1f s, work %.1f s, judgement %.1f s%s%s\n", verdict.violations ? "FAILED" : "ok",
           c->name, (double)(worked - begin) / 1000, (double)(done - worked) / 1000,
           (double)(shop_now_ms() - done) / 1000, c->point >= 0 ? ", " : "", c->fault);
    if (verdict.violations)
        printf("SEED=%u FAULT=%s\nrepro: tests/faults/run --seed %u%s%s %s\n", c->seed, c->name, c->seed,
               c->mutant ? " --mutant " : "", c->mutant ? c->mutant : "", c->name);
    fflush(stdout);
    shop_stop(shop);
    return verdict.violations ? 1 : 0;
}

/* ---- the command line ---- */

static int usage(void)
{
    fputs(
        "usage: faults --prepare FOLDER | --list [--short] | --from FOLDER --keep FOLDER [--seed N] [--ops N]"
        " [--patience MS] [--mutant NAME] CASE\n",
        stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"prepare", required_argument, NULL, 'p'},  {"list", no_argument, NULL, 'l'},
        {"short", no_argument, NULL, 's'},          {"from", required_argument, NULL, 'f'},
        {"keep", required_argument, NULL, 'k'},     {"seed", required_argument, NULL, 'n'},
        {"ops", required_argument, NULL, 'o'},      {"mutant", required_argument, NULL, 'm'},
        {"patience", required_argument, NULL, 'w'}, {NULL, 0, NULL, 0}};
    struct fault_case c = {.seed = 1, .ops = 2000, .patience_ms = QUIET_MS};
    bool list = false, only_short = false;
    int option;

    signal(SIGPIPE, SIG_IGN);         /* our own connections are cut like everybody's */
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was seen is in the file also when the case is killed */
    for (int i = 0; i < FAULT_COUNT; i++)
        assert(points[i].at_most > 0 ||
               points[i].elsewhere); /* every point of faults.def has its row in points.c */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            scene_prepare(optarg);
            return 0;
        case 'l':
            list = true;
            break;
        case 's':
            only_short = true;
            break;
        case 'f':
            c.from = optarg;
            break;
        case 'k':
            c.keep = optarg;
            break;
        case 'n':
            c.seed = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            c.ops = atoi(optarg);
            break;
        case 'm':
            c.mutant = optarg;
            break;
        case 'w':
            c.patience_ms = atoi(optarg);
            break;
        default:
            return usage();
        }
    }
    if (list) {
        list_cases(only_short);
        return 0;
    }
    c.name = argv[optind];
    if (!c.from || !c.keep || !c.name || !understand(&c))
        return usage();
    snprintf(c.hits, sizeof(c.hits), "%s/hits", c.keep);
    return run_case(&c);
}
