/* The clock, what it looks like as text, and waiting between attempts. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "bus/base/clock.h"
#include "bus/base/uuid.h"

enum { MS_PER_DAY = 86400000 };

static int64_t (*_Atomic replaced)(void);
static int64_t offset_ms; /* CLOCK_OFFSET_MS, read before main */

__attribute__((constructor)) static void read_offset(void)
{
    const char *text = getenv("CLOCK_OFFSET_MS");

    if (text && *text)
        assert(!failed(str_int64(str_of(text), &offset_ms)));
}

static int64_t read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_ms(void)
{
    int64_t (*fn)(void) = atomic_load_explicit(&replaced, memory_order_acquire);

    return fn ? fn() : read_ns(CLOCK_REALTIME) / 1000000 + offset_ms;
}

int64_t clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

void clock_set(int64_t (*fn)(void))
{
    atomic_store_explicit(&replaced, fn, memory_order_release);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap
 * day is the last day of a year and month lengths follow 153 days per five months. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2) + 400,
            m = (month + 9) % 12; /* 400 years more: year 0 may begin in year -1 */

    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468 - 146097;
}

/* The inverse, for years 0 to 9999. */
static void date_of(int64_t days, int *year, int *month, int *day)
{
    int64_t since = days + 719468; /* days since 0000-03-01; -60 and up */
    int64_t era = since < 0 ? -1 : since / 146097;
    int64_t in_era = since - era * 146097;
    int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;

    *day = (int)(in_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

static char *put_digits(char *to, int v, int n, char after)
{
    for (int i = n; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    to[n] = after;
    return to + n + 1;
}

void clock_print(int64_t ms, char ret[static 25])
{
    const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999);
    int64_t clamped = ms < first ? first : ms > last ? last : ms;
    int64_t days = clamped / MS_PER_DAY - (clamped % MS_PER_DAY < 0);
    int in_day = (int)(clamped - days * MS_PER_DAY), year, month, day;

    date_of(days, &year, &month, &day);
    ret = put_digits(ret, year, 4, '-');
    ret = put_digits(ret, month, 2, '-');
    ret = put_digits(ret, day, 2, 'T');
    ret = put_digits(ret, in_day / 3600000, 2, ':');
    ret = put_digits(ret, in_day / 60000 % 60, 2, ':');
    ret = put_digits(ret, in_day / 1000 % 60, 2, '.');
    ret = put_digits(ret, in_day % 1000, 3, 'Z');
    *ret = '\0';
}

struct str clock_text(int64_t ms, struct arena *arena)
{
    char *text = arena_grow(arena, NULL, 0, 25);

    clock_print(ms, text);
    return (struct str){text, 24};
}

/* Takes n digits and the byte after them (one of `after`) from the front of s; -1 when they are not there. */
static int take_digits(struct str *s, size_t n, const char *after)
{
    int v = 0;

    if (s->n < n + (*after != '\0'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return -1;
        v = 10 * v + (s->p[i] - '0');
    }
    if (*after != '\0' && (s->p[n] == '\0' || !strchr(after, s->p[n])))
        return -1;
    *s = str_slice(*s, n + (*after != '\0'), s->n);
    return v;
}

/* ".digits" as milliseconds; 0 when there is no fraction, -1 when it has no digit. */
static int take_fraction(struct str *s)
{
    int ms = 0, weight = 100;
    size_t at = 1;

    if (s->n == 0 || s->p[0] != '.')
        return 0;
    for (; at < s->n && s->p[at] >= '0' && s->p[at] <= '9'; at++, weight /= 10)
        ms += weight * (s->p[at] - '0');
    *s = str_slice(*s, at, s->n);
    return at > 1 ? ms : -1;
}

/* "Z", "+hh:mm" or "-hh:mm" and nothing more: minutes east of UTC. */
static bool take_offset(struct str s, int *ret)
{
    int sign = s.n && s.p[0] == '-' ? -1 : 1, hours, minutes;

    *ret = 0;
    if (s.n == 1)
        return s.p[0] == 'Z' || s.p[0] == 'z';
    if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-'))
        return false;
    s = str_slice(s, 1, s.n);
    hours = take_digits(&s, 2, ":");
    minutes = take_digits(&s, 2, "");
    *ret = sign * (60 * hours + minutes);
    return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59;
}

static int days_in_month(int year, int month)
{
    if (month == 2)
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

err clock_parse(struct str text, int64_t *ret_ms)
{
    struct str s = text;
    int year = take_digits(&s, 4, "-"), month = take_digits(&s, 2, "-"), day = take_digits(&s, 2, "Tt ");
    int hour = take_digits(&s, 2, ":"), minute = take_digits(&s, 2, ":"), second = take_digits(&s, 2, "");
    int ms = take_fraction(&s), east;
    int64_t days;

    if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return FAIL(INVALID, "not a date");
    /* A leap second, 60, is the first of the next minute: POSIX time has no other place for it. */
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 || ms < 0)
        return FAIL(INVALID, "not a time of day");
    if (!take_offset(s, &east))
        return FAIL(INVALID, "not an offset from UTC");
    days = days_of(year, month, day);
    *ret_ms = days * MS_PER_DAY + ((hour * 60 + minute - east) * 60 + second) * INT64_C(1000) + ms;
    return OK;
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    if (ms > 0)
        nanosleep(&t, NULL);
}

int64_t backoff_ms(int attempt, int64_t base, int64_t cap)
{
    int64_t most = cap;

    assert(attempt >= 0 && base > 0 && cap >= 0);
    if (attempt < 62 && base <= cap >> attempt)
        most = base << attempt;
    return (int64_t)(random_u64() % ((uint64_t)most + 1));
}
