/*
 * Redis within its budget, under load: the whole shop without its group `reports` takes orders and stock
 * movements as fast as it handles them. Every few seconds the event log's oldest part is moved to the
 * archive. Prints what Redis uses beside the budget; at the end the group that stood still is started,
 * catches up through archive, log and streams, and its read model is compared with the orders themselves.
 * Ends with 1 when the budget was not kept or anything differs.
 *
 * bench_retention [--seconds N] [--budget-mb N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/conf.h"
#include "bus/meta.h"
#include "tests/bench/support/rows.h"
#include "tests/support/runner.h"

extern const struct group reports_group;

enum {
    GOODS = 40,
    CUSTOMERS = 8,
    REQUESTS = 400,
    ORDER_EACH = 10,
    LANE_MAX = 3000,
    ARCHIVE_EACH_S = 20,
    PRINT_MS = 5000,
    PAID_MS = 300000 /* orders come faster than the payment provider answers */
};

struct run {
    struct shop *shop;
    struct arena *arena;
    struct str requests[REQUESTS];
    int64_t budget, most, begin_ms, printed_ms, archived_ms, sent;
};

static const char *setting(struct run *run, const char *name, int64_t value, const char *unit)
{
    return arena_printf(run->arena, "%s=%lld%s", name, (long long)value, unit).p;
}

static void start(struct run *run, int64_t budget_mb)
{
    const char *const settings[] = {
        setting(run, "REDIS_BUDGET", budget_mb, "mb"), setting(run, "RETENTION_EVENTS", 20000, ""),
        "CONSUMER_GROUPS=identity,catalog,inventory,cart,orders,payments", "RATE_LIMIT=off", NULL};
    const struct shop_options options = {
        .servers = {.pg_fsync = true,
                    .wal_segment_mb = 16,
                    .pg_extra = "shared_buffers = 128MB\nmin_wal_size = 256MB\n"},
        .partitions = 4,
        .settings = settings};
    run->budget = budget_mb << 20;
    run->shop = shop_start(&options);
}

static void make_requests(struct run *run)
{
    struct person *boss = admin(run->shop), *buyers[CUSTOMERS];
    char goods[GOODS][ID_TEXT];
    for (int i = 0; i < GOODS; i++)
        create_product(boss, &(struct goods){.name = "Polera", .price = 9990, .stock = 1000000}, goods[i]);
    for (int i = 0; i < CUSTOMERS; i++)
        buyers[i] = customer(run->shop);
    for (int i = 0; i < REQUESTS; i++) {
        bool order = i % ORDER_EACH == 0;
        const char *product = goods[i % GOODS];
        struct str body =
            order
                ? arena_printf(
                      run->arena,
                      "{\"items\":[{\"product_id\":\"%s\",\"quantity\":1}],\"shipping_address\":{\"street\":"
                      "\"Alameda 1\",\"city\":\"Santiago\",\"postal_code\":\"8320000\",\"country\":\"CL\"},"
                      "\"payment_method\":\"test\",\"payment_token\":\"tok_ok\"}",
                      product)
                : arena_printf(run->arena,
                               "{\"product_id\":\"%s\",\"movement_type\":\"ENTRY\",\"quantity\":1,\"reason\":"
                               "\"recuento de la bodega principal\"}",
                               product);
        struct str token = str_of(order ? buyers[i / ORDER_EACH % CUSTOMERS]->access : boss->access);
        run->requests[i] = bench_request(
            run->arena, "POST", order ? "/api/v1/orders" : "/api/v1/inventory/movements", token, "", body);
    }
    for (int i = 0; i < CUSTOMERS; i++)
        leave(buyers[i]);
    leave(boss);
}

/* ---- looking ---- */

static int64_t redis_memory(struct run *run)
{
    redisReply *reply = shop_redis(run->shop, "INFO memory");
    const char *at = strstr(reply->str, "used_memory:");
    int64_t used = atoll(at + strlen("used_memory:"));
    freeReplyObject(reply);
    run->most = used > run->most ? used : run->most;
    return used;
}

static void print_line(struct run *run)
{
    struct shop *shop = run->shop;
    run->printed_ms = shop_now_ms();
    printf("%4lld s  %8lld commands  %9lld events, %9lld of them archived  Redis %6.1f of %.0f MB  reports "
           "lags %8lld,"
           " detached from %lld streams\n",
           (long long)(shop_now_ms() - run->begin_ms) / 1000, (long long)run->sent,
           (long long)shop_sql(shop, "SELECT coalesce(sum(seq), 0)::bigint FROM stream_head"),
           (long long)shop_sql(
               shop, "SELECT coalesce(sum(last_seq - first_seq + 1), 0)::bigint FROM event_archive"),
           (double)redis_memory(run) / 1048576, (double)run->budget / 1048576,
           (long long)shop_sql(shop,
                               "SELECT sum(h.seq - o.seq)::bigint FROM consumer_offset o JOIN stream_head h"
                               " USING (topic, part) WHERE grp = 'reports'"),
           (long long)shop_sql(shop, "SELECT count(*) FROM group_detached WHERE grp = 'reports'"));
}

/* A writer that was slow may add to a period while it is archived: it stays for the next time. */
static void archive(struct run *run)
{
    const char *const words[] = {"bus", "archive", "--cut", NULL};
    char *output = NULL;
    run->archived_ms = shop_now_ms();
    if (shop_ctl(run->shop, &output, words) != 0 && !strstr(output, "stays for the next time"))
        shop_die(run->shop, "bus archive: %s", output);
    free(output);
}

