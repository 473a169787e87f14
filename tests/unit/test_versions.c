/* Majors: what is lifted and lowered, what a build that is too old does, what EMIT_PINNED does. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "bus/message.h"
#include "tests/support/runner.h"

extern const struct group reports_group;

static struct arena *arena;

static void start(void)
{
    arena = arena_new(64 << 20);
}

static void stop(void)
{
    bus_must(message_pin(STR_NONE));
    arena = arena_free(arena);
}

TestSuite(versions, .init = start, .fini = stop, .timeout = 60);

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

static const struct order_placed_v2 *lifted(const struct order_placed *e)
{
    enum message type;
    const void *data;
    bus_must(message_decode(ORDER_PLACED, codec_encode(&shape_order_placed, e, arena), arena, &type, &data));
    cr_assert_eq(type, ORDER_PLACED_V2);
    return data;
}

Test(versions, an_old_major_is_lifted_and_its_taxes_add_up)
{
    struct order_placed old = placed(arena);
    const struct order_placed_v2 *e = lifted(&old);
    int64_t tax = 0;
    cr_assert_eq(e->lines_n, LINES);
    for (size_t i = 0; i < e->lines_n; i++) {
        cr_expect(e->lines[i].tax_amount >= 0 && str_is(e->lines[i].currency, "CLP"));
        tax += e->lines[i].tax_amount;
    }
    cr_expect_eq(tax, old.tax_amount);
    cr_expect_eq(e->totals.total_amount, old.total_amount);
    cr_expect(str_is(e->totals.currency, "CLP") && uuid_eq(e->order_id, old.order_id));
}

/* The extremes of the schema: 200 lines of the largest amount, and an order of nothing. */
Test(versions, lifting_takes_whatever_the_schema_allows)
{
    struct order_placed old = placed(arena);
    struct order_placed_lines *lines = arena_array(arena, struct order_placed_lines, 200);
    for (int i = 0; i < 200; i++) {
        lines[i] = old.lines[0];
        lines[i].line_total = INT64_C(1000000000000000);
    }
    old.lines = lines;
    old.lines_n = 200;
    old.tax_amount = INT64_C(999999999999999);
    const struct order_placed_v2 *e = lifted(&old);
    int64_t tax = 0;
    for (size_t i = 0; i < e->lines_n; i++)
        tax += e->lines[i].tax_amount;
    cr_expect_eq(tax, old.tax_amount);
    for (int i = 0; i < 200; i++)
        lines[i].line_total = 0;
    old.tax_amount = 0;
    cr_expect_eq(lifted(&old)->lines[199].tax_amount, 0);
}

Test(versions, a_pinned_type_is_written_in_its_old_major)
{
    struct order_placed old = placed(arena);
    const struct order_placed_v2 *e = lifted(&old);
    enum message type;
    message_encode(ORDER_PLACED_V2, e, arena, &type);
    cr_expect_eq(type, ORDER_PLACED_V2);
    bus_must(message_pin(STR("cart.cleared.v1, order.placed.v1")));
    struct str text = message_encode(ORDER_PLACED_V2, e, arena, &type);
    cr_expect_eq(type, ORDER_PLACED);
    struct order_placed again;
    bus_must(codec_decode(&shape_order_placed, CODEC_BUS, text, NULL, 0, arena, &again, NULL));
    cr_expect_eq(again.total_amount, old.total_amount);
    cr_expect_eq(again.lines_n, LINES);
    cr_expect_eq(message_pin(STR("order.placed.v7")).code, ERR_CONFIG);
}

/* ---- samples of every released version ---- */

/* Decodes a sample as the consumers do; what it is lifted to must be writable and readable again. */
static void read_sample(const char *path, enum message m, struct str sample)
{
    enum message newest, written;
    const void *data, *again;
    err e = message_decode(m, sample, arena, &newest, &data);
    cr_assert(!failed(e), "%s: %s", path, err_text(e));
    cr_expect_eq(message_types[newest].next, MESSAGE_NONE);
    struct str text = message_encode(newest, data, arena, &written);
    e = message_decode(written, text, arena, &newest, &again);
    cr_assert(!failed(e), "%s, written again: %s", path, err_text(e));
}

