/*
 * A circuit breaker: after several failures in a row of one kind of outside call, nobody calls for a while;
 * then one call probes, and its end decides. Not thread-safe: its owner locks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { BREAKER_FAILURES = 8, BREAKER_BASE_MS = 500, BREAKER_CAP_MS = 15000 };

struct breaker {
    int failures; /* in a row */
    int opened;   /* times in a row it opened without a success */
    int64_t open_until_ms;
    bool probing;
};

/* How many calls may begin now (monotonic ms): 0, 1 (the probe) or INT_MAX. */
int breaker_room(const struct breaker *breaker, int64_t now_ms);
/* A call began. */
void breaker_began(struct breaker *breaker);
/* A call ended. worked: the other side answered, with whatever. True when this opened the breaker. */
bool breaker_ended(struct breaker *breaker, bool worked, int64_t now_ms);
/* A call ended that tells nothing about the other side. */
void breaker_forget(struct breaker *breaker);
