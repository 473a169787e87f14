/* Schedules fire each slot once, whoever runs, and catch up as they are told. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "bus/base/clock.h"
#include "producers/schedules.h"
#include "tests/support/bus.h"

static struct bus bus;
static struct schedules *schedules;
static _Atomic int64_t now_ms;

static int64_t now(void)
{
    return now_ms;
}

static void start(void)
{
    bus = bus_start(4);
    schedules = schedules_new();
    clock_set(now);
}

static void stop(void)
{
    clock_set(NULL);
    schedules = schedules_free(schedules);
    bus_stop(&bus);
}

TestSuite(schedules, .init = start, .fini = stop, .timeout = 60);

static int64_t ms(const char *text)
{
    int64_t ret;
    bus_must(clock_parse(str_of(text), &ret));
    return ret;
}

static void set(const char *name, const char *cron, const char *catch_up, const char *next)
{
    bus_sql(&bus,
            "INSERT INTO schedule (name, cron, zone, catch_up, next_ms, created_ms)"
            " VALUES ('%s', '%s', 'America/Santiago', '%s', %lld, 0)",
            name, cron, catch_up, (long long)ms(next));
}

static size_t fire_at(const char *at)
{
    size_t fired = 0;
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20);
    now_ms = ms(at);
    bus_must(schedules_fire(schedules, bus.pg, arena, &fired));
    return fired;
}

static int64_t ticks(const char *slot, int missed)
{
    return bus_query(&bus,
                     "SELECT count(*) FROM event_log WHERE type = 'schedule.ticked.v1' AND topic = 'system'"
                     " AND data::json ->> 'slot' = '%s' AND (data::json ->> 'missed')::int = %d",
                     slot, missed);
}

Test(schedules, a_slot_fires_once_and_not_before_its_time)
{
    set("metrics", "0 2 * * *", "last", "2026-06-10T06:00:00Z");

    cr_assert_eq(fire_at("2026-06-10T05:59:59Z"), 0);
    cr_assert_eq(fire_at("2026-06-10T06:00:00Z"), 1);
    cr_assert_eq(fire_at("2026-06-10T06:00:30Z"), 0);
    cr_assert_eq(ticks("2026-06-10T06:00:00.000Z", 0), 1);
    cr_assert_eq(bus_query(&bus, "SELECT next_ms FROM schedule"), ms("2026-06-11T06:00:00Z"));
}

Test(schedules, days_on_which_clocks_change_have_one_slot)
{
    set("metrics", "30 0 * * *", "last", "2026-09-05T04:30:00Z");

    cr_assert_eq(fire_at("2026-09-05T04:30:00Z"), 1);
    cr_assert_eq(fire_at("2026-09-06T03:59:00Z"), 0);
    cr_assert_eq(fire_at("2026-09-06T04:00:00Z"), 1); /* 00:30 is swallowed: right after the gap */
    cr_assert_eq(fire_at("2026-09-07T03:29:00Z"), 0);
    cr_assert_eq(fire_at("2026-09-07T03:30:00Z"), 1);
}

Test(schedules, what_was_missed_is_caught_up_as_told)
{
    set("last", "0 * * * *", "last", "2026-06-10T06:00:00Z");
    set("each", "0 * * * *", "each", "2026-06-10T06:00:00Z");
    set("none", "0 * * * *", "none", "2026-06-10T06:00:00Z");

    cr_assert_eq(fire_at("2026-06-10T10:30:00Z"), 1 + 5);
    cr_assert_eq(ticks("2026-06-10T10:00:00.000Z", 4), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE partitionkey = 'each'"), 5);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE partitionkey = 'none'"), 0);
    cr_assert_eq(fire_at("2026-06-10T11:00:00Z"), 3);
}

struct racer {
    struct pg *pg;
    size_t fired;
};

static void *race(void *data)
{
    struct racer *racer = data;
    struct schedules *own = schedules_new();
    struct arena *arena = arena_new(64 << 20);
    for (int i = 0; i < 200; i++) {
        size_t fired = 0;
        bus_must(schedules_fire(own, racer->pg, arena, &fired));
        racer->fired += fired;
        arena_reset(arena);
    }
    arena_free(arena);
    schedules_free(own);
    return NULL;
}

Test(schedules, two_producers_fire_each_slot_once)
{
    struct racer racers[] = {{bus.pg, 0}, {bus_pg(&bus), 0}};
    pthread_t thread;
    for (int i = 0; i < 40; i++)
        set(arena_printf(bus.arena, "s%d", i).p, "* * * * *", "each", "2026-06-10T06:00:00Z");

    now_ms = ms("2026-06-10T06:19:30Z");
    cr_assert_eq(pthread_create(&thread, NULL, race, &racers[1]), 0);
    race(&racers[0]);
    pthread_join(thread, NULL);
    cr_assert_eq(racers[0].fired + racers[1].fired, 40 * 20);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM (SELECT DISTINCT partitionkey, data::json ->> 'slot'"
                                 " FROM event_log) x"),
                 40 * 20);
}

Test(schedules, one_that_cannot_be_understood_stops_alone)
{
    set("good", "0 * * * *", "last", "2026-06-10T06:00:00Z");
    set("bad", "0 99 * * *", "last", "2026-06-10T06:00:00Z");
    set("nowhere", "0 * * * *", "last", "2026-06-10T06:00:00Z");
    bus_sql(&bus, "UPDATE schedule SET zone = 'America/Atlantis' WHERE name = 'nowhere'");

    cr_assert_eq(fire_at("2026-06-10T06:00:00Z"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM schedule WHERE NOT is_active AND fault IS NOT NULL"),
                 2);
}
