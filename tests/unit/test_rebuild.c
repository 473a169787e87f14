/*
 * Rebuilding a read model: the same rows come out of the log again, a group that works goes on working, who
 * is killed goes on where it was, and what cannot be rebuilt is refused.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "consumers/rebuild.h"
#include "tests/support/ctl.h"
#include "tests/support/history.h"
#include "tests/support/indigestible.h"
#include "tests/support/runner.h"

extern const struct group reports_group;

enum { ORDERS = 600 };

struct story {
    struct bus bus;
    struct history history;
    struct runner *runner;
};

static atomic_bool never;

static struct story begin(void)
{
    struct story s = {.bus = runner_bus(3)};
    s.history = (struct history){.pg = bus_pg(&s.bus), .arena = arena_new((size_t)64 << 20), .state = 1};
    history_add(&s.history, ORDERS);
    s.runner = runner_start(&reports_group, "one");
    return s;
}

static void finish(struct story *s)
{
    if (s->runner)
        runner_stop(s->runner);
    arena_free(s->history.arena);
    bus_stop(&s->bus);
}

/* The live group has passed every event of its topics. */
static void caught_up(struct story *s)
{
    runner_expect(&s->bus,
                  "SELECT count(*) FROM stream_head h LEFT JOIN consumer_offset o ON o.grp = 'reports'"
                  " AND o.topic = h.topic AND o.part = h.part WHERE o.seq IS DISTINCT FROM h.seq",
                  0);
}

static int rebuild(const char *group, bool verify)
{
    return rebuild_run(&(struct rebuild_options){.group = group, .verify = verify}, &never);
}

/* The program itself, as daydreamctl runs it; returns its exit, or minus the signal it died of. */
static int rebuild_program(const char *fault, const char *flag)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (fault)
            setenv("FAULT", fault, 1);
        execl(DAYDREAM_BIN_DIR "/daydream-consumers", "daydream-consumers", "--rebuild", "reports", flag,
              NULL);
        _exit(127);
    }
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int64_t revenue(struct story *s)
{
    return bus_query(&s->bus, "SELECT coalesce(sum(revenue), 0)::bigint FROM door_sales");
}

static void nothing_is_left(struct story *s)
{
    cr_assert_eq(bus_query(&s->bus, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 're%%_reports'"),
                 0);
    cr_assert_eq(
        bus_query(&s->bus, "SELECT count(*) FROM rebuild WHERE state = 'done' AND ended_ms >= begun_ms"), 1);
}

TestSuite(rebuild, .timeout = 120);

Test(rebuild, what_a_bad_handler_wrote_is_found_and_replaced)
{
    struct story s = begin();
    caught_up(&s);
    int64_t right = revenue(&s);
    cr_assert_gt(right, 0);
    cr_assert_eq(rebuild("reports", true), REBUILD_OK, "live is what the log says");

    bus_sql(&s.bus, "UPDATE product_sales SET revenue = revenue * 2 WHERE part = 1");
    cr_assert_eq(rebuild("reports", true), REBUILD_DIFFERS);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM rebuild, json_array_elements(result::json) t"
                                   " WHERE t->>'table' = 'product_sales' AND t->>'same' = 'false'"),
                 1);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM rebuild, json_array_elements(result::json) t"
                                   " WHERE t->>'same' = 'true'"),
                 2);

    cr_assert_eq(rebuild("reports", false), REBUILD_OK);
    cr_assert_eq(revenue(&s), right);
    nothing_is_left(&s);
    history_add(&s.history, 50); /* the live group goes on, on the new tables */
    caught_up(&s);
    cr_assert_gt(revenue(&s), right);
    cr_assert_eq(rebuild("reports", true), REBUILD_OK);
    finish(&s);
}

