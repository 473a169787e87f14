/* The runner where it is easily wrong: one by one, keys that Redis forgot, gaps, parking, text that is none.
 */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "consumers/worker.h"
#include "tests/support/runner.h"

static struct envelope keyed(struct bus *s, struct uuid user, struct uuid product, int64_t quantity,
                             const char *key, const char *fingerprint)
{
    struct envelope e = runner_add_item(s, user, product, quantity);
    e.idempotencykey = str_of(key);
    e.fingerprint = str_of(fingerprint);
    return e;
}

static void announce(struct bus *s, struct uuid product, size_t times)
{
    struct event *events = arena_array(s->arena, struct event, times);
    for (size_t i = 0; i < times; i++)
        events[i] = runner_created(s, product);
    eventlog_queue(s->pg, events, times, s->arena);
    pg_sync(s->pg, NULL, NULL);
    bus_must(pg_wait(s->pg, 30000));
}

/* A statement refuses one command of the batch; the next one, asked alone, misses a fact. What stands behind
 * it of the same key must not overtake it. */
Test(edges, one_by_one_nothing_overtakes_what_waits_for_a_fact)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), cursed = runner_product(&s, true),
                shirt = runner_product(&s, true), hat = runner_product(&s, false);
    bus_sql(&s, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$");
    bus_sql(&s,
            "CREATE TRIGGER refuse BEFORE INSERT ON cart_line FOR EACH ROW WHEN (NEW.product_id = '%s')"
            " EXECUTE FUNCTION refuse()",
            uuid_str(cursed, s.arena).p);
    runner_publish(&s, runner_add_item(&s, uuid_v7(clock_ms()), cursed, 1));
    runner_publish(&s, runner_add_item(&s, user, hat, 2));
    runner_publish(&s, runner_add_item(&s, user, shirt, 3));
    announce(&s, hat, 1);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'parked' AND http_status IS NULL"
                               " AND result IS NULL"),
                 1, "what it was before its effects were refused is no result");
    cr_expect_eq(bus_query(&s, "SELECT (data::json->>'quantity')::bigint FROM event_log WHERE topic = 'carts'"
                               " ORDER BY seq LIMIT 1"),
                 2);
    runner_stop(r);
    bus_stop(&s);
}

/* Redis forgot its map of keys; the index of the table knows them. */
Test(edges, a_forgotten_key_with_another_body_is_refused)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, keyed(&s, user, shirt, 1, "k", "aa"));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    runner_publish(&s, keyed(&s, user, shirt, 1, "k", "aa"));
    runner_expect(&s, "SELECT count(*) FROM command WHERE same_as IS NOT NULL", 1);
    runner_publish(&s, keyed(&s, user, shirt, 7, "k", "bb"));
    runner_expect(&s, "SELECT count(*) FROM command", 3);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'rejected' AND http_status = 422"
                               " AND result LIKE '%%KEY_REUSED%%' AND idempotencykey IS NULL"
                               " AND same_as IS NULL"),
                 1);
    runner_expect(&s, "SELECT quantity FROM cart_line", 1);
    runner_stop(r);
    bus_stop(&s);
}

Test(edges, two_bodies_under_one_key_in_one_batch)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    runner_publish(&s, keyed(&s, user, shirt, 1, "k", "aa"));
    runner_publish(&s, keyed(&s, user, shirt, 7, "k", "bb"));
    runner_publish(&s, keyed(&s, user, shirt, 1, "k", "aa"));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command", 3);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE http_status = 422"), 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE same_as IS NOT NULL"), 1);
    cr_expect_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 1);
    runner_stop(r);
    bus_stop(&s);
}

/* What was lost holds no key: whoever sends the same key with another id is not bound to it. */
Test(edges, a_lost_command_does_not_win_its_key)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope gone = keyed(&s, user, shirt, 1, "k", "aa");
    bus_sql(&s, "SELECT command_lost('%s')", gone.id.p);
    runner_publish(&s, gone);
    runner_publish(&s, keyed(&s, user, shirt, 1, "k", "aa"));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command", 2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'succeeded' AND same_as IS NULL"),
                 1);
    cr_expect_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 1);
    runner_stop(r);
    bus_stop(&s);
}

/* A group far behind its stream reads the log in steps, not at one go. */
Test(edges, a_long_gap_is_filled_in_batches)
{
    enum { EVENTS = 3000 };
    struct bus s = runner_bus(1);
    struct uuid hat = runner_product(&s, false);
    announce(&s, hat, EVENTS);
    bus_redis_do(&s, "XADD evt:{catalog.00} 1-%d id x", EVENTS);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT seq FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog'", EVENTS);
    cr_expect_geq(bus_query(&s, "SELECT flush FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog'"),
                  EVENTS / BATCH_MAX);
    runner_stop(r);
    bus_stop(&s);
}

