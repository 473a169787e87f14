/*
 * Redis within its budget: streams are trimmed below who is attached, who lags too far is detached and reads
 * the log and the archive, and nobody misses anything.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/metrics.h"
#include "tests/support/ctl.h"
#include "tests/support/runner.h"

enum { STEP = 500 };

static struct bus bus;
static struct relay *relay;

static void start(void)
{
    bus = runner_bus(1);
    relay = relay_new(bus.redis, bus.pg);
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(retention, .init = start, .fini = stop, .timeout = 180);

static int64_t used_memory(void)
{
    const struct redis_reply *reply = bus_redis_do(&bus, "INFO memory");
    const char *at = strstr(arena_str(bus.arena, reply->text).p, "used_memory:");
    return atoll(at + strlen("used_memory:"));
}

/* STEP new products; the bus holds one partition per topic, so all are in catalog.00. */
static void commit_products(struct arena *arena)
{
    struct event *events = arena_array(arena, struct event, STEP);
    for (int i = 0; i < STEP; i++) {
        struct uuid id = uuid_v7(clock_ms());
        struct product_created e = {.product_id = id,
                                    .name = STR("hat"),
                                    .slug = uuid_str(id, arena),
                                    .sku = uuid_str(id, arena),
                                    .price = 5,
                                    .currency = STR("CLP"),
                                    .is_active = true,
                                    .version = 1};
        events[i] = event_new(&message_types[PRODUCT_CREATED], STR("test"), uuid_str(id, arena),
                              codec_encode(&shape_product_created, &e, arena), arena);
    }
    eventlog_queue(bus.pg, events, STEP, arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 10000));
    arena_reset(arena);
}

/* A group that is at the head, or stays where it is. */
static void offset(const char *grp, bool at_head)
{
    bus_sql(
        &bus,
        "INSERT INTO consumer_offset (grp, topic, part, seq, ms) SELECT '%s', 'catalog', 0, h.seq, h.ms FROM"
        " (SELECT 0 seq, 0 ms UNION ALL SELECT seq, ms FROM stream_head WHERE topic = 'catalog') h"
        " ORDER BY seq %s LIMIT 1"
        " ON CONFLICT (grp, topic, part) DO UPDATE SET seq = excluded.seq, ms = excluded.ms",
        grp, at_head ? "DESC" : "ASC");
}

/* Products come, `orders` keeps up, and the relay does what daydream-producers does. Returns the most memory
 * that Redis used. */
static int64_t run_shop(int steps, const struct relay_budget *budget)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20);
    int64_t most = 0;
    for (int i = 0; i < steps; i++) {
        commit_products(arena);
        bus_must(relay_sweep(relay, NULL));
        offset("orders", true);
        int64_t used = used_memory();
        most = used > most ? used : most;
        bus_must(relay_retain(relay, budget, 1000));
    }
    return most;
}

#define DETACHED(grp) "SELECT count(*) FROM group_detached WHERE grp = '" grp "'"

Test(retention, budgets_are_bytes_or_a_share_of_maxmemory)
{
    struct relay_budget b;
    bus_must(relay_budget_parse(STR("1048576"), &b));
    cr_assert_eq(b.bytes, 1 << 20);
    bus_must(relay_budget_parse(STR("2GB"), &b));
    cr_assert_eq(b.bytes, (int64_t)2 << 30);
    bus_must(relay_budget_parse(STR("70%"), &b));
    cr_assert(b.percent == 70 && b.bytes == 0);
    bus_must(relay_budget_parse(STR("0"), &b));
    static const char *const wrong[] = {"", "x", "-1", "0%", "101%", "%", "1tb", "99999999999gb", "1 mb"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(relay_budget_parse(str_of(wrong[i]), &b).code, ERR_CONFIG, "%s", wrong[i]);
}

/* The acceptance of the budget in small: the cart group is stopped all the while; when it comes back, its
 * range is in files, in the log and in the stream. */
Test(retention, a_group_that_stood_still_catches_up_and_redis_stayed_in_its_budget)
{
    bus_must(relay_sweep(relay, NULL));
    struct relay_budget budget = {.bytes = used_memory() + (3 << 20)};
    offset("cart", false);
    int64_t most = run_shop(14, &budget);
    bus_archive(&bus);
    int64_t later = run_shop(10, &budget);
    cr_assert_leq(most, budget.bytes);
    cr_assert_leq(later, budget.bytes);
    cr_assert_eq(bus_query(&bus, DETACHED("cart")), 1);
    cr_assert_eq(bus_query(&bus, DETACHED("orders")), 0);
    int64_t left = bus_stream_check(&bus, TOPIC_CATALOG, 0);
    cr_assert(left > 0 && left < 12000, "%lld", (long long)left);

    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&bus, "SELECT count(*) FROM cart_product", 24 * STEP);
    runner_expect(&bus,
                  "SELECT h.seq - o.seq FROM consumer_offset o JOIN stream_head h USING (topic, part)"
                  " WHERE grp = 'cart' AND topic = 'catalog'",
                  0);
    runner_stop(r);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 10 * STEP);
    bus_must(relay_retain(relay, &budget, 1000));
    cr_assert_eq(bus_query(&bus, DETACHED("cart")), 0, "it is near, so it is attached again");
}

