/*
 * bus fsck: checks of invariants on a shop that runs. fsck_sql.c holds the checks that are one statement each
 * (one snapshot, so what is in flight is no finding), fsck_stream.c compares Redis with the log, fsck_mark.c
 * remembers how far the log was found sound, so that the next run begins there; --full begins at the
 * beginning.
 */
#pragma once

#include "bus/ctl/ctl.h"
#include "bus/topics.h"

/* Of one partition: what is at or below `seq` was checked before. */
struct fsck_mark {
    enum topic topic;
    int part;
    int64_t seq, ms;           /* 0: nothing yet */
    int64_t next, next_ms;     /* becomes the mark when nothing is found: the head before the checks began, */
    int64_t stream, stream_ms; /* or less: the last entry that was compared; 0: the stream is empty */
};

struct fsck {
    struct ctl *ctl;
    bool full;
    struct fsck_mark *marks; /* of every partition that has a head */
    size_t n_marks;
    int64_t findings, checked; /* checked: things looked at, for the summary */
    struct buf report;         /* --json */
    struct json json;
};

void fsck_found(struct fsck *fsck, const char *check, const char *format, ...) _printf_(3, 4);
err fsck_marks_load(struct fsck *fsck) _must_use_;
/* NULL: the partition has no events. */
struct fsck_mark *fsck_mark_of(const struct fsck *fsck, enum topic topic, int part);
/* Only when there were no findings: what is hurt is checked again until it is mended. */
err fsck_marks_save(struct fsck *fsck) _must_use_;
err fsck_sql(struct fsck *fsck) _must_use_;
err fsck_streams(struct fsck *fsck) _must_use_;
