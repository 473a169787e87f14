/*
 * The log by time, and its archive: what left the log is read as if it were there, and a crash at any step
 * leaves the rows or the whole archive.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/migrate.h"
#include "tests/support/ctl.h"

static struct bus bus;
static int ana, berta;
static int64_t now_ms; /* the clock of these tests */

static const int64_t day = 86400000;

static int64_t test_clock(void)
{
    return now_ms;
}

static void start(void)
{
    bus = bus_start(4);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    bus_must(conf_load("test"));
    ana = partition_of(STR("ana"));
    berta = partition_of(STR("berta"));
    now_ms = clock_ms();
    clock_set(test_clock);
}

static void stop(void)
{
    clock_set(NULL);
    bus_stop(&bus);
}

TestSuite(archive, .init = start, .fini = stop, .timeout = 120);

/* All events of a partition behind `after`, by the reader everybody uses. */
static struct event *read_all(enum topic topic, int part, int64_t after, size_t *ret_n)
{
    struct event *all = arena_array(bus.arena, struct event, 5000), *some;
    size_t n = 0, m;
    do {
        bus_must(eventlog_read(bus.pg, topic, part, after, 200, bus.arena, &some, &m));
        if (m)
            memcpy(all + n, some, m * sizeof(*some));
        n += m;
        after = m ? some[m - 1].seq : after;
    } while (m);
    *ret_n = n;
    return all;
}

static void expect_same(const struct event *a, size_t n, const struct event *b, size_t m)
{
    cr_assert_eq(n, m, "%zu events, expected %zu", n, m);
    for (size_t i = 0; i < n; i++) {
        cr_assert(a[i].seq == b[i].seq && a[i].ms == b[i].ms, "event %zu", i);
#define FIELD(member, name)                                                                                  \
    cr_assert(str_eq(a[i].envelope.member, b[i].envelope.member), name " of event %zu", i);
        ENVELOPE_FIELDS(FIELD)
#undef FIELD
    }
}

/* Ends the period and archives everything up to now, with the rights of daydream-producers. */
static void archive_all(void)
{
    struct log_period *list;
    size_t n;
    int64_t before;
    struct pg *pg;
    bus_must(pg_open_within(servers_database_url(bus.servers), "dd_producers", "SET enable_seqscan = off",
                            PG_PATIENT_MS, &pg));
    bus_must(archive_cut(bus.pg, &before));
    bus_must(archive_make_ahead(pg));
    bus_must(archive_closed(pg, before, bus.arena, &list, &n));
    for (size_t i = 0; i < n; i++)
        bus_must(archive_period(pg, &list[i], NULL, NULL, NULL, bus.arena));
    pg_close(pg);
}

static int64_t in_log(void)
{
    return bus_query(&bus, "SELECT count(*) FROM event_log");
}

/* ---- the log by time ---- */

/* To the log as it was before it was by time; what this build appends wants a column of 0025, too. */
static void to_the_old_log(void)
{
    bus_must(migrate_down(bus.pg, DAYDREAM_SOURCE_DIR "/migrations", 9, NULL, NULL));
    bus_sql(&bus, "ALTER TABLE stream_head ADD COLUMN before_ms bigint NOT NULL DEFAULT 0");
}

static void to_the_new_log(void)
{
    bus_sql(&bus, "ALTER TABLE stream_head DROP COLUMN before_ms");
    bus_must(migrate_up(bus.pg, DAYDREAM_SOURCE_DIR "/migrations", 4, NULL, NULL));
}

