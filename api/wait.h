/*
 * Waiting for the results of commands. Whoever waits is woken by a hint on this loop's channel (the payload
 * is the command's id); since hints may be lost, one statement per WAIT_LOOK_MS asks for all that are waited
 * for. `running` and `parked` keep waiting. A row that is only `same_as` another one answers with that one's
 * result.
 */
#pragma once

#include "bus/base/uuid.h"

enum { WAIT_LOOK_MS = 100 };

struct door;
struct waiters;

/* What stands in the row of a command. Strings live until the function they were given to returns. */
struct outcome {
    struct uuid id;
    struct str status; /* "running", "succeeded", "rejected", "parked", "lost" */
    int http;
    struct str result; /* JSON; absent: none */
    struct str
        events; /* how far it and what followed from it reaches, see outcome_position(); absent: no event */
};
/* Is it one of the ends? */
bool outcome_is_final(const struct outcome *o);

struct wait;
/* Told once, and then it waits no more: the outcome, or NULL when the time is over (or the door drains). */
typedef void wait_fn(struct wait *wait, const struct outcome *outcome);
/* Embedded by whoever waits; set id and fn. */
struct wait {
    struct uuid id;
    wait_fn *fn;
    int64_t until_ms;    /* clock_mono_ms(); 0: not to be told yet, see wait_until */
    bool hinted;         /* a hint came before wait_until */
    struct wait *others; /* waiting for the same command */
    bool waiting;
};

/* Opens the connection for hints; channel is this loop's replyto. */
struct waiters *waiters_new(struct door *door, struct str channel);
struct waiters *waiters_free(struct waiters *waiters);

/* Registers; nothing is told before wait_until, so that a hint that overtakes the reply of a publish is not
 * lost. */
void wait_begin(struct waiters *waiters, struct wait *wait);
/* Waits until that time. now: look at once, the result may be there already. */
void wait_until(struct waiters *waiters, struct wait *wait, int64_t until_ms, bool now);
/* Gives up; nothing is told. Does nothing when it does not wait. */
void wait_end(struct waiters *waiters, struct wait *wait);
/* Tells NULL to everybody, and to those whose wait_until comes later soon after it: until then nothing was
 * accepted. */
void waiters_drain(struct waiters *waiters);

/* One look at a row, without waiting: fn(data, e, outcome); outcome NULL: there is no row. */
typedef void outcome_fn(void *data, err e, const struct outcome *outcome);
err outcome_select(struct door *door, struct uuid id, outcome_fn *fn, void *data,
                   struct arena *arena) _must_use_;
