/*
 * Groups of other people on our streams: the relay remembers where they stand, brings them back with a stream
 * that was lost, and in the end does not wait for those nobody hears of.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/lane.h"
#include "tests/support/bus.h"

enum { PARTS = 2, EVENTS = 100 };

static struct bus bus;
static struct relay *relay;
static int ana; /* the partition of "ana" */

static void start(void)
{
    bus = bus_start(PARTS);
    relay = relay_new(bus.redis, bus.pg);
    ana = partition_of(STR("ana"));
    bus_commit(&bus, bus.pg, "ana", EVENTS);
    bus_must(relay_sweep(relay, NULL));
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(strangers, .init = start, .fini = stop, .timeout = 120);

/* Sweeps until the query says so; the relay looks once a second. */
static void sweep_until(int64_t expected, const char *sql)
{
    int64_t until = clock_mono_ms() + 20000, now;
    while ((now = bus_query(&bus, "%s", sql)) != expected && clock_mono_ms() < until) {
        bus_must(relay_sweep(relay, NULL));
        clock_sleep_ms(50);
    }
    cr_assert_eq(now, expected, "%s: %lld", sql, (long long)now);
}

/* seq of the last id given to the group, -1: there is no such group. */
static int64_t given_to(const char *group)
{
    int64_t ms, seq = -1;
    if (bus_redis_do(&bus, "EXISTS evt:{carts.%02d}", ana)->integer == 0)
        return -1;
    const struct redis_reply *groups = bus_redis_do(&bus, "XINFO GROUPS evt:{carts.%02d}", ana);
    for (size_t i = 0; i < groups->n; i++)
        if (str_is(groups->items[i].items[1].text, group))
            bus_must(entry_id_parse(groups->items[i].items[7].text, &ms, &seq));
    return seq;
}

static void sweep_until_given(const char *group, int64_t expected)
{
    int64_t until = clock_mono_ms() + 20000;
    while (given_to(group) != expected && clock_mono_ms() < until) {
        bus_must(relay_sweep(relay, NULL));
        clock_sleep_ms(50);
    }
    cr_assert_eq(given_to(group), expected, "%s stands at %lld", group, (long long)given_to(group));
}

static void make_partner(void)
{
    bus_redis_do(&bus, "XGROUP CREATE evt:{carts.%02d} partner 0", ana);
}

/* Gives n entries to the group and acknowledges all but the last `open`. */
static void read_some(int n, int open)
{
    struct str ids[EVENTS];
    const struct redis_reply *r =
        bus_redis_do(&bus, "XREADGROUP GROUP partner me COUNT %d STREAMS evt:{carts.%02d} >", n, ana);
    const struct redis_reply *entries = &r->items[0].items[1];
    cr_assert_eq(entries->n, (size_t)n);
    for (int i = 0; i < n; i++)
        ids[i] = arena_str(bus.arena, entries->items[i].items[0].text);
    for (int i = 0; i < n - open; i++)
        bus_redis_do(&bus, "XACK evt:{carts.%02d} partner %.*s", ana, STR_ARG(ids[i]));
}

static const char position[] =
    "SELECT coalesce(max(seq), -1)::bigint FROM subscriber_group WHERE name = 'partner'";

Test(strangers, what_is_not_acknowledged_comes_again_after_the_stream_was_lost)
{
    make_partner();
    read_some(40, 10);
    sweep_until(30, position);
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    sweep_until_given("partner", 30);
    bus_redis_do(&bus, "FLUSHALL");
    sweep_until_given("partner", 30);
    read_some(70, 0); /* 31 to 100 */
    sweep_until(100, position);
}

Test(strangers, a_group_its_maker_destroyed_is_forgotten_and_a_registered_one_comes_back)
{
    make_partner();
    sweep_until(0, position);
    bus_redis_do(&bus, "XGROUP DESTROY evt:{carts.%02d} partner", ana);
    sweep_until(0, "SELECT count(*) FROM subscriber");
    make_partner();
    read_some(20, 0);
    sweep_until(20, position);
    bus_sql(&bus, "UPDATE subscriber SET kind = 'redis' WHERE name = 'partner'");
    bus_redis_do(&bus, "XGROUP DESTROY evt:{carts.%02d} partner", ana);
    sweep_until_given("partner", 20);
}

Test(strangers, nobody_waits_for_who_is_silent_for_too_long)
{
    bus_sql(&bus, "INSERT INTO consumer_offset (grp, topic, part, seq, ms)"
                  " SELECT 'cart', topic, part, seq, ms FROM stream_head");
    make_partner();
    read_some(20, 0);
    sweep_until(20, position);
    bus_commit(&bus, bus.pg, "ana", 2000);
    bus_sql(&bus, "UPDATE consumer_offset o SET seq = h.seq, ms = h.ms FROM stream_head h"
                  " WHERE o.topic = h.topic AND o.part = h.part");
    bus_must(relay_sweep(relay, NULL));
    bus_must(relay_trim(relay, 0));
    cr_assert_geq(bus_stream_check(&bus, TOPIC_CARTS, ana), 2080, "it is waited for");
    bus_sql(&bus, "UPDATE subscriber SET seen = now() - interval '8 days';"
                  " UPDATE subscriber_group SET moved = now() - interval '8 days'");
    relay_free(relay);
    relay = relay_new(bus.redis, bus.pg); /* which looks for silent ones at once */
    sweep_until(1, "SELECT count(*) FROM subscriber WHERE expired IS NOT NULL");
    bus_must(relay_trim(relay, 0));
    cr_assert_lt(bus_stream_check(&bus, TOPIC_CARTS, ana), 200, "it holds nothing");
    bus_commit(&bus, bus.pg, "ana", 1);
    bus_must(relay_sweep(relay, NULL));
    read_some(1, 0);
    sweep_until(0, "SELECT count(*) FROM subscriber WHERE expired IS NOT NULL");
}

Test(strangers, the_mirror_of_a_forgotten_subscriber_goes)
{
    bus_redis_do(&bus, "XGROUP CREATE evt:{carts.%02d} ext:gone 0", ana);
    sweep_until_given("ext:gone", -1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM subscriber"), 0);
}
