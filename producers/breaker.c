/* closed → (BREAKER_FAILURES in a row) → open → (time) → one probe → closed, or open for longer. */
#include "producers/breaker.h"

#include <limits.h>

#include "bus/base/clock.h"

int breaker_room(const struct breaker *breaker, int64_t now_ms)
{
    if (breaker->failures < BREAKER_FAILURES)
        return INT_MAX;
    return breaker->probing || now_ms < breaker->open_until_ms ? 0 : 1;
}

void breaker_began(struct breaker *breaker)
{
    breaker->probing = breaker->failures >= BREAKER_FAILURES;
}

bool breaker_ended(struct breaker *breaker, bool worked, int64_t now_ms)
{
    breaker->probing = false;
    if (worked) {
        breaker->failures = breaker->opened = 0;
        return false;
    }
    if (breaker->failures < BREAKER_FAILURES)
        breaker->failures++;
    if (breaker->failures < BREAKER_FAILURES || now_ms < breaker->open_until_ms)
        return false;
    breaker->open_until_ms =
        now_ms + BREAKER_BASE_MS + backoff_ms(breaker->opened, BREAKER_BASE_MS, BREAKER_CAP_MS);
    if (breaker->opened < 16)
        breaker->opened++;
    return true;
}

void breaker_forget(struct breaker *breaker)
{
    breaker->probing = false;
}
