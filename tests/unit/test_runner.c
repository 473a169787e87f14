/* The runner with the cart group, in this process, against a private Redis and PostgreSQL. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/lane.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "consumers/worker.h"
#include "tests/support/servers.h"

extern const struct group cart_group;

struct cart_shop {
    struct servers *servers;
    struct pg *pg;
    struct redis *redis;
    struct arena *arena;
    struct seal_key key;
};

static struct cart_shop shop_open(int partitions_wanted)
{
    struct cart_shop s = {.servers = servers_start(NULL), .arena = arena_new(1 << 26)};
    setenv("DATABASE_URL", servers_database_url(s.servers), 1);
    setenv("REDIS_URL", servers_redis_url(s.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(s.servers), 1);
    setenv("LEASE_MS", "500", 1);
    setenv("LOG_LEVEL", getenv("LOG_LEVEL") ?: "error", 1);
    cr_assert(!failed(conf_load("test")), "%s", err_text(OK));
    cr_assert(!failed(pg_open(servers_database_url(s.servers), NULL, NULL, &s.pg)));
    err e = migrate_up(s.pg, DAYDREAM_SOURCE_DIR "/migrations", partitions_wanted, NULL, NULL);
    cr_assert(!failed(e), "%s", err_text(e));
    cr_assert(!failed(redis_open(servers_redis_url(s.servers), &s.redis)));
    e = meta_check(s.pg, s.redis);
    cr_assert(!failed(e), "%s", err_text(e));
    s.key = seal_key_random();
    return s;
}

static void shop_close(struct cart_shop *s)
{
    pg_close(s->pg);
    redis_close(s->redis);
    arena_free(s->arena);
    servers_stop(s->servers);
}

static int64_t number(struct cart_shop *s, const char *sql)
{
    struct pg_stmt *stmt = arena_new_of(s->arena, struct pg_stmt);
    static int n;
    stmt->name = arena_printf(s->arena, "t%d", n++).p;
    stmt->sql = arena_cstr(s->arena, str_of(sql));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    err e = pg_call(s->pg, stmt, 0, NULL, &r);
    cr_assert(!failed(e), "%s", err_text(e));
    return pg_rows(r) ? pg_get_int(r, 0, 0) : 0;
}

#define numberf(s, ...) number((s), arena_printf((s)->arena, __VA_ARGS__).p)

/* Polls until the number is what the story expects; the bound only keeps a broken build from hanging. */
static void expect_soon(struct cart_shop *s, const char *sql, int64_t expected)
{
    int64_t now = -1;
    for (int i = 0; i < 1500 && (now = number(s, sql)) != expected; i++)
        usleep(10000);
    cr_assert_eq(now, expected, "%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

static struct uuid product(struct cart_shop *s, bool known)
{
    struct uuid id = uuid_v7(clock_ms());
    if (known)
        numberf(s, "INSERT INTO cart_product VALUES ('%s', true) RETURNING 1", uuid_str(id, s->arena).p);
    return id;
}

static struct envelope add_command(struct cart_shop *s, struct uuid user, struct uuid product_id,
                                   int64_t quantity)
{
    struct cart_add_item c = {.user_id = user, .product_id = product_id, .quantity = quantity};
    struct str key = uuid_str(user, s->arena);
    struct uuid id = cmdid_new(&s->key, clock_ms(), TOPIC_CARTS, partition_of(key), STR("test"));
    return (struct envelope){
        .specversion = STR("1.0"),
        .id = uuid_str(id, s->arena),
        .source = STR("test"),
        .type = STR("cart.add-item.v1"),
        .subject = key,
        .time = clock_text(clock_ms(), s->arena),
        .partitionkey = key,
        .correlationid = uuid_str(id, s->arena),
        .data = codec_encode(&shape_cart_add_item, &c, s->arena),
        .client = STR("test"),
    };
}

static void publish(struct cart_shop *s, struct envelope e)
{
    lane_publish(s->redis, &e, NULL, NULL);
    cr_assert(!failed(redis_wait(s->redis, 5000)));
}

struct runner {
    pthread_t thread;
    struct worker *worker;
    atomic_bool stop;
};

static void *run(void *data)
{
    worker_run(data);
    return NULL;
}

static struct runner *runner_start(const char *instance)
{
    struct runner *r = calloc(1, sizeof(*r));
    r->worker = worker_new(&cart_group, instance, &r->stop);
    cr_assert_eq(pthread_create(&r->thread, NULL, run, r->worker), 0);
    return r;
}

static void runner_stop(struct runner *r)
{
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    worker_free(r->worker);
    free(r);
}

Test(runner, commands_become_rows_results_and_events_once)
{
    struct cart_shop s = shop_open(3);
    struct uuid user = uuid_v7(clock_ms()), shirt = product(&s, true);
    struct envelope twice = add_command(&s, user, shirt, 5);
    for (int i = 0; i < 100; i++)
        publish(&s, add_command(&s, user, shirt, 1));
    publish(&s, twice);
    publish(&s, twice);
    struct runner *r = runner_start("one");
    expect_soon(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 101);
    publish(&s, twice);
    expect_soon(&s, "SELECT quantity FROM cart_line", 105);
    cr_assert_eq(number(&s, "SELECT count(*) FROM event_log"), 101);
    cr_assert_eq(number(&s,
                        "SELECT count(*) FROM stream_head h WHERE seq <> (SELECT count(*) FROM event_log e"
                        " WHERE e.topic = h.topic AND e.part = h.part)"),
                 0);
    expect_soon(&s, "SELECT sum(seq)::bigint FROM consumer_offset WHERE topic = 'carts'", 101);
    runner_stop(r);
    cr_assert_eq(number(&s, "SELECT count(*) FROM consumer_offset WHERE owner IS NOT NULL"), 0);
    shop_close(&s);
}

Test(runner, an_unknown_product_is_refused_without_waiting_when_the_catalogue_is_known)
{
    struct cart_shop s = shop_open(2);
    struct runner *r = runner_start("one");
    publish(&s, add_command(&s, uuid_v7(clock_ms()), product(&s, false), 1));
    expect_soon(&s, "SELECT count(*) FROM command WHERE status = 'rejected' AND http_status = 404", 1);
    runner_stop(r);
    shop_close(&s);
}

/* A product the catalogue has announced, but whose event this group has not read yet, is waited for. */
Test(runner, a_fact_on_its_way_is_waited_for)
{
    struct cart_shop s = shop_open(2);
    struct uuid hat = product(&s, false), user = uuid_v7(clock_ms());
    struct product_created e = {.product_id = hat,
                                .name = STR("hat"),
                                .slug = STR("hat"),
                                .sku = STR("H-1"),
                                .price = 5,
                                .currency = STR("CLP"),
                                .is_active = true,
                                .version = 1};
    struct event event = event_new(&message_types[PRODUCT_CREATED], STR("test"), uuid_str(hat, s.arena),
                                   codec_encode(&shape_product_created, &e, s.arena), s.arena);
    publish(&s, add_command(&s, user, hat, 2));
    eventlog_queue(s.pg, &event, 1, s.arena);
    pg_sync(s.pg, NULL, NULL);
    cr_assert(!failed(pg_wait(s.pg, 5000)));
    struct runner *r = runner_start("one");
    expect_soon(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    cr_assert_eq(number(&s, "SELECT quantity FROM cart_line"), 2);
    runner_stop(r);
    shop_close(&s);
}

Test(runner, unreadable_commands_are_parked_with_their_key_and_others_flow)
{
    struct cart_shop s = shop_open(1);
    struct uuid bad = uuid_v7(clock_ms()), good = uuid_v7(clock_ms()), shirt = product(&s, true);
    struct envelope poison = add_command(&s, bad, shirt, 1);
    poison.data = STR("{\"product_id\": 7}");
    publish(&s, add_command(&s, good, shirt, 1));
    publish(&s, poison);
    publish(&s, add_command(&s, bad, shirt, 1));
    publish(&s, add_command(&s, good, shirt, 1));
    struct runner *r = runner_start("one");
    expect_soon(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    expect_soon(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 2);
    cr_assert_eq(number(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'unreadable-data'"), 1);
    cr_assert_eq(number(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'behind-parked'"), 1);
    publish(&s, add_command(&s, bad, shirt, 1));
    expect_soon(&s, "SELECT count(*) FROM dead_letter", 3);
    runner_stop(r);
    shop_close(&s);
}

Test(runner, entries_that_a_zombie_moved_into_the_pel_are_handled)
{
    struct cart_shop s = shop_open(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = product(&s, true);
    struct runner *r = runner_start("one");
    publish(&s, add_command(&s, user, shirt, 1));
    expect_soon(&s, "SELECT quantity FROM cart_line", 1);
    for (int i = 0; i < 50; i++) {
        const struct redis_reply *reply;
        struct envelope e = add_command(&s, user, shirt, 1);
        lane_publish(s.redis, &e, NULL, NULL);
        cr_assert(!failed(
            redis_callf(s.redis, &reply, "XREADGROUP GROUP cart cart COUNT 10 STREAMS cmd:{carts.00} >")));
    }
    expect_soon(&s, "SELECT quantity FROM cart_line", 51);
    const struct redis_reply *reply;
    int64_t left = -1;
    for (int i = 0; i < 500 && left != 0; i++, usleep(10000)) {
        cr_assert(!failed(redis_callf(s.redis, &reply, "XLEN cmd:{carts.00}")));
        left = redis_integer(reply, -1);
    }
    cr_assert_eq(left, 0);
    runner_stop(r);
    shop_close(&s);
}

Test(runner, survives_restarts_of_both_servers_and_a_deleted_lane)
{
    struct cart_shop s = shop_open(2);
    struct uuid user = uuid_v7(clock_ms()), shirt = product(&s, true);
    struct runner *r = runner_start("one");
    publish(&s, add_command(&s, user, shirt, 1));
    expect_soon(&s, "SELECT quantity FROM cart_line", 1);
    servers_kill(s.servers, SERVER_REDIS);
    servers_restart(s.servers, SERVER_REDIS);
    cr_assert(!failed(redis_reopen(s.redis)));
    publish(&s, add_command(&s, user, shirt, 1));
    expect_soon(&s, "SELECT quantity FROM cart_line", 2);
    servers_kill(s.servers, SERVER_POSTGRES);
    publish(&s, add_command(&s, user, shirt, 1));
    servers_restart(s.servers, SERVER_POSTGRES);
    cr_assert(!failed(pg_reopen(s.pg)));
    expect_soon(&s, "SELECT quantity FROM cart_line", 3);
    const struct redis_reply *reply;
    cr_assert(!failed(redis_callf(s.redis, &reply, "FLUSHALL")));
    publish(&s, add_command(&s, user, shirt, 1));
    expect_soon(&s, "SELECT quantity FROM cart_line", 4);
    runner_stop(r);
    shop_close(&s);
}

Test(runner, two_members_share_and_a_silent_one_is_replaced)
{
    struct cart_shop s = shop_open(4);
    struct runner *one = runner_start("one"), *two = runner_start("two");
    expect_soon(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 4);
    expect_soon(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'two'", 4);
    runner_stop(two);
    expect_soon(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 8);
    struct uuid shirt = product(&s, true);
    for (int i = 0; i < 40; i++)
        publish(&s, add_command(&s, uuid_v7(clock_ms()), shirt, 1));
    expect_soon(&s, "SELECT count(*) FROM cart_line", 40);
    runner_stop(one);
    shop_close(&s);
}
