/*
 * See rows.h: the shop that is measured and the requests it is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/lane.h"
#include "bus/meta.h"
#include "tests/bench/support/rows.h"

enum { PRODUCTS = 2000, CATEGORIES = 10, PLENTY = 100000000 };

/* Keys of this run only; the program signs tokens of its own with them. */
static const char encryption_key[] = "ENCRYPTION_KEY=YmVuY2htYXJrLWJlbmNobWFyay1iZW5jaG1hcmstMDE=";
static const char jwt_key[] = "JWT_SECRET_KEY=benchmark-benchmark-benchmark-benchmark";

void bench_must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "bench: %s\n", err_text(e));
    exit(1);
}

struct str bench_token(struct bench *b, struct uuid user, struct arena *arena)
{
    int64_t now = clock_ms();
    return jwt_sign(&b->secrets,
                    &(struct claims){.user = user,
                                     .session = uuid_v7(now),
                                     .id = uuid_v7(now),
                                     .role = ROLE_CUSTOMER,
                                     .issued = now / 1000,
                                     .not_before = now / 1000,
                                     .expires = now / 1000 + JWT_LIFETIME_S},
                    arena);
}

struct str bench_request(struct arena *arena, const char *method, const char *path, struct str token,
                         const char *more, struct str body)
{
    struct buf b = buf_new(arena, 600 + body.n);
    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path);
    if (token.n)
        buf_printf(&b, "Authorization: Bearer %.*s\r\n", STR_ARG(token));
    buf_printf(&b, "%s", more);
    if (body.n)
        buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n);
    buf_lit(&b, "\r\n");
    buf_str(&b, body);
    return buf_view(&b);
}

struct str bench_add_to_cart(struct bench *b, int n, int wait_s, struct arena *arena)
{
    char more[40] = "";
    if (wait_s >= 0)
        snprintf(more, sizeof(more), "Prefer: wait=%d\r\n", wait_s);
    return bench_request(arena, "POST", "/api/v1/cart/items", b->tokens[n % BENCH_USERS], more,
                         arena_printf(arena, "{\"product_id\":\"%s\",\"quantity\":1}", b->product));
}

int64_t bench_backlog(struct bench *b, const char *topic)
{
    const struct redis_reply *reply;
    int64_t n = 0;
    for (int part = 0; part < BENCH_PARTITIONS; part++) {
        bench_must(
            redis_callf(b->redis, &reply, "XLEN cmd:{%s.%s}", topic, arena_printf(b->arena, "%02d", part).p));
        n += redis_integer(reply, 0);
    }
    return n;
}

/* ---- CPU ---- */

struct spent spent_now(const struct bench *b)
{
    const struct servers *servers = shop_servers(b->shop);
    return (struct spent){
        cpu_ns(shop_pid(b->shop, PROGRAM_API, 0)),          cpu_ns(shop_pid(b->shop, PROGRAM_CONSUMERS, 0)),
        cpu_ns(shop_pid(b->shop, PROGRAM_PRODUCERS, 0)),    cpu_ns(servers_pid(servers, SERVER_REDIS)),
        cpu_tree_ns(servers_pid(servers, SERVER_POSTGRES)), cpu_ns(getpid())};
}

struct str spent_text(const struct bench *b, struct spent since, double pieces, struct arena *arena)
{
    struct spent end = spent_now(b);
    double each = 1000 * pieces;
    return arena_printf(
        arena,
        "CPU us each: door %.0f, consumers %.0f, producers %.0f, Redis %.0f, PostgreSQL %.0f, "
        "load %.0f",
        (double)(end.door - since.door) / each, (double)(end.consumers - since.consumers) / each,
        (double)(end.producers - since.producers) / each, (double)(end.redis - since.redis) / each,
        (double)(end.postgres - since.postgres) / each, (double)(end.load - since.load) / each);
}

/* ---- setting the scene ---- */

static void register_users(struct bench *b)
{
    for (int i = 0; i < BENCH_USERS; i++) {
        struct person *person = customer(b->shop);
        b->tokens[i] = arena_str(b->arena, str_of(person->access));
        leave(person);
    }
}

