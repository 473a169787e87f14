/* Parked keys and how operators bring them back: the cart group in this process, daydreamctl beside it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/support/ctl.h"
#include "tests/support/indigestible.h"
#include "tests/support/runner.h"

/* The workers of this process cannot digest that user's messages from now on; NULL: they are mended. */
static void spoil(struct bus *s, struct uuid user, const char *action)
{
    struct str path = arena_printf(s->arena, "%s/poison", servers_dir(s->servers));
    indigestible(path.p, uuid_str(user, s->arena).p, action);
    setenv("FAULT_POISON", path.p, 1);
}

static const char *key_of(struct bus *s, struct uuid user)
{
    return uuid_str(user, s->arena).p;
}

/* Quantities are numbered in the order of sending; each event must be the next one. */
static void expect_order(struct bus *s, struct uuid user, int64_t n)
{
    cr_expect_eq(bus_query(s, "SELECT count(*) FROM event_log WHERE partitionkey = '%s'", key_of(s, user)),
                 n);
    cr_expect_eq(
        bus_query(s,
                  "SELECT count(*) FROM (SELECT (data::json->>'added')::bigint AS added,"
                  " row_number() OVER (ORDER BY seq) AS n FROM event_log WHERE partitionkey = '%s') x"
                  " WHERE added <> n",
                  key_of(s, user)),
        0);
}

static struct envelope unreadable(struct bus *s, struct uuid user, struct uuid product)
{
    struct envelope e = runner_add_item(s, user, product, 1);
    e.data = STR("{\"quantity\":\"NaN\"}");
    return e;
}

Test(parked, a_retry_handles_the_whole_sequence_in_order_and_frees_the_key)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), other = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    spoil(&s, user, "bad");
    struct runner *r = runner_start(&cart_group, "one");
    for (int i = 1; i <= 5; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    runner_publish(&s, runner_add_item(&s, other, shirt, 1));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 5);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    ctl_expect(&s, 0, "1 keys, 5 messages wait", "bus dlq ls --group cart");
    ctl_expect(&s, 1, "5 stay: poison", "bus dlq retry cart carts %s", key_of(&s, user));
    cr_expect_eq(bus_query(&s, "SELECT max(attempts)::bigint FROM dead_letter"), 2);
    spoil(&s, user, NULL);
    ctl_expect(&s, 0, "5 handled", "bus dlq retry cart carts %s", key_of(&s, user));
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'"), 6);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE state = 'handled'"), 5);
    expect_order(&s, user, 5);
    runner_publish(&s, runner_add_item(&s, user, shirt, 6));
    runner_expect(&s, "SELECT max(quantity) FROM cart_line", 21);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter"), 5);
    ctl_expect(&s, 0, "0 keys", "bus dlq ls");
    ctl_expect(&s, 0, "0 findings", "bus fsck");
    runner_stop(r);
    bus_stop(&s);
}

/* What arrives while the sequence is handled queues behind it, and what arrives after it is handled at once.
 */
Test(parked, nothing_overtakes_a_retry_under_way)
{
    enum { BEFORE = 400, ALL = 600 };
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    spoil(&s, user, "bad");
    struct runner *r = runner_start(&cart_group, "one");
    for (int i = 1; i <= BEFORE; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    runner_expect(&s, "SELECT count(*) FROM dead_letter", BEFORE);
    spoil(&s, user, NULL);
    struct str line = arena_printf(s.arena, "%s/daydreamctl bus dlq retry --all", DAYDREAM_BIN_DIR);
    FILE *retry = popen(line.p, "r");
    cr_assert(retry);
    runner_expect(&s, "SELECT (count(*) > 0)::int FROM dead_letter WHERE state = 'handled'", 1);
    for (int i = BEFORE + 1; i <= ALL; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    char text[200] = "";
    cr_expect(fgets(text, sizeof(text), retry) && strstr(text, "handled"));
    cr_expect_eq(pclose(retry), 0);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", ALL);
    expect_order(&s, user, ALL);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE state <> 'handled'"), 0);
    cr_expect_gt(bus_query(&s, "SELECT count(*) FROM dead_letter"), BEFORE);
    ctl_expect(&s, 0, "0 findings", "bus fsck");
    runner_stop(r);
    bus_stop(&s);
}

Test(parked, a_discarded_command_is_answered_and_the_rest_goes_on)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope bad = unreadable(&s, user, shirt);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, bad);
    for (int i = 1; i <= 3; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 4);
    ctl_expect(&s, 2, "--reason TEXT is needed", "bus dlq discard cart carts %s", key_of(&s, user));
    ctl_expect(&s, 0, "1 discarded, 1 commands answered, 3 still wait",
               "bus dlq discard cart carts %s --reason 'typo in a script' --actor ops", key_of(&s, user));
    cr_expect_eq(bus_query(&s,
                           "SELECT count(*) FROM command WHERE status = 'rejected' AND http_status = 500"
                           " AND result LIKE '%%DISCARDED%%' AND id = '%s'",
                           bad.id.p),
                 1);
    ctl_expect(&s, 1, "does not wait", "bus dlq discard cart carts %s --n 1 --reason x", key_of(&s, user));
    ctl_expect(&s, 0, "3 handled", "bus dlq retry --reason behind-parked");
    expect_order(&s, user, 3);
    ctl_expect(&s, 0, "by ops, message 1 (typo in a script): 1 done, 3 wait",
               "bus dlq show --all cart carts %s", key_of(&s, user));
    ctl_expect(&s, 0, "0 findings", "bus fsck");
    runner_stop(r);
    bus_stop(&s);
}

