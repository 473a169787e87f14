/*
 * A range that is handled again: which events, marked as handled before, without their effects, across a
 * restart; and what is refused. The group is the test's own: it counts what it sees and tells of each.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "consumers/replay.h"
#include "tests/support/ctl.h"
#include "tests/support/history.h"
#include "tests/support/indigestible.h"
#include "tests/support/runner.h"

enum { ORDERS = 150 };

static atomic_int first, again;

static enum answer see_confirmed(struct batch *b, const struct order_confirmed *e)
{
    atomic_fetch_add(batch_message(b)->replay ? &again : &first, 1);
    emit_stock_ran_low(b, STR("product"), &(struct stock_ran_low){e->order_id, 1, 2});
    timer_set(b, "test", STR("product"), 0, STOCK_RAN_LOW, &(struct stock_ran_low){e->order_id, 1, 2});
    job_add(b, "test.nothing", STR("product"), STR("{}"));
    return ANSWER_DONE;
}

static const struct table *const no_tables[] = {NULL};

static const struct group seer = {
    .name = "reports", /* whose role exists */
    .effects = EFFECTS_EXTERNAL,
    .start = START_EARLIEST,
    .idempotent = true,
    .tables = no_tables,
    .on = {.order_confirmed = {NULL, see_confirmed}},
};

struct story {
    struct bus bus;
    struct history history;
    struct runner *runner;
};

static void caught_up(struct story *s)
{
    runner_expect(&s->bus,
                  "SELECT count(*) FROM stream_head h LEFT JOIN consumer_offset o ON o.grp = 'reports'"
                  " AND o.topic = h.topic AND o.part = h.part WHERE h.topic = 'orders'"
                  " AND o.seq IS DISTINCT FROM h.seq",
                  0);
}

/* The workers of this process cannot digest that key from now on; NULL: any. */
static void spoil(struct story *s, const char *key)
{
    struct str path = arena_printf(s->bus.arena, "%s/poison", servers_dir(s->bus.servers));
    indigestible(path.p, key ? key : "nobody", key ? "bad" : NULL);
    setenv("FAULT_POISON", path.p, 1);
}

static struct story begin(void)
{
    struct story s = {.bus = runner_bus(3)};
    spoil(&s, NULL);
    s.history = (struct history){.pg = bus_pg(&s.bus), .arena = arena_new((size_t)64 << 20), .state = 1};
    history_add(&s.history, ORDERS);
    s.runner = runner_start(&seer, "one");
    caught_up(&s);
    return s;
}

static void finish(struct story *s)
{
    runner_stop(s->runner);
    arena_free(s->history.arena);
    bus_stop(&s->bus);
}

static int64_t confirmed(struct story *s, const char *where)
{
    return bus_query(&s->bus, "SELECT count(*) FROM event_log WHERE type = 'order.confirmed.v1' AND %s",
                     where);
}

/* Effects of any kind that the group has had. */
static int64_t effects(struct story *s)
{
    return bus_query(&s->bus, "SELECT (SELECT count(*) FROM event_log WHERE source = 'reports') +"
                              " (SELECT count(*) FROM job) + (SELECT count(*) FROM timer)");
}

static void send_back(struct story *s, int part, int from, int to, const char *types, int rate)
{
    bus_sql(&s->bus, "SELECT replay_begin('reports', '{orders}', '{%d}', '{%d}', '{%d}', '{0}', '%s', %d, 0)",
            part, from, to, types, rate);
}

static void passed(struct story *s)
{
    runner_expect(&s->bus, "SELECT count(*) FROM replay", 0);
    caught_up(s);
}

TestSuite(replay, .timeout = 120);

Test(replay, a_range_is_handled_again_without_its_effects)
{
    struct story s = begin();
    int64_t all = confirmed(&s, "true"), before = effects(&s);
    cr_assert_eq(atomic_load(&first), all);
    cr_assert_eq(before, 2 * all + 1, "an event and a job each, and one timer that is set again");

    send_back(&s, 1, 20, 90, "", 0);
    passed(&s);
    cr_assert_eq(atomic_load(&again),
                 confirmed(&s, "topic = 'orders' AND part = 1 AND seq BETWEEN 20 AND 90"));
    cr_assert_gt(atomic_load(&again), 0);
    cr_assert_eq(atomic_load(&first), all);
    cr_assert_eq(effects(&s), before);

    history_add(&s.history, 30); /* what is new has its effects again */
    caught_up(&s);
    cr_assert_eq(atomic_load(&first), confirmed(&s, "true"));
    cr_assert_gt(effects(&s), before);
    finish(&s);
}

