/* Time: texts of instants against the system's calendar, parsing, the injected clock, backoff. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

#include "bus/base/clock.h"

static const char *text_of(int64_t ms)
{
    static char text[25];

    clock_print(ms, text);
    return text;
}

Test(clock, prints_rfc_3339)
{
    cr_assert_str_eq(text_of(0), "1970-01-01T00:00:00.000Z");
    cr_assert_str_eq(text_of(1795379400123), "2026-11-22T20:30:00.123Z");
    cr_assert_str_eq(text_of(951782400000), "2000-02-29T00:00:00.000Z");
    cr_assert_str_eq(text_of(-1), "1969-12-31T23:59:59.999Z");
    cr_assert_str_eq(text_of(INT64_MIN), "0000-01-01T00:00:00.000Z");
    cr_assert_str_eq(text_of(INT64_MAX), "9999-12-31T23:59:59.999Z");
}

Test(clock, agrees_with_the_calendar_of_the_system_and_reads_its_own_text)
{
    for (int64_t s = -62167219200; s <= 253402300799; s += 86400 * 17 + 3607) {
        time_t t = (time_t)s;
        struct tm tm;
        char expected[80];
        int64_t back;

        gmtime_r(&t, &tm);
        snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02d.007Z", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        cr_assert_str_eq(text_of(1000 * s + 7), expected);
        cr_assert_not(failed(clock_parse(str_of(expected), &back)));
        cr_assert_eq(back, 1000 * s + 7);
    }
}

Test(clock, parses_offsets_and_fractions)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"2026-11-22T20:30:00Z", 1795379400000},        {"2026-11-22t20:30:00z", 1795379400000},
        {"2026-11-22 20:30:00Z", 1795379400000},        {"2026-11-22T17:30:00-03:00", 1795379400000},
        {"2026-11-23T02:00:00.5+05:30", 1795379400500}, {"2026-11-22T20:30:00.1239999Z", 1795379400123},
        {"2016-12-31T23:59:60Z", 1483228800000},
    };
    int64_t ms;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        cr_assert_not(failed(clock_parse(str_of(rows[i].text), &ms)), "%s", rows[i].text);
        cr_assert_eq(ms, rows[i].ms, "%s", rows[i].text);
    }
}

Test(clock, refuses_what_is_no_instant)
{
    static const char *const bad[] = {"",
                                      "2026-11-22",
                                      "2026-11-22T20:30:00",
                                      "2026-11-22T20:30Z",
                                      "2026-13-22T20:30:00Z",
                                      "2026-00-22T20:30:00Z",
                                      "2026-02-29T20:30:00Z",
                                      "1900-02-29T20:30:00Z",
                                      "2026-04-31T20:30:00Z",
                                      "2026-11-22T24:00:00Z",
                                      "2026-11-22T20:60:00Z",
                                      "2026-11-22T20:30:61Z",
                                      "2026-11-22T20:30:00.Z",
                                      "2026-11-22T20:30:00+24:00",
                                      "2026-11-22T20:30:00+0300",
                                      "2026-11-22T20:30:00+03:00x",
                                      "2026-11-22T20:30:00ZZ",
                                      "26-11-22T20:30:00Z",
                                      " 2026-11-22T20:30:00Z",
                                      "-026-11-22T20:30:00Z"};
    int64_t ms;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(clock_parse(str_of(bad[i]), &ms).code, ERR_INVALID, "%s", bad[i]);
    cr_assert(failed(clock_parse(STR_NONE, &ms)));
    cr_assert(failed(clock_parse((struct str){"2026-11-22\00020:30:00Z", 20}, &ms)));
}

static int64_t noon(void)
{
    return 43200000;
}

Test(clock, can_be_replaced)
{
    cr_assert_gt(clock_ms(), INT64_C(1700000000000));
    clock_set(noon);
    cr_assert_eq(clock_ms(), 43200000);
    clock_set(NULL);
    cr_assert_gt(clock_ms(), INT64_C(1700000000000));
}

Test(clock, sleeps_at_least_that_long)
{
    int64_t before = clock_mono_ns();

    clock_sleep_ms(20);
    cr_assert_geq(clock_mono_ns() - before, 20000000);
}

Test(clock, backoff_is_spread_over_the_whole_range_and_capped)
{
    int64_t most = 0, least = INT64_MAX;

    for (int i = 0; i < 2000; i++) {
        int64_t ms = backoff_ms(3, 10, 1000);

        cr_assert(ms >= 0 && ms <= 80);
        most = ms > most ? ms : most;
        least = ms < least ? ms : least;
        cr_assert_leq(backoff_ms(1000, 10, 1000), 1000);
        cr_assert_leq(backoff_ms(61, INT64_MAX / 2, 50), 50);
    }
    cr_assert_eq(most, 80);
    cr_assert_eq(least, 0);
    cr_assert_eq(backoff_ms(5, 10, 0), 0);
}
