/*
 * The subscriber library against real servers, as a program of somebody else would use it: through
 * daydream/bus.h alone. A relay runs beside it; whatever happens to Redis, every event comes, in order.
 */
#include <criterion/criterion.h>
#include <daydream/bus.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "tests/support/bus.h"

enum { PARTS = 3, WAIT = 2000, LEASE = 500 };

static struct bus bus;
static pthread_t relay_thread;
static atomic_bool over;

/* ---- a bus with a relay that goes on whatever happens ---- */

static void *sweep(void *unused)
{
    struct redis *redis = bus_redis(&bus);
    struct pg *pg = bus_pg(&bus);
    struct relay *relay = relay_new(redis, pg);
    while (!atomic_load(&over)) {
        err e = OK;
        if (!pg_is_up(pg))
            e = pg_reopen(pg);
        if (!failed(e) && !redis_is_up(redis))
            e = redis_reopen(redis);
        if (!failed(e))
            e = relay_sweep(relay, NULL);
        clock_sleep_ms(10);
    }
    relay_free(relay);
    redis_close(redis);
    pg_close(pg);
    return unused;
}

static void start(void)
{
    bus = bus_start(PARTS);
    cr_assert_eq(pthread_create(&relay_thread, NULL, sweep, NULL), 0);
}

static void stop(void)
{
    atomic_store(&over, true);
    pthread_join(relay_thread, NULL);
    bus_stop(&bus);
}

TestSuite(subscriber, .init = start, .fini = stop, .timeout = 120);

/* ---- subscribing ---- */

static struct dds_options options(const char *instance)
{
    return (struct dds_options){DDS_OPTIONS,
                                .database_url = servers_database_url(bus.servers),
                                .redis_url = servers_redis_url(bus.servers),
                                .name = "partner",
                                .types = "cart.*",
                                .instance = instance,
                                .lease_ms = LEASE};
}

static struct dds *subscribe_as(const struct dds_options *options)
{
    struct dds *sub;
    char why[DDS_ERROR_MAX];
    cr_assert_eq(dds_open(options, &sub, why, sizeof(why)), DDS_OK, "%s", why);
    return sub;
}

static struct dds *subscribe(const char *instance)
{
    const struct dds_options o = options(instance);
    return subscribe_as(&o);
}

/* What came: the next seq expected of each partition. */
struct seen {
    int64_t next[PARTS];
    int64_t n;
};

static void see(struct seen *seen, const struct dds_event *e)
{
    cr_assert_str_eq(e->topic, "carts");
    if (seen->next[e->partition] == 0)
        seen->next[e->partition] = 1;
    cr_assert_eq(e->seq, seen->next[e->partition], "%lld after %lld in %d", (long long)e->seq,
                 (long long)seen->next[e->partition] - 1, e->partition);
    cr_assert_eq(e->data_len, strlen(e->data));
    seen->next[e->partition]++;
    seen->n++;
}

/* Until that many have come in all; down servers and the like are waited for. */
static void see_until(struct dds *sub, struct seen *seen, int64_t n, bool commit)
{
    int64_t until = clock_mono_ms() + 30000;
    while (seen->n < n && clock_mono_ms() < until) {
        const struct dds_event *event;
        int status = dds_next(sub, 100, &event);
        cr_assert(status == DDS_OK || status == DDS_TIMEOUT || status == DDS_DOWN, "%d: %s", status,
                  dds_error(sub));
        if (status == DDS_OK)
            see(seen, event);
        if (status == DDS_DOWN)
            clock_sleep_ms(20);
    }
    cr_assert_eq(seen->n, n, "%lld of %lld", (long long)seen->n, (long long)n);
    while (commit && dds_commit(sub) != DDS_OK)
        cr_assert(clock_mono_ms() < until, "%s", dds_error(sub));
}

static const char *const people[] = {"ana", "ben", "carla", "dario", "eva", "felipe"};

static void commit_some(int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        bus_commit(&bus, bus.pg, people[i % 6], 1);
}

static int64_t offsets(void)
{
    return bus_query(&bus,
                     "SELECT coalesce(sum(seq), 0)::bigint FROM consumer_offset WHERE grp = 'ext:partner'");
}

/* ---- stories ---- */