Test(replay, types_that_are_not_asked_for_are_passed_over)
{
    struct story s = begin();
    send_back(&s, 0, 1, 1000000, "order.placed", 0);
    passed(&s);
    cr_assert_eq(atomic_load(&again), 0);
    send_back(&s, 0, 1, 1000000, "order.confirmed,order.cancelled", 0);
    passed(&s);
    cr_assert_eq(atomic_load(&again), confirmed(&s, "part = 0"));
    finish(&s);
}

/* It knows by its rows what was handled before: nothing is told twice, also by another process. */
Test(replay, who_takes_over_in_the_middle_goes_on_with_it)
{
    struct story s = begin();
    int64_t all = confirmed(&s, "true"), before = effects(&s);
    send_back(&s, 2, 1, 1000000, "", 20); /* slowly: a batch, and a pause of seconds */
    runner_expect(&s.bus,
                  "SELECT (seq > 0)::int FROM consumer_offset WHERE grp = 'reports' AND topic = 'orders'"
                  " AND part = 2",
                  1);
    runner_stop(s.runner);
    bus_sql(&s.bus, "UPDATE replay SET rate = 0");
    s.runner = runner_start(&seer, "two");
    passed(&s);
    cr_assert_eq(atomic_load(&again), confirmed(&s, "part = 2"));
    cr_assert_eq(atomic_load(&first), all);
    cr_assert_eq(effects(&s), before);
    finish(&s);
}

/* The streams are gone: what is handled again is read from the log. */
Test(replay, what_redis_has_forgotten_is_replayed_too)
{
    struct story s = begin();
    for (int part = 0; part < 3; part++)
        bus_redis_do(&s.bus, "DEL evt:{orders.%02d}", part);
    send_back(&s, 1, 1, 1000000, "", 0);
    passed(&s);
    cr_assert_eq(atomic_load(&again), confirmed(&s, "part = 1"));
    finish(&s);
}

Test(replay, what_would_do_harm_is_refused_and_writes_nothing)
{
    struct story s = begin();
    bus_sql(&s.bus, "INSERT INTO consumer_offset (grp, topic, part, seq) SELECT 'payments', topic, part, seq"
                    " FROM consumer_offset WHERE grp = 'reports';"
                    "UPDATE consumer_offset SET topic = 'payments' WHERE grp = 'payments'");
    int64_t places = bus_query(&s.bus, "SELECT sum(seq * (part + 1) + epoch)::bigint FROM consumer_offset");
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "nobody", .from = "1"}), 1);
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "reports", .from = "1"}), 1, "it counts");
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "payments", .from = "1"}), 1, "it has effects");
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "orders", .from = "1", .forced = true}), 1);
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "payments", .from = "soon", .forced = true}),
                 1);
    cr_assert_eq(
        replay_ask(&(struct replay_options){.group = "payments", .from = "orders.77:1", .forced = true}), 1);
    cr_assert_eq(replay_ask(&(struct replay_options){
                     .group = "payments", .from = "1", .types = "x.y", .forced = true}),
                 1);
    cr_assert_eq(
        replay_ask(&(struct replay_options){.group = "payments", .from = "1", .forced = true, .dry = true}),
        0);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM replay"), 0);
    cr_assert_eq(bus_query(&s.bus, "SELECT sum(seq * (part + 1) + epoch)::bigint FROM consumer_offset"),
                 places);
    finish(&s);
}

Test(replay, a_time_is_the_first_event_not_before_it)
{
    struct story s = begin();
    int64_t ms = bus_query(&s.bus, "SELECT max(ms) FROM event_log") + 1000;
    bus_sql(&s.bus, "INSERT INTO consumer_offset (grp, topic, part, seq) SELECT 'payments', topic, part, seq"
                    " FROM consumer_offset WHERE grp = 'reports' AND topic = 'orders'");
    bus_sql(&s.bus, "UPDATE event_log SET ms = %lld WHERE topic = 'orders' AND part = 1 AND seq >= 40",
            (long long)ms);
    char from[25];
    clock_print(ms - 500, from);
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "payments", .from = from, .forced = true}), 0);
    cr_assert_eq(
        bus_query(&s.bus,
                  "SELECT from_seq FROM replay WHERE grp = 'payments' AND topic = 'orders' AND part = 1"),
        40);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM replay WHERE grp = 'payments'"), 1,
                 "the others have nothing");
    cr_assert_eq(
        bus_query(&s.bus,
                  "SELECT seq FROM consumer_offset WHERE grp = 'payments' AND topic = 'orders' AND part = 1"),
        39);
    cr_assert_eq(replay_ask(&(struct replay_options){.group = "payments", .from = "1", .forced = true}), 1,
                 "one at a time");
    finish(&s);
}

