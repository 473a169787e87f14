/* The runner with the cart group, in this process, against a private Redis and PostgreSQL. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "consumers/group.h"
#include "tests/support/runner.h"

Test(runner, commands_become_rows_results_and_events_once)
{
    struct bus s = runner_bus(3);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope twice = runner_add_item(&s, user, shirt, 5);
    for (int i = 0; i < 100; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_publish(&s, twice);
    runner_publish(&s, twice);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 101);
    runner_publish(&s, twice);
    runner_expect(&s, "SELECT quantity FROM cart_line", 105);
    cr_assert_eq(bus_query(&s, "SELECT count(*) FROM event_log"), 101);
    cr_assert_eq(bus_query(&s,
                           "SELECT count(*) FROM stream_head h WHERE seq <> (SELECT count(*) FROM event_log e"
                           " WHERE e.topic = h.topic AND e.part = h.part)"),
                 0);
    runner_expect(&s, "SELECT sum(seq)::bigint FROM consumer_offset WHERE topic = 'carts'", 101);
    runner_stop(r);
    cr_assert_eq(bus_query(&s, "SELECT count(*) FROM consumer_offset WHERE owner IS NOT NULL"), 0);
    bus_stop(&s);
}

Test(runner, an_unknown_product_is_refused_without_waiting_when_the_catalogue_is_known)
{
    struct bus s = runner_bus(2);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, uuid_v7(clock_ms()), runner_product(&s, false), 1));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'rejected' AND http_status = 404", 1);
    runner_stop(r);
    bus_stop(&s);
}

/* A product the catalogue has announced, but whose event this group has not read yet, is waited for. */
Test(runner, a_fact_on_its_way_is_waited_for)
{
    struct bus s = runner_bus(2);
    struct uuid hat = runner_product(&s, false), user = uuid_v7(clock_ms());
    struct event event = runner_created(&s, hat);
    runner_publish(&s, runner_add_item(&s, user, hat, 2));
    eventlog_queue(s.pg, &event, 1, s.arena);
    pg_sync(s.pg, NULL, NULL);
    bus_must(pg_wait(s.pg, 5000));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    cr_assert_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 2);
    runner_stop(r);
    bus_stop(&s);
}

Test(runner, unreadable_commands_are_parked_with_their_key_and_others_flow)
{
    struct bus s = runner_bus(1);
    struct uuid bad = uuid_v7(clock_ms()), good = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope poison = runner_add_item(&s, bad, shirt, 1);
    poison.data = STR("{\"product_id\": 7}");
    runner_publish(&s, runner_add_item(&s, good, shirt, 1));
    runner_publish(&s, poison);
    runner_publish(&s, runner_add_item(&s, bad, shirt, 1));
    runner_publish(&s, runner_add_item(&s, good, shirt, 1));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 2);
    cr_assert_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'unreadable-data'"), 1);
    cr_assert_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'behind-parked'"), 1);
    runner_publish(&s, runner_add_item(&s, bad, shirt, 1));
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 3);
    runner_stop(r);
    bus_stop(&s);
}

Test(runner, entries_that_a_zombie_moved_into_the_pel_are_handled)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 1);
    for (int i = 0; i < 50; i++) {
        const struct redis_reply *reply;
        struct envelope e = runner_add_item(&s, user, shirt, 1);
        lane_publish(s.redis, &e, NULL, NULL);
        cr_assert(!failed(
            redis_callf(s.redis, &reply, "XREADGROUP GROUP cart cart COUNT 10 STREAMS cmd:{carts.00} >")));
    }
    runner_expect(&s, "SELECT quantity FROM cart_line", 51);
    const struct redis_reply *reply;
    int64_t left = -1;
    for (int i = 0; i < 500 && left != 0; i++, usleep(10000)) {
        cr_assert(!failed(redis_callf(s.redis, &reply, "XLEN cmd:{carts.00}")));
        left = redis_integer(reply, -1);
    }
    cr_assert_eq(left, 0);
    runner_stop(r);
    bus_stop(&s);
}

Test(runner, entries_that_an_outsider_took_are_claimed)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 1);
    for (int i = 0; i < 20; i++) {
        const struct redis_reply *reply;
        struct envelope e = runner_add_item(&s, user, shirt, 1);
        lane_publish(s.redis, &e, NULL, NULL);
        cr_assert(!failed(
            redis_callf(s.redis, &reply, "XREADGROUP GROUP cart rogue COUNT 10 STREAMS cmd:{carts.00} >")));
        cr_assert(!failed(redis_callf(s.redis, &reply, "XAUTOCLAIM cmd:{carts.00} cart rogue 0 0")));
    }
    runner_expect(&s, "SELECT quantity FROM cart_line", 21);
    runner_stop(r);
    bus_stop(&s);
}