Test(subscriber, every_event_comes_once_and_the_position_is_kept)
{
    struct seen seen = {.n = 0};
    struct dds *sub = subscribe("one");
    commit_some(50);
    see_until(sub, &seen, 50, true);
    cr_assert_eq(offsets(), 50);
    const struct dds_event *event;
    cr_assert_eq(dds_next(sub, 0, &event), DDS_TIMEOUT);
    dds_close(sub);
    commit_some(10);
    sub = subscribe("one");
    see_until(sub, &seen, 60, false);
    dds_close(sub); /* without a commit: the ten come again */
    sub = subscribe("two");
    for (int i = 0; i < PARTS; i++)
        seen.next[i] = bus_query(&bus,
                                 "SELECT seq + 1 FROM consumer_offset WHERE grp = 'ext:partner' AND part = %d"
                                 " AND topic = 'carts'",
                                 i);
    seen.n = 50;
    see_until(sub, &seen, 60, true);
    dds_close(sub);
}

Test(subscriber, what_happens_to_redis_is_not_noticed)
{
    struct seen seen = {.n = 0};
    struct dds *sub = subscribe("one");
    commit_some(20);
    see_until(sub, &seen, 20, true);
    for (int part = 0; part < PARTS; part++)
        bus_redis_do(&bus, "DEL evt:{carts.%02d}", part);
    commit_some(20);
    see_until(sub, &seen, 40, true);
    commit_some(20);
    bus_redis_do(&bus, "FLUSHALL");
    see_until(sub, &seen, 60, true);
    for (int part = 0; part < PARTS; part++)
        bus_redis_do(&bus, "XTRIM evt:{carts.%02d} MAXLEN 0", part);
    commit_some(20);
    see_until(sub, &seen, 80, true);
    servers_kill(bus.servers, SERVER_REDIS);
    commit_some(20);
    see_until(sub, &seen, 100, true); /* from the log alone */
    servers_restart(bus.servers, SERVER_REDIS);
    commit_some(20);
    see_until(sub, &seen, 120, true);
    cr_assert_eq(offsets(), 120);
    dds_close(sub);
}

/* As it would be the next of each partition. */
static void forge(const char *type)
{
    for (int part = 0; part < PARTS; part++)
        bus_redis_do(
            &bus,
            "XADD evt:{carts.%02d} %lld-%lld specversion 1.0 id 018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6 source"
            " x type %s partitionkey x data {}",
            part, (long long)clock_ms(),
            (long long)bus_query(&bus,
                                 "SELECT coalesce(max(seq), 0) + 1 FROM event_log WHERE topic ="
                                 " 'carts' AND part = %d",
                                 part),
            type);
}

Test(subscriber, what_redis_shows_and_the_log_does_not_have_is_not_told)
{
    static const char *const types[] = {"cart.cleared.v1", "product.created.v1"}; /* asked for or not */
    struct seen seen = {.n = 0};
    struct dds *sub = subscribe("one");
    for (int i = 0; i < 2; i++) {
        commit_some(20);
        see_until(sub, &seen, seen.n + 20, true);
        forge(types[i]);
        for (int64_t until = clock_mono_ms() + 800; clock_mono_ms() < until;) {
            const struct dds_event *event;
            cr_assert_neq(dds_next(sub, 50, &event), DDS_OK);
        }
        commit_some(20);
        see_until(sub, &seen, seen.n + 20, true);
        cr_assert_eq(offsets(), seen.n);
    }
    dds_close(sub);
}

/* PostgreSQL came back without the last events: those that took their numbers since come, too, and no
 * position is beyond the log. */
static void lose_last(int n)
{
    bus_sql(&bus,
            "DELETE FROM event_log l USING stream_head h WHERE l.topic = 'carts' AND h.topic = l.topic"
            " AND h.part = l.part AND l.seq > h.seq - %d",
            n);
    bus_sql(&bus,
            "UPDATE stream_head h SET seq = l.seq, ms = l.ms FROM (SELECT topic, part, max(seq) AS seq,"
            " max(ms) AS ms FROM event_log GROUP BY 1, 2) l WHERE h.topic = l.topic AND h.part = l.part");
}

