/*
 * What the files of the subscriber library share: open.c (a subscription, its connections), lease.c (which
 * partitions are ours), fetch.c (events from Redis and the log), commit.c (positions), tx.c (exactly once),
 * json.c. Public names are those of daydream/bus.h alone; everything else is hidden when the library is
 * linked. Nothing here logs, and nothing uses the settings or the partition count of the process.
 */
#pragma once

#include "bus/lane.h"
#include "bus/pg/pg.h"
#include "bus/redis/redis.h"
#include "bus/subscriber/daydream/bus.h"
#include "bus/type_filter.h"

enum {
    NAME_BYTES = 49,
    ERROR_TEXT = DDS_ERROR_MAX,
    TURN_SHARE = 5, /* a lease is renewed that often within its length */
};

/*
 * A partition that concerns us. seq ≤ given ≤ seen: committed, returned to the caller, fetched. What lies
 * between given and seen is in the queue, or is not wanted; when nothing of it is queued, given follows seen.
 */
struct place {
    enum topic topic;
    int part;
    char stream[STREAM_NAME];
    bool owned, returned; /* returned: by the turn in hand */
    bool owing;           /* an event was returned and not committed */
    bool behind;          /* the log holds more than Redis showed: read it first */
    int64_t epoch;
    int64_t seq, given, seen, ms, given_ms, seen_ms; /* each with the milliseconds of its event */
    int64_t looked_head, looked_seen;                /* at the last look at the heads */
    int64_t shown, shown_ms; /* the last of the entries in hand that follow on `seen`; 0: none */
    int64_t rest_ms;         /* monotonic: not read before, since the archive's file could not be */
    int64_t doubt_ms; /* monotonic: until then the log is read alone, since Redis showed more than that */
    size_t queued;
};

struct queued {
    struct dds_event event;
    struct place *place;
};

struct dds {
    char name[NAME_BYTES], instance[128];
    char *database_url, *redis_url, *types; /* redis_url NULL: the log alone */
    int lease_ms, batch;
    struct type_filter filter;
    struct pg *pg;
    struct redis *redis;
    struct place *places;
    size_t n_places;
    size_t turn_first;     /* which place is served first from the log */
    struct arena *arena;   /* of the fetch in hand: queue and events */
    struct arena *scratch; /* of one call */
    struct queued *queue;
    size_t at, n_queue, cap_queue;
    struct entry *read; /* what the last read brought, in `arena` */
    size_t n_read;
    bool lost;     /* partitions went while there was work in hand: the caller must hear it */
    bool offering; /* between dds_offset() and dds_settle() */
    int64_t next_turn_ms, next_heads_ms, next_drift_ms, next_redis_ms; /* monotonic */
    struct dds_statement offered;
    struct dds_stats stats;
    char error[ERROR_TEXT];
};

/* Notes the failure and answers its status: DDS_OK stays DDS_OK. */
int sub_status(struct dds *sub, err e);
int sub_misuse(struct dds *sub, const char *text);

/* open.c: both connections, as far as they can be had; PG_DOWN when PostgreSQL is not there. A new connection
 * has taken its turn. */
err sub_up(struct dds *sub) _must_use_;
/* After a failure: a connection in doubt is closed, so that nothing is believed that it did not say. */
void sub_down(struct dds *sub, err e);

/* lease.c */
err sub_turn(struct dds *sub) _must_use_;
void sub_give_back(struct dds *sub);
struct place *sub_place(const struct dds *sub, enum topic topic, int part);
/* Forgets what was fetched and not committed. */
void sub_forget(struct dds *sub);

/* fetch.c: fills the empty queue, at most until the given monotonic time; an empty queue is no failure. */
err sub_fetch(struct dds *sub, int64_t until_ms) _must_use_;
/* The first of the queue is returned now. */
const struct dds_event *sub_take(struct dds *sub);

/* commit.c */
struct move {
    struct place *place;
    int64_t to, to_ms;
};
/* What would move; drift: only places of which nothing wanted was returned. In scratch. */
struct move *sub_moves(struct dds *sub, bool drift, size_t *ret_n);
void sub_queue_moves(struct dds *sub, const struct move *moves, size_t n);
void sub_moved(struct dds *sub, const struct move *moves, size_t n);
/* Commits the moves by themselves. */
err sub_commit_moves(struct dds *sub, const struct move *moves, size_t n) _must_use_;
