/*
 * Accepted, processed, and the round trip of one command.
 */
#include <poll.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/lane.h"
#include "tests/bench/support/rows.h"

enum { CONNECTIONS = 32, WAITS = 2000, FLOOR_COMMANDS = 60000 };

/* Entries as the lanes hold them, in a stream of their own, for the bare loop. */
static void fill_stream(struct bench *b, const char *stream)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
    for (int i = 0; i < FLOOR_COMMANDS; i++) {
        struct str user = uuid_str(uuid_v7(clock_ms()), arena), id = uuid_str(uuid_v7(clock_ms()), arena);
        struct envelope e = {
            .specversion = STR("1.0"),
            .id = id,
            .source = STR("door"),
            .type = STR("cart.add-item.v1"),
            .subject = user,
            .time = clock_text(clock_ms(), arena),
            .dataschema = STR("cart.add-item/1.0"),
            .partitionkey = user,
            .correlationid = id,
            .causationid = id,
            .actor = arena_printf(arena, "user:%s", user.p),
            .traceparent = STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            .datacontenttype = STR("application/json"),
            .data = arena_printf(arena, "{\"user_id\":\"%s\",\"product_id\":\"%s\",\"quantity\":1}", user.p,
                                 b->product),
            .client = arena_printf(arena, "user:%s", user.p),
        };
        struct str words[3 + 2 * ENVELOPE_COMMAND] = {STR("XADD"), str_of(stream), STR("*")};
        redis_send(b->redis, NULL, NULL, 3 + envelope_words(&e, true, words + 3), words);
        if (i % 500 == 499 || i == FLOOR_COMMANDS - 1) {
            bench_must(redis_wait(b->redis, 5000));
            arena_reset(arena);
        }
    }
}

static double bare_loop(struct bench *b)
{
    fill_stream(b, "bench:loop");
    double rate = floor_loop(b->redis, b->pg, "bench:loop", FLOOR_COMMANDS);
    bench_must(redis_callf(b->redis, NULL, "DEL bench:loop"));
    return rate;
}

static int64_t succeeded(struct bench *b)
{
    return shop_sql(b->shop,
                    "SELECT count(*) FROM command WHERE type = 'cart.add-item.v1' AND status = 'succeeded'");
}

static void accept_all(struct bench *b, const struct str *requests, struct load_result *r)
{
    load_run(&(struct load){.port = shop_port(b->shop, 0),
                            .connections = CONNECTIONS,
                            .requests = requests,
                            .n_requests = BENCH_USERS,
                            .total = b->commands,
                            .expected = 202},
             r);
    if (r->good != b->commands)
        shop_die(b->shop, "%lld of %d commands were accepted; one was answered %d", (long long)r->good,
                 b->commands, r->other_status);
}

static void until_processed(struct bench *b, int64_t before)
{
    while (bench_backlog(b, "carts") > 0)
        poll(NULL, 0, 5);
    if (succeeded(b) - before != b->commands)
        shop_die(b->shop, "%lld of %d commands succeeded", (long long)(succeeded(b) - before), b->commands);
}

/* While commands are accepted, they are processed as well; how fast that can go is seen when they wait
 * already: the consumers are held back, and let go when the last one is accepted. */
static void add_processed(struct bench *b, const struct str *requests, double floor)
{
    struct load_result r;
    int64_t before = succeeded(b);
    shop_pause(b->shop, PROGRAM_CONSUMERS, 0);
    accept_all(b, requests, &r);
    struct spent since = spent_now(b);
    int64_t start = clock_mono_ns();
    shop_resume(b->shop, PROGRAM_CONSUMERS, 0);
    until_processed(b, before);
    double rate = b->commands * 1e9 / (double)(clock_mono_ns() - start);
    table_add(ROW_PROCESSED, rate, floor, spent_text(b, since, b->commands, b->arena).p);
}

void row_commands(struct bench *b)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
    struct str requests[BENCH_USERS];
    struct load_result r;
    double xadd = floor_xadd(b->redis_socket), loop = bare_loop(b);
    for (int i = 0; i < BENCH_USERS; i++)
        requests[i] = bench_add_to_cart(b, i, -1, arena);
    int64_t before = succeeded(b), start = clock_mono_ns();
    struct spent since = spent_now(b);
    accept_all(b, requests, &r);
    struct str spent = spent_text(b, since, b->commands, b->arena);
    table_add(ROW_ACCEPTED, (double)r.good / r.seconds, xadd,
              arena_printf(arena, "p50 %.1f ms, p99 %.1f ms; %s",
                           (double)latency_quantile(&r.latencies, 0.5) / 1e6,
                           (double)latency_quantile(&r.latencies, 0.99) / 1e6, spent.p)
                  .p);
    until_processed(b, before);
    table_add(ROW_PROCESSED_BESIDE, b->commands * 1e9 / (double)(clock_mono_ns() - start), loop, NULL);
    add_processed(b, requests, loop);
}

void row_wait(struct bench *b)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
    struct str requests[BENCH_USERS];
    struct load_result r;
    struct latencies floor = {.n = 0};
    floor_wait(b->redis, b->pg, WAITS, &floor);
    for (int i = 0; i < BENCH_USERS; i++)
        requests[i] = bench_add_to_cart(b, i, 20, arena);
    struct spent since = spent_now(b);
    load_run(&(struct load){.port = shop_port(b->shop, 0),
                            .connections = 1,
                            .requests = requests,
                            .n_requests = BENCH_USERS,
                            .total = WAITS,
                            .expected = 201},
             &r);
    if (r.good != WAITS)
        shop_die(b->shop, "%lld of %d waits ended well; one was answered %d", (long long)r.good, WAITS,
                 r.other_status);
    struct str spent = spent_text(b, since, WAITS, arena);
    table_add(
        ROW_WAIT, (double)latency_quantile(&r.latencies, 0.5) / 1e3,
        (double)latency_quantile(&floor, 0.5) / 1e3,
        arena_printf(arena, "p99 %.1f ms; %s", (double)latency_quantile(&r.latencies, 0.99) / 1e6, spent.p)
            .p);
}
