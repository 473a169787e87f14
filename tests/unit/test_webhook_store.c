/* Webhooks against a real PostgreSQL and a real receiver: what becomes a delivery, when it goes, how it ends.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/webhook.h"
#include "producers/retention.h"
#include "producers/webhook_fanout.h"
#include "producers/webhook_plan.h"
#include "producers/webhook_store.h"
#include "producers/webhooks.h"
#include "tests/support/bus.h"
#include "tests/support/receiver.h"
#include "tests/support/shop.h"

static struct bus bus;
static struct bell told;
static struct webhooks *webhooks;
static struct receiver *receiver;
static struct seal_key master;

static void start(void)
{
    setenv("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1);
    setenv("LOG_LEVEL", "error", 1);
    setenv("WEBHOOK_ALLOW_PRIVATE", "on", 1);
    bus = bus_start(4);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    bus_must(conf_load("test"));
    bus_must(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &master));
    bell_init(&told);
    receiver = receiver_start();
}

static void stop(void)
{
    webhooks_stop(webhooks);
    receiver_stop(receiver);
    bus_stop(&bus);
}

TestSuite(webhook_store, .init = start, .fini = stop, .timeout = 120);

static void send_all(void)
{
    bus_must(webhooks_start(&told, &webhooks));
}

static struct uuid subscribe(const char *url, const char *types)
{
    struct uuid id = uuid_v7(clock_ms());
    struct webhook_secret secret = webhook_secret_of(&master, id, 1);
    bus_sql(&bus,
            "INSERT INTO webhook (id, url, types, is_active, rights, generation, previous_until_ms, version, "
            "created_ms,"
            " updated_ms) VALUES ('%s', '%s', '%s', true, 63, 1, 0, 1, 0, 0)",
            uuid_str(id, bus.arena).p, url, types);
    receiver_secret(receiver, webhook_secret_text(&secret, bus.arena).p, true);
    return id;
}

static void emit(const char *key, size_t n)
{
    bus_commit(&bus, bus.pg, key, n);
}

static void fan_out(struct pg *pg)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20);
    bool more = true;
    size_t made;
    while (more) {
        bus_must(webhook_fanout(pg, arena, &made, &more));
        arena_reset(arena);
    }
}

static int64_t deliveries(const char *state)
{
    return bus_query(&bus, "SELECT count(*) FROM webhook_delivery WHERE state = '%s'", state);
}

/* Polls; the bound only keeps a broken build from hanging. */
static void expect_soon(int64_t expected, const char *sql)
{
    int64_t until = shop_now_ms() + 60000, now;
    while ((now = bus_query(&bus, "%s", sql)) != expected && shop_now_ms() < until)
        shop_nap();
    cr_assert_eq(now, expected, "%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

Test(webhook_store, begins_behind_what_was_committed_before)
{
    emit("a", 3);
    subscribe(receiver_url(receiver), "*");
    emit("a", 2);
    fan_out(bus.pg);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 2);
    cr_expect_eq(bus_query(&bus, "SELECT min(seq) FROM webhook_delivery"), 4);
}

Test(webhook_store, what_happened_while_it_was_off_is_not_sent_later)
{
    subscribe(receiver_url(receiver), "*");
    bus_sql(&bus, "UPDATE webhook SET is_active = false");
    emit("a", 2);
    bus_sql(&bus, "UPDATE webhook SET is_active = true");
    emit("a", 1);
    fan_out(bus.pg);
    cr_expect_eq(bus_query(&bus, "SELECT min(seq) FROM webhook_delivery"), 3);
}

Test(webhook_store, an_endpoint_is_told_what_its_maker_may_see)
{
    subscribe(receiver_url(receiver), "*");
    bus_sql(&bus, "UPDATE webhook SET rights = 3"); /* EVENTS_OWN, EVENTS_CATALOG */
    emit("a", 1);                                   /* a cart's */
    fan_out(bus.pg);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 0);
}

