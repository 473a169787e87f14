/*
 * Publishing commands as the operator: client and actor "ctl". Commands that carry an idempotency key have
 * one effect however often the verb is run.
 */
#pragma once

#include "bus/ctl/ctl.h"
#include "bus/topics.h"

struct outgoing {
    enum message message;
    struct str key;            /* partition key; STR_NONE: the command's own id */
    struct str idempotencykey; /* STR_NONE: none */
    int64_t expected_version;  /* of what it changes, which is refused in any other (412); 0: whichever */
    /* The struct of the message, in the arena. For commands that make a person or an aggregate of their own,
     * id is it. */
    const void *(*make)(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena);
    const void *what;
    struct uuid id; /* set by ctl_publish */
};

/* Publishes, one round trip for all; those whose key is known get the id that is known. The data is checked
 * as the receiving group will check it. INVALID: what is wrong with the data (nothing of this call was
 * published). */
err ctl_publish(struct ctl *ctl, struct outgoing *list, size_t n, struct arena *arena) _must_use_;

struct outcome_of {
    struct uuid id;
    bool done, succeeded;
    struct str detail; /* why it was refused */
};
/* Waits until all have their result, at most timeout_ms from the last result on. UNAVAILABLE when the time is
 * over: `done` tells which have one. */
err ctl_wait_results(struct ctl *ctl, struct outcome_of *list, size_t n, int64_t timeout_ms,
                     struct arena *arena) _must_use_;
/* ENCRYPTION_KEY. */
err ctl_master_key(struct seal_key *ret) _must_use_;