/* An event that this group parks; returns its key, which lies in that partition. */
static const char *park_event(struct story *s, int part)
{
    struct order_confirmed e = {.order_number = STR("1"), .currency = STR("CLP")};
    struct str key;
    do
        key = uuid_str(e.order_id = e.user_id = uuid_v7(clock_ms()), s->bus.arena);
    while (partition_of(key) != part);
    spoil(s, key.p);
    struct event event = event_new(&message_types[ORDER_CONFIRMED], STR("orders"), key,
                                   codec_encode(&shape_order_confirmed, &e, s->bus.arena), s->bus.arena);
    eventlog_queue(s->bus.pg, &event, 1, s->bus.arena);
    pg_sync(s->bus.pg, NULL, NULL);
    bus_must(pg_wait(s->bus.pg, 5000));
    caught_up(s);
    cr_assert_eq(
        bus_query(&s->bus, "SELECT count(*) FROM dead_letter WHERE state = 'parked' AND key = '%s'", key.p),
        1);
    spoil(s, NULL);
    return key.p;
}

/* A replay that is under way in that partition, and the worker knows of it. */
static void open_replay(struct story *s, int part, int to, const char *types)
{
    bus_sql(&s->bus,
            "INSERT INTO replay VALUES ('reports', 'orders', %d, 1, %d, 1000000, '%s', 0, 0);"
            "UPDATE consumer_offset SET epoch = epoch + 1, owner = NULL, lease_until = NULL",
            part, to, types);
    runner_expect(&s->bus, "SELECT count(*) FROM consumer_offset WHERE topic = 'orders' AND owner = 'one'",
                  3);
}

/* It has never been handled, whatever range is handled again around it: it has its effects now. */
static void retry_beside(struct story *s, int part, int to, const char *types)
{
    const char *key = park_event(s, part);
    int64_t before = effects(s), seen = atomic_load(&first);
    open_replay(s, part, to, types);
    ctl_expect(&s->bus, 0, "1 handled", "bus dlq retry reports orders %s", key);
    cr_expect_eq(atomic_load(&first), seen + 1);
    cr_expect_eq(effects(s), before + 2, "an event and a job");
}

Test(replay, what_is_retried_beside_it_has_its_effects)
{
    struct story s = begin();
    retry_beside(&s, 0, 1000000, "");
    finish(&s);
}

Test(replay, what_is_retried_behind_its_range_is_handled)
{
    struct story s = begin();
    retry_beside(&s, 1, 10, "");
    finish(&s);
}

Test(replay, what_is_retried_and_not_of_its_types_is_handled)
{
    struct story s = begin();
    retry_beside(&s, 2, 1000000, "order.placed");
    finish(&s);
}

/* An event that was handled once and is parked when it is handled again: a retry repeats no effect. */
Test(replay, what_it_has_parked_has_had_its_effects)
{
    struct story s = begin();
    int64_t before = effects(&s);
    static const struct pg_stmt any = {"any", "SELECT partitionkey FROM event_log WHERE topic = 'orders' AND"
                                              " part = 0 AND type = 'order.confirmed.v1' LIMIT 1"};
    struct pg_result *r;
    bus_must(pg_call(s.bus.pg, &any, 0, NULL, &r));
    const char *key = arena_cstr(s.bus.arena, pg_get_str(r, 0, 0));
    pg_result_free(r);
    spoil(&s, key);
    send_back(&s, 0, 1, 1000000, "", 0);
    passed(&s);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM dead_letter WHERE reason = 'poison'"), 1);
    cr_expect_null(strstr(ctl_run(&s.bus, "bus fsck")->text, "I8 effects"), "its effects are no finding");
    spoil(&s, NULL);
    ctl_expect(&s.bus, 0, "1 handled", "bus dlq retry reports orders %s", key);
    cr_expect_eq(atomic_load(&again), confirmed(&s, "part = 0"));
    cr_expect_eq(effects(&s), before);
    finish(&s);
}
