/* Timers fire once, when due, whoever runs; retention removes what has ended. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "producers/retention.h"
#include "producers/timers.h"
#include "tests/support/bus.h"

static struct bus bus;

static void start(void)
{
    bus = bus_start(4);
}

static void stop(void)
{
    bus_stop(&bus);
}

TestSuite(timers, .init = start, .fini = stop, .timeout = 60);

static void set_timers(int n, int64_t due_ms, const char *type)
{
    bus_sql(&bus,
            "INSERT INTO timer (grp, name, key, due_ms, topic, part, type, data, correlationid)"
            " SELECT 'orders', 'payment', k, %lld + i, 'orders', 0, '%s', '{\"order_id\":\"' || k || '\"}', "
            "'c' || i"
            " FROM (SELECT i, gen_random_uuid()::text AS k FROM generate_series(1, %d) i) x",
            (long long)due_ms, type, n);
}

static size_t fire(void)
{
    size_t fired = 0;
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20);
    bus_must(timers_fire(bus.pg, arena, &fired));
    return fired;
}

Test(timers, fire_in_their_order_once_due)
{
    set_timers(300, clock_ms() - 1000, "order.payment-timed-out.v1");
    set_timers(5, clock_ms() + 3600000, "order.payment-timed-out.v1");
    cr_assert_eq(fire(), TIMERS_BATCH);
    cr_assert_eq(fire(), 300 - TIMERS_BATCH);
    cr_assert_eq(fire(), 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM timer"), 5);
    cr_assert_eq(
        bus_query(&bus,
                  "SELECT count(*) FROM event_log WHERE type = 'order.payment-timed-out.v1'"
                  " AND source = 'timer' AND topic = 'orders' AND data LIKE '%%' || partitionkey || '%%'"),
        300);
    cr_assert_eq(
        bus_query(&bus, "SELECT count(*) FROM (SELECT substr(correlationid, 2)::int AS i,"
                        " lag(substr(correlationid, 2)::int) OVER (PARTITION BY part ORDER BY seq) AS before"
                        " FROM event_log) x WHERE i < before"),
        0);
}

static void *fire_all(void *pg)
{
    size_t fired = 0, total = 0;
    struct arena *arena = arena_new(64 << 20);
    for (int idle = 0; idle < 3;) {
        bus_must(timers_fire(pg, arena, &fired));
        total += fired;
        idle = fired ? 0 : idle + 1;
        arena_reset(arena);
    }
    arena_free(arena);
    return (void *)total;
}

Test(timers, two_producers_fire_each_once)
{
    set_timers(3000, clock_ms() - 10000, "order.payment-timed-out.v1");
    struct pg *other = bus_pg(&bus);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fire_all, other), 0);
    size_t mine = (size_t)fire_all(bus.pg);
    void *theirs;
    pthread_join(thread, &theirs);
    cr_assert_eq(mine + (size_t)theirs, 3000);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 3000);
    cr_assert_eq(bus_query(&bus, "SELECT count(DISTINCT partitionkey) FROM event_log"), 3000);
    pg_close(other);
}

Test(timers, one_that_is_being_cancelled_is_left_to_its_row)
{
    static const struct pg_stmt cancel = {"test_cancel", "DELETE FROM timer"};
    set_timers(1, clock_ms() - 1000, "order.payment-timed-out.v1");
    struct pg *other = bus_pg(&bus);
    pg_queue(other, &cancel, 0, NULL, NULL, NULL);
    bus_must(pg_wait(other, 5000));
    cr_assert_eq(fire(), 0);
    pg_sync(other, NULL, NULL);
    bus_must(pg_wait(other, 5000));
    cr_assert_eq(fire(), 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 0);
    pg_close(other);
}

Test(timers, an_unknown_type_does_not_stop_those_behind_it)
{
    set_timers(1, clock_ms() - 2000, "order.of-another-time.v9");
    set_timers(1, clock_ms() - 1000, "order.payment-timed-out.v1");
    cr_assert_eq(fire(), 1);
    cr_assert_eq(fire(), 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM timer"), 1);
}

Test(timers, retention_keeps_what_has_not_ended)
{
    struct uuid old = uuid_v7(clock_ms() - 40 * INT64_C(86400000));
    const char *id = uuid_str(old, bus.arena).p;
    bus_sql(
        &bus,
        "INSERT INTO command (id, status) SELECT ('%.32s' || lpad(i::text, 4, '0'))::uuid,"
        " CASE i %% 4 WHEN 0 THEN 'running' WHEN 1 THEN 'parked' WHEN 2 THEN 'succeeded' ELSE 'rejected' END"
        " FROM generate_series(0, 3999) i;"
        "INSERT INTO command (id, status) VALUES ('%s', 'succeeded');"
        "INSERT INTO job (id, kind, key, payload, state) VALUES ('%s', 'a.b', 'k', '{}', 'done')",
        id, uuid_str(uuid_v7(clock_ms()), bus.arena).p, id);
    bool more = true;
    for (int i = 0; more && i < 10; i++) /* 2000 rows have ended */
        bus_must(retention_pass(bus.pg, &more));
    cr_assert_not(more);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM command"), 2001);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM command WHERE status = 'succeeded'"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM job"), 0);
}