Test(archive, a_log_with_events_is_migrated_up_and_down)
{
    size_t n, m;
    to_the_old_log();
    bus_commit(&bus, bus.pg, "ana", 300);
    now_ms += 40 * day;
    bus_commit(&bus, bus.pg, "ana", 10);
    to_the_new_log();
    struct event *before = read_all(TOPIC_CARTS, ana, 0, &n);
    cr_assert_eq(n, 310);
    bus_commit(&bus, bus.pg, "ana", 5);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log_first"), 315);
    to_the_old_log();
    bus_commit(&bus, bus.pg, "ana", 1);
    cr_assert_eq(in_log(), 316);
    cr_assert_eq(bus_query(&bus, "SELECT has_table_privilege('dd_cart', 'event_log', 'INSERT')::int"), 1);
    to_the_new_log();
    cr_assert_eq(bus_query(&bus, "SELECT has_table_privilege('dd_reports', 'event_log', 'INSERT')::int"), 1);
    struct event *after = read_all(TOPIC_CARTS, ana, 0, &m);
    cr_assert_eq(m, 316);
    expect_same(after, n, before, n);
    archive_all();
    cr_assert_eq(migrate_down(bus.pg, DAYDREAM_SOURCE_DIR "/migrations", 9, NULL, NULL).code, ERR_SQL,
                 "the archive is not forgotten");
}

Test(archive, an_event_of_an_unforeseen_time_is_caught_and_finds_its_partition)
{
    bus_commit(&bus, bus.pg, "ana", 3);
    now_ms += 1000 * day;
    bus_commit(&bus, bus.pg, "ana", 3);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log_rest"), 3);
    bus_must(archive_make_ahead(bus.pg));
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log_rest"), 0);
    now_ms -= 500 * day; /* another host's clock: its events still follow the newest of their partition */
    bus_commit(&bus, bus.pg, "ana", 1);
    bus_commit(&bus, bus.pg, "berta", 1);
    bus_must(archive_make_ahead(bus.pg));
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log_rest"), 0);
    size_t n;
    struct event *events = read_all(TOPIC_CARTS, ana, 0, &n);
    cr_assert_eq(n, 7 + (ana == berta));
    cr_assert_eq(events[6].ms, events[5].ms);
    conf_set(SET_LOG_PARTITION, "day");
    now_ms += 500 * day;
    bus_must(archive_make_ahead(bus.pg));
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_partition a JOIN event_partition b"
                                 " ON a.lo_ms < b.hi_ms AND b.lo_ms < a.hi_ms WHERE a.name < b.name"),
                 0, "partitions of another length begin where those that stand end");
}

/* ---- archiving ---- */

Test(archive, what_left_the_log_is_read_as_if_it_were_there)
{
    size_t n, m;
    bus_commit(&bus, bus.pg, "ana", 700);
    bus_commit(&bus, bus.pg, "berta", 129);
    bus_sql(&bus, "UPDATE event_log SET data = E'{\"a\":\"\\u00f1\\u2028 \\\\\\\\ \\\" \\t\"}', actor = "
                  "'x\"y' WHERE seq %% 7 = 3");
    struct event *before = read_all(TOPIC_CARTS, ana, 0, &n);
    archive_all();
    cr_assert_eq(in_log(), 0);
    struct event *after = read_all(TOPIC_CARTS, ana, 0, &m);
    expect_same(after, m, before, n);
    now_ms += day;
    bus_commit(&bus, bus.pg, "ana", 50);
    read_all(TOPIC_CARTS, ana, 0, &m);
    cr_assert_eq(m, n + 50, "the log goes on behind the archive");
    archive_all();
    bus_commit(&bus, bus.pg, "ana", 1);
    read_all(TOPIC_CARTS, ana, 0, &m);
    cr_assert_eq(m, n + 51);
    after = read_all(TOPIC_CARTS, ana, 600, &m);
    expect_same(after, 5, before + 600, 5);
    struct event *some;
    bus_must(eventlog_read(bus.pg, TOPIC_CARTS, ana, (int64_t)n + 51, 10, bus.arena, &some, &m));
    cr_assert_eq(m, 0, "behind the head there is nothing");
}

Test(archive, large_events_come_in_bounded_pieces)
{
    bus_commit(&bus, bus.pg, "ana", 300);
    bus_sql(&bus, "UPDATE event_log SET data = '{\"x\":\"' || repeat(md5(seq::text), 2000) || '\"}'");
    archive_all();
    struct event *events;
    size_t n;
    bus_must(eventlog_read(bus.pg, TOPIC_CARTS, ana, 120, 256, bus.arena, &events, &n));
    cr_assert(n >= 16 && n <= 18, "%zu events of 64 KB", n);
    cr_assert_eq(events[0].seq, 121);
}