Test(retention, a_dead_group_from_outside_does_not_hold_the_memory)
{
    bus_must(relay_sweep(relay, NULL));
    run_shop(1, &(struct relay_budget){0});
    bus_redis_do(&bus, "XGROUP CREATE evt:{catalog.00} partner 0");
    bus_redis_do(&bus, "XREADGROUP GROUP partner me COUNT 100 STREAMS evt:{catalog.00} >");
    struct relay_budget budget = {.bytes = used_memory() + (3 << 20)};
    run_shop(4, &budget);
    cr_assert_eq(bus_query(&bus, DETACHED("partner")), 0);
    int64_t kept = bus_stream_check(&bus, TOPIC_CATALOG, 0);
    cr_assert_eq(kept, 5 * STEP, "it holds what it has not read, but %lld", (long long)kept);
    cr_assert_leq(run_shop(16, &budget), budget.bytes);
    cr_assert_eq(bus_query(&bus, DETACHED("partner")), 1);
    bus_stream_check(&bus, TOPIC_CATALOG, 0);
    bus_redis_do(&bus, "XGROUP DESTROY evt:{catalog.00} partner");
    /* Had it stood long enough to be written down, the next look at strangers forgets it: a second at most.
     */
    for (int64_t until = clock_mono_ms() + 20000;
         bus_query(&bus, DETACHED("partner")) > 0 && clock_mono_ms() < until; clock_sleep_ms(20)) {
        bus_must(relay_sweep(relay, NULL));
        bus_must(relay_retain(relay, &budget, 1000));
    }
    cr_assert_eq(bus_query(&bus, DETACHED("partner")), 0, "gone");
}

Test(retention, an_operator_decides_for_good)
{
    struct relay_budget none = {0};
    char command[4300];
    offset("cart", false);
    run_shop(4, &none);
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CATALOG, 0), 4 * STEP);
    snprintf(command, sizeof(command), "%s/daydreamctl bus detach cart && %s/daydreamctl bus lag",
             DAYDREAM_BIN_DIR, DAYDREAM_BIN_DIR);
    cr_assert_eq(system(command), 0);
    run_shop(1, &none);
    cr_assert_lt(bus_stream_check(&bus, TOPIC_CATALOG, 0), 3 * STEP);
    offset("cart", true);
    bus_must(relay_retain(relay, &none, 0));
    cr_assert_eq(bus_query(&bus, DETACHED("cart")), 1, "the relay does not overrule it");
    snprintf(command, sizeof(command), "%s/daydreamctl bus attach cart", DAYDREAM_BIN_DIR);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(bus_query(&bus, DETACHED("cart")), 0);
}

/* It is called as `bus subscribers ls` shows it; its offsets stand under another name. */
Test(retention, an_operator_detaches_a_subscriber_by_its_name)
{
    struct relay_budget none = {0};
    bus_sql(&bus, "INSERT INTO subscriber (name, kind) VALUES ('invoices', 'library'), ('granted', 'redis')");
    offset("ext:invoices", false);
    run_shop(4, &none);
    ctl_expect(&bus, 0, "ext:invoices is detached on 1 partitions", "bus detach invoices");
    cr_assert_eq(bus_query(&bus, DETACHED("ext:invoices")), 1);
    run_shop(1, &none);
    cr_assert_lt(bus_stream_check(&bus, TOPIC_CATALOG, 0), 3 * STEP);
    ctl_expect(&bus, 0, "\"group\":\"ext:invoices\"", "bus attach invoices --json");
    ctl_expect(&bus, 0, "detached", "bus detach ext:invoices");
    ctl_expect(&bus, 0, "detached", "bus detach granted");
    cr_assert_eq(bus_query(&bus, DETACHED("granted")), 1);
    ctl_expect(&bus, 0, "", "bus subscribers forget invoices");
    ctl_expect(&bus, 0, "", "bus subscribers forget granted");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM group_detached"), 0, "whoever has the name next");
}

Test(retention, nobody_is_detached_by_a_name_that_nobody_has)
{
    struct relay_budget none = {0};
    bus_sql(&bus, "INSERT INTO subscriber (name, kind) VALUES ('granted', 'redis')");
    ctl_expect(&bus, 1, "nothing to detach granted from", "bus detach granted");
    bus_must(relay_sweep(relay, NULL));
    run_shop(1, &none);
    ctl_expect(&bus, 1, "there is no group or subscriber partner", "bus detach partner");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM group_detached"), 0);
    ctl_expect(&bus, 1, "partner is not detached", "bus attach partner");
    bus_redis_do(&bus, "XGROUP CREATE evt:{catalog.00} partner 0");
    ctl_expect(&bus, 0, "partner is detached", "bus detach partner"); /* the relay has not seen it yet */
    cr_assert_eq(bus_query(&bus, DETACHED("partner")), 1);
    ctl_expect(&bus, 0, "partner is attached again", "bus attach partner");
    ctl_expect(&bus, 1, "partner is not detached", "bus attach partner");
}

/* What a stream that is made anew must have, and where a quiet stream stands, may be in the archive by then.
 */
Test(retention, streams_are_made_anew_from_the_archive_too)
{
    struct relay_budget none = {0};
    offset("cart", false);
    run_shop(2, &none);
    bus_archive(&bus);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 0);
    struct relay *other = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(other, NULL));
    cr_assert_eq(counter_get(COUNTER_RELAY_REBUILT), 0,
                 "the last id of a quiet stream is known to the archive");
    bus_redis_do(&bus, "FLUSHALL");
    other = relay_free(other);
    other = relay_new(bus.redis, bus.pg);
    bus_must(relay_sweep(other, NULL));
    cr_assert_eq(bus_stream_check(&bus, TOPIC_CATALOG, 0), 2 * STEP);
    offset("cart", true);
    bus_must(relay_trim(other, 0));
    cr_assert_lt(bus_stream_check(&bus, TOPIC_CATALOG, 0), STEP);
    relay_free(other);
}