/* What was queued for an admin is not for the manager who turned the endpoint to himself. */
Test(webhook_store, what_waits_is_told_by_the_rights_of_now)
{
    struct receiver *his = receiver_start();
    subscribe(receiver_url(receiver), "*");
    emit("a", 2);
    fan_out(bus.pg);
    bus_sql(&bus, "UPDATE webhook SET rights = 3, url = '%s'", receiver_url(his)); /* not carts */
    send_all();
    expect_soon(2, "SELECT count(*) FROM webhook_delivery WHERE state = 'failed' AND error = 'no-right'"
                   " AND statuses = '{}' AND done_ms > 0");
    cr_expect_eq(receiver_count(his) + receiver_count(receiver), 0);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_health WHERE failing_since_ms IS NULL"), 1,
                 "that is not the endpoint's failure");
    bus_sql(&bus, "UPDATE webhook SET rights = 63");
    bus_sql(&bus, "UPDATE webhook_delivery SET state = 'waiting', done_ms = NULL WHERE seq = 1");
    cr_assert(receiver_gets(his, NULL, 1));
    receiver_stop(his);
}

/* Nobody but another version can say who may see it: it is sent to those who may see all. */
Test(webhook_store, deliveries_of_another_versions_type_are_left_to_it)
{
    struct receiver *his = receiver_start();
    struct uuid id = subscribe(receiver_url(his), "*");
    subscribe(receiver_url(receiver), "*");
    emit("a", 1);
    fan_out(bus.pg);
    bus_sql(&bus, "UPDATE webhook SET rights = 15 WHERE id = '%s'", uuid_str(id, bus.arena).p);
    bus_sql(&bus, "UPDATE event_log SET type = 'cart.haunted.v9'");
    bus_sql(&bus, "UPDATE webhook_delivery SET type = 'cart.haunted.v9'");
    send_all();
    cr_assert(receiver_gets(receiver, "cart.haunted.v9", 1));
    emit("b", 1);
    cr_assert(receiver_gets(his, "cart.cleared.v1", 1));
    cr_expect_eq(receiver_count(his), 1);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery WHERE state = 'waiting'"
                                 " AND attempts = 0 AND type = 'cart.haunted.v9'"),
                 1);
    receiver_stop(his);
}

/* Two versions run side by side: this one passes the other's events by once, and must not lose them. */
Test(webhook_store, types_of_another_version_are_told_by_their_name)
{
    subscribe(receiver_url(receiver), "cart.*,offer.made");
    emit("a", 2);
    bus_sql(&bus, "UPDATE event_log SET type = 'cart.haunted.v9' WHERE seq = 1");
    bus_sql(&bus, "UPDATE event_log SET type = 'offer.made.v1' WHERE seq = 2");
    fan_out(bus.pg);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 2);
}

/* Nor can it send what the other fanned out of a topic that only that one knows. */
Test(webhook_store, deliveries_of_another_versions_topic_are_left_to_it)
{
    subscribe(receiver_url(receiver), "*");
    emit("a", 1);
    fan_out(bus.pg);
    bus_sql(&bus, "UPDATE webhook_delivery SET topic = 'future'");
    send_all();
    emit("b", 1);
    cr_assert(receiver_gets(receiver, NULL, 1));
    expect_soon(1, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered' AND topic = 'carts'");
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery WHERE topic = 'future'"
                                 " AND state = 'waiting' AND attempts = 0"),
                 1);
}

Test(webhook_store, of_a_key_only_the_first_may_go)
{
    subscribe(receiver_url(receiver), "*");
    emit("a", 3);
    emit("b", 1);
    fan_out(bus.pg);
    emit("a", 1);
    fan_out(bus.pg);
    cr_expect_eq(deliveries("waiting"), 2);
    cr_expect_eq(deliveries("held"), 3);
}

