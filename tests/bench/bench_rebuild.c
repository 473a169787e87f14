/*
 * Rebuilding a read model from a long log: events per second beside the floor of the same run, and what
 * readers notice of the swap. The floor does with the same events what cannot be left out: as many
 * connections as the rebuild has fillers read pages of id and body and write them by one INSERT … unnest
 * each, committed without waiting for the disk, as the fillers do.
 *
 * bench_rebuild [--events N] [--rounds N]       ends with 1 when a read failed or live and rebuilt differ
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/clock.h"
#include "tests/support/history.h"
#include "tests/support/verbs.h"

enum {
    FILLERS = 2 /* as consumers/rebuild.h */,
    PARTS = 8,
    PAGE = 4096,
    TRICKLE_ORDERS = 20,
    ROUNDS_MAX = 20,
    SWAPS = 3
};

static const char quick[] = "SET synchronous_commit = off; SET enable_seqscan = off";

static void must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "bench_rebuild: %s\n", err_text(e));
    exit(1);
}

static struct pg *open_pg(struct shop *shop, const char *role, const char *setup)
{
    struct pg *pg;
    must(pg_open(servers_database_url(shop_servers(shop)), role, setup, &pg));
    return pg;
}

static void sql(struct pg *pg, const char *text)
{
    must(pg_script(pg, text));
}

/* ---- the scene: a shop whose groups have passed the history, but for reports ---- */

static void make_history(struct shop *shop, int64_t events)
{
    struct history h = {.pg = open_pg(shop, NULL, quick), .arena = arena_new((size_t)64 << 20), .state = 7};
    int64_t begin = clock_mono_ms();
    history_add(&h, events / HISTORY_PER_ORDER);
    printf("history: %lld events of %lld orders in %.1f s\n", (long long)h.events, (long long)h.orders,
           (double)(clock_mono_ms() - begin) / 1000);
    sql(h.pg, "UPDATE consumer_offset o SET seq = h.seq, ms = h.ms FROM stream_head h"
              " WHERE h.topic = o.topic AND h.part = o.part AND o.grp <> 'reports'");
    pg_close(h.pg);
    h.pg = open_pg(shop, NULL, quick);
    sql(h.pg, "ANALYZE event_log");
    pg_close(h.pg);
    arena_free(h.arena);
}

/* ---- the floor ---- */

static const struct pg_stmt floor_read = {
    "bench_floor_read", "SELECT seq, id, data FROM event_log WHERE topic = $1 AND part = $2::bigint::int"
                        " AND seq > $3::bigint ORDER BY seq LIMIT $4::bigint"};
static const struct pg_stmt floor_write = {
    "bench_floor_write", "INSERT INTO bench_floor SELECT * FROM unnest($1::uuid[], $2::text[])"};

struct bare {
    pthread_t thread;
    struct pg *pg;
    int n;
    int64_t events;
};

static int64_t bare_page(struct bare *f, enum topic topic, int part, int64_t *after, struct arena *arena)
{
    struct pg_param where[] = {pg_text(str_of(topic_name(topic))), pg_int(part), pg_int(*after),
                               pg_int(PAGE)};
    struct pg_result *r;
    arena_reset(arena);
    must(pg_call(f->pg, &floor_read, 4, where, &r));
    int n = pg_rows(r);
    struct pg_array ids = pg_array(arena, PG_UUID, n), bodies = pg_array(arena, PG_TEXT, n);
    for (int i = 0; i < n; i++) {
        pg_array_uuid(&ids, pg_get_uuid(r, i, 1));
        pg_array_text(&bodies, pg_get_str(r, i, 2));
        *after = pg_get_int(r, i, 0);
    }
    struct pg_param rows[] = {pg_array_param(&ids), pg_array_param(&bodies)};
    if (n)
        must(pg_call(f->pg, &floor_write, 2, rows, NULL));
    pg_result_free(r);
    return n;
}

static void *bare_loop(void *data)
{
    static const enum topic read[] = {TOPIC_ORDERS, TOPIC_STOCK};
    struct bare *f = data;
    struct arena *arena = arena_new((size_t)256 << 20);
    for (size_t t = 0; t < sizeof(read) / sizeof(*read); t++)
        for (int part = f->n; part < PARTS; part += FILLERS) {
            int64_t after = 0, n;
            while ((n = bare_page(f, read[t], part, &after, arena)) > 0)
                f->events += n;
        }
    arena_free(arena);
    return NULL;
}

static double floor_rate(struct shop *shop)
{
    struct bare bare[FILLERS];
    struct pg *pg = open_pg(shop, NULL, NULL);
    int64_t events = 0, begin;
    sql(pg, "DROP TABLE IF EXISTS bench_floor; CREATE TABLE bench_floor (id uuid PRIMARY KEY, data text)");
    begin = clock_mono_ns();
    for (int n = 0; n < FILLERS; n++) {
        bare[n] = (struct bare){.pg = open_pg(shop, NULL, quick), .n = n};
        pthread_create(&bare[n].thread, NULL, bare_loop, &bare[n]);
    }
    for (int n = 0; n < FILLERS; n++) {
        pthread_join(bare[n].thread, NULL);
        pg_close(bare[n].pg);
        events += bare[n].events;
    }
    double rate = (double)events * 1e9 / (double)(clock_mono_ns() - begin);
    sql(pg, "DROP TABLE bench_floor");
    pg_close(pg);
    return rate;
}

/* ---- the rebuild ---- */

static int rebuild(struct shop *shop, const char *flag)
{
    return shop_ctl(shop, NULL, (const char *const[]){"bus", "rebuild", "reports", flag, NULL});
}