/* Bytes that are no text in an envelope somebody wrote by hand: parked, and the lane goes on. */
Test(edges, an_envelope_that_is_no_text_is_parked)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope bad = runner_add_item(&s, uuid_v7(clock_ms()), shirt, 1);
    bad.client = STR("\xff\xfe");
    bad.idempotencykey = STR("k");
    runner_publish(&s, bad);
    bad = runner_add_item(&s, user, shirt, 1);
    bad.partitionkey = STR("a\0b");
    bad.type = STR("\xc3\x28");
    runner_publish(&s, bad);
    runner_publish(&s, runner_add_item(&s, user, shirt, 5));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT quantity FROM cart_line", 5);
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'unreadable-envelope'", 2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'parked'"), 2);
    runner_stop(r);
    bus_stop(&s);
}

static struct uuid user_of(int part)
{
    for (;;) {
        char text[UUID_TEXT + 1];
        struct uuid user = uuid_v7(clock_ms());
        uuid_print(user, text);
        if (partition_of(str_of(text)) == part)
            return user;
    }
}

/* Whoever can write to Redis can give an entry the id 2^63, and all that follow on the lane are beyond it. */
Test(edges, an_id_that_no_number_holds_stops_no_lane)
{
    struct bus s = runner_bus(2);
    struct uuid shirt = runner_product(&s, true);
    bus_redis_do(&s, "XADD cmd:{carts.00} 9223372036854775808-0 type junk");
    bus_redis_do(&s, "XADD cmd:{carts.01} 5-18446744073709551614 type junk");
    for (int part = 0; part < 2; part++)
        runner_publish(&s, runner_add_item(&s, user_of(part), shirt, 3));
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 2);
    for (int part = 0; part < 2; part++)
        runner_publish(&s, runner_add_item(&s, user_of(part), shirt, 3));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 4);
    runner_stop(r);
    for (int part = 0; part < 2; part++)
        cr_expect_eq(bus_redis_do(&s, "XLEN cmd:{carts.%02d}", part)->integer, 0);
    bus_stop(&s);
}

/* The same on a stream of events: the reader goes on from the log, and the relay makes the stream anew. */
Test(edges, an_event_that_no_number_holds_stops_no_stream)
{
    enum { EVENTS = 5 };
    struct bus s = runner_bus(1);
    struct uuid hat = runner_product(&s, false);
    bus_redis_do(&s, "XADD evt:{catalog.00} 9223372036854775808-1 type junk");
    announce(&s, hat, EVENTS);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT seq FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog'", EVENTS);
    struct relay *relay = relay_new(s.redis, s.pg);
    bus_must(relay_sweep(relay, NULL));
    announce(&s, hat, EVENTS);
    bus_must(relay_sweep(relay, NULL));
    cr_expect_eq(bus_stream_check(&s, TOPIC_CATALOG, 0) > 0, true);
    runner_expect(&s, "SELECT seq FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog'", 2 * EVENTS);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter"), 0);
    relay_free(relay);
    runner_stop(r);
    bus_stop(&s);
}

/* ---- a stream that says more than the log ---- */

#define OFFSET "SELECT seq FROM consumer_offset WHERE grp = 'cart' AND topic = 'catalog' AND part = 0"

static bool knows(struct bus *s, struct uuid product)
{
    return bus_query(s, "SELECT count(*) FROM cart_product WHERE product_id = '%s'",
                     uuid_str(product, s->arena).p) > 0;
}

/* An entry behind the last one of evt:{catalog.00}, as the log has none. */
static void forge(struct bus *s, struct event event, int64_t seq)
{
    struct str words[3 + 2 * ENVELOPE_COMMAND] = {
        STR("XADD"), STR("evt:{catalog.00}"),
        arena_printf(s->arena, "%lld-%lld", (long long)clock_ms(), (long long)seq)};
    const struct redis_reply *reply;
    bus_must(redis_call(s->redis, &reply, 3 + envelope_words(&event.envelope, false, words + 3), words));
}

/* PostgreSQL came back from a backup: what it has lost still stands in Redis. */
static void lose_behind(struct bus *s, int64_t seq)
{
    bus_sql(s, "DELETE FROM event_log WHERE topic = 'catalog' AND seq > %lld", (long long)seq);
    bus_sql(s,
            "UPDATE stream_head h SET seq = l.seq, ms = l.ms FROM event_log l WHERE h.topic = 'catalog'"
            " AND l.topic = h.topic AND l.part = h.part AND l.seq = %lld",
            (long long)seq);
}

/* It moves, it is not handled, and what the log has under its number later is not taken for it. */
static void believes_the_log(const char *type)
{
    struct bus s = runner_bus(1);
    struct uuid hat = runner_product(&s, false), cap = runner_product(&s, false),
                shirt = runner_product(&s, true), forged = runner_product(&s, false);
    struct relay *relay = relay_new(s.redis, s.pg);
    struct runner *r = runner_start(&cart_group, "one");
    announce(&s, hat, 3);
    bus_must(relay_sweep(relay, NULL));
    runner_expect(&s, OFFSET, 3);
    struct event event = runner_created(&s, forged);
    event.envelope.type = str_of(type);
    forge(&s, event, 4);
    for (int i = 0; i < 5; i++, clock_sleep_ms(200)) {
        runner_publish(&s, runner_add_item(&s, uuid_v7(clock_ms()), shirt, 1));
        cr_expect_eq(bus_query(&s, OFFSET), 3);
        cr_expect(!knows(&s, forged));
    }
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 5);
    announce(&s, cap, 1);
    runner_expect(&s, OFFSET, 4);
    cr_expect(knows(&s, cap) && !knows(&s, forged));
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter"), 0);
    runner_stop(r);
    relay_free(relay);
    bus_stop(&s);
}

