/*
 * See webhook_plan.h.
 */
#include "producers/webhook_plan.h"

#include <curl/curl.h>
#include <stdlib.h>

#include "bus/base/str.h"

/* Seconds. With the last one repeated, a day holds about 20 attempts. */
static const int schedule[] = {1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800};

int64_t webhook_retry_ms(int64_t attempt)
{
    size_t last = sizeof(schedule) / sizeof(*schedule) - 1, i = attempt > 1 ? (size_t)attempt - 1 : 0;
    int64_t ms = schedule[i < last ? i : last] * INT64_C(1000);
    return ms + (int64_t)(random_u64() % (uint64_t)(ms / 10 + 1));
}

struct webhook_verdict webhook_judge(int status)
{
    bool overloaded = status == 408 || status == 429 || status >= 500;
    return (struct webhook_verdict){.delivered = status >= 200 && status < 300,
                                    .gone = status == 410,
                                    .alive = status >= 200 && !overloaded};
}

int64_t webhook_retry_after_ms(const char *value, int64_t now_ms)
{
    int64_t seconds = 0;
    if (failed(str_int64(str_of(value), &seconds))) {
        time_t at = curl_getdate(value, NULL);
        seconds = at < 0 ? 0 : (int64_t)at - now_ms / 1000;
    }
    if (seconds <= 0)
        return 0;
    return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * INT64_C(1000);
}

int endpoint_room(const struct endpoint_state *state, int most, int64_t now_ms, bool *ret_probe)
{
    *ret_probe = false;
    if (now_ms < state->until_ms)
        return 0;
    if (state->failures < ENDPOINT_FAILURES)
        return most > state->running ? most - state->running : 0;
    *ret_probe = true;
    return state->running ? 0 : 1;
}

/* 1, 2, 4, 8 s, then 10 s, each up to half earlier. */
static int64_t probe_ms(int opened)
{
    int64_t ms = opened < 4 ? PROBE_FIRST_MS << opened : PROBE_MAX_MS;
    return ms - (int64_t)(random_u64() % (uint64_t)(ms / 2));
}

void endpoint_ended(struct endpoint_state *state, struct webhook_verdict verdict, int64_t pause_ms,
                    int64_t now_ms)
{
    state->running--;
    if (verdict.alive) {
        state->hurry = state->hurry || state->failures >= ENDPOINT_FAILURES;
        state->failures = state->opened = 0;
        state->until_ms = 0;
        return;
    }
    if (state->failures < ENDPOINT_FAILURES)
        state->failures++;
    int64_t until = pause_ms ? now_ms + pause_ms : 0;
    /* Those that were under way when it opened tell nothing new. */
    if (state->failures >= ENDPOINT_FAILURES && now_ms >= state->until_ms)
        until = until > now_ms + probe_ms(state->opened) ? until : now_ms + probe_ms(state->opened++);
    if (until > state->until_ms)
        state->until_ms = until;
}

bool endpoint_is_idle(const struct endpoint_state *state, int64_t now_ms)
{
    return state->running == 0 && state->failures == 0 && !state->hurry && now_ms >= state->until_ms;
}
