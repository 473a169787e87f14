/*
 * One thread of one group: its connections, the partitions it owns, and the loop
 * read → load → decide → flush → acknowledge. It shares nothing with other threads but counters and the stop
 * flag. Private to the runner.
 */
#pragma once

#include <stdatomic.h>

#include "bus/relay.h"
#include "bus/type_filter.h"
#include "consumers/batch.h"

/* Which build parked or handled a message: the commit, as of the last configuration. */
#ifndef DAYDREAM_BUILD
#define DAYDREAM_BUILD "unversioned"
#endif

struct parked_key {
    enum topic topic;
    uint64_t hash;
    struct str key; /* owned by the set's arena */
};

/* What a batch was cut for: until this group has passed these heads, its command lanes stand still. */
struct standstill {
    bool active;
    bool passed;          /* the heads are passed: the message is asked once more, finally */
    bool late;            /* they were not passed in time */
    bool met;             /* the message was read again and is in the batch in hand */
    struct uuid id;       /* of the message that waits */
    struct partition *at; /* when an event waits: its lane stands still too */
    enum topic topic;
    int64_t seqs[PARTITIONS_MAX];
    int64_t deadline_ms, next_look_ms; /* monotonic */
};

/* Does something wait for its fact right now? */
static inline bool stands_still(const struct standstill *s)
{
    return s->active && !s->passed && !s->late;
}
/* A range that this group handles again (replay.c). */
struct replay {
    int64_t to_seq, reset_seq; /* up to to_seq it is handled again, up to reset_seq it was handled before */
    int64_t rate;              /* events per second at most, 0: no limit */
    int64_t next_ms;           /* monotonic: not read before */
    struct type_filter types;
};

struct worker {
    const struct group *group;
    const struct group *const
        *build;                 /* all groups of this program, NULL-terminated: what the registry is told */
    const struct group *own[2]; /* that list until somebody gives another */
    const char *instance;       /* stable name of this process among the group's members */
    const atomic_bool *stop;
    size_t siblings; /* members of this group that start with it, itself included: at least so many share */
    struct arena *arena; /* of what was read */
    struct arena *work;  /* of what is loaded and decided, one pass over one batch: decide() begins it anew */
    struct pg *pg;
    struct redis *commands; /* XREADGROUP, and the acknowledgements before the next one */
    struct redis *events;   /* XREAD */
    struct redis *outward;  /* relay and hints */
    struct relay *relay;    /* NULL in a rebuild, which has no Redis: what it commits is told to nobody */
    struct partition *parts;
    size_t n_parts;
    struct arena *parked_arena;
    struct parked_key *parked;
    size_t n_parked, parked_cap;
    struct replay *replays_of; /* one per partition, for their `replay` */
    struct standstill standstill;
    int64_t budget_ns; /* a handler that takes longer is slow */
    /* what the reads brought, in the batch's arena */
    struct entry *read;
    size_t n_read;
    bool reading_commands, reading_history; /* a command read is on its way; it reads from 0 */
    bool read_ok, refused;                  /* how the last one was answered */
    bool replays;                           /* all it reads was handled before: a rebuild */
    int64_t count_commands, count_events;   /* entries per lane to ask for */
    int64_t count_history;                  /* entries per lane the last read from 0 asked for */
    /* monotonic times, ms */
    int64_t next_lease_ms, next_heal_ms, skipped_since_ms;
    int failures; /* consecutive, for the backoff */
    int64_t next_retry_ms;
    struct letter trying;        /* the parked message that this life of the worker has in hand */
    _Atomic int64_t handling_ms; /* since when a handler runs; 0: none does. For the watchdog */
};

/* worker.c */
/* What every connection of a group sets: see there. */
extern const char worker_setup[];
struct worker *worker_new(const struct group *group, const char *instance, const atomic_bool *stop);
struct worker *worker_free(struct worker *w);
/* Items that are not asked now: commands come again with the history of their lane, events from our position.
 */
void worker_leave(struct item *const *items, size_t n);
/* One item alone: decided and flushed, or parked when it is the item's own fault. */
err worker_process_one(struct worker *w, struct item *item) _must_use_;
/* Runs until the stop flag is up, then drains: the batch in hand is finished, leases are released. */
void worker_run(struct worker *w);
/* Closes all connections; nothing of them is needed for safety. Who waits for a reply is told, and some look
 * at the batch: before it is forgotten, or when nothing is left of it. */
void worker_disconnect(struct worker *w);
/* The batch in hand is gone, and its memory with it. */
void worker_forget(struct worker *w);
struct partition *worker_partition(const struct worker *w, enum topic topic, int part);
/* Handles what was read, one batch: committed or parked, or a failure of the servers. */
err worker_take(struct worker *w) _must_use_;
/* Commits positions behind events that concern nobody here, when they have waited long enough or now. */
err worker_flush_skipped(struct worker *w, bool now) _must_use_;

/* lease.c: who owns what. Lease time is PostgreSQL's clock; safety rests on the epoch in the fence. */
/* Makes missing offset rows. */
err lease_init(struct worker *w) _must_use_;
/* How often leases are renewed, ms: a fifth of LEASE_MS. */
int64_t lease_period_ms(void);
/* Heartbeat, renewal, taking free partitions up to the fair share, giving surplus ones back. */
err lease_turn(struct worker *w) _must_use_;
/* After a failed flush or a new connection: reads what the rows say now; what is not ours any more is
 * dropped. */
