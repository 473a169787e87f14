/*
 * What the files of the relay share: relay.c (the append), relay_sweep.c (compare, heal), relay_catchup.c,
 * relay_log.c, relay_mirror.c (groups, trimming), relay_strangers.c (groups that are not ours). Nobody else
 * includes this.
 */
#pragma once

#include "bus/lane.h"
#include "bus/relay.h"

/* A stream that is made anew begins no further back than this: whoever needs more reads the log. */
enum { REMAKE_EVENTS = 200000 };
enum { RELAY_BATCH = 256, RELAY_TIMEOUT_MS = 10000 };

enum stream_state {
    STREAM_UNKNOWN, /* not looked at since the start or since a failure */
    STREAM_GOOD,    /* a contiguous part of the log up to `last` */
    STREAM_MISSING, /* no key, or one that is empty and never had an id */
    STREAM_BROKEN,  /* a hole, an id that is not in the log, or not a stream */
    STREAM_AHEAD,   /* its last id is beyond the log: PostgreSQL lost events, or somebody else writes */
};

struct stream {
    enum topic topic;
    int part;
    char name[STREAM_NAME];
    int64_t head;          /* last seq of the log */
    int64_t sent;          /* last seq on its way; equal to last between rounds */
    int64_t last_ms, last; /* the stream's last id, as far as this relay knows */
    enum stream_state state;
    bool checked;        /* the last id was found in the log */
    bool known;          /* this relay has seen or made it before */
    int64_t length;      /* as probed; -1: not a stream */
    int64_t first, tail; /* seq of the first and last entry as probed, 0 without entries */
    char last_id[48];    /* as probed: ids of Redis are unsigned, and may be none of ours */
    int64_t trimmed;     /* up to here nothing is left to trim */
    bool strangers;      /* the last probe showed groups that are not mirrors */
};

/* A row of consumer_offset, or where a stranger's group was last seen (subscriber_group). */
struct offset {
    struct stream *stream;
    struct str grp;
    int64_t ms, seq;
    bool detached;   /* does not hold back trimming */
    bool expired;    /* not heard of for long: holds nothing */
    bool stranger;   /* its truth is in Redis: it is never levelled */
    bool registered; /* a stranger that was granted access, see `daydreamctl events grant` */
};

struct offsets {
    struct arena *arena;
    struct offset *list; /* ordered by topic, partition, group */
    size_t n;
};

struct relay {
    struct redis *redis;
    struct pg *pg;
    struct arena *arena;    /* scratch of one round */
    struct stream *streams; /* every topic × partition */
    size_t n;
    int64_t verified_ms; /* monotonic; 0: never, or something failed since */
    int64_t levelled_ms, strangers_ms, expired_ms;
    struct offsets mirrored; /* what the mirrors were last set to */
    size_t turn;             /* where the next round begins */
    int64_t appended;        /* by the pass in hand */
    bool again;              /* a stream vanished under the pass: look at Redis once more */
    err failure;             /* first failure of a callback */
};

/* Callbacks note failures here: reply == NULL or an error. True when the reply can be used. */
bool relay_reply_ok(struct relay *relay, const struct redis_reply *reply);
/* redis_wait, then whatever the callbacks noted. Forgets what is known of Redis when it fails. */
err relay_wait(struct relay *relay);
err relay_read_failed(struct relay *relay, err e); /* the same forgetting for failures of PostgreSQL */

/* The last id of each good stream must be in the log, with the same milliseconds; nothing is appended behind
 * another. Those that are checked already cost nothing. */
err relay_check_last_ids(struct relay *relay) _must_use_;

/* Queues the compare-and-append of n events of one stream, ascending without gaps; the first one's before_ms
 * is known. */
void relay_append_send(struct relay *relay, const char *name, const struct event *events, size_t n,
                       redis_fn *fn, void *data, struct arena *arena);
enum append_answer { APPEND_FAILED, APPEND_DONE, APPEND_CONFLICT, APPEND_MISSING };
/* CONFLICT gives the stream's actual last id. */
enum append_answer relay_append_answer(struct relay *relay, const struct redis_reply *reply, int64_t *ret_ms,
                                       int64_t *ret_seq);

/* Where every group stands, ours and strangers, in order. */
err relay_offsets(struct relay *relay, struct arena *arena, struct offsets *ret) _must_use_;

/* A row of group_detached. */
struct detached {
    struct stream *stream;
    struct str grp;
    bool by_operator; /* stays until an operator attaches it */
};
struct detached_list {
    struct detached *list;
    size_t n;
};
/* All of them, in the scratch of the round. */
err relay_detached(struct relay *relay, struct detached_list *ret) _must_use_;
/* The ms of each event (streams[i], seqs[i]) in the log; -1 where there is none, 0 for seq 0. UNREAD: it is
 * in a file of the archive that cannot be read, and its stream has to wait; the others go on. */
enum { RELAY_MS_UNREAD = -2 };
err relay_log_ms(struct relay *relay, struct stream *const *streams, const int64_t *seqs, size_t n,
                 int64_t *ret_ms) _must_use_;
/* Tells of an event that the archive does not give. */
void relay_unread(const struct stream *stream, int64_t seq, err e);
/* Makes a stream anew, empty, its last id the floor, with its groups. */
err relay_remake(struct relay *relay, struct stream **streams, size_t n) _must_use_;
/* Appends until every good stream has reached its head, or the monotonic clock `until`. */
err relay_catch_up(struct relay *relay, int64_t until) _must_use_;
/* Levels groups that moved since they were last levelled; all when the set of groups changed. */
err relay_level(struct relay *relay) _must_use_;
/* Remembers where strangers' groups stand, brings back registered ones that are gone, ends what nobody hears
 * of. */
err relay_strangers(struct relay *relay) _must_use_;
struct stream *relay_stream(const struct relay *relay, enum topic topic, int64_t part); /* NULL: unknown */
