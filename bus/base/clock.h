/* Time. Wall time is UTC milliseconds since 1970; the clock is injectable: clock_set() in tests,
 * CLOCK_OFFSET_MS in the environment of whole programs. Monotonic time is for durations only. */
#pragma once

#include <stdint.h>

#include "bus/base/arena.h"

int64_t clock_ms(void);
int64_t clock_mono_ns(void);
static inline int64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}
/* For tests: every clock_ms() is fn() from now on. fn == NULL restores the system's clock. */
void clock_set(int64_t (*fn)(void));
/* "2026-11-22T20:30:00.123Z" (RFC 3339), 24 characters. Years 0 to 9999, beyond is clamped. */
struct str clock_text(int64_t ms, struct arena *arena);
void clock_print(int64_t ms, char ret[static 25]);
/* Any RFC 3339 date-time, offset included; digits below the millisecond are dropped. INVALID for anything
 * else. */
err clock_parse(struct str text, int64_t *ret_ms) _must_use_;
/* Sleeps, interruptible by a signal. Only loops may, for backoff. */
void clock_sleep_ms(int64_t ms);
/* Full-jitter exponential backoff: a random number of ms in [0, min(cap, base << attempt)]. */
int64_t backoff_ms(int attempt, int64_t base, int64_t cap);
