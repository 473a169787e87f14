/*
 * A file of the archive that is not there holds up whoever needs it, in its own partition, until it is back:
 * all other partitions of the same thread, of the same relay and of the same subscriber go on.
 */
#include <criterion/criterion.h>
#include <daydream/bus.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "tests/support/runner.h"

enum { PARTS = 3, EVENTS = 100, HIDDEN = 1, WAIT_MS = 20000 };

static struct bus bus;
static struct str path, aside; /* of the file that is not there */

static void begin(void)
{
    setenv("LOG_LEVEL", "warn", 1);
    bus = runner_bus(PARTS);
}

static void end(void)
{
    bus_stop(&bus);
}

TestSuite(unreadable, .init = begin, .fini = end, .timeout = 180);

/* Events of one partition of the catalogue, which all begin with that product. */
static void announce(int part, int times)
{
    struct event *events = arena_array(bus.arena, struct event, times);
    struct uuid product;
    do
        product = uuid_v7(clock_ms());
    while (partition_of(uuid_str(product, bus.arena)) != part);
    for (int i = 0; i < times; i++) {
        events[i] = runner_created(&bus, product);
    }
    eventlog_queue(bus.pg, events, (size_t)times, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 10000));
}

static void hide(void)
{
    struct archive_file *files;
    size_t n;
    bus_must(archive_list(bus.pg, bus.arena, &files, &n));
    for (size_t i = 0; i < n; i++)
        if (files[i].topic == TOPIC_CATALOG && files[i].part == HIDDEN)
            path = archive_path(files[i].name, bus.arena);
    cr_assert(path.p);
    aside = arena_printf(bus.arena, "%s.aside", path.p);
    cr_assert_eq(rename(path.p, aside.p), 0);
}

static void bring_back(void)
{
    cr_assert_eq(rename(aside.p, path.p), 0);
}

/* Everything that there is has left the log, and one file is not there; ten events more stand in the log. */
static void all_archived(void)
{
    for (int part = 0; part < PARTS; part++)
        announce(part, EVENTS);
    bus_archive(&bus);
    hide();
    for (int part = 0; part < PARTS; part++)
        announce(part, 10);
}

#define AT_HEAD(op)                                                                                          \
    "SELECT count(*) FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog' AND part " op " 1"        \
    " AND seq = 110"

/* What a process writes to its log, counted; the log goes to the test's output by itself. */
static int log_begin(void)
{
    char name[] = "/tmp/unreadable-XXXXXX";
    int before = dup(2), fd = mkstemp(name);
    cr_assert(before >= 0 && fd >= 0 && unlink(name) == 0);
    cr_assert_eq(dup2(fd, 2), 2);
    close(fd);
    return before;
}

static const char *log_end(int before)
{
    enum { SIZE = 4 << 20 };
    char *text = arena_alloc(bus.arena, SIZE);
    ssize_t n = pread(2, text, SIZE - 1, 0);
    cr_assert(n >= 0);
    text[n] = 0;
    cr_assert_eq(dup2(before, 2), 2);
    close(before);
    return text;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        count++;
    return count;
}

static void others_go_on_and_it_comes_back(void)
{
    int64_t began = clock_mono_ms();
    int before = log_begin();
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&bus, AT_HEAD("<>"), PARTS - 1);
    announce(0, 5);
    runner_expect(&bus, "SELECT count(*) FROM consumer_offset WHERE seq = 115", 1);
    clock_sleep_ms(2000);
    int64_t took = clock_mono_ms() - began;
    cr_expect_eq(bus_query(&bus, AT_HEAD("=")), 0);
    bring_back();
    runner_expect(&bus, AT_HEAD("="), 1);
    runner_stop(r);
    const char *log = log_end(before);
    int told = count_of(log, "cannot be");
    cr_expect_eq(count_of(log, "the log does not have"), 0, "a gap is no doubt");
    cr_expect(told >= 1 && told <= 2 + took / 500, "%d lines in %lld ms", told, (long long)took);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM dead_letter"), 0);
}

/* Nothing is in Redis: all is read from the log and the archive. */
Test(unreadable, a_group_that_begins_late_waits_in_that_partition_only)
{
    all_archived();
    others_go_on_and_it_comes_back();
}

/* The streams show the newest, and what is before them is a gap. */
Test(unreadable, a_gap_of_one_stream_holds_up_no_other)
{
    struct relay *relay = relay_new(bus.redis, bus.pg);
    for (int part = 0; part < PARTS; part++)
        announce(part, EVENTS);
    bus_must(relay_sweep(relay, NULL));
    bus_archive(&bus);
    hide();
    for (int part = 0; part < PARTS; part++)
        announce(part, 10);
    bus_must(relay_sweep(relay, NULL));
    for (int part = 0; part < PARTS; part++)
        bus_redis_do(&bus, "XTRIM evt:{catalog.%02d} MAXLEN 15", part);
    others_go_on_and_it_comes_back();
    relay_free(relay);
}

