/*
 * The relay against real servers: whatever happens to Redis, the streams become a contiguous part of the log
 * again, byte for byte.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/metrics.h"
#include "tests/support/bus.h"

enum { PARTS = 2 };

static struct bus bus;
static struct relay *relay;
static int ana; /* the partition of "ana" */

static void start(void)
{
    bus = bus_start(PARTS);
    relay = relay_new(bus.redis, bus.pg);
    ana = partition_of(STR("ana"));
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(relay, .init = start, .fini = stop, .timeout = 120);

static int64_t sweep(void)
{
    int64_t n = 0;
    bus_must(relay_sweep(relay, &n));
    return n;
}

/* Sabotage by another connection is noticed by the look the relay takes each second. */
static void sweep_until_level(int64_t expected)
{
    int64_t until = clock_mono_ms() + 5000;
    do {
        clock_sleep_ms(20);
        sweep();
    } while (bus_redis_do(&bus, "XLEN evt:{carts.%02d}", ana)->integer != expected &&
             clock_mono_ms() < until);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), expected);
}

static void offset(const char *grp, int64_t seq)
{
    bus_sql(&bus,
            "INSERT INTO consumer_offset (grp, topic, part, seq, ms) SELECT '%s', 'carts', %d, %lld,"
            " coalesce((SELECT ms FROM event_log WHERE topic = 'carts' AND part = %d AND seq = %lld), 0)"
            " ON CONFLICT (grp, topic, part) DO UPDATE SET seq = excluded.seq, ms = excluded.ms",
            grp, ana, (long long)seq, ana, (long long)seq);
}

/* A field of a group in XINFO GROUPS, as text; "" when there is no such group. */
static struct str group_field(const char *group, const char *field)
{
    const struct redis_reply *groups = bus_redis_do(&bus, "XINFO GROUPS evt:{carts.%02d}", ana);
    for (size_t i = 0; i < groups->n; i++) {
        const struct redis_reply *g = &groups->items[i];
        for (size_t j = 2; j + 1 < g->n && str_is(g->items[1].text, group); j += 2)
            if (str_is(g->items[j].text, field)) {
                const struct redis_reply *v = &g->items[j + 1];
                return v->kind == REDIS_INTEGER ? arena_printf(bus.arena, "%lld", (long long)v->integer)
                                                : arena_str(bus.arena, v->text);
            }
    }
    return STR("");
}

Test(relay, an_empty_shop_is_an_empty_bus)
{
    cr_assert_eq(sweep(), 0);
    cr_assert_eq(bus_redis_do(&bus, "EXISTS evt:{carts.00}")->integer, 0);
}

Test(relay, what_is_committed_is_appended_once_and_in_order)
{
    bus_commit(&bus, bus.pg, "ana", 700);
    bus_commit(&bus, bus.pg, "berta", 10);
    cr_assert_eq(sweep(), 710);
    cr_assert_eq(sweep(), 0);
    int64_t n = bus_stream_check(&bus, TOPIC_CARTS, ana);
    cr_assert(n == 700 || n == 710);
    cr_assert_eq(counter_get(COUNTER_RELAY_REBUILT), 0, "the first events of a stream are no rebuild");
}

Test(relay, own_events_are_appended_at_once)
{
    struct event *events = bus_commit(&bus, bus.pg, "ana", 300);
    relay_append(relay, events, 300, bus.arena);
    bus_must(redis_wait(bus.redis, 5000));
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 300);
    cr_assert_eq(sweep(), 0);
}

Test(relay, an_append_that_overtakes_is_refused_and_the_sweep_repairs)
{
    struct event *first = bus_commit(&bus, bus.pg, "ana", 1), *second = bus_commit(&bus, bus.pg, "ana", 1);
    relay_append(relay, first, 1, bus.arena);
    struct event *third = bus_commit(&bus, bus.pg, "ana", 1);
    relay_append(relay, third, 1, bus.arena); /* 3 behind 1: a leapfrog */
    relay_append(relay, second, 1, bus.arena);
    bus_must(redis_wait(bus.redis, 5000));
    cr_assert_eq(bus_redis_do(&bus, "XLEN evt:{carts.%02d}", ana)->integer, 2);
    cr_assert_eq(sweep(), 1);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 3);
}

Test(relay, a_lost_tail_is_appended_again)
{
    bus_commit(&bus, bus.pg, "ana", 10);
    sweep();
    /* as after a failover to a replica that was behind: rebuilt with five entries of the same ids */
    struct event *events;
    size_t n;
    bus_must(eventlog_read(bus.pg, TOPIC_CARTS, ana, 0, 5, bus.arena, &events, &n));
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    relay_append(relay, events, n, bus.arena);
    bus_must(redis_wait(bus.redis, 5000));
    bus_commit(&bus, bus.pg, "ana", 1);
    sweep();
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 11);
}

