/* Schedules: what may be written, and when it is due, above all where clocks change. */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "bus/cron.h"

enum { HOUR_MS = 3600000 };

static struct arena *arena;

static void start(void)
{
    arena = arena_new(1 << 20);
}
static void stop(void)
{
    arena = arena_free(arena);
}
TestSuite(cron, .init = start, .fini = stop);

static int64_t ms(const char *text)
{
    int64_t ret;
    cr_assert_not(failed(clock_parse(str_of(text), &ret)), "%s", text);
    return ret;
}

/* America/Santiago, 2026: clocks go back on Saturday 4 April at 24:00 (03:00 UTC), forward on Saturday 5
 * September at 24:00 (04:00 UTC). */
static const struct zone_span santiago_spans[] = {
    {INT64_C(1757217600000), -3 * HOUR_MS}, /* 2025-09-07T04:00Z */
    {INT64_C(1775358000000), -4 * HOUR_MS}, /* 2026-04-05T03:00Z */
    {INT64_C(1788667200000), -3 * HOUR_MS}, /* 2026-09-06T04:00Z */
};
static const struct zone santiago = {santiago_spans, 3};
static const struct zone utc = {(const struct zone_span[]){{0, 0}}, 1};

static struct cron cron(const char *text)
{
    struct cron ret;
    cr_assert_not(failed(cron_parse(str_of(text), &ret)), "%s: %s", text, err_text(OK));
    return ret;
}

/* The next slots after a time, one behind the other, as texts. */
static void expect(const char *text, const struct zone *zone, const char *after, const char *const *slots)
{
    struct cron c = cron(text);
    int64_t at = ms(after);
    for (; *slots; slots++) {
        at = cron_next(&c, zone, at);
        cr_assert(str_is(clock_text(at, arena), *slots), "%s: %s, not %s", text, clock_text(at, arena).p,
                  *slots);
    }
}
#define EXPECT(text, zone, after, ...) expect(text, zone, after, (const char *const[]){__VA_ARGS__, NULL})

Test(cron, the_usual_ones)
{
    EXPECT("*/15 * * * *", &utc, "2026-11-25T10:07:00Z", "2026-11-25T10:15:00.000Z",
           "2026-11-25T10:30:00.000Z");
    EXPECT("0 2 * * *", &utc, "2026-11-25T02:00:00Z", "2026-11-26T02:00:00.000Z");
    EXPECT("0 */4 * * *", &utc, "2026-11-25T10:07:00Z", "2026-11-25T12:00:00.000Z",
           "2026-11-25T16:00:00.000Z");
    EXPECT("30 4 1,15 * FRI", &utc, "2026-11-25T10:07:00Z", "2026-11-27T04:30:00.000Z",
           "2026-12-01T04:30:00.000Z");
    EXPECT("0 3 * * SUN#1", &utc, "2026-11-25T00:00:00Z", "2026-12-06T03:00:00.000Z",
           "2027-01-03T03:00:00.000Z");
    EXPECT("0 0 29 2 *", &utc, "2026-11-25T00:00:00Z", "2028-02-29T00:00:00.000Z",
           "2032-02-29T00:00:00.000Z");
    EXPECT("10-50/20 9-10 * dec mon-tue", &utc, "2026-12-01T10:45:00Z", "2026-12-01T10:50:00.000Z",
           "2026-12-07T09:10:00.000Z");
    EXPECT("0 0 * * 7", &utc, "2026-11-25T00:00:00Z", "2026-11-29T00:00:00.000Z");
    EXPECT("@monthly", &utc, "2026-11-25T00:00:00Z", "2026-12-01T00:00:00.000Z");
}

Test(cron, what_never_comes_is_said_so)
{
    struct cron c = cron("0 0 30 2 *");
    cr_assert_eq(cron_next(&c, &utc, ms("2026-11-25T00:00:00Z")), INT64_MAX);
}

