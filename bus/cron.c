/*
 * See cron.h. A day is looked at as a whole: its slots are the local times that fit, each taken to the
 * instants at which clocks of the zone show it, and the smallest that is late enough is the next. Days follow
 * one another in order, also when clocks change at midnight.
 */
#include "bus/cron.h"

#include <time.h>

enum { MINUTE_MS = 60000, DAY_MS = 86400000, DAYS_AHEAD = 8 * 366 + 1 };

/* ---- reading ---- */

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                          "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const day_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

static const struct part {
    const char *name;
    int64_t min, max;
    const char *const *names; /* of min, min + 1, … */
} parts[] = {
    {"minute", 0, 59, NULL},          {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},    {"month", 1, 12, month_names},
    {"day of week", 0, 7, day_names},
};
enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, PARTS };

static const struct {
    const char *word, *text;
} words[] = {
    {"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

static err read_value(const struct part *part, struct str text, int64_t *ret)
{
    for (int i = 0; part->names && part->names[i]; i++)
        if (str_ieq(text, str_of(part->names[i]))) {
            *ret = part->min + i;
            return OK;
        }
    if (failed(str_int64(text, ret)) || *ret < part->min || *ret > part->max)
        return FAIL(INVALID, "%s: %.*s is not from %d to %d", part->name, (int)(text.n < 20 ? text.n : 20),
                    text.p ? text.p : "", (int)part->min, (int)part->max);
    return OK;
}

/* Cuts text at the first c: what stands before it is returned, what stands behind it is *ret_rest, absent
 * when there is no c. */
static struct str cut(struct str text, char c, struct str *ret_rest)
{
    size_t at = str_find(text, c);
    *ret_rest = at < text.n ? str_slice(text, at + 1, text.n) : STR_NONE;
    return str_slice(text, 0, at);
}

/* One item of a list: a star, a value or a range, perhaps with a step; of a day of week perhaps its number in
 * the month. */
static err read_item(const struct part *part, struct str item, uint64_t *set, uint8_t nth[7])
{
    struct str step_text, nth_text, high_text;
    struct str range = cut(item, '/', &step_text);
    struct str low_text = cut(cut(range, '#', &nth_text), '-', &high_text);
    int64_t low = part->min, high = part->max, step = 1, which = 0;
    bool star = str_is(range, "*");
    if (!star) {
        TRY(read_value(part, low_text, &low));
        high = step_text.p ? part->max : low;
        if (high_text.p)
            TRY(read_value(part, high_text, &high));
    }
    if (low > high || (step_text.p && (failed(str_int64(step_text, &step)) || step < 1 || step > 60)))
        return FAIL(INVALID, "%s: a range goes up and a step is a number from 1 to 60", part->name);
    if (nth_text.p && (part != &parts[WEEKDAY] || star || high_text.p || step_text.p ||
                       failed(str_int64(nth_text, &which)) || which < 1 || which > 5))
        return FAIL(INVALID, "%s: #1 to #5 follow a single day of the week", part->name);
    for (int64_t v = low; v <= high; v += step)
        *set |= UINT64_C(1) << v;
    if (which)
        nth[low % 7] |= (uint8_t)(1 << which);
    return OK;
}

static err read_part(const struct part *part, struct str text, uint64_t *set, uint8_t nth[7])
{
    for (struct str rest = text; rest.p;) {
        struct str item = cut(rest, ',', &rest);
        TRY(read_item(part, item, set, nth));
    }
    return OK;
}

static struct str spelt_out(struct str text)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (str_ieq(text, str_of(words[i].word)))
            return str_of(words[i].text);
    return text;
}

static size_t word_end(struct str text)
{
    size_t space = str_find(text, ' '), tab = str_find(text, '\t');
    return space < tab ? space : tab;
}

err cron_parse(struct str text, struct cron *ret)
{
    uint64_t sets[PARTS] = {0};
    struct str fields[PARTS];
    struct cron cron = {.minutes = 0};
    text = spelt_out(str_trim(text));
    for (int i = 0; i < PARTS; i++) {
        size_t end = word_end(text);
        fields[i] = str_slice(text, 0, end);
        text = str_trim(str_slice(text, end, text.n));
        if (!fields[i].n || (i == PARTS - 1 && text.n))
            return FAIL(INVALID, "a schedule has five fields: minute hour day month weekday");
        TRY(read_part(&parts[i], fields[i], &sets[i], cron.nth));
    }
    cron.minutes = sets[MINUTE];
    cron.hours = (uint32_t)sets[HOUR];
    cron.days = (uint32_t)sets[DAY];
    cron.months = (uint32_t)sets[MONTH];
    cron.weekdays = (uint8_t)((sets[WEEKDAY] | sets[WEEKDAY] >> 7) & 0x7f);
    cron.every_hour = fields[HOUR].p[0] == '*';
    cron.every_day = fields[DAY].p[0] == '*';
    cron.every_weekday = fields[WEEKDAY].p[0] == '*';
    *ret = cron;
    return OK;
}

/* ---- days ---- */

static bool weekday_fits(const struct cron *cron, const struct tm *day)
{
    uint8_t nth = cron->nth[day->tm_wday];
    return (cron->weekdays >> day->tm_wday & 1) && (!nth || nth >> ((day->tm_mday - 1) / 7 + 1) & 1);
}

/* crontab(5): of two restricted day fields one is enough; a star restricts nothing, but its steps count. */
static bool day_fits(const struct cron *cron, const struct tm *day)
{
    bool by_day = cron->days >> day->tm_mday & 1, by_weekday = weekday_fits(cron, day);
    if (!(cron->months >> (day->tm_mon + 1) & 1))
        return false;
    return cron->every_day || cron->every_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* ---- local times ---- */

static int64_t offset_at(const struct zone *zone, int64_t utc_ms)
{
    size_t i = zone->n - 1;
    while (i > 0 && zone->spans[i].from_ms > utc_ms)
        i--;
    return zone->spans[i].offset_ms;
}

static bool in_span(const struct zone *zone, size_t i, int64_t utc_ms)
{
    return (i == 0 || utc_ms >= zone->spans[i].from_ms) &&
           (i + 1 == zone->n || utc_ms < zone->spans[i + 1].from_ms);
}

static int64_t earlier(int64_t best, int64_t at, int64_t after_ms)
{
    return at > after_ms && at < best ? at : best;
}

/* The smaller of `best` and the instants after after_ms at which a slot of that local time is due. */
static int64_t take_local(const struct cron *cron, const struct zone *zone, int64_t local_ms,
                          int64_t after_ms, int64_t best)
{
    for (size_t i = 0; i < zone->n; i++) {
        int64_t at = local_ms - zone->spans[i].offset_ms;
        if (in_span(zone, i, at)) {
            best = earlier(best, at, after_ms);
            if (!cron->every_hour)
                return best; /* the first of two equal times */
            continue;
        }
        /* Clocks went forward over it. */
        if (!cron->every_hour && i + 1 < zone->n && at >= zone->spans[i + 1].from_ms &&
            local_ms < zone->spans[i + 1].from_ms + zone->spans[i + 1].offset_ms)
            return earlier(best, zone->spans[i + 1].from_ms, after_ms);
    }
    return best;
}

/* The spans that matter for one local day, so that each of its minutes looks at one or two. */
static struct zone around(const struct zone *zone, int64_t local_day_ms)
{
    size_t first = 0, end = zone->n;
    while (first + 1 < zone->n && zone->spans[first + 1].from_ms < local_day_ms - 2 * (int64_t)DAY_MS)
        first++;
    while (end > first + 1 && zone->spans[end - 1].from_ms > local_day_ms + 3 * (int64_t)DAY_MS)
        end--;
    return (struct zone){zone->spans + first, end - first};
}

static int64_t first_of_day(const struct cron *cron, const struct zone *zone, int64_t local_day_ms,
                            int64_t after_ms)
{
    struct zone near = around(zone, local_day_ms);
    int64_t best = INT64_MAX;
    for (int minute = 0; minute < 24 * 60; minute++)
        if ((cron->hours >> minute / 60 & 1) && (cron->minutes >> minute % 60 & 1))
            best = take_local(cron, &near, local_day_ms + minute * (int64_t)MINUTE_MS, after_ms, best);
    return best;
}

/* Begins a day early: at the instant `after` clocks may show a day that was set back. */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_ms)
{
    int64_t local = after_ms + offset_at(zone, after_ms);
    int64_t day = local / DAY_MS - (local % DAY_MS < 0) - 1;
    for (int i = 0; i < DAYS_AHEAD; i++, day++) {
        time_t seconds = (time_t)(day * (DAY_MS / 1000));
        struct tm date;
        gmtime_r(&seconds, &date);
        if (!day_fits(cron, &date))
            continue;
        int64_t at = first_of_day(cron, zone, day * DAY_MS, after_ms);
        if (at != INT64_MAX)
            return at;
    }
    return INT64_MAX;
}

/* Slots are counted one by one up to CRON_COUNT; from there on the last one is looked for near now, in steps
 * back that are longer each time. */
int64_t cron_last(const struct cron *cron, const struct zone *zone, int64_t from_ms, int64_t now_ms,
                  int64_t *ret_n)
{
    static const int64_t back_ms[] = {3600000, DAY_MS, INT64_C(32) * DAY_MS, INT64_C(367) * DAY_MS};
    int64_t n = 0, last = INT64_MIN, at = from_ms;
    while (n < CRON_COUNT && (at = cron_next(cron, zone, at)) <= now_ms) {
        last = at;
        n++;
    }
    for (size_t i = 0; n == CRON_COUNT && i < sizeof(back_ms) / sizeof(*back_ms); i++) {
        at = cron_next(cron, zone, now_ms - back_ms[i]);
        if (at > now_ms)
            continue;
        for (; at <= now_ms; at = cron_next(cron, zone, at))
            last = at;
        break;
    }
    if (ret_n)
        *ret_n = n;
    return last;
}
