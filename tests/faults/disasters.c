/*
 * What happens in the middle of a case, beside crash points: servers that die or freeze, data that disappears
 * (disasters_redis.c), links that are cut, a consumer that sleeps past its lease, a message nobody can read.
 * Each is one function that returns when the blow has fallen; how fast the shop recovers is measured here
 * too, against the bounds of the design with room for a loaded machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/uuid.h"
#include "bus/topics.h"
#include "tests/faults/faults.h"
#include "tests/support/indigestible.h"

enum {
    LEASE_MS = 500,
    LOADED = 3,
    CUTS = 25,
    REBUILD_MS = 10000,
    RESUME_MS = 900,
    ROGUE_READS = 20,
    CROWD_MS = 10000
};

void within(struct crowd *crowd, const char *what, int64_t took_ms, int64_t bound_ms)
{
    printf("    %s: %lld ms (bound %lld, times %d when loaded)\n", what, (long long)took_ms,
           (long long)bound_ms, LOADED);
    if (took_ms < 0 || took_ms > bound_ms * LOADED) {
        printf("    liveness violated: %s\n", what);
        atomic_fetch_add(&crowd->late, 1);
    }
}

int64_t until_it_works(struct crowd *crowd)
{
    struct browser *browser = browser_new(shop_port(crowd->shop, 0));
    int64_t begin = shop_now_ms();
    struct reply reply = {.status = 0};

    do {
        reply_clear(&reply);
        browser_ask(
            browser,
            &(struct ask){.method = "POST",
                          .path = "/api/v1/inventory/movements",
                          .wait_s = 10,
                          .timeout_ms = 12000,
                          .token = crowd->scene->admin_token,
                          .body = json_pack("{sssssi}", "product_id", crowd->scene->products[PRODUCTS - 1],
                                            "movement_type", "ENTRY", "quantity", 1)},
            &reply);
        if (reply.status != 201)
            shop_nap();
    } while (reply.status != 201 && shop_now_ms() - begin < 30000);
    reply_clear(&reply);
    browser_free(browser);
    return shop_now_ms() - begin;
}

/* ---- servers that die, end or freeze ---- */

static void restart_redis(struct crowd *crowd)
{
    servers_kill(shop_servers(crowd->shop), SERVER_REDIS);
    servers_restart(shop_servers(crowd->shop), SERVER_REDIS);
    within(crowd, "a command succeeds after redis is back", until_it_works(crowd), 2000);
}

static void restart_postgres(struct crowd *crowd)
{
    servers_kill(shop_servers(crowd->shop), SERVER_POSTGRES);
    servers_restart(shop_servers(crowd->shop), SERVER_POSTGRES);
    within(crowd, "a command succeeds after postgresql is back", until_it_works(crowd), 2000);
}

static void end_both(struct crowd *crowd)
{
    servers_end(shop_servers(crowd->shop), SERVER_POSTGRES);
    servers_end(shop_servers(crowd->shop), SERVER_REDIS);
    servers_restart(shop_servers(crowd->shop), SERVER_REDIS);
    servers_restart(shop_servers(crowd->shop), SERVER_POSTGRES);
}

/* For as long as a lease and half of one more: the passing of time is the fault. */
static void freeze(struct crowd *crowd, enum servers_which which)
{
    int64_t until = shop_now_ms() + LEASE_MS * 3 / 2;

    servers_pause(shop_servers(crowd->shop), which);
    while (shop_now_ms() < until)
        shop_nap();
    servers_resume(shop_servers(crowd->shop), which);
}

static void freeze_redis(struct crowd *crowd)
{
    freeze(crowd, SERVER_REDIS);
}

static void freeze_postgres(struct crowd *crowd)
{
    freeze(crowd, SERVER_POSTGRES);
}

static void kill_everything(struct crowd *crowd)
{
    static const enum program order[] = {PROGRAM_CONSUMERS, PROGRAM_API, PROGRAM_PRODUCERS};

    servers_kill(shop_servers(crowd->shop), SERVER_POSTGRES);
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
        shop_kill(crowd->shop, order[i], 0);
    servers_kill(shop_servers(crowd->shop), SERVER_REDIS);
    servers_restart(shop_servers(crowd->shop), SERVER_REDIS);
    servers_restart(shop_servers(crowd->shop), SERVER_POSTGRES);
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
        shop_launch(crowd->shop, order[i], 0);
}