Test(relay, a_deleted_stream_is_made_anew_from_the_lowest_offset)
{
    bus_commit(&bus, bus.pg, "ana", 100);
    sweep();
    offset("cart", 60);
    offset("orders", 90);
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    bus_commit(&bus, bus.pg, "ana", 1); /* noticed at once, since there is something to append */
    cr_assert_eq(sweep(), 41);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 41);
    cr_assert(str_is(group_field("cart", "entries-read"), "60"));
    cr_assert(str_is(group_field("orders", "lag"), "11"));
    cr_assert_eq(counter_get(COUNTER_RELAY_REBUILT), 1);
}

Test(relay, after_flushall_everything_comes_back_without_new_events)
{
    bus_commit(&bus, bus.pg, "ana", 20);
    offset("cart", 5);
    sweep();
    bus_redis_do(&bus, "FLUSHALL");
    sweep_until_level(15);
    cr_assert(str_is(group_field("cart", "entries-read"), "5"));
}

Test(relay, a_stream_nobody_is_attached_to_comes_back_too)
{
    bus_commit(&bus, bus.pg, "ana", 20);
    sweep();
    bus_redis_do(&bus, "FLUSHALL");
    bus_commit(&bus, bus.pg, "ana", 3);
    cr_assert_eq(sweep(), 23);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 23);
}

Test(relay, scripts_that_the_server_forgot_are_sent_again)
{
    bus_commit(&bus, bus.pg, "ana", 3);
    sweep();
    bus_redis_do(&bus, "SCRIPT FLUSH");
    bus_commit(&bus, bus.pg, "ana", 3);
    cr_assert_eq(sweep(), 3);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 6);
}

Test(relay, a_stream_cut_at_its_front_goes_on)
{
    bus_commit(&bus, bus.pg, "ana", 50);
    sweep();
    bus_redis_do(&bus, "XTRIM evt:{carts.%02d} MAXLEN 2", ana);
    bus_commit(&bus, bus.pg, "ana", 5);
    cr_assert_eq(sweep(), 5);
    sweep_until_level(7);
    bus_redis_do(&bus, "XTRIM evt:{carts.%02d} MAXLEN 0", ana);
    bus_commit(&bus, bus.pg, "ana", 1);
    cr_assert_eq(sweep(), 1);
    sweep_until_level(1);
}

Test(relay, a_hole_is_found_and_the_stream_made_anew)
{
    struct event *events = bus_commit(&bus, bus.pg, "ana", 9);
    offset("cart", 2);
    sweep();
    bus_redis_do(&bus, "XDEL evt:{carts.%02d} %lld-5", ana, (long long)events[4].ms);
    sweep_until_level(7);
    cr_assert_eq(bus_redis_do(&bus, "EXISTS evt:{carts.%02d}:broken", ana)->integer, 1);
}

Test(relay, a_missing_last_entry_is_a_hole_too)
{
    struct event *events = bus_commit(&bus, bus.pg, "ana", 9);
    offset("cart", 0);
    sweep();
    bus_redis_do(&bus, "XDEL evt:{carts.%02d} %lld-9", ana, (long long)events[8].ms);
    sweep_until_level(9);
}

Test(relay, a_key_of_another_type_gives_way)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    bus_redis_do(&bus, "SET evt:{carts.%02d} nonsense", ana);
    sweep_until_level(4);
}

Test(relay, a_foreign_entry_is_thrown_out)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    sweep();
    bus_redis_do(&bus, "XADD evt:{carts.%02d} * type foreign", ana);
    bus_commit(&bus, bus.pg, "ana", 4);
    err e = relay_sweep(relay, NULL); /* may stumble over it before it looks */
    cr_assert(!failed(e) || e.code == ERR_REDIS_REFUSED);
    sweep_until_level(8);
}

/* Ids of Redis are unsigned: what cannot be a number of the log is thrown out, and is looked at once for
 * that.
 */
Test(relay, an_id_beyond_2_63_is_thrown_out)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    sweep();
    bus_redis_do(&bus, "XADD evt:{carts.%02d} 9223372036854775808-1 type foreign", ana);
    sweep_until_level(4);
    bus_redis_do(&bus, "XADD evt:{carts.%02d} 18446744073709551615-18446744073709551615 type foreign", ana);
    bus_commit(&bus, bus.pg, "ana", 4);
    err e = relay_sweep(relay, NULL); /* may stumble over it before it looks */
    cr_assert(!failed(e) || e.code == ERR_REDIS_REFUSED);
    sweep_until_level(8);
}