Test(parked, a_correction_is_handled_in_the_place_of_what_came)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    const char *key = key_of(&s, user), *product = uuid_str(shirt, s.arena).p;
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, unreadable(&s, user, shirt));
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'unreadable-data'", 1);
    ctl_expect(&s, 1, "quantity",
               "bus dlq edit cart carts %s --reason x --set 'data={\"user_id\":\"%s\","
               "\"product_id\":\"%s\",\"quantity\":\"7\"}'",
               key, key, product);
    ctl_expect(
        &s, 0, "correction 1",
        "bus dlq edit cart carts %s --reason 'it was 7' --set 'data={\"user_id\":\"%s\",\"product_id\":"
        "\"%s\",\"quantity\":7}'",
        key, key, product);
    ctl_expect(&s, 0, "1 handled", "bus dlq retry cart carts %s", key);
    cr_expect_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 7);
    ctl_expect(&s, 0, "NaN", "bus dlq show --all cart carts %s", key);
    ctl_expect(&s, 0, "(it was 7)", "bus dlq show --all cart carts %s", key);
    ctl_expect(&s, 1, "nothing waits", "bus dlq edit cart carts %s --reason x --set 'data={}'", key);
    runner_stop(r);
    bus_stop(&s);
}

/* The product is announced, but when the retry begins its event has not been read. */
Test(parked, a_retry_waits_for_a_fact_like_anybody)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), hat = runner_product(&s, false);
    struct event event = runner_created(&s, hat);
    spoil(&s, user, "bad");
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, user, hat, 2));
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 1);
    runner_stop(r);
    spoil(&s, user, NULL);
    ctl_expect(&s, 1, "nobody owns that partition", "bus dlq retry --all --wait 0");
    eventlog_queue(s.pg, &event, 1, s.arena);
    pg_sync(s.pg, NULL, NULL);
    bus_must(pg_wait(s.pg, 5000));
    r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    cr_expect_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 2);
    runner_stop(r);
    bus_stop(&s);
}

/* Whatever fails between a note and its end, each message is handled once. */
Test(parked, a_retry_that_is_disturbed_repeats_nothing)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    setenv("FAULT", "retry.noted:2:err,retry.handled:1:err,retry.handled:3:err,retry.empty:1:err", 1);
    spoil(&s, user, "bad");
    struct runner *r = runner_start(&cart_group, "one");
    for (int i = 1; i <= 6; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 6);
    spoil(&s, user, NULL);
    ctl_expect(&s, 0, "6 handled", "bus dlq retry --all");
    expect_order(&s, user, 6);
    runner_publish(&s, runner_add_item(&s, user, shirt, 7));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 7);
    expect_order(&s, user, 7);
    runner_stop(r);
    bus_stop(&s);
}

/* The owner before died twice, and one command was alone in its hands three times. */
Test(parked, what_ended_three_lives_is_parked_and_its_neighbours_are_not)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), other = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct envelope killer = runner_add_item(&s, user, shirt, 1);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 2);
    runner_stop(r);
    bus_sql(&s, "UPDATE consumer_offset SET owner = 'dead', lease_until = now(), crashes = 1, taken = now()");
    bus_sql(&s, "INSERT INTO handler_attempt VALUES ('cart', 'carts', 0, '%s', 3, 1)", killer.id.p);
    runner_publish(&s, runner_add_item(&s, other, shirt, 1));
    runner_publish(&s, killer);
    runner_publish(&s, runner_add_item(&s, user, shirt, 2));
    runner_publish(&s, runner_add_item(&s, other, shirt, 2));
    const struct redis_reply *reply;
    bus_must(redis_callf(s.redis, &reply, "XREADGROUP GROUP cart cart COUNT 10 STREAMS cmd:{carts.00} >"));
    r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'crash'", 1);
    runner_expect(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'behind-parked'", 1);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    runner_expect(&s, "SELECT count(*) FROM handler_attempt", 0);
    runner_stop(r);
    bus_stop(&s);
}