Test(subscriber, a_position_is_never_beyond_the_log)
{
    const struct dds_event *event;
    struct dds *sub = subscribe("one");
    commit_some(30);
    for (int i = 0; i < 30; i++)
        while (dds_next(sub, 100, &event) != DDS_OK)
            continue;
    lose_last(1);
    cr_assert_eq(dds_commit(sub), DDS_FENCED, "%s", dds_error(sub));
    cr_assert_eq(offsets(), 0);
    dds_close(sub);
}

Test(subscriber, who_was_further_than_the_log_goes_back_with_it)
{
    struct seen seen = {.n = 0};
    struct dds *sub = subscribe("one");
    commit_some(30);
    see_until(sub, &seen, 30, true);
    lose_last(2);
    bus_sql(&bus, "UPDATE consumer_offset o SET seq = h.seq, ms = h.ms FROM stream_head h WHERE o.grp ="
                  " 'ext:partner' AND o.topic = h.topic AND o.part = h.part");
    clock_sleep_ms(LEASE); /* a turn */
    commit_some(30);
    const struct dds_event *event;
    int64_t n = 0;
    for (int64_t until = clock_mono_ms() + 8000; clock_mono_ms() < until && n < 30;)
        n += dds_next(sub, 100, &event) == DDS_OK;
    cr_assert_eq(n, 30);
    dds_close(sub);
}

Test(subscriber, a_database_that_comes_back_is_gone_on_with)
{
    struct seen seen = {.n = 0};
    struct dds *sub = subscribe("one");
    commit_some(20);
    see_until(sub, &seen, 10, true);
    see_until(sub, &seen, 20, false);
    servers_kill(bus.servers, SERVER_POSTGRES);
    cr_assert_eq(dds_commit(sub), DDS_DOWN);
    cr_assert(strlen(dds_error(sub)) > 0);
    servers_restart(bus.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(bus.pg));
    commit_some(10);
    see_until(sub, &seen, 30, true);
    cr_assert_eq(offsets(), 30);
    dds_close(sub);
}

Test(subscriber, only_the_types_asked_for_come_and_the_others_are_passed)
{
    struct dds_options o = options("one");
    const struct dds_event *event;
    o.types = "cart.item-added";
    struct dds *sub = subscribe_as(&o);
    commit_some(30); /* cart.cleared */
    for (int i = 0; i < 100 && offsets() < 30; i++)
        cr_assert_eq(dds_next(sub, 50, &event), DDS_TIMEOUT);
    cr_assert_eq(offsets(), 30);
    dds_close(sub);
    o.types = "cart.item-aded";
    char why[DDS_ERROR_MAX];
    cr_assert_eq(dds_open(&o, &sub, why, sizeof(why)), DDS_REFUSED);
    cr_assert(strstr(why, "cart.item-aded"), "%s", why);
}

Test(subscriber, now_and_a_time_begin_where_they_say)
{
    struct seen seen = {.n = 0};
    struct dds_options o = options("one");
    char text[25];
    bus_commit(&bus, bus.pg, "ana", 5);
    clock_sleep_ms(5);
    clock_print(clock_ms(), text);
    clock_sleep_ms(5);
    bus_commit(&bus, bus.pg, "ana", 3);
    int ana = partition_of(STR("ana"));
    o.name = "since";
    o.start = text;
    seen.next[ana] = 6;
    struct dds *sub = subscribe_as(&o);
    see_until(sub, &seen, 3, true);
    dds_close(sub);
    o.name = "fresh";
    o.start = "now";
    sub = subscribe_as(&o);
    bus_commit(&bus, bus.pg, "ana", 1);
    see_until(sub, &seen, 4, true);
    dds_close(sub);
    o.start = "yesterday";
    cr_assert_eq(dds_open(&o, &sub, NULL, 0), DDS_REFUSED);
}

/* ---- several instances ---- */

static int owned(const struct dds *sub)
{
    struct dds_stats stats = {.size = sizeof(stats)};
    dds_stats(sub, &stats);
    return stats.partitions;
}

/* Both idle until each has a share. */
static void share(struct dds *a, struct dds *b)
{
    const struct dds_event *event;
    for (int i = 0; i < 200 && (owned(a) == 0 || owned(b) == 0 || owned(a) + owned(b) != PARTS); i++) {
        cr_assert_neq(dds_next(a, 10, &event), DDS_OK);
        cr_assert_neq(dds_next(b, 10, &event), DDS_OK);
    }
    cr_assert_eq(owned(a) + owned(b), PARTS);
    cr_assert(owned(a) > 0 && owned(b) > 0);
}

