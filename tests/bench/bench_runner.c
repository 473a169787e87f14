/*
 * What the runner costs: N cart.add-item commands that stand in their lanes are processed by the workers of
 * the cart group, beside the bare loop (XREADGROUP 256 → one INSERT … unnest of id and body → COMMIT) over
 * entries with the same fields, on the same private servers with durability on. For whoever works on
 * consumers/; the row of the table of tests/bench/run comes from the whole shop.
 *
 * bench_runner [commands [rounds [workers, 1 to 4]]]
 */
#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/metrics.h"
#include "bus/lane.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "consumers/worker.h"
#include "tests/support/measure.h"
#include "tests/support/servers.h"

extern const struct group cart_group;

enum { USERS = 64, BATCH = 256, PARTITIONS = 8 };

struct bench {
    struct servers *servers;
    struct pg *pg;
    struct redis *redis;
    struct arena *arena;
    struct uuid users[USERS], product;
    int n;
};

struct cost {
    double per_second, own_us, postgres_us, redis_us; /* CPU per command */
};

struct usage {
    int64_t at, own, postgres, redis;
};

static void must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "bench_runner: %s\n", err_text(e));
    exit(1);
}

static struct usage now(const struct bench *b)
{
    return (struct usage){clock_mono_ns(), cpu_ns(getpid()),
                          cpu_tree_ns(servers_pid(b->servers, SERVER_POSTGRES)),
                          cpu_ns(servers_pid(b->servers, SERVER_REDIS))};
}

static struct cost cost_since(const struct bench *b, struct usage since)
{
    struct usage end = now(b);
    double each = 1000.0 * b->n;
    return (struct cost){b->n * 1e9 / (double)(end.at - since.at), (double)(end.own - since.own) / each,
                         (double)(end.postgres - since.postgres) / each,
                         (double)(end.redis - since.redis) / each};
}

static void print_cost(const char *what, struct cost c)
{
    printf("%-10s %8.0f/s   CPU per command: program %5.1f us, PostgreSQL %5.1f us, Redis %5.1f us\n", what,
           c.per_second, c.own_us, c.postgres_us, c.redis_us);
}

/* ---- the shop around one worker ---- */

static const struct pg_stmt count_done = {"count_done",
                                          "SELECT count(*) FROM command WHERE status = 'succeeded'"};
static const struct pg_stmt insert_product = {"insert_product", "INSERT INTO cart_product VALUES ($1, true)"};

static struct bench bench_open(int n)
{
    char extra[1000];
    snprintf(extra, sizeof(extra), "%s%s\n", servers_compose_pg, getenv("BENCH_PG") ?: "");
    const struct servers_options durable = {
        .pg_fsync = true, .wal_segment_mb = 16, .pg_extra = extra, .redis_extra = servers_compose_redis};
    struct bench b = {.servers = servers_start(&durable), .arena = arena_new((size_t)1 << 30), .n = n};
    setenv("DATABASE_URL", servers_database_url(b.servers), 1);
    setenv("REDIS_URL", servers_redis_url(b.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(b.servers), 1);
    setenv("LOG_LEVEL", "warn", 0);
    must(conf_load("bench_runner"));
    must(pg_open(servers_database_url(b.servers), NULL, getenv("BENCH_SQL"), &b.pg));
    must(migrate_up(b.pg, DAYDREAM_SOURCE_DIR "/migrations", PARTITIONS, NULL, NULL));
    must(redis_open(servers_redis_url(b.servers), &b.redis));
    must(meta_check(b.pg, b.redis));
    b.product = uuid_v7(clock_ms());
    for (int i = 0; i < USERS; i++)
        b.users[i] = uuid_v7(clock_ms());
    struct pg_param product = pg_uuid(b.product);
    must(pg_call(b.pg, &insert_product, 1, &product, NULL));
    return b;
}

static struct envelope add_command(struct bench *b, struct uuid user)
{
    static const struct seal_key key;
    struct cart_add_item c = {.user_id = user, .product_id = b->product, .quantity = 1};
    struct str text = uuid_str(user, b->arena);
    struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CARTS, partition_of(text), STR("bench"));
    return (struct envelope){
        .specversion = STR("1.0"),
        .id = uuid_str(id, b->arena),
        .source = STR("bench"),
        .type = STR("cart.add-item.v1"),
        .subject = text,
        .time = clock_text(clock_ms(), b->arena),
        .dataschema = STR("cart.add-item/1.0"),
        .partitionkey = text,
        .correlationid = uuid_str(id, b->arena),
        .actor = arena_printf(b->arena, "user:%s", text.p),
        .datacontenttype = STR("application/json"),
        .data = codec_encode(&shape_cart_add_item, &c, b->arena),
        .client = arena_printf(b->arena, "user:%s", text.p),
        .replyto = STR("reply:bench"),
    };
}

/* The n commands, in their lanes or (for the floor) all in one stream. */
static void publish(struct bench *b, const char *stream)
{
    for (int i = 0; i < b->n; i++) {
        struct envelope e = add_command(b, b->users[i % USERS]);
        if (stream) {
            struct str words[3 + 2 * ENVELOPE_COMMAND] = {STR("XADD"), str_of(stream), STR("*")};
            redis_send(b->redis, NULL, NULL, 3 + envelope_words(&e, true, words + 3), words);
        } else {
            lane_publish(b->redis, &e, NULL, NULL);
        }
        if (i % 500 == 499 || i == b->n - 1) {
            must(redis_wait(b->redis, 5000));
            arena_reset(b->arena);
        }
    }
}