/* Lanes of all topics the load goes to. */
static int64_t backlog(struct run *run)
{
    static const char *const topics_loaded[] = {"orders", "stock"};
    int64_t n = 0;
    for (int i = 0; i < 2; i++)
        for (int part = 0; part < 4; part++)
            n += shop_redis_number(run->shop, "XLEN cmd:{%s.%02d}", topics_loaded[i], part);
    return n;
}

static void load_once(struct run *run)
{
    struct load_result r;
    load_run(&(struct load){.port = shop_port(run->shop, 0),
                            .connections = 16,
                            .requests = run->requests,
                            .n_requests = REQUESTS,
                            .total = REQUESTS,
                            .expected = 202},
             &r);
    if (r.good != REQUESTS)
        shop_die(run->shop, "one request was answered %d", r.other_status);
    run->sent += r.good;
    redis_memory(run);
    while (backlog(run) > LANE_MAX)
        shop_nap();
}

static void load(struct run *run, int seconds)
{
    run->begin_ms = run->archived_ms = shop_now_ms();
    while (shop_now_ms() - run->begin_ms < seconds * 1000) {
        load_once(run);
        if (shop_now_ms() - run->printed_ms >= PRINT_MS)
            print_line(run);
        if (shop_now_ms() - run->archived_ms >= ARCHIVE_EACH_S * 1000)
            archive(run);
    }
}

/* ---- the group that stood still ---- */

#define LAGS(which)                                                                                          \
    "SELECT count(*) FROM consumer_offset o JOIN stream_head h USING (topic, part) WHERE grp " which         \
    " 'reports'"                                                                                             \
    " AND o.seq < h.seq"

static const char differences[] =
    "SELECT count(*) FROM (SELECT product_id, currency, sum(orders) AS n, sum(units) AS units, sum(revenue) "
    "AS revenue"
    "  FROM product_sales GROUP BY 1, 2) a FULL JOIN (SELECT l.product_id, o.currency, count(*) AS n,"
    "  sum(l.quantity) AS units, sum(l.line_total) AS revenue FROM order_line l JOIN orders o ON o.id = "
    "l.order_id"
    "  WHERE o.status = 'confirmed' GROUP BY 1, 2) b USING (product_id, currency)"
    " WHERE (a.n, a.units, a.revenue) IS DISTINCT FROM (b.n, b.units, b.revenue)";

static void configure(struct run *run)
{
    setenv("DATABASE_URL", servers_database_url(shop_servers(run->shop)), 1);
    setenv("REDIS_URL", servers_redis_url(shop_servers(run->shop)), 1);
    setenv("DAYDREAM_HOME", shop_home(run->shop), 1);
    setenv("LOG_LEVEL", "warn", 1);
    bench_must(conf_load("bench_retention"));
    partitions_set(4);
}

static int ctl(struct run *run, const char *const *words)
{
    char *output = NULL;
    int status = shop_ctl(run->shop, &output, words);
    printf("daydreamctl %s %s: %s", words[0], words[1], output);
    free(output);
    return status;
}

static bool catch_up(struct run *run)
{
    int64_t behind =
        shop_sql(run->shop, "SELECT sum(h.seq - o.seq)::bigint FROM consumer_offset o JOIN stream_head h"
                            " USING (topic, part) WHERE grp = 'reports'");
    int64_t begin = shop_now_ms();
    struct runner *runner = runner_start(&reports_group, "late");
    bool level = shop_sql_becomes(run->shop, 0, 600000, LAGS("="));
    double seconds = (double)(shop_now_ms() - begin) / 1000;
    printf("reports caught up: %lld events in %.1f s, %.0f/s\n", (long long)behind, seconds,
           (double)behind / seconds);
    bool attached = shop_sql_becomes(run->shop, 0, 30000, "SELECT count(*) FROM group_detached");
    bool quiet = shop_is_quiet(run->shop, PAID_MS);
    runner_stop(runner);
    int64_t differ = shop_sql(run->shop, "%s", differences),
            orders = shop_sql(run->shop, "SELECT sum(orders)::bigint"
                                         " FROM product_sales");
    printf("read model: %lld orders, %lld products differ from the orders themselves; %s\n",
           (long long)orders, (long long)differ, attached ? "attached again" : "still detached");
    return level && quiet && attached && differ == 0 && orders > 0;
}

int main(int argc, char **argv)
{
    static const char *const fsck[] = {"bus", "fsck", NULL}, *const verify[] = {"bus", "archive", "verify",
                                                                                NULL};
    int seconds = 120, budget_mb = 32;
    struct run run = {.arena = arena_new(64 << 20)};
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--budget-mb") == 0)
            budget_mb = atoi(argv[i + 1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    start(&run, budget_mb);
    configure(&run);
    /* The group exists, from the beginning of the log; nobody runs it. */
    struct runner *early = runner_start(&reports_group, "early");
    if (!shop_sql_becomes(run.shop, 1, 0,
                          "SELECT (count(*) > 0)::int FROM consumer_offset WHERE grp = 'reports'"))
        shop_die(run.shop, "the group that shall stand still was not made");
    runner_stop(early);
    make_requests(&run);
    load(&run, seconds);
    if (!shop_sql_becomes(run.shop, 0, 120000, LAGS("<>")))
        shop_die(run.shop, "the other groups do not become level");
    print_line(&run);
    bool good = catch_up(&run);
    good &= ctl(&run, fsck) == 0;
    good &= ctl(&run, verify) == 0;
    printf("Redis used at most %.1f MB of %d\n", (double)run.most / 1048576, budget_mb);
    good &= run.most <= run.budget;
    printf("%s\n", good ? "ok" : "NOT as it should be");
    shop_stop(run.shop);
    return good ? 0 : 1;
}
