/*
 * Which part of the log is meant: a span of numbers per (topic, partition), found by times. Milliseconds
 * never fall within a partition, so a time is found by halving along the primary key, all partitions at once:
 * about twenty round trips for any length of the log, and no index that every event would have to pay for.
 */
#pragma once

#include "bus/ctl/ctl.h"
#include "bus/eventlog.h"
#include "bus/type_filter.h"

struct span {
    enum topic topic;
    int part;
    int64_t low, high; /* seq, both included; high < low: nothing */
};

/* The whole log of the topics the filter wants, as it is now, ordered by topic and partition. What archived
 * partitions hold is not in it. */
err span_whole(struct ctl *ctl, const struct type_filter *filter, struct arena *arena, struct span **ret,
               size_t *ret_n) _must_use_;
/* For each span the first seq whose time is at or after ms[i]; high + 1 when there is none. */
err span_seek(struct ctl *ctl, const struct span *spans, size_t n, const int64_t *ms, struct arena *arena,
              int64_t *ret) _must_use_;
/* For each span seq and ms of the first event at or behind at[i]; ms -1 where there is none. */
err span_probe(struct ctl *ctl, const struct span *spans, size_t n, const int64_t *at, struct arena *arena,
               int64_t *ret_seq, int64_t *ret_ms) _must_use_;
/* "2026-11-22T20:30:00Z" (RFC 3339, any offset), or that long ago: 90s 15m 2h 3d. INVALID otherwise. */
err span_time(struct str text, int64_t now, int64_t *ret_ms) _must_use_;
/* The events of a result whose columns are SPAN_COLUMNS. */
#define SPAN_COLUMNS                                                                                         \
    "e.seq, e.ms, e.id, e.source, e.type, e.subject, e.time, e.dataschema, e.partitionkey, e.correlationid," \
    " e.causationid, e.actor, e.traceparent, e.data, e.topic, e.part"
struct event *span_events(const struct pg_result *result, struct arena *arena, size_t *ret_n);
/* One event as a line for people, or as an object: where it stands, its envelope, its data as it stands. */
void span_print(FILE *to, const struct event *event);
void span_json(struct json *j, const struct event *event);