/* ---- the relay ---- */

static void offsets(int64_t seq)
{
    bus_sql(&bus,
            "INSERT INTO consumer_offset (grp, topic, part, seq) SELECT 'cart', 'catalog', n, %lld FROM"
            " generate_series(0, 2) n ON CONFLICT (grp, topic, part) DO UPDATE SET seq = excluded.seq",
            (long long)seq);
}

static int64_t length(int part)
{
    return bus_redis_do(&bus, "XLEN evt:{catalog.%02d}", part)->integer;
}

/* lowest: where the group stands; 0 needs no event of the archive before the stream is filled. */
static void make_anew(int64_t lowest)
{
    int64_t left = EVENTS + 10 - lowest;
    all_archived();
    offsets(lowest);
    struct relay *relay = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(relay, NULL));
    cr_expect_eq(length(0), left);
    cr_expect_eq(length(HIDDEN), 0);
    cr_expect_eq(length(2), left);
    announce(2, 5);
    bus_must(relay_sweep(relay, NULL));
    cr_expect_eq(length(2), left + 5);
    bring_back();
    for (int64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until && length(HIDDEN) < left;
         clock_sleep_ms(50))
        bus_must(relay_sweep(relay, NULL));
    cr_expect_eq(bus_stream_check(&bus, TOPIC_CATALOG, HIDDEN), left);
    relay_free(relay);
}

Test(unreadable, a_relay_makes_the_other_streams_anew)
{
    make_anew(60);
}

Test(unreadable, a_relay_fills_the_other_streams)
{
    make_anew(0);
}

/* A relay that starts does not know yet whether the last of a quiet stream is an event of the log. */
Test(unreadable, a_relay_that_starts_goes_on_with_the_others_and_trims_them)
{
    for (int part = 0; part < PARTS; part++)
        announce(part, EVENTS);
    struct relay *relay = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(relay, NULL));
    relay_free(relay);
    bus_archive(&bus);
    hide();
    relay = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(relay, NULL));
    for (int part = 0; part < PARTS; part++)
        announce(part, 10);
    bus_must(relay_sweep(relay, NULL));
    cr_expect_eq(length(0), EVENTS + 10);
    cr_expect_eq(length(HIDDEN), EVENTS + 10, "the catalogue knows the last event of a file");
    offsets(60);
    bus_must(relay_trim(relay, 0));
    cr_expect_lt(length(0), EVENTS + 10);
    cr_expect_eq(length(HIDDEN), EVENTS + 10);
    relay_free(relay);
}

/* ---- a subscriber ---- */

Test(unreadable, a_subscriber_hears_of_it_and_gets_the_others)
{
    all_archived();
    struct dds *sub;
    char why[DDS_ERROR_MAX];
    const struct dds_options o = {DDS_OPTIONS,
                                  .database_url = servers_database_url(bus.servers),
                                  .redis_url = servers_redis_url(bus.servers),
                                  .name = "partner",
                                  .types = "product.*",
                                  .lease_ms = 500};
    int n = 0, down = 0, wanted = 2 * (EVENTS + 10);
    cr_assert_eq(dds_open(&o, &sub, why, sizeof(why)), DDS_OK, "%s", why);
    for (int64_t until = clock_mono_ms() + WAIT_MS; (n < wanted || !down) && clock_mono_ms() < until;) {
        const struct dds_event *event;
        int status = dds_next(sub, 100, &event);
        n += status == DDS_OK;
        down += status == DDS_DOWN && strstr(dds_error(sub), "archive");
        if (n == 2 * (EVENTS + 10) && down && wanted == n) {
            announce(0, 5); /* what is new comes, too */
            wanted += 5;
        }
        if (n == 2 * (EVENTS + 10) + 5 && wanted == n) {
            cr_expect_eq(dds_commit(sub), DDS_OK);
            bring_back();
            wanted += EVENTS + 10;
        }
        if (status == DDS_OK)
            cr_expect(wanted > 2 * (EVENTS + 10) + 5 || event->partition != HIDDEN);
    }
    cr_expect_eq(n, 3 * (EVENTS + 10) + 5);
    cr_expect(down >= 1 && down < WAIT_MS / 500, "%d", down);
    cr_expect_eq(dds_commit(sub), DDS_OK);
    dds_close(sub);
}
