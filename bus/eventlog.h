/*
 * The event log: outbox, archive and replay source in one table. Appending locks the head rows concerned
 * (sorted, last in the transaction), takes gapless sequence numbers and inserts. Statements here are queued
 * into the caller's transaction; nothing in this file commits.
 */
#pragma once

#include "bus/envelope.h"
#include "bus/pg/pg.h"
#include "bus/topics.h"

/* An event to be appended, or read back. ms, seq and before_ms are known after the flush; what was read back
 * has no before_ms. */
struct event {
    enum topic topic;
    int part;
    int64_t seq, ms;
    int64_t before_ms;        /* of the event before it; 0: it is the first */
    struct envelope envelope; /* time is set when it was authored */
};

/* Queues the append of n events. When the transaction has committed, fn of the statement has filled ms, seq
 * and before_ms of each event in place. The array must live until pg_wait. n == 0 queues nothing. */
void eventlog_queue(struct pg *pg, struct event *events, size_t n, struct arena *arena);

/* Events of a partition with seq > after, ascending, at most limit and at most 1 MB of data; into the arena.
 * What has left the log is read from the archive, the same bytes. UNAVAILABLE: a file of the archive cannot
 * be read. Sequential; must not be called while other statements wait on the connection. */
enum { EVENTLOG_READ_BYTES = 1 << 20 };
err eventlog_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, struct arena *arena,
                  struct event **ret, size_t *ret_n) _must_use_;

/* The same for many partitions in one pipeline: queues the read; the result (keep it by pg_keep) is taken
 * apart by eventlog_rows. bytes: of data, as many events as begin below it, so always one. Only what is in
 * the log: when its first row is not the next one, or there is none, ask the archive (bus/archive.h). */
void eventlog_queue_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, int64_t bytes,
                         pg_fn *fn, void *data);
struct event *eventlog_rows(const struct pg_result *result, enum topic topic, int part, struct arena *arena,
                            size_t *ret_n);

struct head {
    enum topic topic;
    int part;
    int64_t seq, ms;
};
/* All heads that exist, ordered by topic and partition. */
err eventlog_heads(struct pg *pg, struct arena *arena, struct head **ret, size_t *ret_n) _must_use_;

/* Queues the question which of these the log has, with these milliseconds: a stream of Redis may show what
 * PostgreSQL has lost, or never had. The answers to n events, in their order, are read by eventlog_has. */
void eventlog_queue_has(struct pg *pg, const struct head *events, size_t n, struct arena *arena, pg_fn *fn,
                        void *data);
bool eventlog_has(const struct pg_result *result, size_t i);

/* Builds a new event of that type; id, time, dataschema, specversion, datacontenttype are set, partition
 * computed. */
struct event event_new(const struct message_type *type, struct str source, struct str key, struct str data,
                       struct arena *arena);
