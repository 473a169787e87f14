/*
 * Where everything stands at one moment: a row per (topic, partition) and group that reads it, from
 * PostgreSQL (heads, offsets, leases, parked keys) and Redis (last ids, waiting commands). `bus lag` and `bus
 * top` print it.
 */
#pragma once

#include "bus/ctl/ctl.h"

struct standing_row {
    struct str topic, grp, owner; /* grp absent: no group has ever read this partition */
    struct str detached;          /* why trimming does not wait for the group; absent: it does */
    int part;
    int64_t head, offset, lag;
    int64_t lag_ms;      /* age of the oldest event the group has not passed; 0: none */
    int64_t epoch;       /* how often the partition was taken */
    bool lease_over;     /* it has an owner who was silent for longer than the lease */
    int64_t gap_fetches; /* events that had to be read from the log, */
    int64_t repeats;   /* and repeated commands dropped, since the group exists; as of the last lease turn */
    int64_t parked;    /* keys */
    int64_t backlog;   /* commands in the lane; -1: Redis did not say */
    int64_t oldest_ms; /* age of the first of them; 0: none */
    char last[48];     /* last id of the event stream, "" when there is none */
};

struct standing {
    int64_t at_ms; /* wall clock */
    struct standing_row *rows;
    size_t n; /* ordered by topic, part, group */
};

/* Asks both servers, three round trips in all; rows and texts live in the arena. */
err standing_read(struct ctl *ctl, struct arena *arena, struct standing *ret) _must_use_;
/* The members of a row inside an object that is open. */
void standing_json(struct json *j, const struct standing_row *row);
/* "12.3 s", "4 min", "-" for 0. */
void standing_age(int64_t ms, char ret[static 16]);