Test(rebuild, tables_keep_their_names_owners_grants_and_indexes)
{
    static const char looks[] =
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = "
        "'public'"
        " WHERE (c.relname, c.relkind::text, coalesce(c.relacl::text, ''), coalesce(c.reloptions::text, ''),"
        "  c.relowner) IN (SELECT * FROM before)";
    struct story s = begin();
    caught_up(&s);
    bus_sql(&s.bus,
            "CREATE INDEX low_stock_times ON low_stock (times) WHERE times > 1;"
            "ALTER TABLE low_stock SET (fillfactor = 70);"
            "CREATE TABLE before AS SELECT relname, relkind::text, coalesce(relacl::text, '') AS acl,"
            " coalesce(reloptions::text, '') AS options, relowner FROM pg_class"
            " WHERE relname LIKE '%%product_sales%%' OR relname LIKE '%%report_line%%' OR relname LIKE"
            " '%%low_stock%%' OR relname = 'door_sales'");
    int64_t n = bus_query(&s.bus, "SELECT count(*) FROM before");
    cr_assert_geq(n, 8);
    cr_assert_eq(rebuild("reports", false), REBUILD_OK);
    cr_assert_eq(bus_query(&s.bus, "%s", looks), n);
    cr_assert_eq(bus_query(&s.bus, "SELECT has_table_privilege('dd_door', 'door_sales', 'SELECT')::int"), 1);
    finish(&s);
}

Test(rebuild, it_works_while_no_consumers_run)
{
    struct story s = begin();
    runner_stop(s.runner);
    s.runner = NULL;
    cr_assert_eq(rebuild("reports", false), REBUILD_OK);
    int64_t right = revenue(&s);
    cr_assert_gt(right, 0);
    s.runner = runner_start(&reports_group, "one");
    caught_up(&s);
    cr_assert_eq(revenue(&s), right, "the group goes on where the rebuild stood: nothing counts twice");
    finish(&s);
}

Test(rebuild, who_is_killed_goes_on_where_it_was)
{
    static const char *const faults[] = {"rebuild.filled:1:kill", "runner.mid_flush:1:kill",
                                         "runner.flush_sent:2:kill", "rebuild.fenced:1:kill",
                                         "rebuild.swapped:1:kill"};
    struct story s = begin();
    caught_up(&s);
    int64_t right = revenue(&s);
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        bus_sql(&s.bus, "UPDATE product_sales SET revenue = 0");
        cr_assert_eq(rebuild_program(faults[i], NULL), -9, "%s", faults[i]);
        bool swapped = bus_query(&s.bus, "SELECT (state = 'swapped')::int FROM rebuild");
        cr_assert_eq(revenue(&s), swapped ? right : 0, "%s: one or the other, whole", faults[i]);
        cr_assert_eq(rebuild_program(NULL, NULL), 0, "%s", faults[i]);
        cr_assert_eq(bus_query(&s.bus, "SELECT generation FROM rebuild"), (int64_t)i + 1, "%s: the same one",
                     faults[i]);
        cr_assert_eq(revenue(&s), right, "%s", faults[i]);
        nothing_is_left(&s);
    }
    cr_assert_eq(rebuild("reports", true), REBUILD_OK);
    finish(&s);
}

struct reader {
    struct pg *pg;
    atomic_bool stop;
    int64_t reads, wrong;
};

static const struct pg_stmt read_sales = {"test_read_sales",
                                          "SELECT count(*), sum(revenue)::bigint FROM door_sales"};

/* What the model says may only grow: less would be a mix, or a model that is not complete. */
static void *read_on(void *data)
{
    struct reader *r = data;
    int64_t last = 0;
    while (!atomic_load(&r->stop)) {
        struct pg_result *result;
        err e = pg_call(r->pg, &read_sales, 0, NULL, &result);
        int64_t now = failed(e) ? -1 : pg_get_int(result, 0, 1);
        pg_result_free(result);
        r->wrong += now < last;
        r->reads++;
        last = now;
    }
    return NULL;
}

Test(rebuild, readers_see_the_old_model_whole_or_the_new_one)
{
    struct story s = begin();
    struct reader reader = {.pg = NULL};
    pthread_t thread;
    caught_up(&s);
    bus_must(pg_open_within(servers_database_url(s.bus.servers), "dd_door", NULL, PG_PATIENT_MS, &reader.pg));
    cr_assert_eq(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < 5; i++) {
        history_add(&s.history, 40); /* under load: the live group is never at rest */
        cr_assert_eq(rebuild("reports", false), REBUILD_OK);
    }
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    pg_close(reader.pg);
    cr_assert_gt(reader.reads, 0);
    cr_assert_eq(reader.wrong, 0, "%lld of %lld reads", (long long)reader.wrong, (long long)reader.reads);
    caught_up(&s);
    cr_assert_eq(rebuild("reports", true), REBUILD_OK);
    finish(&s);
}