/* Four events, all in the stream; then PostgreSQL comes back without the last one. */
static void lose_the_fourth(void)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    sweep();
    bus_sql(&bus, "DELETE FROM event_log WHERE seq = 4");
    bus_sql(&bus, "UPDATE stream_head h SET seq = 3, ms = l.ms FROM event_log l WHERE l.seq = 3");
    clock_sleep_ms(2); /* what takes its number is younger */
}

/* PostgreSQL lost its last event and has gone on since: the stream has that number, but not that event.
 * Nothing may be put behind it, or it would stand in the middle of a stream that looks right. */
Test(relay, nothing_is_appended_behind_the_lost_end_of_another_log)
{
    lose_the_fourth();
    for (int i = 0; i < 3; i++) {
        relay_append(relay, bus_commit(&bus, bus.pg, "ana", 1), 1, bus.arena);
        bus_must(redis_wait(bus.redis, 5000));
    }
    cr_assert_eq(bus_redis_do(&bus, "XLEN evt:{carts.%02d}", ana)->integer, 4);
    struct relay *other = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(other, NULL));
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 6);
    relay_free(other);
}

/* Between two looks at Redis: an append finds it there, and must not take it for the work of another relay.
 */
Test(relay, nothing_is_appended_behind_what_somebody_else_wrote)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    sweep();
    bus_redis_do(&bus, "XADD evt:{carts.%02d} %lld-5 type foreign", ana, (long long)clock_ms());
    clock_sleep_ms(2);
    bus_commit(&bus, bus.pg, "ana", 3);
    sweep();
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 7);
}

/* The same relay lives on: what it knew before PostgreSQL went away is not believed afterwards. */
Test(relay, a_relay_that_lost_its_database_looks_at_the_streams_anew)
{
    lose_the_fourth();
    bus_commit(&bus, bus.pg, "ana", 3);
    servers_end(bus.servers, SERVER_POSTGRES);
    cr_assert(failed(relay_sweep(relay, NULL)));
    servers_restart(bus.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(bus.pg));
    sweep();
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 6);
}

/* PostgreSQL came back from a backup, or somebody else writes: the log decides. What it does not have is kept
 * for a while, since nobody else has it. */
Test(relay, a_stream_ahead_of_the_log_is_set_aside_and_made_anew)
{
    struct event *events = bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 3);
    sweep();
    bus_redis_do(&bus, "XADD evt:{carts.%02d} %lld-9 type foreign", ana, (long long)events[3].ms);
    sweep_until_level(1);
    cr_assert_eq(bus_redis_do(&bus, "XLEN evt:{carts.%02d}:ahead", ana)->integer, 2);
    cr_assert_gt(bus_redis_do(&bus, "PTTL evt:{carts.%02d}:ahead", ana)->integer, INT64_C(6) * 86400000);
    bus_commit(&bus, bus.pg, "ana", 1);
    sweep();
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 2);

    bus_redis_do(&bus, "XADD evt:{carts.%02d} %lld-9 type foreign", ana, (long long)clock_ms());
    sweep_until_level(2);
    cr_assert_eq(bus_redis_do(&bus, "XLEN evt:{carts.%02d}:ahead", ana)->integer, 2,
                 "what was kept first stays");
    cr_assert_eq(bus_redis_do(&bus, "XLEN evt:{carts.%02d}:broken", ana)->integer, 3);
}

Test(relay, a_redis_that_was_killed_is_filled_when_it_is_back)
{
    bus_commit(&bus, bus.pg, "ana", 4);
    offset("cart", 0);
    sweep();
    servers_kill(bus.servers, SERVER_REDIS);
    bus_commit(&bus, bus.pg, "ana", 4);
    cr_assert_eq(err_class_of(relay_sweep(relay, NULL).code), ERR_CLASS_RETRY);
    servers_restart(bus.servers, SERVER_REDIS);
    bus_must(redis_reopen(bus.redis));
    cr_assert_eq(sweep(), 4);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CARTS, ana), 8);
}

/* ---- races ---- */

static atomic_bool writing = true;

static void *sweep_along(void *data)
{
    (void)data;
    struct redis *redis = bus_redis(&bus);
    struct pg *pg = bus_pg(&bus);
    struct relay *other = relay_new(redis, pg);
    while (writing)
        bus_must(relay_sweep(other, NULL));
    bus_must(relay_sweep(other, NULL));
    relay_free(other);
    redis_close(redis);
    pg_close(pg);
    return NULL;
}