Test(runner, survives_restarts_of_both_servers_and_a_deleted_lane)
{
    struct bus s = runner_bus(2);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 1);
    servers_kill(s.servers, SERVER_REDIS);
    servers_restart(s.servers, SERVER_REDIS);
    bus_must(redis_reopen(s.redis));
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 2);
    servers_kill(s.servers, SERVER_POSTGRES);
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    servers_restart(s.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(s.pg));
    runner_expect(&s, "SELECT quantity FROM cart_line", 3);
    const struct redis_reply *reply;
    cr_assert(!failed(redis_callf(s.redis, &reply, "FLUSHALL")));
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 4);
    runner_stop(r);
    bus_stop(&s);
}

/* Nothing is flushed while all is idle, so no fence would ever tell. */
Test(runner, who_lost_a_lease_while_idle_learns_it_and_takes_what_is_free)
{
    struct bus s = runner_bus(4);
    struct runner *one = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 8);
    bus_sql(&s,
            "UPDATE consumer_offset SET epoch = epoch + 1, owner = NULL, lease_until = NULL WHERE part < 2");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one' AND lease_until > now()", 8);
    runner_stop(one);
    bus_stop(&s);
}

Test(runner, two_members_share_and_a_silent_one_is_replaced)
{
    struct bus s = runner_bus(4);
    struct runner *one = runner_start(&cart_group, "one"), *two = runner_start(&cart_group, "two");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 4);
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'two'", 4);
    runner_stop(two);
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 8);
    struct uuid shirt = runner_product(&s, true);
    for (int i = 0; i < 40; i++)
        runner_publish(&s, runner_add_item(&s, uuid_v7(clock_ms()), shirt, 1));
    runner_expect(&s, "SELECT count(*) FROM cart_line", 40);
    runner_stop(one);
    bus_stop(&s);
}

/* A machine that was paused in the middle of a flush: its transaction is open, holds its leases' rows, and
 * waits for a client that does not go on. */
Test(runner, who_stands_still_in_the_middle_of_a_flush_is_cut_off_and_replaced)
{
    static const struct pg_stmt touch = {
        "touch", "UPDATE consumer_offset SET flush = flush WHERE grp = 'cart' AND part = 1"};
    struct bus s = runner_bus(2);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 4);
    runner_stop(r);
    bus_sql(&s,
            "UPDATE consumer_offset SET owner = 'frozen', lease_until = now() + interval '200 milliseconds'");
    struct pg *frozen = bus_pg(&s);
    pg_queue(frozen, &touch, 0, NULL, NULL, NULL);
    pg_flush(frozen);
    runner_expect(&s, "SELECT count(*) FROM (SELECT FROM consumer_offset FOR UPDATE SKIP LOCKED) AS x", 2);
    r = runner_start(&cart_group, "two");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'two' AND lease_until > now()", 4);
    pg_sync(frozen, NULL, NULL);
    cr_expect_eq(pg_wait(frozen, 5000).code, ERR_PG_DOWN);
    runner_stop(r);
    bus_stop(&s);
}

/* What the handler below has seen: a line and its product of two different moments. */
static atomic_int torn;

struct product_row {
    struct row row;
    struct uuid product_id;
    bool is_active;
};

struct line_row {
    struct row row;
    struct uuid id, user_id;
    int64_t quantity;
};

static const struct table product_rows = {
    .name = "cart_product",
    .size = sizeof(struct product_row),
    .keys = 1,
    .columns = {COLUMN(UUID, product_row, product_id), COLUMN(BOOL, product_row, is_active)},
};

static const struct table line_rows = {
    .name = "cart_line",
    .size = sizeof(struct line_row),
    .keys = 1,
    .columns = {COLUMN(UUID, line_row, id), COLUMN(UUID, line_row, user_id), COLUMN(INT, line_row, quantity)},
};

static void want_both(struct batch *b, const struct cart_add_item *c)
{
    want(b, &line_rows, "user_id", VALUE_UUID(c->user_id));
    want(b, &product_rows, "product_id", VALUE_UUID(c->product_id));
}

/* Whoever writes them writes both: two of an active product, or one of one that is not. */
static enum answer compare_both(struct batch *b, const struct cart_add_item *c)
{
    const struct line_row *line = row_find(b, &line_rows, "user_id", VALUE_UUID(c->user_id));
    const struct product_row *product = row_find(b, &product_rows, "product_id", VALUE_UUID(c->product_id));
    if (line->quantity != (product->is_active ? 2 : 1))
        atomic_fetch_add(&torn, 1);
    return succeed(b, 200, STR("{}"));
}