Test(rebuild, what_cannot_be_rebuilt_is_refused_with_its_reason)
{
    struct story s = begin();
    cr_assert_eq(rebuild("nobody", false), REBUILD_REFUSED);
    cr_assert_eq(rebuild("orders", false), REBUILD_REFUSED, "handles commands");
    cr_assert_eq(rebuild("payments", false), REBUILD_REFUSED, "has external effects");
    bus_sql(&s.bus, "CREATE MATERIALIZED VIEW best AS SELECT * FROM product_sales");
    cr_assert_eq(rebuild("reports", false), REBUILD_REFUSED, "a materialised view would keep the old table");
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM rebuild"), 0);
    finish(&s);
}

static struct event confirmed(struct bus *s, struct uuid order, struct str data)
{
    return event_new(&message_types[ORDER_CONFIRMED], STR("orders"), uuid_str(order, s->arena), data,
                     s->arena);
}

static void append(struct bus *s, struct event *event)
{
    eventlog_queue(s->pg, event, 1, s->arena);
    pg_sync(s->pg, NULL, NULL);
    bus_must(pg_wait(s->pg, 5000));
}

/* What is parked afterwards is what the new model has parked; the correction belonged to the old one. */
Test(rebuild, what_was_corrected_does_not_stand_in_its_way)
{
    struct story s = begin();
    struct uuid order = uuid_v7(clock_ms());
    const char *key = uuid_str(order, s.bus.arena).p;
    struct event unreadable = confirmed(&s.bus, order, STR("{\"order_id\":7}"));
    struct order_confirmed good = {
        .order_id = order, .user_id = order, .order_number = STR("1"), .currency = STR("CLP")};
    append(&s.bus, &unreadable);
    runner_expect(&s.bus, "SELECT count(*) FROM dead_letter WHERE state = 'parked'", 1);
    ctl_expect(&s.bus, 0, "correction 1", "bus dlq edit reports orders %s --reason x --set 'data=%s'", key,
               codec_encode(&shape_order_confirmed, &good, s.bus.arena).p);
    caught_up(&s);
    cr_assert_eq(rebuild("reports", false), REBUILD_OK);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM dead_letter WHERE state = 'parked'"
                                   " AND reason = 'unreadable-data' AND corrected = 0"),
                 1);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM parked_correction"), 0);
    cr_assert_eq(bus_query(&s.bus, "SELECT count(*) FROM parked_action WHERE action = 'edit'"), 1);
    finish(&s);
}

/* The workers of this process cannot digest that key from now on; NULL: any. */
static void spoil(struct bus *s, const char *key)
{
    struct str path = arena_printf(s->arena, "%s/poison", servers_dir(s->servers));
    indigestible(path.p, key ? key : "nobody", key ? "bad" : NULL);
    setenv("FAULT_POISON", path.p, 1);
}

static void sell(struct bus *s, struct uuid order, struct uuid product, const char *name)
{
    struct order_placed_lines line = {.product_id = product,
                                      .sku = STR("H-1"),
                                      .name = str_of(name),
                                      .unit_price = 5,
                                      .quantity = 1,
                                      .line_total = 5};
    struct order_placed placed = {.order_id = order,
                                  .user_id = order,
                                  .order_number = STR("1"),
                                  .lines = &line,
                                  .lines_n = 1,
                                  .currency = STR("CLP"),
                                  .payment_method = STR("test")};
    struct event event = event_new(&message_types[ORDER_PLACED], STR("orders"), uuid_str(order, s->arena),
                                   codec_encode(&shape_order_placed, &placed, s->arena), s->arena);
    append(s, &event);
}

static void confirm(struct bus *s, struct uuid order)
{
    struct order_confirmed after = {
        .order_id = order, .user_id = order, .order_number = STR("1"), .currency = STR("CLP")};
    struct event event = confirmed(s, order, codec_encode(&shape_order_confirmed, &after, s->arena));
    append(s, &event);
}

