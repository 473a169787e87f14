/* Two builds side by side: what a build that is too old does. */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/message.h"
#include "tests/support/runner.h"

extern const struct group reports_group;

TestSuite(versions, .timeout = 60);

enum { LINES = 3 };

static struct order_placed placed(struct arena *in)
{
    static const int64_t totals[LINES] = {1000, 2000, 3333};
    struct order_placed_lines *lines = arena_array(in, struct order_placed_lines, LINES);
    for (int i = 0; i < LINES; i++)
        lines[i] = (struct order_placed_lines){.product_id = uuid_v7(clock_ms()),
                                               .sku = STR("H-1"),
                                               .name = STR("hat"),
                                               .unit_price = totals[i],
                                               .quantity = 1,
                                               .line_total = totals[i],
                                               .product_version = 1};
    return (struct order_placed){.order_id = uuid_v7(clock_ms()),
                                 .user_id = uuid_v7(clock_ms()),
                                 .order_number = STR("O-1"),
                                 .lines = lines,
                                 .lines_n = LINES,
                                 .subtotal = 6333,
                                 .tax_amount = 1012,
                                 .total_amount = 6333,
                                 .currency = STR("CLP"),
                                 .payment_method = STR("test")};
}

/* ---- in the runner ---- */

static void tell(struct bus *bus, struct event event)
{
    eventlog_queue(bus->pg, &event, 1, bus->arena);
    pg_sync(bus->pg, NULL, NULL);
    bus_must(pg_wait(bus->pg, 30000));
}

static struct event placed_event(struct bus *bus)
{
    struct order_placed e = placed(bus->arena);
    return event_new(&message_types[ORDER_PLACED], STR("test"), uuid_str(e.order_id, bus->arena),
                     codec_encode(&shape_order_placed, &e, bus->arena), bus->arena);
}

/* An event between two that are read: of a type that this build does not know. */
static void tell_unknown(struct bus *s, const char *type)
{
    struct event event = placed_event(s);
    event.envelope.type = str_of(type);
    tell(s, placed_event(s));
    tell(s, event);
    tell(s, placed_event(s));
}

static int64_t offset(struct bus *s)
{
    return bus_query(s, "SELECT seq FROM consumer_offset WHERE grp = 'reports' AND topic = 'orders'");
}

/* order.placed.v2 of a build that is not there yet: the member keeps its offset before it, gives its
 * partitions back and its name out of the list of members. */
Test(versions, a_member_stands_down_before_what_a_newer_build_reads)
{
    struct bus s = runner_bus(1);
    bus_sql(&s,
            "INSERT INTO message_registry VALUES ('order.placed.v2', ''), ('order.placed.v2', 'reports')");
    tell_unknown(&s, "order.placed.v2");
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s,
                  "SELECT count(*) FROM consumer_offset WHERE epoch > 0 AND owner IS NULL"
                  " AND topic = 'orders'",
                  1);
    cr_expect(offset(&s) <= 1);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM member"), 0);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter"), 0);
    runner_stop(r);
    bus_stop(&s);
}

Test(versions, a_type_that_nobody_ever_told_of_is_not_passed_either)
{
    struct bus s = runner_bus(1);
    tell_unknown(&s, "order.gift-wrapped.v1");
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s,
                  "SELECT count(*) FROM consumer_offset WHERE epoch > 0 AND owner IS NULL"
                  " AND topic = 'orders'",
                  1);
    cr_expect(offset(&s) <= 1);
    runner_stop(r);
    bus_stop(&s);
}

/* A newer build said that reports does not read it. */
Test(versions, a_type_that_only_others_read_is_passed)
{
    struct bus s = runner_bus(1);
    bus_sql(&s, "INSERT INTO message_registry VALUES ('order.gift-wrapped.v1', ''),"
                " ('order.gift-wrapped.v1', 'inventory')");
    tell_unknown(&s, "order.gift-wrapped.v1");
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s, "SELECT count(*) FROM report_line", 2 * LINES);
    cr_expect_eq(offset(&s), 3);
    runner_stop(r);
    bus_stop(&s);
}