Test(subscriber, instances_share_and_the_survivor_takes_over)
{
    struct dds *a = subscribe("a"), *b = subscribe("b");
    struct seen seen = {.n = 0};
    share(a, b);
    commit_some(60);
    const struct dds_event *event;
    for (int64_t until = clock_mono_ms() + 20000; seen.n < 60 && clock_mono_ms() < until;) {
        if (dds_next(a, 10, &event) == DDS_OK)
            see(&seen, event);
        if (dds_next(b, 10, &event) == DDS_OK)
            see(&seen, event);
    }
    cr_assert_eq(seen.n, 60);
    cr_assert_eq(dds_commit(a), DDS_OK);
    cr_assert_eq(dds_commit(b), DDS_OK);
    dds_close(a);
    commit_some(30);
    see_until(b, &seen, 90, true);
    dds_close(b);
}

Test(subscriber, who_slept_past_his_lease_is_fenced)
{
    struct dds *slow = subscribe("slow");
    struct seen seen = {.n = 0}, again = {.n = 0};
    commit_some(30);
    see_until(slow, &seen, 30, false);
    struct dds *quick = NULL;
    quick = subscribe("quick");
    clock_sleep_ms(LEASE + 100);
    see_until(quick, &again, 30, true);
    cr_assert_eq(dds_commit(slow), DDS_FENCED);
    const struct dds_event *event;
    for (int i = 0; i < 10; i++)
        cr_assert_neq(dds_next(slow, 50, &event), DDS_OK, "what is committed does not come again");
    cr_assert_eq(offsets(), 30);
    dds_close(slow);
    dds_close(quick);
}

/* ---- exactly once ---- */

struct effects {
    int calls, refuse, fail; /* at which call */
    struct seen *seen;
};

static int insert(void *context, struct dds_tx *tx, const struct dds_event *const *events, size_t n)
{
    struct effects *effects = context;
    effects->calls++;
    for (size_t i = 0; i < n; i++) {
        char part[12], seq[24];
        snprintf(part, sizeof(part), "%d", events[i]->partition);
        snprintf(seq, sizeof(seq), "%lld", (long long)events[i]->seq);
        const char *const values[] = {part, seq, events[i]->partitionkey};
        dds_exec(tx, "INSERT INTO effect VALUES ($1, $2, $3)", 3, values);
    }
    if (effects->calls == effects->fail)
        dds_exec(tx, "SELECT 1 / 0", 0, NULL);
    return effects->calls == effects->refuse;
}

Test(subscriber, effects_and_position_are_one_transaction)
{
    bus_sql(&bus, "CREATE TABLE effect (part int, seq bigint, key text, PRIMARY KEY (part, seq))");
    struct effects effects = {.refuse = 2, .fail = 4};
    struct dds_options o = options("one");
    int stopped = 0, refused = 0;
    o.batch = 10;
    struct dds *sub = subscribe_as(&o);
    commit_some(100);
    for (int64_t until = clock_mono_ms() + 20000; clock_mono_ms() < until && offsets() < 100;) {
        int status = dds_each(sub, 100, insert, &effects);
        stopped += status == DDS_STOPPED;
        refused += status == DDS_REFUSED;
    }
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM effect"), 100);
    cr_assert_eq(stopped, 1);
    cr_assert_eq(refused, 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log l LEFT JOIN effect e USING (part, seq)"
                                 " WHERE l.partitionkey IS DISTINCT FROM e.key"),
                 0);
    dds_close(sub);
}

static int run_offset(PGconn *pg, const struct dds_statement *s)
{
    PGresult *r = PQexecParams(pg, s->sql, s->n, NULL, s->values, NULL, NULL, 0);
    int good = PQresultStatus(r) == PGRES_TUPLES_OK;
    if (!good)
        cr_assert_str_eq(PQresultErrorField(r, PG_DIAG_SQLSTATE), "DSF01", "%s", PQresultErrorMessage(r));
    PQclear(r);
    return good;
}