static void fill_catalogue(struct bench *b)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)64 << 20);
    struct str *requests = arena_array(arena, struct str, PRODUCTS);
    for (int i = 0; i < PRODUCTS; i++)
        requests[i] = bench_request(
            arena, "POST", "/api/v1/products", str_of(b->admin->access), "",
            arena_printf(
                arena,
                "{\"name\":\"Producto de prueba %d\",\"sku\":\"BENCH-%d\",\"price\":%d,\"stock\":100,"
                "\"category\":\"category-%d\",\"description\":\"Una descripción de tamaño mediano para "
                "el producto %d del catálogo.\"}",
                i, i, 1000 + i * 7919 % 90000, i % CATEGORIES, i));
    struct load load = {.port = shop_port(b->shop, 0),
                        .connections = 16,
                        .requests = requests,
                        .n_requests = PRODUCTS,
                        .total = PRODUCTS,
                        .expected = 202};
    struct load_result r;
    load_run(&load, &r);
    if (r.good != PRODUCTS)
        shop_die(b->shop, "%d of %d products were accepted, one got %d", (int)r.good, PRODUCTS,
                 r.other_status);
    create_product(b->admin, &(struct goods){.name = "Polera", .price = 9990, .stock = PLENTY}, b->product);
    if (!shop_is_quiet(b->shop, 0))
        shop_die(b->shop, "the catalogue is not filled");
    if (shop_sql(b->shop, "SELECT count(*) FROM product") != PRODUCTS + 1)
        shop_die(b->shop, "products are missing");
}

static struct shop *start_shop(void)
{
    static const char *const settings[] = {encryption_key, jwt_key, "LEASE_MS=5000", "API_LOOPS=0", NULL};
    char extra[2000]; /* BENCH_PG: further lines for who looks for causes, as shared_preload_libraries */
    snprintf(extra, sizeof(extra), "%s%s\n", servers_compose_pg, getenv("BENCH_PG") ?: "");
    return shop_start(&(struct shop_options){
        .servers =
            {.pg_fsync = true, .wal_segment_mb = 16, .pg_extra = extra, .redis_extra = servers_compose_redis},
        .partitions = BENCH_PARTITIONS,
        .settings = settings,
    });
}

/* This program is a client of the same servers, with the same settings. */
static void connect_to_shop(struct bench *b)
{
    const struct servers *servers = shop_servers(b->shop);
    setenv("DATABASE_URL", servers_database_url(servers), 1);
    setenv("REDIS_URL", servers_redis_url(servers), 1);
    setenv("DAYDREAM_HOME", shop_home(b->shop), 1);
    setenv("ENCRYPTION_KEY", strchr(encryption_key, '=') + 1, 1);
    setenv("JWT_SECRET_KEY", strchr(jwt_key, '=') + 1, 1);
    setenv("LOG_LEVEL", "warn", 0);
    bench_must(conf_load("bench"));
    bench_must(secrets_load(&b->secrets));
    bench_must(pg_open(servers_database_url(servers), NULL, NULL, &b->pg));
    bench_must(redis_open(servers_redis_url(servers), &b->redis));
    bench_must(meta_check(b->pg, b->redis));
    snprintf(b->redis_socket, sizeof(b->redis_socket), "%s/redis.sock", servers_dir(servers));
}

struct bench *bench_start(int commands)
{
    struct bench *b = calloc(1, sizeof(*b));
    if (!b)
        abort();
    setenv("TMPDIR", "/var/tmp", 0); /* durability is measured: not on a file system in memory */
    b->commands = commands;
    b->arena = arena_new((size_t)1 << 30);
    b->shop = start_shop();
    connect_to_shop(b);
    b->admin = admin(b->shop);
    return b;
}

void bench_scene(struct bench *b)
{
    register_users(b);
    fill_catalogue(b);
}

void bench_stop(struct bench *b)
{
    leave(b->admin);
    pg_close(b->pg);
    redis_close(b->redis);
    shop_stop(b->shop);
    arena_free(b->arena);
    free(b);
}