/* A message that is retried was written when it was written, and what was written behind it is newer. */
Test(rebuild, what_was_retried_comes_out_of_the_log_as_it_is)
{
    struct bus s = runner_bus(1);
    struct uuid first = uuid_v7(clock_ms()), second = uuid_v7(clock_ms()), low = uuid_v7(clock_ms());
    struct runner *r = runner_start(&reports_group, "one");
    const char *key = uuid_str(first, s.arena).p;
    spoil(&s, NULL);
    sell(&s, first, low, "hat");
    sell(&s, second, low, "red hat");
    runner_expect(&s, "SELECT count(*) FROM report_line", 2);
    spoil(&s, key);
    confirm(&s, first);
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'poison'", 1);
    ctl_expect(&s, 1, "1 stay: poison", "bus dlq retry reports orders %s", key);
    confirm(&s, second);
    runner_expect(&s, "SELECT units FROM product_sales", 1);
    spoil(&s, NULL);
    ctl_expect(&s, 0, "1 handled", "bus dlq retry reports orders %s", key);
    cr_expect_eq(bus_query(&s, "SELECT updated_ms - (SELECT max(ms) FROM event_log) FROM product_sales"), 0);
    cr_expect_eq(bus_query(&s, "SELECT (name = 'red hat')::int FROM product_sales"), 1);
    cr_expect_eq(rebuild("reports", true), REBUILD_OK);
    runner_stop(r);
    bus_stop(&s);
}

/* The log tells when, or its archive; while neither does, the event waits and nobody else. */
Test(rebuild, a_retried_event_has_its_time_also_when_it_is_archived)
{
    struct bus s = runner_bus(1);
    struct uuid hat = uuid_v7(clock_ms());
    const char *key = uuid_str(hat, s.arena).p;
    struct stock_ran_low e = {hat, 1, 2};
    struct event event = event_new(&message_types[STOCK_RAN_LOW], STR("inventory"), uuid_str(hat, s.arena),
                                   codec_encode(&shape_stock_ran_low, &e, s.arena), s.arena);
    struct runner *r = runner_start(&reports_group, "one");
    spoil(&s, key);
    append(&s, &event);
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'poison'", 1);
    int64_t ms = bus_query(&s, "SELECT ms FROM event_log");
    ctl_expect(&s, 0, "", "bus archive --cut");
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM event_log"), 0);
    spoil(&s, NULL);
    struct str archive = arena_printf(s.arena, "%s/archive", servers_dir(s.servers)),
               away = arena_printf(s.arena, "%s.away", archive.p);
    cr_assert_eq(rename(archive.p, away.p), 0);
    ctl_expect(&s, 1, "1 stay: log-unreadable", "bus dlq retry reports stock %s", key);
    cr_assert_eq(rename(away.p, archive.p), 0);
    ctl_expect(&s, 0, "1 handled", "bus dlq retry reports stock %s", key);
    cr_expect_eq(bus_query(&s, "SELECT last_ms FROM low_stock"), ms);
    runner_stop(r);
    bus_stop(&s);
}

/* What the new model parks was handled before, unless it was parked before: then its effects are still due.
 */
Test(rebuild, what_it_parks_has_had_its_effects_unless_it_waited)
{
    struct bus s = runner_bus(1);
    struct uuid waits = uuid_v7(clock_ms()), handled = uuid_v7(clock_ms()), hat = uuid_v7(clock_ms());
    struct runner *r = runner_start(&reports_group, "one");
    spoil(&s, uuid_str(waits, s.arena).p);
    sell(&s, waits, hat, "hat");
    confirm(&s, waits);
    sell(&s, handled, hat, "hat");
    confirm(&s, handled);
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE state = 'parked'", 2);
    runner_expect(&s, "SELECT units FROM product_sales", 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE replayed"), 0);
    cr_expect_eq(rebuild("reports", false), REBUILD_OK);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE NOT replayed"), 2);
    spoil(&s, uuid_str(handled, s.arena).p);
    cr_expect_eq(rebuild("reports", false), REBUILD_OK);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE replayed"), 2);
    cr_expect_eq(rebuild("reports", false), REBUILD_OK);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE replayed"), 2);
    runner_stop(r);
    bus_stop(&s);
}