Test(cron, local_time_is_the_zones)
{
    EXPECT("0 2 * * *", &santiago, "2026-01-10T00:00:00Z", "2026-01-10T05:00:00.000Z");
    EXPECT("0 2 * * *", &santiago, "2026-06-10T00:00:00Z", "2026-06-10T06:00:00.000Z");
}

Test(cron, a_named_hour_that_comes_twice_is_run_once)
{
    /* 23:30 on 4 April is shown at 02:30Z and again at 03:30Z. */
    EXPECT("30 23 * * *", &santiago, "2026-04-04T12:00:00Z", "2026-04-05T02:30:00.000Z",
           "2026-04-06T03:30:00.000Z");
}

Test(cron, a_named_time_in_the_gap_is_run_right_after_it)
{
    /* 00:30 on 6 September is never shown. */
    EXPECT("30 0 * * *", &santiago, "2026-09-05T12:00:00Z", "2026-09-06T04:00:00.000Z",
           "2026-09-07T03:30:00.000Z");
    EXPECT("0,30 0 * * SUN", &santiago, "2026-09-05T12:00:00Z", "2026-09-06T04:00:00.000Z",
           "2026-09-13T03:00:00.000Z");
}

Test(cron, every_hour_follows_real_time)
{
    EXPECT("0 * * * *", &santiago, "2026-04-05T01:30:00Z", "2026-04-05T02:00:00.000Z",
           "2026-04-05T03:00:00.000Z", "2026-04-05T04:00:00.000Z");
    EXPECT("30 * * * *", &santiago, "2026-09-06T03:00:00Z", "2026-09-06T03:30:00.000Z",
           "2026-09-06T04:30:00.000Z");
}

Test(cron, no_slot_is_skipped_or_doubled_over_a_year)
{
    struct cron hourly = cron("0 * * * *"), daily = cron("30 0 * * *");
    int64_t at = ms("2025-12-31T23:59:00Z"), end = ms("2026-12-31T23:59:00Z");
    for (int64_t next; at < end; at = next) {
        next = cron_next(&hourly, &santiago, at);
        cr_assert(next - at <= HOUR_MS, "after %s", clock_text(at, arena).p);
    }
    int days = 0;
    for (at = ms("2026-01-01T03:00:00Z");
         (at = cron_next(&daily, &santiago, at)) < ms("2027-01-01T03:00:00Z");)
        days++;
    cr_assert_eq(days, 365);
}

Test(cron, the_last_one_before_now_is_found_and_counted)
{
    struct cron minutes = cron("* * * * *"), yearly = cron("@yearly");
    int64_t n;
    int64_t from = ms("2026-01-01T00:00:00Z"), now = ms("2026-01-01T00:05:30Z");
    cr_assert_eq(cron_last(&minutes, &utc, from, now, &n), ms("2026-01-01T00:05:00Z"));
    cr_assert_eq(n, 5);
    cr_assert_eq(cron_last(&minutes, &utc, from, ms("2026-03-01T10:00:10Z"), &n), ms("2026-03-01T10:00:00Z"));
    cr_assert_eq(n, CRON_COUNT);
    cr_assert_eq(cron_last(&yearly, &utc, from, now, &n), INT64_MIN);
    cr_assert_eq(n, 0);
}

Test(cron, nonsense_is_refused)
{
    static const char *const wrong[] = {"",
                                        "* * * *",
                                        "* * * * * *",
                                        "60 * * * *",
                                        "* 24 * * *",
                                        "* * 0 * *",
                                        "* * * 13 *",
                                        "* * * * 8",
                                        "5-1 * * * *",
                                        "*/0 * * * *",
                                        "*/ * * * *",
                                        "1,,2 * * * *",
                                        "* * * * SUN#6",
                                        "* * * * *#1",
                                        "* * * * MON-FRI#1",
                                        "a * * * *",
                                        "* * 1#1 * *",
                                        "-1 * * * *",
                                        "1- * * * *",
                                        "@often",
                                        "* * * FOO *",
                                        "*/61 * * * *",
                                        ", * * * *"};
    struct cron c;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(cron_parse(str_of(wrong[i]), &c).code, ERR_INVALID, "%s", wrong[i]);
}