Test(archive, a_reader_without_waiting_asks_first_and_then_reads_the_disk)
{
    _cleanup_(pg_result_freep) struct pg_result *below = NULL, *above = NULL;
    struct archive_file file;
    struct event *events;
    size_t n;
    bus_commit(&bus, bus.pg, "ana", 400);
    archive_all();
    archive_queue_find(bus.pg, TOPIC_CARTS, ana, 250, pg_keep, &below);
    archive_queue_find(bus.pg, TOPIC_CARTS, ana, 400, pg_keep, &above);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 5000));
    cr_assert(!archive_found(above, bus.arena, &file));
    cr_assert(archive_found(below, bus.arena, &file));
    bus_must(archive_file_read(&file, 250, 1000, bus.arena, &events, &n));
    cr_assert_eq(n, 150);
    cr_assert_eq(events[0].seq, 251);
}

/* A host with a slow clock writes the first event of another partition into the period that was ended. */
static void write_late(void *data, const struct log_period *period, int64_t done, int64_t total)
{
    struct pg *pg = data;
    (void)total;
    if (done != period->events)
        return;
    now_ms -= 12;
    bus_commit(&bus, pg, ana == berta ? "carla" : "berta", 1);
    now_ms += 12;
}

Test(archive, a_period_that_changes_while_it_is_archived_keeps_its_rows)
{
    struct log_period *list;
    size_t n;
    int64_t before;
    struct pg *late = bus_pg(&bus);
    bus_commit(&bus, bus.pg, "ana", 20);
    now_ms += 10;
    bus_must(archive_cut(bus.pg, &before));
    bus_must(archive_closed(bus.pg, before, bus.arena, &list, &n));
    cr_assert_eq(n, 1);
    err e = archive_period(bus.pg, &list[0], NULL, write_late, late, bus.arena);
    cr_assert_eq(e.code, ERR_CONFLICT, "%s", err_text(e));
    pg_close(late);
    cr_assert_eq(in_log(), 21);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_archive"), 0);
    archive_all();
    cr_assert_eq(in_log(), 0);
}

Test(archive, a_damaged_file_is_never_read_as_events)
{
    _cleanup_(arena_freep) struct arena *page = arena_new(1 << 20);
    struct archive_file *files;
    struct event *events;
    size_t n;
    bus_commit(&bus, bus.pg, "ana", 400);
    archive_all();
    bus_must(archive_list(bus.pg, bus.arena, &files, &n));
    cr_assert_eq(n, 1);
    bus_must(archive_file_verify(&files[0], page));
    struct str path = archive_path(files[0].name, bus.arena);
    for (long at = 40; at < files[0].bytes; at += files[0].bytes / 7) {
        FILE *file = fopen(path.p, "r+e");
        fseek(file, at, SEEK_SET);
        int c = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(c ^ 0x10, file);
        fclose(file);
        cr_assert_eq(archive_file_verify(&files[0], page).code, ERR_UNAVAILABLE, "at %ld", at);
        size_t wrong = 0;
        for (int64_t after = 0; after < 400; after += 100)
            wrong += failed(eventlog_read(bus.pg, TOPIC_CARTS, ana, after, 100, bus.arena, &events, &n));
        cr_assert(wrong > 0 || at > files[0].bytes - 60, "a flipped bit at %ld went unnoticed", at);
        file = fopen(path.p, "r+e");
        fseek(file, at, SEEK_SET);
        fputc(c, file);
        fclose(file);
    }
    cr_assert_eq(truncate(path.p, files[0].bytes - 1), 0);
    cr_assert_eq(eventlog_read(bus.pg, TOPIC_CARTS, ana, 5, 10, bus.arena, &events, &n).code,
                 ERR_UNAVAILABLE);
    cr_assert_eq(unlink(path.p), 0);
    cr_assert_eq(eventlog_read(bus.pg, TOPIC_CARTS, ana, 5, 10, bus.arena, &events, &n).code,
                 ERR_UNAVAILABLE);
}

