/*
 * A batch: the messages read together, the rows they concern, and everything their handlers decided, until
 * one flush commits or voids it all. Private to the runner; handlers see group.h and rows.h.
 */
#pragma once

#include "bus/eventlog.h"
#include "bus/lane.h"
#include "bus/trace.h"
#include "consumers/group.h"

enum { BATCH_MAX = 256 };

/* One (topic, partition) of this group: both its lanes, one fence row. */
struct worker;
struct partition {
    struct worker *worker; /* whose it is */
    enum topic topic;
    int part;
    bool commands; /* this group handles the topic's commands */
    bool owned;
    bool history; /* the PEL may hold what was not handled: read it from 0 before anything new */
    bool claim;   /* others than the group's own consumer may hold entries of the PEL: claim them first */
    bool renewed; /* by the lease turn that is under way */
    bool asked;   /* the read that is on its way reads this lane from 0 */
    bool suspect_commands; /* suspect.c: what the history brings may be what the last owners died of, */
    int64_t suspect_seq;   /* and so may events up to this one */
    int64_t epoch, flush;  /* of the fence row, as of our last look or flush */
    int64_t seq, ms;       /* committed offset of the event lane */
    int64_t skipped,
        skipped_ms; /* ≥ seq: behind it are events that concern nobody here; committed with a later flush */
    int64_t read;   /* while gathering: the last event that is in the batch */
    struct replay *replay;               /* what is handled again here; NULL: nothing */
    bool touched;                        /* while loading and flushing: its fence row is concerned, */
    int64_t hi, hi_ms;                   /* and its event lane is decided up to here */
    int64_t looked_head, looked_skipped; /* at the last look of read_heal() */
    int64_t shown, shown_ms; /* the last event of its stream that the log was not yet asked for; 0: none */
    int64_t rest_ms;         /* monotonic: its events are not read before, see heal_rest() */
    int64_t doubt_ms;        /* monotonic: its stream is not read before, see heal_doubt() */
    int64_t gap_fetches, repeats; /* of the partition since it exists; told to operators with the lease */
    char lane[STREAM_NAME], stream[STREAM_NAME];
};

enum item_fate {
    ITEM_HANDLE, /* goes to its handler */
    ITEM_SKIP,   /* an event without a slot: only the offset moves */
    ITEM_REPEAT, /* a command that has a row already, or stood twice in the batch */
    ITEM_SAME,   /* another command of the same client and idempotency key won: same_as */
    ITEM_REUSED, /* the key's winner was another request: refused with 422 */
    ITEM_PARK,   /* its key is parked, or it is the offender */
    ITEM_LATE,   /* waited too long for a fact: refused with 503 */
    ITEM_CUT,    /* behind a NOT_YET: left for the next batch */
};

/* A message of dead_letter that an operator wants tried again (retry.c). */
struct letter {
    int64_t n;      /* its place in the key's sequence */
    int corrected;  /* corrections of its data when it was read */
    int64_t action; /* the operator's request */
    struct str key; /* of the sequence */
    bool last;      /* after the flush: nothing of the key waits any more */
};

struct item {
    struct entry *entry;
    struct letter *letter; /* NULL: it came from a lane */
    struct partition *at;
    struct delivery message;
    struct trace trace; /* its span; empty when it is not sampled */
    enum item_fate fate;
    enum answer answer;
    bool waited;          /* answered NOT_YET once, */
    enum topic waits_for; /* for a fact of this topic */
    bool settled;         /* a standstill has waited for it: it must decide now */
    bool poison;          /* the offender itself, not a follower of its key */
    bool attempted;       /* suspect.c noted that it is in hand, and the flush forgets it */
    struct uuid same_as;
    struct str replyto;      /* of a row that stands already, for the hint */
    const char *park_reason; /* stable word */
    struct str park_detail;
    /* outcome of a command */
    bool succeeded;
    int http;
    struct str result;
};

struct completion {
    struct uuid command;
    bool succeeded;
    int http;
    struct str result;
};

struct timer_change {
    const char *name;
    struct str key;
    bool cancel;
    int64_t due_ms;
    enum message type;
    struct str data;
    const struct delivery *cause;
};

struct job_request {
    struct uuid id;
    const char *kind;
    struct str key, payload;
    const struct delivery *cause;
};

/* A growing array in the batch's arena. */
#define list_of(type)                                                                                        \
    struct {                                                                                                 \
        type *p;                                                                                             \
        size_t n, cap;                                                                                       \
    }
#define list_add(arena, list)                                                                                \
    ({                                                                                                       \
        if ((list)->n == (list)->cap) {                                                                      \
            size_t cap_ = (list)->cap ? (list)->cap * 2 : 64;                                                \
            __typeof__((list)->p) p_ = arena_array((arena), __typeof__(*(list)->p), cap_);                   \
            if ((list)->n)                                                                                   \
                memcpy(p_, (list)->p, (list)->n * sizeof(*p_));                                              \
            (list)->p = p_;                                                                                  \
            (list)->cap = cap_;                                                                              \
        }                                                                                                    \
        &(list)->p[(list)->n++];                                                                             \
    })

struct rows; /* rows.c */

struct batch {
    const struct group *group;
    struct arena *arena;
    int64_t now;
    int64_t began_ns; /* when traces are on: trace_now() at its beginning */
    struct item **items;
    size_t n;
    struct item *current;
    enum topic waits_for;        /* topic of the last not_yet() */
    bool caught_up[TOPIC_COUNT]; /* this group has passed the heads of the topic as they were before the load
                                  */
    struct rows *rows;
    size_t changes; /* how often handlers have saved, emitted or asked for something */
    list_of(struct event) events;
    list_of(struct completion) completions;
    list_of(struct timer_change) timers;
    list_of(struct job_request) jobs;
};

/* Forgets rows, effects and outcomes, so that the same messages can be decided anew; nothing of them is
 * looked at again, so the arena may be reset before. */
void batch_restart(struct batch *b);
struct rows *rows_new(struct arena *arena);
