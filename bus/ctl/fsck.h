/*
 * bus fsck: checks of invariants on a shop that runs. fsck_sql.c holds the checks that are one statement each
 * (one snapshot, so what is in flight is no finding), fsck_stream.c compares Redis with the log.
 */
#pragma once

#include "bus/ctl/ctl.h"

struct fsck {
    struct ctl *ctl;
    int64_t findings, checked; /* checked: things looked at, for the summary */
    struct buf report;         /* --json */
    struct json json;
};

void fsck_found(struct fsck *fsck, const char *check, const char *format, ...) _printf_(3, 4);
err fsck_sql(struct fsck *fsck) _must_use_;
err fsck_streams(struct fsck *fsck) _must_use_;