/* ---- crashes ---- */

static int ctl(const char *fault, const char *words, const char *expected)
{
    struct str command =
        arena_printf(bus.arena, "FAULT=%s %s/daydreamctl %s 2>&1", fault, DAYDREAM_BIN_DIR, words);
    char *text = arena_alloc(bus.arena, 1 << 16);
    FILE *pipe = popen(command.p, "r");
    cr_assert(pipe);
    size_t n = fread(text, 1, (1 << 16) - 1, pipe);
    text[n] = 0;
    int status = pclose(pipe);
    cr_assert(strstr(text, expected), "%s: '%s' is not in: %s", words, expected, text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const struct crash {
    char text[64];
} crashes[] = {
    {"archive.mid_write:150:kill"}, {"archive.written:1:kill"},  {"archive.verified:1:kill"},
    {"archive.dropped:1:kill"},     {"archive.mid_write:1:err"}, {"archive.verified:1:err"},
};

ParameterizedTestParameters(archive, a_crash_leaves_the_rows_or_the_archive)
{
    return cr_make_param_array(const struct crash, (struct crash *)(uintptr_t)crashes,
                               sizeof(crashes) / sizeof(*crashes));
}

ParameterizedTest(struct crash *crash, archive, a_crash_leaves_the_rows_or_the_archive)
{
    size_t n, m;
    bus_commit(&bus, bus.pg, "ana", 300);
    bus_commit(&bus, bus.pg, "berta", 20);
    struct event *before = read_all(TOPIC_CARTS, ana, 0, &n);
    ctl(crash->text, "bus archive --cut", "");
    bool dropped = strstr(crash->text, "dropped") != NULL;
    cr_assert_eq(in_log(), dropped ? 0 : 320);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_archive") > 0, dropped);
    struct event *after = read_all(TOPIC_CARTS, ana, 0, &m);
    expect_same(after, m, before, n);
    cr_assert_eq(ctl("", "bus archive --cut", ""), 0);
    cr_assert_eq(in_log(), 0);
    after = read_all(TOPIC_CARTS, ana, 0, &m);
    expect_same(after, m, before, n);
    cr_assert_eq(ctl("", "bus archive verify", "0 findings"), 0);
    cr_assert_eq(ctl("", "bus fsck", "0 findings"), 0);
}

/* PostgreSQL does not notice at once that an archiver was killed, and keeps his turn for him until then. */
Test(archive, who_comes_right_behind_a_killed_archiver_waits_for_his_turn)
{
    static const struct pg_stmt take = {"take", "SELECT pg_advisory_lock(7235939)"},
                                leave = {"leave", "SELECT pg_advisory_unlock(7235939) FROM pg_sleep(0.3)"};
    struct pg *killed = bus_pg(&bus);
    bus_commit(&bus, bus.pg, "ana", 20);
    bus_must(pg_call(killed, &take, 0, NULL, NULL));
    cr_assert_neq(ctl("", "bus archive --cut", "somebody else is archiving"), 0);
    cr_assert_eq(in_log(), 20);
    pg_queue(killed, &leave, 0, NULL, NULL, NULL);
    pg_sync(killed, NULL, NULL);
    pg_flush(killed);
    cr_assert_eq(ctl("", "bus archive --cut", ""), 0);
    cr_assert_eq(in_log(), 0);
    bus_must(pg_wait(killed, 5000));
}

Test(archive, operators_see_what_is_there_and_what_is_not_right)
{
    bus_commit(&bus, bus.pg, "ana", 300);
    cr_assert_eq(ctl("", "bus archive", "nothing is old enough"), 0);
    cr_assert_eq(ctl("", "bus archive --before yesterday", "daydreamctl:"), 1);
    cr_assert_eq(ctl("", "bus archive --before 2100-01-01T00:00:00Z --dry-run", "300 events"), 0);
    cr_assert_eq(in_log(), 300);
    cr_assert_eq(ctl("", "bus archive --cut --json", "\"events\":300,\"files\":1"), 0);
    bus_commit(&bus, bus.pg, "ana", 20);
    archive_all();
    cr_assert_eq(ctl("", "bus archive ls", "000000000001-000000000300.jsonl.zst"), 0);
    cr_assert_eq(ctl("", "bus archive ls --json", "\"first_seq\":301,\"last_seq\":320"), 0);
    cr_assert_eq(ctl("", "bus archive verify --json", "\"files\":2,\"events\":320"), 0);
    bus_sql(&bus, "UPDATE event_archive SET sha256 = repeat('0', 64) WHERE first_seq = 1");
    cr_assert_eq(ctl("", "bus archive verify", "has not the hash of the catalogue"), 1);
    bus_sql(&bus, "DELETE FROM event_archive WHERE first_seq = 1");
    cr_assert_eq(ctl("", "bus archive verify", "begins at 301, but 1 is next"), 1);
    cr_assert_eq(ctl("", "bus fsck", "I2 archive"), 1);
    bus_sql(&bus, "DELETE FROM event_archive");
    cr_assert_eq(ctl("", "bus fsck", "I2 log"), 1);
}

/* Another build runs beside this one, with topics of its own. */
Test(archive, files_of_another_builds_topics_are_shown_and_verified)
{
    struct archive_file *files;
    size_t n;
    bus_commit(&bus, bus.pg, "ana", 300);
    archive_all();
    bus_must(archive_list(bus.pg, bus.arena, &files, &n));
    cr_assert_eq(link(archive_path(files[0].name, bus.arena).p, archive_path(STR("later"), bus.arena).p), 0);
    bus_sql(&bus, "UPDATE event_archive SET topic = 'future'");
    bus_sql(&bus, "CREATE TEMP TABLE more AS SELECT * FROM event_archive;"
                  " UPDATE more SET topic = 'later', file = 'later';"
                  " INSERT INTO event_archive SELECT * FROM more");
    cr_assert_eq(ctl("", "bus archive ls", "future.0"), 0);
    cr_assert_eq(ctl("", "bus archive ls --json", "\"topic\":\"later\""), 0);
    cr_assert_eq(ctl("", "bus archive verify", "0 findings in 2 files"), 0);
}

static void expect_stopped(const char *table, const char *words, const char *lie)
{
    struct ctl_run *run = ctl_signalled_at(&bus, SIGTERM, table, "%s", words);
    cr_assert_eq(run->status, 3, "%s: exit %d, %s", words, run->status, run->text);
    cr_assert(strstr(run->text, "stopped"), "%s", run->text);
    cr_assert_not(strstr(run->text, lie), "%s", run->text);
}

Test(archive, what_is_stopped_before_its_end_does_not_say_that_all_is_well)
{
    bus_commit(&bus, bus.pg, "ana", 300);
    expect_stopped("event_partition", "bus archive --before 2100-01-01T00:00:00Z", "300 events");
    cr_assert_eq(in_log(), 300);
    archive_all();
    expect_stopped("event_archive", "bus archive verify", "0 findings");
    expect_stopped("event_archive", "bus archive verify --json", "\"findings\"");
}

static bool asks_for_its_turn(struct bus *b)
{
    return bus_query(b, "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND query LIKE 'SELECT pg_try_advisory_lock%%'") > 0;
}

Test(archive, who_is_stopped_while_he_waits_for_his_turn_does_not_blame_the_other)
{
    static const struct pg_stmt take = {"take", "SELECT pg_advisory_lock(7235939)"};
    struct pg *busy = bus_pg(&bus);
    bus_commit(&bus, bus.pg, "ana", 20);
    bus_must(pg_call(busy, &take, 0, NULL, NULL));
    struct ctl_run *run =
        ctl_signalled(&bus, SIGTERM, asks_for_its_turn, "bus archive --before 2100-01-01T00:00:00Z");
    cr_assert_eq(run->status, 3, "exit %d, %s", run->status, run->text);
    cr_assert(strstr(run->text, "stopped"), "%s", run->text);
}
