/*
 * Each loop follows the events of `users`, `catalog` and `stock`, so that what it keeps in memory (void
 * tokens, bodies of products) is never more than 100 ms behind a commit; and those of other topics as long as
 * somebody listens to them (streams). The fast way is XREAD on a
 * connection of its own; beside it the heads in PostgreSQL are read every TAIL_HEADS_MS, and what Redis has
 * not brought by the second look is read from event_log. So a lost, flushed or silent Redis costs a little
 * time and nothing else.
 */
#pragma once

#include "bus/eventlog.h"

enum { TAIL_HEADS_MS = 35, TAIL_BATCH = 500, TAIL_FAR = 20000 };

struct door;
struct tail;

/* Where a topic's partition stands that is not followed, or not yet. */
enum { TAIL_NOWHERE = -1 };

struct tail_hooks {
    /* The positions are known: load what you keep, then call tail_loaded. Also when so much was missed that
     * loading anew is cheaper: forget everything. */
    void (*load)(void *data);
    /* Each event once, in the order of its partition; also while loading. After a load some may be missing.
     */
    void (*event)(void *data, const struct event *event);
};

struct tail *tail_new(struct door *door, const struct tail_hooks *hooks, void *data);
struct tail *tail_free(struct tail *tail);
/* Of the load that was asked for; a failure makes it be asked again soon. */
void tail_loaded(struct tail *tail, err e);
/* Everything was loaded at least once. */
bool tail_is_live(const struct tail *tail);
/* Has what this loop keeps in memory seen that event? True for topics that no memory depends on. */
bool tail_reached(const struct tail *tail, enum topic topic, int part, int64_t seq);
/* How often the log was found without what was told: PostgreSQL came back from a backup, or somebody else
 * wrote to Redis. Everything is loaded anew then; positions of before may be none of this log. */
unsigned tail_fell(const struct tail *tail);
/* From now on events of that topic are told, too, from where its heads are soon; until as many tail_leave. */
void tail_follow(struct tail *tail, enum topic topic);
void tail_leave(struct tail *tail, enum topic topic);
/* The last event that was told; TAIL_NOWHERE: its place is not known yet. */
int64_t tail_seq(const struct tail *tail, enum topic topic, int part);