Test(edges, an_event_that_the_log_does_not_have_is_not_handled)
{
    believes_the_log("product.created.v1");
}

Test(edges, an_event_of_no_concern_that_the_log_does_not_have_moves_no_offset)
{
    believes_the_log("category.created.v1");
}

/* A build that does not know the type must not stand down for what somebody wrote to Redis. */
Test(edges, an_event_of_an_unknown_type_that_the_log_does_not_have_stops_nobody)
{
    believes_the_log("product.invented.v9");
}

/* The log has gone on since it lost its end: the numbers are those of the stream, the events are not. */
Test(edges, an_event_of_a_lost_end_is_not_taken_for_the_one_that_has_its_number)
{
    struct bus s = runner_bus(1);
    struct uuid hat = runner_product(&s, false), lost = runner_product(&s, false),
                cap = runner_product(&s, false);
    struct relay *relay = relay_new(s.redis, s.pg);
    announce(&s, hat, 3);
    announce(&s, lost, 2);
    bus_must(relay_sweep(relay, NULL));
    lose_behind(&s, 3);
    clock_sleep_ms(2);
    announce(&s, cap, 4);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, OFFSET, 7);
    cr_expect(knows(&s, hat) && knows(&s, cap) && !knows(&s, lost));
    relay_free(relay);
    relay = relay_new(s.redis, s.pg);
    bus_must(relay_sweep(relay, NULL));
    bus_stream_check(&s, TOPIC_CATALOG, 0);
    runner_stop(r);
    relay_free(relay);
    bus_stop(&s);
}

/* Thousands of parked keys after a bad release: the set grows by what comes, not by itself each time. */
Test(edges, many_parked_keys_cost_what_they_are)
{
    enum { KEYS = 4000 };
    struct bus s = runner_bus(1);
    atomic_bool stop = true;
    struct worker *w = worker_new(&cart_group, "one", &stop);
    for (int i = 0; i < KEYS; i++)
        parked_add(w, TOPIC_CARTS, arena_printf(s.arena, "key %d", i));
    cr_expect_eq(w->n_parked, KEYS);
    cr_expect(parked_has(w, TOPIC_CARTS, STR("key 0")) && parked_has(w, TOPIC_CARTS, STR("key 3999")));
    cr_expect_lt(arena_used(w->parked_arena), (size_t)KEYS * 200);
    worker_free(w);
    bus_stop(&s);
}

extern const struct group reports_group;

static struct event sold(struct bus *s, struct uuid order, struct uuid product, bool confirmed)
{
    struct order_placed_lines line = {.product_id = product,
                                      .sku = STR("H-1"),
                                      .name = STR("hat"),
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
    struct order_confirmed after = {
        .order_id = order, .user_id = order, .order_number = STR("1"), .currency = STR("CLP")};
    return confirmed ? event_new(&message_types[ORDER_CONFIRMED], STR("test"), uuid_str(order, s->arena),
                                 codec_encode(&shape_order_confirmed, &after, s->arena), s->arena)
                     : event_new(&message_types[ORDER_PLACED], STR("test"), uuid_str(order, s->arena),
                                 codec_encode(&shape_order_placed, &placed, s->arena), s->arena);
}

/* Orders of one product lie in many partitions, which several members own: their sums must not overwrite each
 * other. */
Test(edges, members_that_count_the_same_product_lose_nothing)
{
    enum { ORDERS = 1500 };
    struct bus s = runner_bus(4);
    struct uuid hat = uuid_v7(clock_ms());
    struct runner *one = runner_start(&reports_group, "one"), *two = runner_start(&reports_group, "two");
    runner_expect(&s, "SELECT count(DISTINCT owner) FROM consumer_offset WHERE topic = 'orders'", 2);
    for (int i = 0; i < ORDERS; i += 10) {
        struct event events[20];
        for (int k = 0; k < 20; k += 2) {
            struct uuid order = uuid_v7(clock_ms());
            events[k] = sold(&s, order, hat, false);
            events[k + 1] = sold(&s, order, hat, true);
        }
        eventlog_queue(s.pg, events, 20, s.arena);
        pg_sync(s.pg, NULL, NULL);
        bus_must(pg_wait(s.pg, 5000));
    }
    runner_expect(&s, "SELECT sum(seq)::bigint FROM consumer_offset WHERE topic = 'orders'", 2 * ORDERS);
    cr_expect_eq(bus_query(&s, "SELECT units FROM door_sales"), ORDERS);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM report_line"), 0);
    runner_stop(one);
    runner_stop(two);
    bus_stop(&s);
}
