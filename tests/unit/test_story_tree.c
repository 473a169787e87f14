/*
 * The tree of a story from rows that SQL wrote: what belongs to it, what stands under what, and where it
 * ends.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "bus/story.h"
#include "tests/support/bus.h"

static struct bus bus;

static void start(void)
{
    bus = bus_start(4);
}

static void stop(void)
{
    bus_stop(&bus);
}

TestSuite(story_tree, .init = start, .fini = stop, .timeout = 60);

/* Ids are a0000000-…-n: the tests say n. */
#define ID "a0000000-0000-7000-8000-%012d"

static struct str id(int n)
{
    return arena_printf(bus.arena, ID, n);
}

/* Event n of orders.01, caused by another message (0: by nothing). */
static void event(int n, int cause, const char *key, const char *correlation)
{
    bus_sql(&bus,
            "INSERT INTO event_log (topic, part, seq, ms, id, type, partitionkey, correlationid, causationid)"
            " VALUES ('orders', 1, %d, %d, '" ID "', 't%d', '%s', '%s', '%s')",
            n, 1000 + n, n, n, key, correlation, cause ? id(cause).p : "");
}

static struct story story_of(struct str what, unsigned by, const char *topics_of, int limit)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    struct pg_param params[STORY_PARAMS];
    story_params(what, by, str_of(topics_of), limit, params);
    bus_must(pg_call(bus.pg, &story_select, STORY_PARAMS, params, &rows));
    return story_build(rows, what, limit, bus.arena);
}

/* "t1 .t2 ..t3 ": types in order, a dot per level. */
static const char *shape_of(const struct story *story)
{
    struct buf b = buf_new(bus.arena, 256);
    for (size_t i = 0; i < story->n; i++) {
        for (int d = 0; d < story->nodes[i]->depth; d++)
            buf_char(&b, '.');
        buf_printf(&b, "%.*s ", STR_ARG(story->nodes[i]->type));
    }
    return buf_view(&b).p;
}

static void expect_shape(struct str what, unsigned by, const char *shape)
{
    struct story story = story_of(what, by, NULL, 100);
    cr_expect_str_eq(shape_of(&story), shape);
}

Test(story_tree, effects_stand_under_their_causes_in_the_order_of_time)
{
    bus_sql(&bus,
            "INSERT INTO command (id, status, type, topic, part, created_ms) VALUES ('" ID
            "', 'succeeded', 'c', "
            "'orders', 1, 1000)",
            9);
    event(1, 9, "k", id(9).p);
    event(2, 1, "k", id(9).p);
    event(3, 9, "k", id(9).p);
    event(4, 2, "other", id(9).p);
    event(5, 3, "k", id(9).p);
    event(6, 77, "k", id(9).p); /* its cause is not known any more */
    event(7, 0, "k", "another");
    const char *whole = "c .t1 ..t2 ...t4 .t3 ..t5 t6 ";
    expect_shape(id(9), STORY_BY_COMMAND, whole);
    expect_shape(id(4), STORY_BY_EVENT, whole);
    expect_shape(id(9), STORY_BY_CORRELATION, whole);
    expect_shape(STR("other"), STORY_BY_KEY, whole);
    expect_shape(STR("k"), STORY_BY_ANY, "c .t1 ..t2 ...t4 .t3 ..t5 t6 t7 ");
    expect_shape(STR("nobody"), STORY_BY_ANY, "");
    struct story none = story_of(STR("other"), STORY_BY_KEY, "carts,stock", 100);
    cr_expect_eq(none.n, 0, "a key counts in its own topics only");
}

Test(story_tree, causes_in_a_ring_come_to_an_end)
{
    event(1, 3, "k", "c");
    event(2, 1, "k", "c");
    event(3, 2, "k", "c");
    event(4, 4, "k", "c");
    struct story story = story_of(STR("c"), STORY_BY_CORRELATION, NULL, 100);
    cr_expect_eq(story.n, 4, "%s", shape_of(&story));
    cr_expect_eq(story.nodes[0]->depth, 0);
}

