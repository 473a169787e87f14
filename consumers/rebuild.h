/*
 * Rebuilding a read model (docs/replay.md): the group's own handlers read the log from its beginning and fill
 * copies of the group's tables beside the live ones; when the copies stand where the live group stands, one
 * transaction puts them in its place. What is done is in rows (migration 0012), so a rebuild that was killed
 * goes on where it was. Private to daydream-consumers; the operator's verb is `daydreamctl bus rebuild`.
 */
#pragma once

#include "consumers/worker.h"

struct rebuild_options {
    const char *group;
    bool verify;  /* compare with the live tables instead of taking their place */
    bool forced;  /* also a group that has effects; they are not repeated */
    int64_t rate; /* events per second at most, 0: as fast as it goes */
};

/* Exits of the program, those of daydreamctl and one more. */
enum {
    REBUILD_OK = 0,
    REBUILD_REFUSED = 1,
    REBUILD_USAGE = 2,
    REBUILD_SERVERS = 3,
    REBUILD_DIFFERS = 4, /* a comparison that found something */
};

/* Rebuilds one group to the end, or until *stop; says on standard error why not. Settings are loaded. */
int rebuild_run(const struct rebuild_options *options, const atomic_bool *stop);

/* ---- rebuild_fill.c: threads that bring the copies forward ---- */

enum { FILLERS = 2 };

/* Where to stop: seq by topic and partition. */
struct positions {
    int64_t seq[TOPIC_COUNT][PARTITIONS_MAX];
};

struct filling {
    struct worker *workers[FILLERS]; /* each owns every FILLERS-th partition */
    const atomic_bool *stop;
    int64_t rate;
    const struct positions *limit; /* not behind these; NULL: up to the end of the log */
    int64_t deadline_ms;           /* monotonic; PG_RETRY when it passes first. 0: none */
    atomic_llong events;           /* handled so far, by all */
};

/* Opens the workers on the copies of a generation that has begun; takes it from whoever filled it before. */
err filling_open(struct filling *f, const struct group *group, const atomic_bool *stop) _must_use_;
void filling_close(struct filling *f);
/* Fills up to `limit`, or until little is left of the log. UNAVAILABLE when it was stopped. */
err filling_run(struct filling *f) _must_use_;

/* ---- rebuild_store.c: the rows of migration 0012 ---- */

struct rebuild_row {
    bool filling, swapped, verify;
    struct str build;
};

/* Connects as who owns the tables, without a role. */
err store_open(const char *setup, struct pg **ret) _must_use_;
/* Nobody else rebuilds this group as long as the connection lives; *ret false: somebody does. */
err store_lock(struct pg *pg, const char *group, bool *ret) _must_use_;
/* Zeroed when there is none. */
err store_read(struct pg *pg, const char *group, struct arena *arena, struct rebuild_row *ret) _must_use_;
/* INVALID with a sentence when the tables cannot be swapped. */
err store_obstacle(struct pg *pg, const struct group *group, struct arena *arena) _must_use_;
err store_begin(struct pg *pg, const struct group *group, bool verify, struct str build,
                struct arena *arena) _must_use_;
/* Fences whoever fills at the moment. */
err store_fence(struct pg *pg) _must_use_;
/* The live group's positions. The transaction stays open, with its snapshot and, where asked for, with the
 * group's rows locked, until store_swap() or store_release(). */
err store_live(struct pg *pg, const char *group, bool lock, struct positions *ret) _must_use_;
err store_analyze(struct pg *pg, const struct group *group, struct arena *arena) _must_use_;
err store_release(struct pg *pg) _must_use_;
err store_swap(struct pg *pg, const char *group) _must_use_;
/* state: done or abandoned. result: JSON or STR_NONE. */
err store_end(struct pg *pg, const char *group, const char *state, struct str result) _must_use_;

struct table_hash {
    int64_t rows;
    struct str hash;
};
/* In the transaction that is open, and leaves it open. */
err store_hash(struct pg *pg, const char *schema, const char *table, struct arena *arena,
               struct table_hash *ret) _must_use_;