static int64_t done(struct bench *b)
{
    struct pg_result *r = NULL;
    must(pg_call(b->pg, &count_done, 0, NULL, &r));
    int64_t n = pg_get_int(r, 0, 0);
    pg_result_free(r);
    return n;
}

static void *run(void *data)
{
    worker_run(data);
    return NULL;
}

/* Open commands: what stands in the lanes. Asked of Redis, where it costs next to nothing. */
static int64_t open_commands(struct bench *b)
{
    char lane[STREAM_NAME];
    int64_t n = 0;
    for (int part = 0; part < PARTITIONS; part++) {
        const struct redis_reply *reply;
        lane_name(TOPIC_CARTS, part, lane);
        must(redis_callf(b->redis, &reply, "XLEN %s", lane));
        n += redis_integer(reply, 0);
    }
    return n;
}

static struct cost run_workers(struct bench *b, int workers)
{
    static const char *const names[] = {"bench", "bench.2", "bench.3", "bench.4"};
    atomic_bool stop = false;
    pthread_t threads[4];
    struct worker *w[4];
    int64_t before = done(b);
    publish(b, NULL);
    struct usage since = now(b);
    for (int i = 0; i < workers; i++) {
        w[i] = worker_new(&cart_group, names[i], &stop);
        w[i]->siblings = (size_t)workers;
        int created = pthread_create(&threads[i], NULL, run, w[i]);
        assert(created == 0);
    }
    struct timespec nap = {.tv_nsec = 20000000};
    while (open_commands(b) > 0)
        nanosleep(&nap, NULL);
    struct cost cost = cost_since(b, since);
    atomic_store(&stop, true);
    for (int i = 0; i < workers; i++) {
        pthread_join(threads[i], NULL);
        worker_free(w[i]);
    }
    if (done(b) - before != b->n)
        must(FAIL(CONFIG, "%lld of %d commands succeeded", (long long)(done(b) - before), b->n));
    return cost;
}

/* ---- the floor ---- */

static const struct pg_stmt insert_floor = {
    "insert_floor", "INSERT INTO bench_floor SELECT * FROM unnest($1::uuid[], $2::text[])"};

static void insert_entries(struct bench *b, const struct redis_reply *stream)
{
    struct pg_array ids = pg_array(b->arena, PG_UUID, BATCH), bodies = pg_array(b->arena, PG_TEXT, BATCH);
    for (size_t i = 0; i < stream->items[1].n; i++) {
        struct envelope e;
        struct uuid id;
        must(envelope_read(&stream->items[1].items[i].items[1], &e));
        must(uuid_parse(e.id, &id));
        pg_array_uuid(&ids, id);
        pg_array_text(&bodies, e.data);
    }
    struct pg_param params[] = {pg_array_param(&ids), pg_array_param(&bodies)};
    must(pg_call(b->pg, &insert_floor, 2, params, NULL));
}

static struct cost run_floor(struct bench *b)
{
    const struct redis_reply *reply;
    int n = 0;
    must(pg_script(b->pg, "DROP TABLE IF EXISTS bench_floor;"
                          "CREATE TABLE bench_floor (id uuid PRIMARY KEY, body text NOT NULL)"));
    publish(b, "bench:floor");
    must(redis_callf(b->redis, NULL, "XGROUP CREATE bench:floor bench 0"));
    struct usage since = now(b);
    while (n < b->n) {
        must(redis_callf(b->redis, &reply, "XREADGROUP GROUP bench bench COUNT 256 STREAMS bench:floor >"));
        n += (int)reply->items[0].items[1].n;
        insert_entries(b, &reply->items[0]);
        arena_reset(b->arena);
    }
    struct cost cost = cost_since(b, since);
    must(redis_callf(b->redis, NULL, "DEL bench:floor"));
    return cost;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    mallopt(M_MMAP_THRESHOLD, 4 << 20); /* as daydream-consumers does */
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    struct bench b = bench_open(argc > 1 ? atoi(argv[1]) : 60000);
    int rounds = argc > 2 ? atoi(argv[2]) : 3;
    int workers = argc > 3 ? atoi(argv[3]) : 1;
    double ratios[100], costs[100];
    for (int i = 0; i < rounds && i < 100; i++) {
        struct cost floor = run_floor(&b);
        print_cost("bare loop", floor);
        struct cost worker = run_workers(&b, workers);
        print_cost("runner", worker);
        ratios[i] = worker.per_second / floor.per_second;
        costs[i] = (floor.own_us + floor.postgres_us + floor.redis_us) /
                   (worker.own_us + worker.postgres_us + worker.redis_us);
    }
    printf("median ratio %.2f by time, %.2f by CPU; flush p50 %lld us\n", median(ratios, rounds),
           median(costs, rounds), (long long)histogram_quantile(HISTOGRAM_FLUSH_SECONDS, 0.5) / 1000);
    if (getenv("BENCH_PAUSE"))
        pause();
    pg_close(b.pg);
    redis_close(b.redis);
    arena_free(b.arena);
    servers_stop(b.servers);
    return 0;
}
