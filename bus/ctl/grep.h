/*
 * bus grep: finding events in the log. What has an index (id, key, correlation) is answered from it;
 * everything else reads the log from one end in the order of time, as far as it is allowed to, and says where
 * it stopped.
 */
#pragma once

#include "bus/ctl/span.h"

/* A place in the order of the walk: (ms, topic, part, seq). */
struct place {
    int64_t ms, seq;
    struct str topic;
    int part;
};

struct grep {
    struct ctl *ctl;
    struct arena *arena;
    struct str id, key, correlation, actor, text, types; /* absent: any */
    struct type_filter filter;                           /* of types */
    int64_t from_ms, to_ms;
    bool oldest; /* first; else the newest */
    int64_t limit, scan;
    bool has_after;
    struct place after; /* begins behind it */
    /* the answer, in order */
    struct event *found;
    size_t n;
    int64_t scanned;   /* events looked at one by one */
    bool more;         /* there may be more: */
    struct place next; /* go on behind this one */
};

/* What both ways filter by: $1 id, $2 key, $3 correlation, $4 types, $5 actor, $6 text, $7 and $8 from and to
 * in ms. A statement is planned for its parameters, so what is not asked for costs nothing. */
enum { GREP_FILTERS = 8 };
#define GREP_WHERE                                                                                           \
    " ($1::uuid IS NULL OR e.id = $1) AND ($2::text IS NULL OR e.partitionkey = $2)"                         \
    " AND ($3::text IS NULL OR e.correlationid = $3) AND ($4::text[] IS NULL OR e.type = ANY($4))"           \
    " AND ($5::text IS NULL OR e.actor = $5) AND ($6::text IS NULL OR position($6 IN e.data) > 0)"           \
    " AND e.ms >= $7::bigint AND e.ms <= $8::bigint"
void grep_filters(const struct grep *grep, struct pg_param ret[static GREP_FILTERS]);

err grep_index(struct grep *grep) _must_use_; /* one of id, key, correlation is given */
err grep_scan(struct grep *grep) _must_use_;  /* none is */
struct place place_of(const struct event *event);
/* How a stands to b in the order asked for: below 0 when it comes first. */
int place_cmp(const struct grep *grep, const struct place *a, const struct place *b);