err lease_refresh(struct worker *w) _must_use_;
err lease_release(struct worker *w) _must_use_;

/* read.c: waits for entries at most until the given monotonic time; fills w->read. Broken connections are
 * RETRY. */
err read_entries(struct worker *w, int64_t until_ms) _must_use_;
/* Makes the groups of the command lanes we own. */
void read_make_groups(struct worker *w);
/* May events of the partition be read now? The answer changes with the clock. */
bool reads_events(const struct worker *w, const struct partition *p);
/* After a failure: everything owned is read anew from what is committed. */
void read_rewind(struct worker *w);

/* heal.c */
/* Compares positions with the heads of the log, and reads from the log what a stream does not show. */
err read_heal(struct worker *w) _must_use_;
/* e: the archive's file that has what comes next behind p->read cannot be read. */
void heal_rest(struct worker *w, struct partition *p, err e);
bool heal_rests(const struct partition *p);
/* For a while the log is read instead of the stream. */
void heal_from_log(struct partition *p);
/* The same, since the stream shows something that the log does not have. */
void heal_doubt(struct worker *w, struct partition *p, struct str entry);
bool heal_doubts(const struct partition *p);
/* Queues the question whether the log has what streams have shown since it was last asked; *ret stays NULL
 * when they showed nothing. */
void heal_ask(struct worker *w, struct pg_result **ret);
/* PG_RETRY: it has not. Then nothing of the batch may be handled. */
err heal_answer(struct worker *w, const struct pg_result *answers) _must_use_;

/* gather.c: turns entries into the items of a batch: drops what is not ours or known, fills gaps from the
 * log. */
err gather_items(struct worker *w, struct item ***ret, size_t *ret_n) _must_use_;

/* UTF-8 without NUL, which PostgreSQL and our JSON can hold as it is. */
bool gather_is_text(struct str s);

/* One entry of a partition of ours, as an item. */
void gather_item(struct worker *w, struct entry *entry, struct partition *p, struct item *ret);

/* An event of the log in the form of a stream entry; borrows. */
struct entry entry_of_event(const struct event *event);

/* decide.c: loads rows and calls the handlers. */
err decide(struct worker *w, struct batch *b) _must_use_;

/* standstill.c */
/* Has this group passed the heads of the topic as they are now? If not, remembers them. */
err standstill_check(struct worker *w, enum topic topic, bool *ret_caught_up) _must_use_;
void standstill_begin(struct worker *w, const struct item *item, enum topic topic);
err standstill_look(struct worker *w) _must_use_;
void standstill_meet(struct worker *w, struct item *item);
void standstill_end(struct worker *w);

/* flush.c: one transaction, then relay, acknowledgement and hints. */
err flush(struct worker *w, struct batch *b) _must_use_;

/* registry.c: which build of which group reads what. */
/* Tells what this build knows; before the first lease. */
err registry_tell(struct worker *w) _must_use_;
/* About a message of a type this build does not know. OK: nobody of this group reads it. OUTDATED: a newer
 * build does, or may. */
err registry_check(struct worker *w, const struct entry *entry) _must_use_;
/* After OUTDATED: gives everything back and waits for the stop flag. */
void registry_stand_down(struct worker *w, err e);
/* replay.c */
/* Reads which ranges are to be handled again; forgets those that are passed. */
err replay_load(struct worker *w) _must_use_;
/* Marks an event of a lane that was handled before (commands are not concerned), and passes over it when its
 * range or types do not ask for it. What is retried was not: its offset has passed it, its effects are due.
 */
void replay_mark(const struct worker *w, struct item *item);
/* Whether a partition may be read now: no faster than its replay allows. */
bool replay_may_read(const struct partition *p);
/* After a batch: when what was replayed in it allows the next. */
void replay_pace(struct worker *w, struct item *const *items, size_t n);

/* parked.c */
err parked_load(struct worker *w) _must_use_;
bool parked_has(const struct worker *w, enum topic topic, struct str key);
void parked_add(struct worker *w, enum topic topic, struct str key);
void parked_remove(struct worker *w, enum topic topic, struct str key);
void parked_queue(struct worker *w, struct batch *b);

/* retry.c: parked messages that an operator wants handled. */
/* Looks for requests that concern our partitions and works on them, some messages at a time. Costs nothing
 * while no key of the group is parked. */
err retry_look(struct worker *w) _must_use_;
/* Queues what becomes of the letters of a batch, into its flush. */
void retry_queue(struct worker *w, struct batch *b);

/* suspect.c: messages that end the process. */
/* A partition was taken; crashes: how often in a row its owners did not give it back; head: of its log. */
void suspect_begin(struct partition *p, int64_t crashes, int64_t head);
/* Moves items of suspect lanes behind all others, each in its order; returns how many the others are. */
size_t suspect_apart(struct worker *w, struct item **items, size_t n);
/* Handles them one by one, each noted before its handler is called; what lease_period_ms() does not suffice
 * for comes again with the next read. */
err suspect_process(struct worker *w, struct item **items, size_t n) _must_use_;
void suspect_queue(struct worker *w, struct batch *b);
/* After a batch: lanes whose history was read to its end are trusted again. */
void suspect_end(struct worker *w);
