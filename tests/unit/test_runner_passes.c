/*
 * How often a batch is decided, and what that costs: whoever sends a batch full of messages that miss a fact,
 * or that cannot be handled, must not make the group load it once for each of them. The group is the test's
 * own; what an add-item does is told by its quantity.
 */
#include <criterion/criterion.h>
#include <stdatomic.h>

#include "bus/base/clock.h"
#include "consumers/group.h"
#include "tests/support/runner.h"

enum { MESSAGES = 200, ROUNDS = 2 /* of a load: nothing is wanted in the second */ };

enum { GOOD = 1, MISSING, MISSING_LATE, BAD, BAD_LATE }; /* late: when it has changed something */

static atomic_int wants;   /* calls of the load function */
static atomic_size_t most; /* that the batch's memory held when a handler was called */

struct product_row {
    struct row row;
    struct uuid product_id;
    bool is_active;
};

static const struct table product_rows = {
    .name = "cart_product",
    .size = sizeof(struct product_row),
    .keys = 1,
    .columns = {COLUMN(UUID, product_row, product_id), COLUMN(BOOL, product_row, is_active)},
};

static void want_product(struct batch *b, const struct cart_add_item *c)
{
    atomic_fetch_add(&wants, 1);
    want(b, &product_rows, "product_id", VALUE_UUID(c->product_id));
}

static void weigh(struct batch *b)
{
    size_t used = arena_used(batch_arena(b));
    if (used > atomic_load(&most))
        atomic_store(&most, used);
}

static void make_product(struct batch *b, struct uuid id)
{
    struct product_row *row = row_new(b, &product_rows);
    row->product_id = id;
    row_save(b, row);
}

static enum answer add(struct batch *b, const struct cart_add_item *c)
{
    bool known = row_find(b, &product_rows, "product_id", VALUE_UUID(c->product_id));
    weigh(b);
    if (c->quantity == BAD)
        return ANSWER_POISON;
    if (c->quantity == MISSING && !known && !batch_message(b)->final)
        return not_yet(b, TOPIC_CATALOG, batch_message(b)->key);
    if (c->quantity == MISSING && !known)
        return reject(b, ERR_NOT_FOUND, "There is no such product.");
    emit_cart_item_added(b, batch_message(b)->key, &(struct cart_item_added){.product_id = c->product_id});
    if (c->quantity == MISSING_LATE && !batch_message(b)->final)
        return not_yet(b, TOPIC_CATALOG, batch_message(b)->key);
    make_product(b, c->product_id);
    return c->quantity == BAD_LATE ? ANSWER_POISON : succeed(b, 201, STR("{}"));
}

static enum answer see_product(struct batch *b, const struct product_created *e)
{
    (void)b;
    (void)e;
    return ANSWER_DONE;
}

static const struct table *const tables[] = {&product_rows, NULL};
static const struct group adding_group = {
    .name = "cart",
    .effects = EFFECTS_INTERNAL,
    .tables = tables,
    .on = {.cart_add_item = {want_product, add}, .product_created = {NULL, see_product}}};

/* Each of another customer, and about another product. */
static void publish(struct bus *s, int64_t what, int n)
{
    for (int i = 0; i < n; i++)
        runner_publish(s, runner_add_item(s, uuid_v7(clock_ms()), uuid_v7(clock_ms()), what));
}

/* How often all of the messages were loaded, on average. */
static int passes(void)
{
    return (atomic_load(&wants) + ROUNDS * MESSAGES - 1) / (ROUNDS * MESSAGES);
}

Test(passes, messages_that_miss_a_fact_cost_one_more_load_together)
{
    struct bus s = runner_bus(1);
    publish(&s, MISSING, MESSAGES);
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'rejected' AND http_status = 404",
                  MESSAGES);
    cr_expect_leq(passes(), 3, "%d", passes());
    cr_expect_lt(atomic_load(&most), (size_t)MESSAGES << 10, "%zu", atomic_load(&most));
    runner_stop(r);
    bus_stop(&s);
}

