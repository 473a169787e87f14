/*
 * When a schedule is due: the five fields of crontab(5), read in a time zone. Pure functions of (text, zone,
 * time): nothing here asks a clock or a database.
 *
 * Fields: minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT (0 and
 * 7 are Sunday). Each is a star, a number, a range, a list of them, and each of those with a step (a slash
 * and a number). A day of week may say which one of the month: SUN#1 is the first Sunday. As in crontab(5),
 * when both day fields are restricted a day needs to fit one of them only. @hourly @daily @weekly @monthly
 * @yearly stand for what they say.
 *
 * A slot is a minute that is due, named by its instant in UTC. When clocks change: a schedule with named
 * hours runs once a day for each of them, at the first of two equal times, and right after the gap for a time
 * that the gap swallowed; a schedule of every hour follows real time, through both of two equal hours.
 */
#pragma once

#include <stddef.h>

#include "bus/base/arena.h"

struct cron {
    uint64_t minutes;
    uint32_t hours, days, months; /* bit n: the value n is meant */
    uint8_t weekdays;
    uint8_t nth[7]; /* bit n: only the n-th such day of the month; 0: any */
    bool every_hour, every_day, every_weekday;
};

/* INVALID names the field and what is wrong with it. */
err cron_parse(struct str text, struct cron *ret) _must_use_;

/* The offsets of a zone from UTC: from `from_ms` on, local time is UTC plus offset_ms. Ascending; the first
 * counts for everything before it, the last for everything after. */
struct zone_span {
    int64_t from_ms;
    int64_t offset_ms;
};
struct zone {
    const struct zone_span *spans;
    size_t n; /* at least 1 */
};

/* The first slot after that time; INT64_MAX when there is none within eight years (the 30th of February; leap
 * days are up to eight years apart). */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_ms);
/* The last slot that is not after now_ms and after from_ms; INT64_MIN when there is none. *ret_n (may be
 * NULL): how many slots lie in between, the last one included, counted up to CRON_COUNT. */
enum { CRON_COUNT = 1000 };
int64_t cron_last(const struct cron *cron, const struct zone *zone, int64_t from_ms, int64_t now_ms,
                  int64_t *ret_n);