/* Whoever has it in hand loses its lease, five times, and is alive each time: nobody died of the message. */
Test(parked, a_life_whose_handler_came_back_does_not_count)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM consumer_offset WHERE owner = 'one'", 2);
    runner_stop(r);
    bus_sql(&s, "UPDATE consumer_offset SET owner = 'dead', lease_until = now(), crashes = 1, taken = now()");
    bus_sql(&s,
            "CREATE SEQUENCE thefts; CREATE FUNCTION steal() RETURNS trigger SECURITY DEFINER LANGUAGE "
            "plpgsql AS $$ BEGIN"
            " IF nextval('thefts') <= 5 THEN UPDATE consumer_offset SET epoch = epoch + 1, owner = 'thief',"
            "  lease_until = now() WHERE grp = 'cart'; END IF; RETURN NULL; END $$;"
            "CREATE TRIGGER first AFTER INSERT ON handler_attempt FOR EACH ROW EXECUTE FUNCTION steal();"
            "CREATE TRIGGER again AFTER UPDATE ON handler_attempt FOR EACH ROW WHEN (NEW.epoch > OLD.epoch)"
            " EXECUTE FUNCTION steal()");
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    bus_redis_do(&s, "XREADGROUP GROUP cart cart COUNT 10 STREAMS cmd:{carts.00} >");
    r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    runner_expect(&s, "SELECT count(*) FROM dead_letter", 0);
    runner_expect(&s, "SELECT count(*) FROM handler_attempt", 0);
    runner_expect(&s, "SELECT last_value FROM thefts", 6);
    runner_stop(r);
    bus_stop(&s);
}

/* A message of that user as it lies in dead_letter; the worker of this process has its partition. */
static const char *lay(struct bus *s, const char *lane, const char *type, const char *reason)
{
    const char *key = key_of(s, uuid_v7(clock_ms()));
    bus_sql(s,
            "INSERT INTO dead_letter (grp, topic, key, lane, seq, type, reason, envelope, parked_ms)"
            " VALUES ('cart', 'carts', '%s', '%s', 1, '%s', '%s', '{\"specversion\":\"1.0\",\"id\":\"%s\","
            "\"source\":\"cart\",\"type\":\"%s\",\"partitionkey\":\"%s\",\"data\":\"{}\"}', 0)",
            key, lane, type, reason, key_of(s, uuid_v7(clock_ms())), type, key);
    return key;
}

/* The newer build of the group parked it; this one has no handler, and must not say that it is handled. */
Test(parked, an_event_that_this_build_does_not_know_stays)
{
    struct bus s = runner_bus(1);
    const char *unknown = lay(&s, "event", "cart.new-thing.v1", "poison"),
               *unread = lay(&s, "event", "cart.cleared.v1", "poison");
    struct runner *r = runner_start(&cart_group, "one");
    ctl_expect(&s, 1, "1 stay: unknown-type", "bus dlq retry cart carts %s", unknown);
    ctl_expect(&s, 1, "1 stay: unknown-type", "bus dlq retry cart carts %s", unread);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE state = 'parked' AND attempts = 1"),
                 2);
    runner_stop(r);
    bus_stop(&s);
}

/* What cannot be handled as it lies is not handled because processes ended while it was looked at. */
Test(parked, an_envelope_that_was_changed_stays_what_it_is)
{
    struct bus s = runner_bus(1);
    const char *key = lay(&s, "event", "cart.cleared.v1", "unreadable-envelope");
    bus_sql(&s,
            "INSERT INTO parked_action (action, grp, topic, part, key, actor, asked_ms, trying, tries)"
            " SELECT 'retry', grp, topic, 0, key, 'ops', 0, n, 3 FROM dead_letter WHERE key = '%s'",
            key);
    struct runner *r = runner_start(&cart_group, "one");
    runner_expect(&s, "SELECT count(*) FROM parked_action WHERE done_ms IS NOT NULL", 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'unreadable-envelope'"
                               " AND state = 'parked'"),
                 1);
    runner_stop(r);
    bus_stop(&s);
}