Test(relay, relays_race_and_streams_vanish_under_them_and_nothing_is_lost_or_doubled)
{
    pthread_t threads[2];
    offset("cart", 0);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, sweep_along, NULL);
    for (int i = 0; i < 200; i++) {
        struct event *events = bus_commit(&bus, bus.pg, i % 3 ? "ana" : "berta", 5);
        if (i % 2) {
            relay_append(relay, events, 5, bus.arena);
            bus_must(redis_wait(bus.redis, 5000));
        }
        if (i % 50 == 25)
            bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    }
    writing = false;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    int64_t head = bus_query(&bus, "SELECT seq FROM stream_head WHERE topic = 'carts' AND part = %d", ana);
    sweep_until_level(head);
}

/* ---- mirrors and trimming ---- */

Test(relay, groups_are_kept_level_with_their_offsets)
{
    struct event *events = bus_commit(&bus, bus.pg, "ana", 10);
    offset("cart", 0);
    sweep();
    cr_assert(str_is(group_field("cart", "lag"), "10"));
    offset("cart", 7);
    clock_sleep_ms(250);
    sweep();
    cr_assert(str_eq(group_field("cart", "last-delivered-id"),
                     arena_printf(bus.arena, "%lld-7", (long long)events[6].ms)));
    cr_assert(str_is(group_field("cart", "lag"), "3"));
}

Test(relay, a_group_that_was_destroyed_comes_back)
{
    bus_commit(&bus, bus.pg, "ana", 10);
    offset("cart", 4);
    sweep();
    bus_redis_do(&bus, "XGROUP DESTROY evt:{carts.%02d} cart", ana);
    for (int i = 0; i < 100 && str_is(group_field("cart", "lag"), ""); i++, clock_sleep_ms(20))
        sweep();
    cr_assert(str_is(group_field("cart", "lag"), "6"));
}

Test(relay, groups_stand_before_the_first_event)
{
    offset("cart", 0);
    sweep();
    cr_assert(str_is(group_field("cart", "lag"), "0"));
    bus_commit(&bus, bus.pg, "ana", 3);
    cr_assert_eq(sweep(), 3);
    cr_assert(str_is(group_field("cart", "lag"), "3"));
}

Test(relay, only_what_every_group_has_passed_is_trimmed)
{
    bus_commit(&bus, bus.pg, "ana", 2000);
    sweep();
    offset("cart", 1500);
    offset("orders", 1000);
    bus_must(relay_trim(relay, 100));
    int64_t left = bus_stream_check(&bus, TOPIC_CARTS, ana);
    cr_assert(left >= 1100 && left < 1100 + 200, "%lld left", (long long)left);
    offset("orders", 1900);
    bus_must(relay_trim(relay, 0));
    left = bus_stream_check(&bus, TOPIC_CARTS, ana);
    cr_assert(left >= 500 && left < 700, "%lld left", (long long)left);
}

Test(relay, a_foreign_group_keeps_what_it_has_not_acknowledged)
{
    bus_commit(&bus, bus.pg, "ana", 2000);
    sweep();
    offset("cart", 2000);
    bus_redis_do(&bus, "XGROUP CREATE evt:{carts.%02d} partner 0", ana);
    bus_redis_do(&bus, "XREADGROUP GROUP partner me COUNT 1200 STREAMS evt:{carts.%02d} >", ana);
    const struct redis_reply *pending = bus_redis_do(&bus, "XPENDING evt:{carts.%02d} partner - + 900", ana);
    struct str ids[900];
    for (size_t i = 0; i < pending->n; i++)
        ids[i] = arena_str(bus.arena, pending->items[i].items[0].text);
    for (size_t i = 0; i < 900; i++)
        if (i != 500)
            bus_redis_do(&bus, "XACK evt:{carts.%02d} partner %.*s", ana, STR_ARG(ids[i]));
    bus_must(relay_trim(relay, 0));
    int64_t left = bus_stream_check(&bus, TOPIC_CARTS, ana);
    cr_assert(left >= 1500 && left < 1700, "%lld left", (long long)left);
}

Test(relay, trimming_works_when_there_is_no_memory_left)
{
    bus_commit(&bus, bus.pg, "ana", 2000);
    sweep();
    offset("cart", 2000);
    bus_redis_do(&bus, "CONFIG SET maxmemory 1");
    bus_commit(&bus, bus.pg, "ana", 1);
    cr_assert_eq(relay_sweep(relay, NULL).code, ERR_REDIS_REFUSED);
    bus_must(relay_trim(relay, 0));
    cr_assert_lt(bus_redis_do(&bus, "XLEN evt:{carts.%02d}", ana)->integer, 200);
    bus_redis_do(&bus, "CONFIG SET maxmemory 0");
    sweep_until_level(bus_redis_do(&bus, "XLEN evt:{carts.%02d}", ana)->integer + 1);
}