Test(subscriber, a_transaction_of_the_programs_own_moves_the_position)
{
    PGconn *pg = PQconnectdb(servers_database_url(bus.servers));
    struct seen seen = {.n = 0};
    struct dds_statement s;
    struct dds *sub = subscribe("one");
    commit_some(20);
    see_until(sub, &seen, 20, false);
    PQclear(PQexec(pg, "BEGIN"));
    cr_assert_eq(dds_offset(sub, &s), DDS_OK);
    cr_assert(run_offset(pg, &s));
    PQclear(PQexec(pg, "ROLLBACK"));
    cr_assert_eq(dds_settle(sub, DDS_ROLLED_BACK), DDS_OK);
    seen = (struct seen){.n = 0};
    see_until(sub, &seen, 20, false);
    const struct dds_event *event;
    cr_assert_eq(dds_offset(sub, &s), DDS_OK);
    cr_assert_eq(dds_next(sub, 0, &event), DDS_MISUSE);
    cr_assert(run_offset(pg, &s));
    cr_assert_eq(dds_settle(sub, DDS_UNKNOWN), DDS_OK);
    cr_assert_eq(offsets(), 20);
    cr_assert_eq(dds_next(sub, 300, &event), DDS_TIMEOUT);
    commit_some(1);
    see_until(sub, &seen, 21, false);
    cr_assert_eq(dds_offset(sub, &s), DDS_OK);
    bus_sql(&bus, "UPDATE consumer_offset SET epoch = epoch + 1, owner = 'thief' WHERE grp = 'ext:partner'");
    cr_assert(!run_offset(pg, &s), "somebody else owns it now");
    cr_assert_eq(dds_settle(sub, DDS_ROLLED_BACK), DDS_OK);
    dds_close(sub);
    PQfinish(pg);
}

/* A subscription whose session with PostgreSQL can be told from the others, with events in hand, and the
 * transaction of the program's own that is to move the position over them. */
struct half {
    struct dds *sub;
    PGconn *pg;
};

static struct half half_done(int64_t n)
{
    char url[600];
    struct dds_options o = options("one");
    snprintf(url, sizeof(url), "%s&application_name=partner", o.database_url);
    o.database_url = url;
    struct half half = {subscribe_as(&o), PQconnectdb(servers_database_url(bus.servers))};
    struct seen seen = {.n = 0};
    struct dds_statement s;
    commit_some(n);
    see_until(half.sub, &seen, n, false);
    PQclear(PQexec(half.pg, "BEGIN"));
    cr_assert_eq(dds_offset(half.sub, &s), DDS_OK);
    cr_assert(run_offset(half.pg, &s));
    return half;
}

static void cut(void)
{
    cr_assert_eq(bus_query(&bus, "WITH theirs AS MATERIALIZED (SELECT pid FROM pg_stat_activity"
                                 "  WHERE application_name = 'partner')"
                                 " SELECT count(*) FROM theirs WHERE pg_terminate_backend(pid, 5000)"),
                 1);
}

/* Goes on from `committed`: n events come from there, and their transaction moves the position. */
static void go_on(struct half *half, int64_t committed, int64_t n)
{
    struct seen seen = {.n = 0};
    struct dds_statement s;
    for (int i = 0; i < PARTS; i++)
        seen.next[i] = bus_query(&bus,
                                 "SELECT seq + 1 FROM consumer_offset WHERE grp = 'ext:partner' AND part = %d"
                                 " AND topic = 'carts'",
                                 i);
    cr_assert_eq(offsets(), committed);
    see_until(half->sub, &seen, n, false);
    cr_assert_eq(dds_offset(half->sub, &s), DDS_OK);
    cr_assert(run_offset(half->pg, &s));
    cr_assert_eq(dds_settle(half->sub, DDS_COMMITTED), DDS_OK);
    cr_assert_eq(offsets(), committed + n);
    dds_close(half->sub);
    PQfinish(half->pg);
}

/* The server died at COMMIT, and with it the session that would be asked: nothing may be taken for done. */
Test(subscriber, what_an_unknown_commit_did_not_do_comes_again)
{
    struct half half = half_done(20);
    PQclear(PQexec(half.pg, "ROLLBACK"));
    cut();
    dds_settle(half.sub, DDS_UNKNOWN);
    go_on(&half, 0, 20);
}