/* From the row: begin of the generation to its end, swap and drop included. */
static double rebuild_rate(struct shop *shop)
{
    return (double)shop_sql(
        shop, "SELECT (1000 * (SELECT sum(seq) FROM stream_head WHERE topic IN ('orders', 'stock'))"
              " / (ended_ms - begun_ms))::bigint FROM rebuild WHERE grp = 'reports'");
}

static void measure(struct shop *shop, int rounds)
{
    double floors[ROUNDS_MAX], rates[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        floors[i] = floor_rate(shop);
        if (rebuild(shop, NULL) != 0)
            shop_die(shop, "the rebuild failed");
        rates[i] = rebuild_rate(shop);
        printf("round %d: floor %.0f events/s, rebuild %.0f events/s, ratio %.2f\n", i + 1, floors[i],
               rates[i], rates[i] / floors[i]);
    }
}

/* ---- readers, while the shop works and the model is swapped ---- */

struct readers {
    struct shop *shop;
    atomic_bool stop;
    atomic_llong reads, failed, longest_ns;
};

static void count_read(struct readers *r, bool good, int64_t began)
{
    long long took = clock_mono_ns() - began, longest = atomic_load(&r->longest_ns);
    atomic_fetch_add(&r->reads, 1);
    atomic_fetch_add(&r->failed, !good);
    while (took > longest && !atomic_compare_exchange_weak(&r->longest_ns, &longest, took))
        ;
}

static void *read_http(void *data)
{
    struct readers *r = data;
    struct person *person = admin(r->shop);
    while (!atomic_load(&r->stop)) {
        int64_t began = clock_mono_ns();
        bool good = try_to(person, &(struct ask){.method = "GET", .path = "/api/v1/sales/stats"}) == 200 &&
                    reply_num(&person->reply, "pagination.total") == HISTORY_PRODUCTS;
        count_read(r, good, began);
    }
    leave(person);
    return NULL;
}

static const struct pg_stmt read_sales = {"bench_read_sales",
                                          "SELECT count(*), sum(orders)::bigint FROM door_sales"};

static void *read_sql(void *data)
{
    struct readers *r = data;
    struct pg *pg = open_pg(r->shop, "dd_door", NULL);
    int64_t last = 0;
    while (!atomic_load(&r->stop)) {
        struct pg_result *result;
        int64_t began = clock_mono_ns();
        err e = pg_call(pg, &read_sales, 0, NULL, &result);
        int64_t orders = failed(e) ? -1 : pg_get_int(result, 0, 1);
        count_read(r, !failed(e) && pg_get_int(result, 0, 0) == HISTORY_PRODUCTS && orders >= last, began);
        last = orders;
        pg_result_free(result);
    }
    pg_close(pg);
    return NULL;
}

static void *trickle(void *data)
{
    struct readers *r = data;
    struct history h = {
        .pg = open_pg(r->shop, NULL, NULL), .arena = arena_new((size_t)64 << 20), .state = 99};
    while (!atomic_load(&r->stop)) {
        history_add(&h, TRICKLE_ORDERS);
        clock_sleep_ms(50);
    }
    printf("meanwhile %lld new events\n", (long long)h.events);
    pg_close(h.pg);
    arena_free(h.arena);
    return NULL;
}

static bool swap_under_readers(struct shop *shop)
{
    struct readers r = {.shop = shop};
    void *(*const loops[])(void *) = {read_http, read_http, read_sql, trickle};
    pthread_t threads[sizeof(loops) / sizeof(*loops)];
    for (size_t i = 0; i < sizeof(loops) / sizeof(*loops); i++)
        pthread_create(&threads[i], NULL, loops[i], &r);
    int status = 0;
    for (int i = 0; i < SWAPS && status == 0; i++)
        status = rebuild(shop, NULL);
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < sizeof(loops) / sizeof(*loops); i++)
        pthread_join(threads[i], NULL);
    printf("%d swaps under readers: status %d, %lld reads (HTTP and SQL), %lld failed, longest %.1f ms\n",
           SWAPS, status, (long long)r.reads, (long long)r.failed, (double)r.longest_ns / 1e6);
    return status == 0 && r.failed == 0;
}

int main(int argc, char **argv)
{
    int64_t events = 1000000;
    int rounds = 3;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--events") == 0)
            events = atoll(argv[i + 1]);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = atoi(argv[i + 1]);
    if (argc % 2 == 0 || events < 1000 || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_rebuild [--events N] [--rounds N]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    static const char *const settings[] = {"RATE_LIMIT=off", NULL};
    struct shop *shop = shop_start(&(struct shop_options){
        .servers = {.pg_fsync = true,
                    .wal_segment_mb = 16,
                    .pg_extra = getenv("BENCH_PG") ?: "max_wal_size = 1GB\nmin_wal_size = 80MB"},
        .partitions = PARTS,
        .settings = settings});
    partitions_set(PARTS);
    shop_end(shop, PROGRAM_CONSUMERS, 0);
    shop_end(shop, PROGRAM_PRODUCERS, 0);
    make_history(shop, events);
    measure(shop, rounds);
    shop_launch(shop, PROGRAM_CONSUMERS, 0);
    shop_launch(shop, PROGRAM_PRODUCERS, 0);
    bool good = shop_is_ready(shop, 0) && swap_under_readers(shop);
    int compared = rebuild(shop, "--verify");
    printf("live and rebuilt %s\n", compared == 0 ? "are the same" : "DIFFER");
    shop_stop(shop);
    return good && compared == 0 ? 0 : 1;
}