/* What an operator does for an endpoint that was off and shall have what it missed (docs/webhooks.md). */
Test(webhook_store, a_cursor_that_is_set_back_makes_what_is_missing)
{
    emit("a", 3);
    subscribe(receiver_url(receiver), "*");
    emit("a", 1);
    fan_out(bus.pg);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 1);
    bus_sql(&bus, "UPDATE webhook_start SET seq = 0");
    bus_sql(&bus, "UPDATE webhook_cursor SET seq = 0");
    fan_out(bus.pg);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 4);
    send_all();
    cr_assert(receiver_gets(receiver, NULL, 4));
    expect_soon(4, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'");
}

static void *fan_out_often(void *pg)
{
    for (int i = 0; i < 40; i++)
        fan_out(pg);
    return NULL;
}

Test(webhook_store, who_races_makes_each_delivery_once)
{
    pthread_t threads[2];
    struct pg *pgs[2] = {bus_pg(&bus), bus_pg(&bus)};
    subscribe(receiver_url(receiver), "*");
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, fan_out_often, pgs[i]);
    for (int i = 0; i < 40; i++)
        emit(i % 2 ? "a" : "b", 25);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        pg_close(pgs[i]);
    }
    fan_out(bus.pg);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 1000);
    cr_expect_eq(bus_query(&bus, "SELECT count(DISTINCT event_id) FROM webhook_delivery"), 1000);
    cr_expect_eq(deliveries("waiting"), 2);
}

/* Per key in the order of seq, whatever arrives while others end. */
Test(webhook_store, all_arrive_in_the_order_of_their_key)
{
    subscribe(receiver_url(receiver), "*");
    send_all();
    for (int i = 0; i < 20; i++) {
        emit("a", 3);
        emit("b", 2);
        emit("c", 1);
    }
    cr_assert(receiver_gets(receiver, NULL, 120));
    expect_soon(120,
                "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered' AND statuses = '{200}'");
    for (size_t i = 0; i < receiver_count(receiver); i++) {
        struct received r = receiver_at(receiver, i);
        int64_t seq = bus_query(&bus, "SELECT seq FROM event_log WHERE id = '%s'", r.id);
        for (size_t k = 0; k < i; k++) {
            struct received before = receiver_at(receiver, k);
            if (strcmp(before.key, r.key) == 0)
                cr_expect_lt(bus_query(&bus, "SELECT seq FROM event_log WHERE id = '%s'", before.id), seq);
        }
    }
    cr_expect_eq(receiver_forged(receiver), 0);
}

