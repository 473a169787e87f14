/*
 * Asking for a replay: a group is sent back in the log and handles a range of its events again, on top of its
 * rows (docs/replay.md). What is to be handled again is looked up and shown, or written down for the group's
 * workers, who do it (replay.c). Private to daydream-consumers; the operator's verb is `daydreamctl bus
 * replay`.
 */
#pragma once

#include "consumers/worker.h"

struct replay_options {
    const char *group;
    const char *from, *to; /* a time, a sequence number, or TOPIC.PP:N; to NULL: up to where the group is */
    const char *types;     /* patterns, NULL: all */
    int64_t rate;          /* events per second of the whole group, 0: no limit */
    bool dry;              /* only show */
    bool forced;           /* also a group that has effects; they are not repeated */
    bool json;
};

/* Exits like daydreamctl; says on standard error why not. Settings are loaded. */
int replay_ask(const struct replay_options *options);