Test(story_tree, jobs_timers_and_parked_messages_are_part_of_it)
{
    event(1, 0, "k", "c");
    bus_sql(&bus,
            "INSERT INTO job (id, kind, key, payload, state, correlationid, causationid) VALUES ('" ID
            "', 'pay', 'k', "
            "'secret', 'done', 'c', '" ID "')",
            50, 1);
    event(2, 50, "k", "c");
    bus_sql(&bus,
            "INSERT INTO job (id, kind, key, payload, correlationid, causationid) VALUES ('" ID
            "', 'wait', 'k', 'secret', 'c', '" ID "')",
            51, 2);
    bus_sql(&bus,
            "INSERT INTO timer (grp, name, key, due_ms, topic, part, type, data, correlationid, causationid)"
            " VALUES ('orders', 'late', 'k', 9000, 'orders', 1, 'alarm', 'secret', 'c', '" ID "')",
            2);
    bus_sql(&bus, "INSERT INTO dead_letter (grp, topic, key, lane, seq, type, reason, parked_ms)"
                  " VALUES ('reports', 'orders', 'k', 'event', 1, 'stuck', 'poison', 8000),"
                  " ('reports', 'orders', 'k', 'event', 99, 'later', 'follows', 8001)");
    expect_shape(STR("c"), STORY_BY_CORRELATION, "t1 .pay ..t2 ...wait ...alarm .stuck later ");
}

Test(story_tree, is_bounded_and_says_so)
{
    for (int n = 1; n <= 30; n++)
        event(n, n - 1, "k", "c");
    struct story story = story_of(STR("c"), STORY_BY_CORRELATION, NULL, 10);
    cr_expect_eq(story.n, 10);
    cr_expect(story.truncated);
    cr_expect_eq(story.nodes[9]->depth, 9);
    story = story_of(STR("c"), STORY_BY_CORRELATION, NULL, 30);
    cr_expect(!story.truncated);
}

Test(story_tree, of_a_key_with_a_long_life_tells_the_newest)
{
    for (int n = 1; n <= 60; n++)
        event(n, 0, "k", arena_printf(bus.arena, "c%d", n).p);
    bus_sql(&bus, "INSERT INTO event_log (topic, part, seq, ms, id, type, partitionkey, correlationid)"
                  " SELECT 'stock', 1, n, 2000, gen_random_uuid(), 'far' || n, 'other', 'c' || n"
                  " FROM generate_series(1, 60) n");
    struct story story = story_of(STR("k"), STORY_BY_KEY, NULL, 1000);
    size_t far = 0;
    for (size_t i = 0; i < story.n; i++)
        far += str_starts(story.nodes[i]->type, STR("far"));
    cr_expect_eq(far, STORY_CORRELATIONS, "what followed from its newest commands");
    cr_expect_eq(story.n, 60 + STORY_CORRELATIONS, "its own events all the same");
}

Test(story_tree, says_which_group_has_passed_an_event)
{
    event(1, 0, "k", "c");
    event(2, 0, "k", "c");
    bus_sql(&bus, "INSERT INTO consumer_offset (grp, topic, part, seq) VALUES ('orders', 'orders', 1, 2),"
                  " ('reports', 'orders', 1, 1), ('cart', 'carts', 1, 0)");
    struct story story = story_of(STR("c"), STORY_BY_CORRELATION, NULL, 10);
    struct buf b = buf_new(bus.arena, 1024);
    struct json j = json_on(&b);
    story_json(&j, &story);
    cr_expect(strstr(b.p, "\"passed_by\":[\"orders\",\"reports\"],\"awaited_by\":[]"), "%s", b.p);
    cr_expect(strstr(b.p, "\"passed_by\":[\"orders\"],\"awaited_by\":[\"reports\"]"), "%s", b.p);
}

Test(story_tree, takes_any_text_for_an_id)
{
    event(1, 0, "k", "c");
    static const char *const odd[] = {"", "'", "%", "a0000000-0000-7000-8000-00000000000", "\xc3\xa9", "{}"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        expect_shape(str_of(odd[i]), STORY_BY_ANY, "");
}
