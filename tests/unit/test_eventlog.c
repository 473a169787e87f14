/*
 * The event log against a real PostgreSQL: sequence numbers without gaps, whoever writes, and events that
 * come back as they were.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "tests/support/bus.h"

static struct bus bus;

static void start(void)
{
    bus = bus_start(2);
}

static void stop(void)
{
    bus_stop(&bus);
}

TestSuite(eventlog, .init = start, .fini = stop, .timeout = 120);

Test(eventlog, an_event_comes_back_as_it_was_written)
{
    struct event written =
        event_new(&message_types[CART_CLEARED], STR("cart"), STR("ana"), STR("{\"a\": 1}"), bus.arena);
    written.envelope.correlationid = STR("root");
    written.envelope.actor = STR("user:ana");
    eventlog_queue(bus.pg, &written, 1, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 5000));
    cr_assert_eq(written.seq, 1);
    cr_assert_geq(written.ms, clock_ms() - 10000);

    struct event *read;
    size_t n;
    struct str a[2 * ENVELOPE_COMMAND], b[2 * ENVELOPE_COMMAND];
    bus_must(eventlog_read(bus.pg, written.topic, written.part, 0, 10, bus.arena, &read, &n));
    cr_assert_eq(n, 1);
    cr_assert_eq(read->ms, written.ms);
    envelope_words(&written.envelope, false, a);
    envelope_words(&read->envelope, false, b);
    for (int i = 0; i < 2 * ENVELOPE_EVENT; i++)
        cr_assert(str_eq(a[i], b[i]), "%.*s: %.*s", STR_ARG(a[i & ~1]), STR_ARG(b[i]));
}

Test(eventlog, numbers_go_on_within_a_partition_and_follow_the_order_given)
{
    struct event *first = bus_commit(&bus, bus.pg, "ana", 3), *second = bus_commit(&bus, bus.pg, "ana", 2);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(first[i].seq, i + 1);
    cr_assert_eq(second[0].seq, 4);
    cr_assert_eq(second[1].seq, 5);
    cr_assert_geq(second[0].ms, first[2].ms);
}

Test(eventlog, a_void_transaction_leaves_no_gap)
{
    static const struct pg_stmt wrong = {"test_wrong", "SELECT 1 / ($1::bigint)"};
    struct event lost =
        event_new(&message_types[CART_CLEARED], STR("cart"), STR("ana"), STR("{}"), bus.arena);
    bus_commit(&bus, bus.pg, "ana", 1);
    eventlog_queue(bus.pg, &lost, 1, bus.arena);
    pg_queue(bus.pg, &wrong, 1, (struct pg_param[]){pg_int(0)}, NULL, NULL);
    pg_sync(bus.pg, NULL, NULL);
    cr_assert_eq(pg_wait(bus.pg, 5000).code, ERR_SQL);
    cr_assert_eq(bus_commit(&bus, bus.pg, "ana", 1)->seq, 2);
}

static int64_t back_then(void)
{
    return 1000;
}

Test(eventlog, milliseconds_never_fall_when_the_clock_does)
{
    int64_t ms = bus_commit(&bus, bus.pg, "ana", 1)->ms;
    clock_set(back_then);
    cr_assert_eq(bus_commit(&bus, bus.pg, "ana", 1)->ms, ms);
    clock_set(NULL);
}

Test(eventlog, a_page_holds_at_most_a_megabyte_but_always_one_event)
{
    enum { N = 40, BYTES = 60000 };
    char *text = arena_alloc(bus.arena, BYTES);
    memset(text, 'x', BYTES);
    struct event events[N], *read;
    size_t n, total = 0;
    for (int i = 0; i < N; i++)
        events[i] = event_new(&message_types[CART_CLEARED], STR("cart"), STR("ana"),
                              (struct str){text, BYTES}, bus.arena);
    eventlog_queue(bus.pg, events, N, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 10000));
    do {
        bus_must(eventlog_read(bus.pg, events[0].topic, events[0].part, (int64_t)total, 256, bus.arena, &read,
                               &n));
        cr_assert_leq(n, (1 << 20) / BYTES + 1);
        total += n;
    } while (n);
    cr_assert_eq(total, N);
}

/* As many events as begin below the bytes that were asked for: one is always among them. */
Test(eventlog, pages_are_no_larger_than_was_asked_for)
{
    enum { N = 10, BYTES = 1000 };
    static const struct {
        int64_t bytes;
        int n;
    } pages[] = {{1, 1}, {BYTES, 1}, {BYTES + 1, 2}, {3 * BYTES, 3}, {EVENTLOG_READ_BYTES, N}};
    char text[BYTES];
    memset(text, 'x', sizeof(text));
    struct event events[N];
    for (int i = 0; i < N; i++)
        events[i] = event_new(&message_types[CART_CLEARED], STR("cart"), STR("ana"),
                              (struct str){text, sizeof(text)}, bus.arena);
    eventlog_queue(bus.pg, events, N, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 10000));
    for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        struct pg_result *rows = NULL;
        eventlog_queue_read(bus.pg, events[0].topic, events[0].part, 0, 256, pages[i].bytes, pg_keep, &rows);
        pg_sync(bus.pg, NULL, NULL);
        bus_must(pg_wait(bus.pg, 10000));
        cr_expect_eq(pg_rows(rows), pages[i].n, "%d events for %lld bytes", pg_rows(rows),
                     (long long)pages[i].bytes);
        pg_result_free(rows);
    }
}