Test(webhook_store, a_key_that_fails_holds_itself_and_nobody_else)
{
    subscribe(receiver_url(receiver), "*");
    receiver_dislikes(receiver, "a", 500);
    send_all();
    emit("a", 2);
    emit("b", 5);
    cr_assert(receiver_gets(receiver, NULL, 5));
    cr_expect_eq(deliveries("held"), 1);
    receiver_dislikes(receiver, NULL, 0);
    cr_assert(receiver_gets(receiver, NULL, 7));
    expect_soon(7, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'");
}

Test(webhook_store, what_is_given_up_lets_the_next_one_go)
{
    conf_set(SET_WEBHOOK_GIVE_UP_S, "1");
    subscribe(receiver_url(receiver), "*");
    receiver_answers(receiver, 404, NULL, 0);
    send_all();
    emit("a", 2);
    expect_soon(2, "SELECT count(*) FROM webhook_delivery WHERE state = 'failed' AND error = 'http'");
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery WHERE statuses[1] = 404"), 2);
}

Test(webhook_store, one_that_is_gone_is_asked_to_be_switched_off)
{
    subscribe(receiver_url(receiver), "*");
    receiver_answers(receiver, 410, NULL, 0);
    send_all();
    emit("a", 1);
    expect_soon(1, "SELECT count(*) FROM event_log WHERE type = 'webhook.disable-requested.v1'"
                   " AND data LIKE '%\"gone\"%'");
}

Test(webhook_store, one_that_takes_nothing_for_days_is_asked_to_be_switched_off)
{
    conf_set(SET_WEBHOOK_DISABLE_S, "1");
    subscribe(receiver_url(receiver), "*");
    receiver_answers(receiver, 302, "Location: http://127.0.0.1:1/\r\n", 0);
    send_all();
    emit("a", 1);
    expect_soon(1, "SELECT least(count(*), 1) FROM event_log WHERE type = 'webhook.disable-requested.v1'"
                   " AND data LIKE '%\"failing\"%'");
}

Test(webhook_store, what_the_log_has_no_more_is_no_failure_of_the_endpoint)
{
    subscribe(receiver_url(receiver), "*");
    emit("a", 1);
    fan_out(bus.pg);
    bus_sql(&bus, "DELETE FROM event_log");
    send_all();
    expect_soon(1, "SELECT count(*) FROM webhook_delivery WHERE state = 'failed' AND error = 'no-event'"
                   " AND statuses = '{}'");
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_health WHERE failing_since_ms IS NULL"), 1);
}

Test(webhook_store, retry_after_is_waited_for)
{
    subscribe(receiver_url(receiver), "*");
    receiver_answers(receiver, 429, "Retry-After: 1800\r\n", 0);
    send_all();
    emit("a", 1);
    expect_soon(1, "SELECT count(*) FROM webhook_delivery WHERE statuses = '{429}'");
    cr_expect_geq(
        bus_query(&bus, "SELECT due_ms - (extract(epoch FROM now()) * 1000)::bigint FROM webhook_delivery"),
        1000 * 1000);
}

Test(webhook_store, one_that_was_away_gets_all_that_waited_as_soon_as_it_is_back)
{
    subscribe(receiver_url(receiver), "*");
    receiver_answers(receiver, 0, NULL, 0);
    send_all();
    for (int i = 0; i < 20; i++)
        emit(arena_printf(bus.arena, "key %d", i).p, 2);
    /* Told, not only asked: an answer 200 that is read before the failures ends the row of them. */
    expect_soon(1, arena_printf(bus.arena,
                                "SELECT (sum(cardinality(statuses)) >= %d)::int FROM webhook_delivery",
                                ENDPOINT_FAILURES)
                       .p);
    /* Were it left to the schedule, nobody would come back for an hour. */
    bus_sql(&bus, "UPDATE webhook_delivery SET due_ms = due_ms + 3600000 WHERE state = 'waiting'");
    receiver_answers(receiver, 200, NULL, 0);
    cr_assert(receiver_gets(receiver, NULL, 40));
}

Test(webhook_store, a_private_address_is_not_connected_to)
{
    conf_set(SET_WEBHOOK_ALLOW_PRIVATE, "off");
    subscribe(arena_printf(bus.arena, "https%s", receiver_url(receiver) + strlen("http")).p, "*");
    send_all();
    emit("a", 1);
    expect_soon(1,
                "SELECT count(*) FROM webhook_delivery WHERE error = 'private-address' AND statuses[1] = 0");
    cr_expect_eq(receiver_count(receiver), 0);
}

Test(webhook_store, what_a_dead_sender_had_in_hand_is_sent_by_another)
{
    struct delivery_row row;
    int n;
    subscribe(receiver_url(receiver), "*");
    emit("a", 2);
    fan_out(bus.pg);
    bus_must(delivery_claim(bus.pg, STR("dead"), NULL, 0, 4, 4, bus.arena, &row, &n));
    cr_assert_eq(n, 1);
    struct delivery_end late = {.row = &row, .fate = DELIVERY_FAILED, .error = "late"};
    bus_sql(&bus, "UPDATE webhook_delivery SET lease_until = now() - interval '1 s' WHERE state = 'running'");
    send_all();
    cr_assert(receiver_gets(receiver, NULL, 2));
    expect_soon(2, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'");
    bus_must(delivery_finish(bus.pg, &late, 1, bus.arena));
    cr_expect_eq(deliveries("delivered"), 2, "an end that comes too late changes nothing");
}

/* The file that the log went to. */
static struct str archive_all(void)
{
    struct log_period *periods;
    struct archive_file *files;
    size_t n;
    int64_t before;
    bus_must(archive_cut(bus.pg, &before));
    bus_must(archive_closed(bus.pg, before, bus.arena, &periods, &n));
    for (size_t i = 0; i < n; i++)
        bus_must(archive_period(bus.pg, &periods[i], NULL, NULL, NULL, bus.arena));
    bus_must(archive_list(bus.pg, bus.arena, &files, &n));
    cr_assert_eq(n, 1);
    return archive_path(files[0].name, bus.arena);
}

Test(webhook_store, what_cannot_be_read_now_is_waited_for)
{
    enum { TRIES = 3 }; /* at once, after 1 s, after 2 s more */
    subscribe(receiver_url(receiver), "*");
    emit("a", 2);
    fan_out(bus.pg);
    struct str path = archive_all(), away = arena_printf(bus.arena, "%s.away", path.p);
    cr_assert_eq(rename(path.p, away.p), 0);
    int64_t before = bus_query(&bus, "SELECT since_ms FROM webhook_delivery WHERE seq = 1");
    send_all();
    clock_sleep_ms(2000);
    int64_t tries = bus_query(&bus, "SELECT attempts FROM webhook_delivery WHERE seq = 1");
    cr_expect(tries > 0 && tries <= TRIES, "%lld attempts", (long long)tries);
    expect_soon(1, "SELECT count(*) FROM webhook_delivery WHERE state = 'waiting' AND error = 'archive'"
                   " AND statuses = '{}'");
    cr_expect_gt(bus_query(&bus, "SELECT since_ms FROM webhook_delivery WHERE seq = 1"), before,
                 "the time does not count");
    cr_assert_eq(rename(away.p, path.p), 0);
    cr_assert(receiver_gets(receiver, NULL, 2));
}

/* A circuit that is open lets the first in line through before its time; that one must be able to say how the
 * endpoint is. */
Test(webhook_store, what_cannot_be_read_now_is_no_probe)
{
    conf_set(SET_WEBHOOK_PER_ENDPOINT, "8");
    subscribe(receiver_url(receiver), "*");
    emit("a", 1);
    fan_out(bus.pg);
    struct str path = archive_all();
    cr_assert_eq(rename(path.p, arena_printf(bus.arena, "%s.away", path.p).p), 0);
    for (int i = 0; i < 6; i++)
        emit(arena_printf(bus.arena, "key %d", i).p, 1);
    fan_out(bus.pg);
    receiver_answers(receiver, 503, "Retry-After: 4\r\n", 0);
    send_all();
    expect_soon(6, "SELECT count(*) FROM webhook_delivery WHERE state = 'waiting' AND statuses = '{503}'");
    bus_sql(&bus, "UPDATE webhook_delivery SET due_ms = due_ms + CASE partitionkey WHEN 'a' THEN 1800000"
                  " ELSE 3600000 END");
    receiver_answers(receiver, 200, NULL, 0);
    cr_assert(receiver_gets(receiver, NULL, 6));
    cr_expect_leq(bus_query(&bus, "SELECT attempts FROM webhook_delivery WHERE partitionkey = 'a'"), 8);
}

Test(webhook_store, retention_clears_what_has_ended_and_what_is_nobodys)
{
    bool more = true;
    struct uuid id = subscribe(receiver_url(receiver), "*");
    emit("a", 3);
    emit("b", 1);
    fan_out(bus.pg);
    bus_sql(
        &bus,
        "UPDATE webhook_delivery SET state = 'delivered', done_ms = 1 WHERE seq = 1 AND partitionkey = 'a'");
    bus_must(retention_pass(bus.pg, &more));
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 3);
    bus_sql(&bus, "DELETE FROM webhook WHERE id = '%s'", uuid_str(id, bus.arena).p);
    bus_must(retention_pass(bus.pg, &more));
    bus_must(retention_pass(bus.pg, &more));
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_delivery"), 0);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_health"), 0);
    cr_expect_eq(bus_query(&bus, "SELECT count(*) FROM webhook_start"), 0);
}
