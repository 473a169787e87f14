/*
 * The relay brings the log to Redis: events of a partition are appended to evt:{topic.pp} with ids ms-seq by
 * a compare-and-append script ("only if your last id is that of the event before mine"). The relay's cursor
 * is the stream's own last id, so any number of relays may race and a lost tail is found by the next one. A
 * missing stream is re-made (XGROUP CREATE MKSTREAM + XSETID) at the lowest attached offset and filled from
 * the log with the same ids.
 */
#pragma once

#include "bus/eventlog.h"

struct relay;

/* Borrows both connections; they must have nothing waiting when relay functions are called. */
struct relay *relay_new(struct redis *redis, struct pg *pg);
struct relay *relay_free(struct relay *relay);

/* Queues the append of events just committed (any partitions, ascending seq within each) on the redis
 * connection; the outcome is counted, a refusal is left to the sweep. Caller does redis_wait. Never needs pg.
 */
void relay_append(struct relay *relay, const struct event *events, size_t n, struct arena *arena);

/* One pass over all partitions: appends what the log has beyond each stream's last id, re-makes missing
 * streams and missing groups (at their offset in PostgreSQL), levels mirrored groups (XGROUP SETID …
 * ENTRIESREAD). Returns when the heads it read are reached, or after about a second: with a backlog, call it
 * again while *ret > 0. ret (may be NULL): events appended. RETRY errors leave the rest to the next pass. */
err relay_sweep(struct relay *relay, int64_t *ret) _must_use_;

/* Trims each stream that the last sweep found good below the lowest offset of all attached groups, keeping
 * `keep` passed events. Groups that are not ours count too: by what they have not been given, or not
 * acknowledged. */
err relay_trim(struct relay *relay, int64_t keep) _must_use_;

/* What Redis may use: bytes, or percent of its maxmemory; both 0: no bound. */
struct relay_budget {
    int64_t bytes, percent;
};
/* "512mb", "1gb", "70%", "0". CONFIG for anything else. */
err relay_budget_parse(struct str text, struct relay_budget *ret) _must_use_;
/* relay_trim within a budget: keeps less when memory is scarce, detaches the groups that lag most when that
 * is not enough, attaches them again when they are near. Call it about once a second. */
err relay_retain(struct relay *relay, const struct relay_budget *budget, int64_t keep) _must_use_;