/* Two writers, each with transactions over both partitions in the opposite order, one in five of them void.
 */
static void *write_many(void *data)
{
    static const struct pg_stmt wrong = {"test_wrong", "SELECT 1 / ($1::bigint)"};
    bool first = data;
    struct pg *pg = bus_pg(&bus);
    struct arena *arena = arena_new(16 << 20);
    for (int i = 0; i < 300; i++) {
        struct event events[4];
        char key[16];
        for (int j = 0; j < 4; j++) {
            snprintf(key, sizeof(key), "k%d", first ? j : 3 - j);
            events[j] = event_new(&message_types[CART_CLEARED], STR("cart"), arena_str(arena, str_of(key)),
                                  STR("{}"), arena);
        }
        eventlog_queue(pg, events, 4, arena);
        if (i % 5 == 0)
            pg_queue(pg, &wrong, 1, (struct pg_param[]){pg_int(0)}, NULL, NULL);
        pg_sync(pg, NULL, NULL);
        err e = pg_wait(pg, 10000);
        cr_assert(i % 5 == 0 ? e.code == ERR_SQL : !failed(e), "%s", err_text(e));
        arena_reset(arena);
    }
    arena_free(arena);
    pg_close(pg);
    return NULL;
}

Test(eventlog, two_writers_on_shared_heads_stay_gapless_and_never_deadlock)
{
    pthread_t threads[2];
    for (intptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, write_many, i ? &bus : NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 2 * 240 * 4);
    cr_assert_eq(bus_query(&bus,
                           "SELECT count(*) FROM stream_head h WHERE seq <> (SELECT count(*) FROM event_log l"
                           " WHERE l.topic = h.topic AND l.part = h.part AND l.seq BETWEEN 1 AND h.seq)"),
                 0);
    cr_assert_eq(
        bus_query(&bus,
                  "SELECT count(*) FROM (SELECT ms < lag(ms) OVER (PARTITION BY topic, part ORDER BY seq)"
                  " AS fell FROM event_log) x WHERE fell"),
        0);
}

Test(eventlog, the_fence_moves_the_cursor_once)
{
    bus_sql(
        &bus,
        "INSERT INTO consumer_offset (grp, topic, part) VALUES ('cart', 'carts', 0), ('cart', 'carts', 1)");
    bus_sql(&bus, "SELECT fence('cart', '{carts,carts}', '{1,0}', '{0,0}', '{0,0}', '{1,NULL}', '{3,NULL}', "
                  "'{77,NULL}')");
    cr_assert_eq(bus_query(&bus, "SELECT seq FROM consumer_offset WHERE part = 1 AND ms = 77 AND flush = 1"),
                 3);
    cr_assert_eq(bus_query(&bus, "SELECT flush FROM consumer_offset WHERE part = 0 AND seq = 0 AND ms = 0"),
                 1);

    static const struct pg_stmt fences[] = {
        {"fence_again", "SELECT fence('cart', '{carts}', '{1}', '{0}', '{0}', '{1}', '{3}', '{77}')"},
        {"fence_gap", "SELECT fence('cart', '{carts}', '{1}', '{0}', '{1}', '{5}', '{6}', '{78}')"},
        {"fence_epoch", "SELECT fence('cart', '{carts}', '{1}', '{1}', '{1}', '{4}', '{6}', '{78}')"},
        {"fence_nobody",
         "SELECT fence('cart', '{carts}', '{7}', '{0}', '{0}', '{NULL}', '{NULL}', '{NULL}')"},
    };
    for (size_t i = 0; i < sizeof(fences) / sizeof(*fences); i++)
        cr_assert_eq(pg_call(bus.pg, &fences[i], 0, NULL, NULL).code, ERR_FENCED, "%s", fences[i].name);
    cr_assert_eq(bus_query(&bus, "SELECT seq FROM consumer_offset WHERE part = 1 AND flush = 1"), 3);
}

Test(eventlog, a_command_is_lost_only_when_no_row_of_it_stands)
{
    bus_sql(&bus,
            "INSERT INTO command (id, status) VALUES ('01900000-0000-7000-8000-000000000001', 'parked')");
    bus_sql(&bus, "SET ROLE dd_door");
    cr_assert_eq(
        bus_query(&bus, "SELECT (command_lost('01900000-0000-7000-8000-000000000001')).status = 'parked'"),
        1);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(
            bus_query(&bus, "SELECT (command_lost('01900000-0000-7000-8000-000000000002')).status = 'lost'"),
            1);
    bus_sql(&bus, "RESET ROLE");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM command"), 2);
}