/* ---- links ---- */

/* Backends that are in the middle of something go first: some of them at their COMMIT. */
static void cut_backends(struct crowd *crowd)
{
    for (int i = 0; i < CUTS; i++) {
        shop_sql(crowd->shop, "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
                              " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                              " ORDER BY state = 'active' DESC, random() LIMIT 1) x");
        shop_nap();
    }
}

static void cut_clients(struct crowd *crowd)
{
    for (int i = 0; i < CUTS / 5; i++) {
        freeReplyObject(shop_redis(crowd->shop, "CLIENT KILL TYPE normal"));
        shop_nap();
    }
}

/* ---- consumers ---- */

/* How many consumer processes own everything there is; 0 while something is free. Each thread of a process is
 * an owner of its own, named "host-process" or "host-process.thread". Whether a lease has just run out is not
 * asked: where machines are crowded an owner may be late to renew one of its many, and nobody else has taken
 * it. */
#define PROCESSES_THAT_OWN                                                                                   \
    "SELECT CASE WHEN bool_and(owner IS NOT NULL)"                                                           \
    " THEN count(DISTINCT (regexp_match(owner, '-([0-9]+)([.][0-9]+)?$'))[1]) ELSE 0 END FROM "              \
    "consumer_offset"

/* From now on it owns nothing, and does not know. */
static void put_to_sleep(struct crowd *crowd)
{
    bool over = shop_sql_becomes(crowd->shop, 2, 20000, PROCESSES_THAT_OWN);
    int64_t begin = shop_now_ms();

    shop_pause(crowd->shop, PROGRAM_CONSUMERS, 0);
    over = over && shop_sql_becomes(crowd->shop, 1, 20000, PROCESSES_THAT_OWN);
    within(crowd, "everything of a sleeper is taken over", over ? shop_now_ms() - begin : -1,
           LEASE_MS + 1000);
}

static void zombie(struct crowd *crowd)
{
    put_to_sleep(crowd);
    until_it_works(crowd);
    shop_resume(crowd->shop, PROGRAM_CONSUMERS, 0);
}

static void drain(struct crowd *crowd)
{
    within(crowd, "a consumer drains", shop_end(crowd->shop, PROGRAM_CONSUMERS, 0), 2000);
    shop_launch(crowd->shop, PROGRAM_CONSUMERS, 0);
}

#define COMMAND_LANES                                                                                        \
    "SELECT string_agg(topic || ' ' || grp || ' ' || part, ' ') FROM consumer_offset WHERE (topic, grp) IN"  \
    " (('carts', 'cart'), ('orders', 'orders'), ('stock', 'inventory'), ('catalog', 'catalog'))"

/* Somebody who reads and claims in the name of a group what is not his, under a name of his own, and never
 * answers. */
static void rogue(struct crowd *crowd)
{
    char *rows = shop_sql_text(crowd->shop, COMMAND_LANES), *rest = rows, *topic, *group, *part;

    while ((topic = strsep(&rest, " ")) && (group = strsep(&rest, " ")) && (part = strsep(&rest, " "))) {
        for (int i = 0; i < ROGUE_READS; i++) {
            freeReplyObject(shop_redis(crowd->shop,
                                       "XREADGROUP GROUP %s rogue COUNT 5 STREAMS cmd:{%s.%02d} >", group,
                                       topic, atoi(part)));
            freeReplyObject(shop_redis(crowd->shop, "XAUTOCLAIM cmd:{%s.%02d} %s rogue 0 0 COUNT 100", topic,
                                       atoi(part), group));
        }
    }
    free(rows);
}

/* Moves what waits in lanes that were taken from a silent owner into the PEL, as if their new owner had read
 * it; returns from how many lanes. */
static int put_in_hand(struct crowd *crowd)
{
    char *rows = shop_sql_text(crowd->shop, COMMAND_LANES " AND crashes > 0"), *rest = rows, *topic, *group,
         *part;
    int n = 0;

    while ((topic = strsep(&rest, " ")) && (group = strsep(&rest, " ")) && (part = strsep(&rest, " "))) {
        redisReply *r = shop_redis(crowd->shop, "XREADGROUP GROUP %s %s COUNT 5 STREAMS cmd:{%s.%02d} >",
                                   group, group, topic, atoi(part));
        n += r->type == REDIS_REPLY_ARRAY;
        freeReplyObject(r);
    }
    free(rows);
    return n;
}