static struct str file_text(const char *path, struct arena *in)
{
    struct buf b = buf_new(in, 4096);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0, "%s", path);
    for (ssize_t n; (n = read(fd, buf_room(&b, 4096), 4096)) > 0;)
        buf_took(&b, (size_t)n);
    close(fd);
    return buf_view(&b);
}

/* dataschema, lean, full: in that order, as schemas release writes them. */
static void read_fixture(const char *path)
{
    struct json_in in;
    struct str text = file_text(path, arena), name, id = STR_NONE, value;
    bool first = true, more;
    int samples = 0;
    in = json_in(text, arena);
    bus_must(json_enter(&in, JSON_OBJECT));
    for (;;) {
        bus_must(json_next(&in, &first, &more, &name));
        if (!more)
            break;
        if (str_is(name, "dataschema")) {
            bus_must(json_read_string(&in, &id));
            continue;
        }
        bus_must(json_skip(&in, &value));
        size_t slash = str_find(id, '/'), dot = str_find(str_slice(id, slash, id.n), '.') + slash;
        enum message m = message_find(arena_printf(arena, "%.*s.v%.*s", STR_ARG(str_slice(id, 0, slash)),
                                                   STR_ARG(str_slice(id, slash + 1, dot))));
        cr_assert(m != MESSAGE_NONE, "%s", path);
        read_sample(path, m, value);
        samples++;
    }
    cr_assert_eq(samples, 2, "%s", path);
}

Test(versions, this_build_reads_every_version_that_was_ever_released)
{
    glob_t found;
    cr_assert_eq(glob(DAYDREAM_SOURCE_DIR "/schemas/fixtures/*.json", 0, NULL, &found), 0);
    cr_assert(found.gl_pathc >= MESSAGE_COUNT - 1);
    for (size_t i = 0; i < found.gl_pathc; i++)
        read_fixture(found.gl_pathv[i]);
    globfree(&found);
}

/* The bench of a long history, short. */
Test(versions, a_history_of_mixed_majors_keeps_its_sums)
{
    cr_expect_eq(system(DAYDREAM_BIN_DIR "/decode_history 20000 >/dev/null"), 0);
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

Test(versions, a_handler_of_v2_handles_what_v1_says)
{
    struct bus s = runner_bus(1);
    tell(&s, placed_event(&s));
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s, "SELECT count(*) FROM report_line WHERE currency = 'CLP'", LINES);
    runner_stop(r);
    bus_stop(&s);
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

/* order.placed.v3 of a build that is not there yet: the member keeps its offset before it, gives its
 * partitions back and its name out of the list of members. */
Test(versions, a_member_stands_down_before_what_a_newer_build_reads)
{
    struct bus s = runner_bus(1);
    bus_sql(&s,
            "INSERT INTO message_registry VALUES ('order.placed.v3', ''), ('order.placed.v3', 'reports')");
    tell_unknown(&s, "order.placed.v3");
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s,
                  "SELECT count(*) FROM consumer_offset WHERE epoch > 0 AND owner IS NULL"
                  " AND topic = 'orders'",
                  1);
    cr_expect(offset(&s) <= 1);
    runner_expect(&s, "SELECT count(*) FROM member", 0);
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

Test(versions, every_build_tells_what_it_reads)
{
    struct bus s = runner_bus(1);
    struct runner *r = runner_start(&reports_group, "one");
    runner_expect(&s,
                  "SELECT count(*) FROM message_registry WHERE grp = 'reports'"
                  " AND type IN ('order.placed.v1', 'order.placed.v2')",
                  2);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM message_registry WHERE grp = ''"), MESSAGE_COUNT - 1);
    runner_stop(r);
    bus_stop(&s);
}
