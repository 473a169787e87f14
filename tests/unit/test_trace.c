/* Trace context as W3C has it, and a ring that drops what does not fit and never waits. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "bus/base/metrics.h"
#include "bus/trace_ring.h"

static struct arena *arena;

static void begin(void)
{
    arena = arena_new(1 << 20);
    trace_ring_new();
    trace_ratio_set(1);
    trace_on = true;
}

static void end(void)
{
    arena_free(arena);
}

TestSuite(trace, .init = begin, .fini = end, .timeout = 60);

static const char sampled[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

Test(trace, a_span_is_below_what_the_text_names)
{
    struct trace trace, below;

    cr_assert(trace_follow(STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &trace));
    cr_expect_eq(trace.parent[0], 0xb7);
    struct str text = trace_text(&trace, arena);
    cr_expect_eq(text.n, (size_t)TRACEPARENT);
    cr_expect_eq(memcmp(text.p, sampled, 36), 0, "the trace stays");
    cr_assert(trace_follow(text, &below));
    cr_expect_eq(memcmp(below.parent, trace.span, 8), 0);
}

Test(trace, what_is_no_traceparent_is_not_followed)
{
    static const char *const texts[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", /* well-formed, not sampled */
    };
    struct trace trace;

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        cr_expect_not(trace_follow(str_of(texts[i]), &trace), "%s", texts[i]);
        cr_expect_not(trace.sampled);
    }
    cr_expect_not(trace_follow(STR_NONE, &trace));
    trace_on = false;
    cr_expect_not(trace_follow(str_of(sampled), &trace));
}

Test(trace, the_door_decides_by_the_id)
{
    struct trace trace;
    int kept = 0;

    trace_ratio_set(0);
    for (int i = 0; i < 100; i++) {
        trace_begin(STR_NONE, &trace);
        cr_expect_not(trace.sampled);
    }
    trace_begin(str_of(sampled), &trace);
    cr_expect(trace.sampled, "the client's flag is followed");
    trace_ratio_set(0.25);
    for (int i = 0; i < 10000; i++) {
        trace_begin(STR("nonsense"), &trace);
        kept += trace.sampled;
    }
    cr_expect(kept > 2000 && kept < 3000, "%d of 10000", kept);
    trace_ratio_set(1);
    trace_begin(STR_NONE, &trace);
    cr_expect(trace.sampled);
}

Test(trace, a_full_ring_drops_and_counts)
{
    struct trace trace;
    struct span *span;

    for (int round = 0; round < 3; round++) {
        trace_begin(STR_NONE, &trace);
        for (int i = 0; i < TRACE_RING + 10; i++) {
            span = span_open(&trace, SPAN_INTERNAL, STR("work"), 2, 1);
            span_int(span, "i", i);
            span_close(span);
        }
        cr_expect_eq(counter_get(COUNTER_SPANS_FULL), 10 * (round + 1));
        for (int i = 0; i < TRACE_RING; i++) {
            const struct span *first = trace_ring_first();
            cr_assert_not_null(first);
            cr_assert_eq(first->attributes[0].number, i);
            cr_assert_eq(first->end_ns, 2, "an end before its start is the start");
            trace_ring_drop();
        }
        cr_assert_null(trace_ring_first());
    }
}

Test(trace, a_span_has_room_and_no_more)
{
    static char big[2000];
    struct trace trace;

    memset(big, 'x', sizeof(big));
    trace_begin(STR_NONE, &trace);
    struct span *span = span_open(&trace, SPAN_SERVER, (struct str){big, sizeof(big)}, 1, 2);
    for (int i = 0; i < SPAN_ATTRIBUTES + 3; i++)
        span_str(span, "key", STR("value"));
    for (int i = 0; i < SPAN_LINKS + 5; i++)
        span_link(span, &trace);
    span_close(span);
    const struct span *kept = trace_ring_first();
    cr_assert_not_null(kept);
    cr_expect_eq(kept->name_n, SPAN_TEXT);
    cr_expect_eq(kept->attributes_dropped, 3);
    cr_expect_eq(kept->links_dropped, 5);
}

enum { WRITERS = 4, EACH = 20000 };

static void *write_spans(void *unused)
{
    struct trace trace;
    (void)unused;
    trace_begin(STR_NONE, &trace);
    for (int i = 0; i < EACH; i++) {
        struct span *span = span_open(&trace, SPAN_INTERNAL, STR("work"), 1, 2);
        span_int(span, "i", i);
        span_close(span);
    }
    return NULL;
}

Test(trace, every_span_of_many_threads_is_read_once_or_counted)
{
    pthread_t threads[WRITERS];
    int64_t read = 0;

    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_spans, NULL);
    while (read + counter_get(COUNTER_SPANS_FULL) < WRITERS * EACH) {
        const struct span *span = trace_ring_first();
        if (!span)
            continue;
        cr_assert_eq(span->name_n, 4);
        cr_assert_eq(span->attributes_n, 1);
        trace_ring_drop();
        read++;
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_null(trace_ring_first());
}