Test(subscriber, what_an_unknown_commit_did_does_not_come_again)
{
    struct half half = half_done(20);
    PQclear(PQexec(half.pg, "COMMIT"));
    cut();
    dds_settle(half.sub, DDS_UNKNOWN);
    commit_some(3);
    go_on(&half, 20, 3);
}

/* A COMMIT that is still under way holds the rows: nobody can say how it will end. */
Test(subscriber, a_commit_that_is_still_under_way_may_end_either_way)
{
    struct half half = half_done(20);
    cr_assert_eq(dds_settle(half.sub, DDS_UNKNOWN), DDS_DOWN);
    PQclear(PQexec(half.pg, "ROLLBACK"));
    struct dds_statement s;
    struct seen seen = {.n = 0};
    see_until(half.sub, &seen, 20, false);
    PQclear(PQexec(half.pg, "BEGIN"));
    cr_assert_eq(dds_offset(half.sub, &s), DDS_OK);
    cr_assert(run_offset(half.pg, &s));
    cr_assert_eq(dds_settle(half.sub, DDS_UNKNOWN), DDS_DOWN);
    PQclear(PQexec(half.pg, "COMMIT"));
    commit_some(3);
    go_on(&half, 20, 3);
}

/* ---- rights, form ---- */

Test(subscriber, a_login_moves_its_own_position_only)
{
    char url[600], why[DDS_ERROR_MAX];
    struct dds *sub;
    bus_sql(
        &bus,
        "CREATE ROLE sub_one LOGIN IN ROLE dd_subscriber; CREATE ROLE sub_two LOGIN IN ROLE dd_subscriber");
    struct dds_options o = options("one");
    snprintf(url, sizeof(url), "%s", servers_database_url(bus.servers));
    char *user = strstr(url, "user=daydream");
    cr_assert(user);
    snprintf(user, sizeof(url) - (size_t)(user - url), "user=sub_one");
    o.database_url = url;
    sub = subscribe_as(&o);
    commit_some(6);
    struct seen seen = {.n = 0};
    see_until(sub, &seen, 6, true);
    dds_close(sub);
    snprintf(user, sizeof(url) - (size_t)(user - url), "user=sub_two");
    cr_assert_eq(dds_open(&o, &sub, why, sizeof(why)), DDS_REFUSED);
    cr_assert(strstr(why, "belongs to login sub_one"), "%s", why);
    PGconn *pg = PQconnectdb(url);
    static const char *const forbidden[] = {
        "UPDATE consumer_offset SET seq = 0",
        "DELETE FROM event_log",
        "SELECT * FROM app_user",
        "SELECT * FROM person_key",
        "INSERT INTO event_log (topic, part, seq, ms, id) VALUES"
        " ('carts', 0, 9, 9, gen_random_uuid())",
        "SELECT subscriber_mine('partner')",
        "DELETE FROM subscriber",
        "SELECT subscriber_commit('partner', '{carts}', '{0}', '{1}', '{0}',"
        " '{9}', '{9}')"};
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++) {
        PGresult *r = PQexec(pg, forbidden[i]);
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        cr_assert(state && strcmp(state, "42501") == 0, "%s: %s", forbidden[i], state ? state : "allowed");
        PQclear(r);
    }
    PQfinish(pg);
    bus_sql(&bus, "DROP OWNED BY sub_one, sub_two; DROP ROLE sub_one, sub_two");
}

Test(subscriber, the_json_form_is_cloudevents)
{
    const struct dds_event *event;
    struct dds *sub = subscribe("one");
    bus_commit(&bus, bus.pg, "ana", 1);
    while (dds_next(sub, WAIT, &event) == DDS_TIMEOUT)
        continue;
    char line[2000], little[10];
    size_t n = dds_event_json(event, line, sizeof(line));
    cr_assert_eq(n, strlen(line));
    cr_assert_eq(dds_event_json(event, little, sizeof(little)), n);
    cr_assert_str_eq(little, "{\"specver");
    static const char *const parts[] = {"{\"specversion\":\"1.0\",\"id\":\"", "\"type\":\"cart.cleared.v1\"",
                                        "\"partitionkey\":\"ana\"",
                                        "\"data\":{\"user_id\":\"ana\",\"n\":0}}"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        cr_assert(strstr(line, parts[i]), "%s is not in %s", parts[i], line);
    dds_close(sub);
}