/* A consumer sleeps past its lease, and the other one, which took everything over, dies with commands in
 * hand. Two owners in a row have not given them back: they are suspect to the sleeper, who has them again. */
static void die_twice(struct crowd *crowd)
{
    bool over = shop_sql_becomes(crowd->shop, 2, 20000, PROCESSES_THAT_OWN);
    int64_t begin, killed_us;

    shop_pause(crowd->shop, PROGRAM_CONSUMERS, 0);
    over = over && shop_sql_becomes(crowd->shop, 1, 20000, PROCESSES_THAT_OWN);
    shop_pause(crowd->shop, PROGRAM_CONSUMERS, 1);
    begin = shop_now_ms();
    while (put_in_hand(crowd) == 0 && shop_now_ms() < begin + CROWD_MS)
        shop_nap();
    shop_kill(crowd->shop, PROGRAM_CONSUMERS, 1);
    begin = shop_now_ms();
    killed_us = shop_sql(crowd->shop, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
    shop_resume(crowd->shop, PROGRAM_CONSUMERS, 0);
    over = over && shop_sql_becomes(crowd->shop, 1, 20000,
                                    "SELECT bool_and(taken > to_timestamp(%lld / 1000000.0))::int"
                                    " FROM consumer_offset",
                                    (long long)killed_us);
    within(crowd, "everything that two owners left is taken over", over ? shop_now_ms() - begin : -1,
           LEASE_MS + 1000);
    shop_launch(crowd->shop, PROGRAM_CONSUMERS, 1);
}

/* ---- a message nobody can read ---- */

static int64_t park_a_cart(struct crowd *crowd)
{
    const char *victim = crowd->scene->users[VICTIM].id;
    char id[UUID_TEXT + 1], client[60];
    int64_t begin = shop_now_ms();

    uuid_print(uuid_v7(begin), id);
    snprintf(client, sizeof(client), "user:%s", victim);
    partitions_set(PARTS);
    freeReplyObject(shop_redis(
        crowd->shop,
        "XADD cmd:{carts.%02d} * specversion 1.0 id %s source tests type cart.add-item.v1 subject %s time %s"
        " dataschema cart.add-item/1.0 partitionkey %s correlationid %s causationid %s actor %s traceparent "
        "%s"
        " datacontenttype application/json data %s client %s idempotencykey %s fingerprint %s "
        "expectedversion %s replyto %s",
        partition_of(str_of(victim)), id, victim, "2026-01-01T00:00:00.000Z", victim, id, "", client, "",
        "{\"quantity\":\"NaN", client, "", "", "", ""));
    if (!shop_sql_becomes(crowd->shop, 1, 20000,
                          "SELECT count(*) FROM dead_letter WHERE grp = 'cart' AND key = '%s'"
                          " AND reason <> 'behind-parked'",
                          victim))
        return -1;
    return shop_now_ms() - begin;
}

int64_t poison(struct crowd *crowd)
{
    int64_t took = park_a_cart(crowd);

    if (took >= 0)
        shop_sql(crowd->shop, "INSERT INTO poisoned VALUES ('%s', %d) RETURNING op",
                 crowd->scene->users[VICTIM].id, atomic_load(&crowd->next));
    return took;
}

static void poison_a_cart(struct crowd *crowd)
{
    within(crowd, "what nobody can read is parked", poison(crowd), 1000);
}

static int dlq(struct crowd *crowd, const char *verb, const char *option)
{
    return shop_ctl(crowd->shop, NULL,
                    (const char *const[]){"bus", "dlq", verb, "cart", "carts", crowd->scene->users[VICTIM].id,
                                          option, NULL});
}

/* What nobody can read is discarded, and what came behind it is handled while more comes. */
static void park_and_retry(struct crowd *crowd)
{
    int64_t took = park_a_cart(crowd);
    bool behind = shop_sql_becomes(crowd->shop, 1, 20000,
                                   "SELECT (count(*) > 1)::int FROM dead_letter WHERE state = 'parked'");

    within(crowd, "what nobody can read is parked", took, 1000);
    if (!behind || dlq(crowd, "discard", "--reason=nobody can read it") != 0 ||
        dlq(crowd, "retry", "--why=it") != 0)
        within(crowd, "a parked key is free again", -1, 0);
}

/* The handler dies of one user's commands, again and again, until they are parked; then it is mended. */
static void crash_loop(struct crowd *crowd)
{
    char path[300];
    int64_t begin = shop_now_ms();

    snprintf(path, sizeof(path), "%s/poison", shop_home(crowd->shop));
    indigestible(path, crowd->scene->users[VICTIM].id, "segv");
    within(crowd, "what kills its handler is parked",
           shop_sql_becomes(
               crowd->shop, 1, 60000,
               "SELECT (count(*) > 0)::int FROM dead_letter WHERE reason = 'crash' AND grp = 'cart'")
               ? shop_now_ms() - begin
               : -1,
           10000);
    indigestible(path, NULL, NULL);
    if (shop_ctl(crowd->shop, NULL, (const char *const[]){"bus", "dlq", "retry", "--all", NULL}) != 0)
        within(crowd, "a parked key is free again", -1, 0);
}

/* ---- the operator ---- */

/* A read model is rebuilt under load, by a program that may be killed in it; the same command is given until
 * it says that it is done. Afterwards live and rebuilt are the same. */
static void rebuild(struct crowd *crowd)
{
    static const char *const again[] = {"bus", "rebuild", "reports", NULL}, *const compare[] = {
                                                                                "bus", "rebuild", "reports",
                                                                                "--verify", NULL};
    int64_t begin = shop_now_ms();
    int status = shop_ctl_fault(crowd->shop, crowd->fault, RESUME_MS, again);

    while (status != 0 && shop_now_ms() - begin < REBUILD_MS * LOADED)
        status = shop_ctl_fault(crowd->shop, NULL, RESUME_MS, again);
    within(crowd, "a read model is rebuilt", status == 0 ? shop_now_ms() - begin : -1, REBUILD_MS);
    within(crowd, "and is what it was", shop_ctl_fault(crowd->shop, NULL, RESUME_MS, compare) == 0 ? 0 : -1,
           0);
}

/* clang-format off */
const struct disaster disasters[] = {
    /* name             sentence                                              strike            flags */
    {"none",            "nothing happens",                                    NULL,             SHORT},
    {"del-streams",     "every event stream is deleted",                      del_streams,      TEARS},
    {"flushall",        "redis forgets everything",                           flush_all,        LOSES | TEARS | SHORT},
    {"script-flush",    "redis forgets the scripts",                          flush_scripts,    0},
    {"group-destroy",   "every consumer group in redis is destroyed",         destroy_groups,   0},
    {"aof-tail",        "redis is killed and loses the end of its file",      truncate_aof,     LOSES | TEARS},
    {"forge",           "streams show events that the log does not have",     forge,            TEARS | BUSY | SHORT},
    {"redis-kill",      "redis is killed and started",                        restart_redis,    0},
    {"postgres-kill",   "postgresql is killed and started",                   restart_postgres, SHORT},
    {"servers-end",     "both servers end cleanly and are started",           end_both,         0},
    {"redis-freeze",    "redis stands still longer than a lease",             freeze_redis,     0},
    {"postgres-freeze", "postgresql stands still longer than a lease",        freeze_postgres,  0},
    {"kill-all",        "every process is killed",                            kill_everything,  0},
    {"cut-backends",    "connections to postgresql are cut, some at COMMIT",  cut_backends,     0},
    {"cut-clients",     "connections to redis are cut",                       cut_clients,      0},
    {"zombie",          "a consumer sleeps past its lease and wakes up",      zombie,           SHORT},
    {"sleeper",         "a consumer falls asleep for good",                   put_to_sleep,     0},
    {"rogue",           "an outsider takes commands and never answers",       rogue,            0},
    {"drain",           "a consumer is asked to end and started again",       drain,            0},
    {"rebuild",         "a read model is rebuilt under load",                 rebuild,          0},
    {"poison",          "a cart gets a command that cannot be read",          poison_a_cart,    POISONS | SHORT},
    {"retry",           "a parked key is handled while more of it comes",     park_and_retry,   0},
    {"suspect",         "two owners in a row leave work, which is suspect",   die_twice,        BUSY},
    {"crash-loop",      "handlers die of one cart until it is parked",        crash_loop,       CRASHES},
    {NULL,              NULL,                                                 NULL,             0},
};
/* clang-format on */

const struct disaster *disaster_find(const char *name)
{
    const struct disaster *d = disasters;

    while (d->name && strcmp(d->name, name) != 0)
        d++;
    return d->name ? d : NULL;
}