static const struct table *const no_tables[] = {NULL};
static const struct group comparing_group = {
    .name = "cart", .tables = no_tables, .on.cart_add_item = {want_both, compare_both}};

/* Statements of a load see a moment each. Who is taken over between two of them, or whose own last flush
 * commits there, has read rows that never stood side by side: handlers must not see them. */
static void change_between_two_reads(const char *change)
{
    static const struct pg_stmt begin = {"b", "BEGIN"}, end = {"c", "COMMIT"},
                                lock = {"l", "LOCK TABLE cart_product"},
                                line = {"q", "UPDATE cart_line SET quantity = 1"},
                                product = {"p", "UPDATE cart_product SET is_active = false"};
    const struct pg_stmt offset = {"o", change};
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct pg *other = bus_pg(&s);
    bus_sql(&s, "INSERT INTO cart_line VALUES (gen_random_uuid(), '%s', '%s', 2, 0, 0)",
            uuid_str(user, s.arena).p, uuid_str(shirt, s.arena).p);
    struct runner *r = runner_start(&comparing_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 1);
    bus_must(pg_call(other, &begin, 0, NULL, NULL));
    bus_must(pg_call(other, &lock, 0, NULL, NULL));
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT count(*) FROM pg_locks WHERE NOT granted", 1);
    bus_must(pg_call(other, &line, 0, NULL, NULL));
    bus_must(pg_call(other, &product, 0, NULL, NULL));
    bus_must(pg_call(other, &offset, 0, NULL, NULL));
    bus_must(pg_call(other, &end, 0, NULL, NULL));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    cr_assert_eq(atomic_load(&torn), 0);
    runner_stop(r);
    bus_stop(&s);
}

Test(runner, who_is_taken_over_while_loading_shows_his_handlers_nothing)
{
    change_between_two_reads(
        "UPDATE consumer_offset SET epoch = epoch + 1, owner = 'two', lease_until = now()");
}

Test(runner, whose_own_flush_commits_while_loading_shows_his_handlers_nothing)
{
    change_between_two_reads("UPDATE consumer_offset SET flush = flush + 1");
}

static struct uuid user_of_partition(struct bus *s, int part)
{
    struct uuid user;

    do
        user = uuid_v7(clock_ms());
    while (partition_of(uuid_str(user, s->arena)) != part);
    return user;
}

/* One suspect message at a time in a process. Whose turn does not come keeps his partitions all the same,
 * while the other's flush waits for a lock. */
Test(runner, who_waits_to_handle_what_is_suspect_renews_his_leases)
{
    static const struct pg_stmt begin = {"begin", "BEGIN"}, end = {"end", "COMMIT"},
                                hold = {"hold", "INSERT INTO cart_line"
                                                " VALUES (gen_random_uuid(), $1::uuid, $2::uuid, 1, 0, 0)"};
    struct bus s = runner_bus(2);
    struct uuid shirt = runner_product(&s, true);
    struct pg *held = bus_pg(&s);
    struct runner *one = runner_start(&cart_group, "one"), *two;
    char renewed[200];

    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 4);
    runner_stop(one);
    bus_sql(&s, "UPDATE consumer_offset SET owner = 'dead', lease_until = now(), taken = now(), crashes = 1");
    bus_sql(&s, "INSERT INTO member VALUES ('cart', 'two', now() + interval '1 hour')");
    one = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one' AND crashes = 2", 2);
    two = runner_start(&cart_group, "two");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'two' AND crashes = 2", 2);
    bus_must(pg_call(held, &begin, 0, NULL, NULL));
    for (int part = 0; part < 2; part++) {
        struct uuid user = user_of_partition(&s, part);
        struct pg_param params[] = {pg_uuid(user), pg_uuid(shirt)};
        bus_must(pg_call(held, &hold, 2, params, NULL));
        runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    }
    runner_expect(&s, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", 1);
    snprintf(renewed, sizeof(renewed),
             "SELECT count(DISTINCT owner) FROM consumer_offset WHERE lease_until > to_timestamp(%lld)",
             (long long)bus_query(&s, "SELECT extract(epoch FROM now())::bigint") + 3);
    runner_expect(&s, renewed, 1);
    bus_must(pg_call(held, &end, 0, NULL, NULL));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    runner_expect(&s, "SELECT sum(quantity)::bigint FROM cart_line", 4);
    runner_expect(&s, "SELECT count(*) FROM handler_attempt", 0);
    runner_stop(one);
    runner_stop(two);
    bus_stop(&s);
}
