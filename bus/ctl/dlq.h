/*
 * What the verbs of parked work share: which key is meant, who acts, and one row per thing an operator did
 * (parked_action). verb_dlq.c looks, verb_dlq_retry.c asks the owners of keys to handle what waits,
 * verb_dlq_change.c discards and corrects.
 */
#pragma once

#include "bus/ctl/ctl.h"
#include "bus/topics.h"

/* The words GROUP TOPIC KEY. */
struct dlq_key {
    struct str grp, topic, key;
};
/* INVALID: there is no such topic. */
err dlq_key(const struct ctl *ctl, struct dlq_key *ret) _must_use_;
/* --actor, or user@host; in the arena of the program. */
struct str dlq_actor(const struct ctl *ctl);
/* An option's text; STR_NONE when not given. */
struct str dlq_text(const struct ctl *ctl, const char *option);
/* The message that is meant: --n, or the first that waits. INVALID: none waits under the key, or not that. */
struct dlq_message {
    int64_t n;
    int corrected;
    struct str type;
    bool command;
};
err dlq_message(struct ctl *ctl, const struct dlq_key *key, struct dlq_message *ret) _must_use_;
