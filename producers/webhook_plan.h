/*
 * When to try again. Of a delivery: after 1 2 4 8 15 30 s, then at growing distances until it is given up. Of
 * an endpoint: one that does not answer several times in a row is left alone but for one probe at a time,
 * never more than ten seconds apart; the first success lets everything go that waits. Pure functions of the
 * time given; not thread-safe: their owner locks, or is alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bus/base/uuid.h"

enum {
    ENDPOINT_FAILURES = 5, /* in a row, until the circuit opens */
    PROBE_FIRST_MS = 1000,
    PROBE_MAX_MS = 10000,
    RETRY_AFTER_MAX_S = 3600,
};

/* Milliseconds from the end of that attempt (from 1) to the next: the schedule and up to a tenth on top, so
 * that what failed together does not come back together. */
int64_t webhook_retry_ms(int64_t attempt);

/* What an HTTP status says. 0: no answer. */
struct webhook_verdict {
    bool delivered; /* 2xx */
    bool gone;      /* 410: wants nothing any more */
    bool alive;     /* the endpoint answered for itself: not a reason to leave it alone */
};
struct webhook_verdict webhook_judge(int status);
/* Retry-After: seconds or an HTTP date (RFC 9110 §10.2.3), bounded by RETRY_AFTER_MAX_S; 0: none, or
 * nonsense. */
int64_t webhook_retry_after_ms(const char *value, int64_t now_ms);

struct endpoint_state {
    struct uuid webhook;
    int running;
    int failures;     /* in a row */
    int opened;       /* probes in a row without success */
    bool hurry;       /* it is back: what waits for it shall go now */
    int64_t until_ms; /* closed to all before (monotonic): the next probe, or Retry-After */
};

/* How many more requests may begin now; *ret_probe: it is a probe. */
int endpoint_room(const struct endpoint_state *state, int most, int64_t now_ms, bool *ret_probe);
/* A request ended. pause_ms: what Retry-After asked for. */
void endpoint_ended(struct endpoint_state *state, struct webhook_verdict verdict, int64_t pause_ms,
                    int64_t now_ms);
/* Nothing to remember about it. */
bool endpoint_is_idle(const struct endpoint_state *state, int64_t now_ms);