Test(passes, messages_that_cannot_be_handled_cost_no_load)
{
    struct bus s = runner_bus(1);
    publish(&s, BAD, MESSAGES - 1);
    publish(&s, GOOD, 1);
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", MESSAGES - 1);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'poison'"), MESSAGES - 1);
    cr_expect_leq(passes(), 1, "%d", passes());
    runner_stop(r);
    bus_stop(&s);
}

/* What follows of its key waits behind it, also in the same batch. */
Test(passes, nothing_overtakes_a_message_that_cannot_be_handled)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms());
    int64_t story[] = {GOOD, BAD, GOOD, MISSING, GOOD};
    for (size_t i = 0; i < sizeof(story) / sizeof(*story); i++)
        runner_publish(&s, runner_add_item(&s, user, uuid_v7(clock_ms()), story[i]));
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 4);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE reason = 'behind-parked'"), 3);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM event_log"), 1);
    runner_stop(r);
    bus_stop(&s);
}

/* Nothing of what it had changed and emitted before it gave up is written. */
Test(passes, who_gives_up_in_the_middle_has_done_nothing)
{
    struct bus s = runner_bus(1);
    publish(&s, GOOD, 2);
    publish(&s, BAD_LATE, 2);
    publish(&s, GOOD, 2);
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 4);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM event_log"), 4);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM cart_product"), 4);
    runner_stop(r);
    bus_stop(&s);
}

Test(passes, who_misses_a_fact_in_the_middle_begins_anew)
{
    struct bus s = runner_bus(1);
    publish(&s, MISSING_LATE, 3);
    publish(&s, GOOD, 1);
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 4);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM event_log"), 4);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM cart_product"), 4);
    runner_stop(r);
    bus_stop(&s);
}

/* A product that the group has not heard of yet: until it has, facts of the catalogue may be on their way. */
static void announce(struct bus *s)
{
    struct event event = runner_created(s, uuid_v7(clock_ms()));
    eventlog_queue(s->pg, &event, 1, s->arena);
    pg_sync(s->pg, NULL, NULL);
    bus_must(pg_wait(s->pg, 5000));
}

/* The batch is cut before it: what it did belongs to the next one. */
Test(passes, who_waits_in_the_middle_has_done_nothing_yet)
{
    struct bus s = runner_bus(1);
    publish(&s, GOOD, 1);
    publish(&s, MISSING_LATE, 1);
    announce(&s);
    struct runner *r = runner_start(&adding_group, "one");
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM event_log WHERE topic = 'carts'"), 2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM cart_product"), 2);
    runner_stop(r);
    bus_stop(&s);
}

/* Halves, as often as needed, and not one by one. Behind one that waits, the halves after it wait too. */
Test(passes, what_does_not_fit_into_one_batch_is_handled_in_several)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), product = uuid_v7(clock_ms());
    publish(&s, GOOD, 5);
    runner_publish(&s, runner_add_item(&s, user, product, MISSING_LATE));
    publish(&s, GOOD, 50);
    runner_publish(&s, runner_add_item(&s, user, uuid_v7(clock_ms()), GOOD));
    publish(&s, GOOD, MESSAGES - 57);
    announce(&s);
    struct runner *r = runner_start_tight(&adding_group, "one", (size_t)48 << 10);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", MESSAGES);
    int64_t flushes = bus_query(&s, "SELECT flush FROM consumer_offset WHERE grp = 'cart'"
                                    " AND topic = 'carts'");
    cr_expect(flushes > 4 && flushes < MESSAGES / 4, "%lld", (long long)flushes);
    cr_expect_eq(bus_query(&s,
                           "SELECT (data::json->>'product_id' = '%s')::int FROM event_log"
                           " WHERE partitionkey = '%s' ORDER BY seq LIMIT 1",
                           uuid_str(product, s.arena).p, uuid_str(user, s.arena).p),
                 1);
    runner_stop(r);
    bus_stop(&s);
}
