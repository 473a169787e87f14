/*
 * libdaydream-bus: events of a DaydreamShop in another program, in C, in one file.
 *
 *     struct dds *sub;
 *     char why[DDS_ERROR_MAX];
 *     const struct dds_options options = {DDS_OPTIONS, .database_url = …, .redis_url = …,
 *                                         .name = "invoices", .types = "order.*"};
 *     if (dds_open(&options, &sub, why, sizeof(why)) != DDS_OK) …
 *     while (!stop) {
 *         const struct dds_event *event;
 *         int status = dds_next(sub, 1000, &event);
 *         if (status == DDS_OK && handle(event))
 *             dds_commit(sub);
 *         else if (status == DDS_REFUSED)
 *             …                                  // dds_error(sub) says why; everything else passes by itself
 *     }
 *     dds_close(sub);
 *
 * What is promised. Every event that matches is delivered at least once, and events of one key (attribute
 * partitionkey) in the order in which they were committed. The position is a row in the shop's PostgreSQL
 * under the subscriber's name: a program that was killed goes on behind what it committed last, and so does
 * another one that takes over. Any number of instances may share one name; they divide the partitions among
 * them by lease. Redis only makes it fast: whatever it does not show (trimmed, deleted, flushed, down, hidden
 * by a restart) is read from the log in PostgreSQL.
 *
 * Exactly once is possible for effects in the same PostgreSQL: dds_each() commits the effects and the
 * position in one transaction on the library's connection; dds_offset() gives the statement that does the
 * same in a transaction of yours. Whoever lost his partitions meanwhile finds that transaction void.
 *
 * Rules of the house. No threads, no signal handlers, no output, no global state that is yours: two
 * subscriptions do not know each other. A `struct dds` is used by one thread at a time. Calls wait at most as
 * long as they are told, plus what a connect or a statement under way takes (3 s, 30 s). Strings are UTF-8,
 * NUL-terminated and borrowed unless it says otherwise. A failing malloc ends the process. Structs given to
 * the library begin with their size, structs it gives may grow at their end: neither breaks a compiled
 * program.
 */
#ifndef DAYDREAM_BUS_H
#define DAYDREAM_BUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DDS_VERSION "1.0.0" /* semantic: of this header; dds_version() is that of the library */
#define DDS_API __attribute__((visibility("default")))

enum {
    DDS_ERROR_MAX = 256,      /* bytes of an error's text with its NUL */
    DDS_STATEMENT_MAX = 1024, /* statements of one dds_each() call */
    DDS_PARAMS_MAX = 64,      /* parameters of a statement */
};

/* What calls answer. 0 and above is well; DDS_DOWN and DDS_FENCED pass when the call is repeated (but
 * dds_settle(), which is called once). */
enum dds_status {
    DDS_OK = 0,
    DDS_TIMEOUT = 1, /* nothing came in time */
    DDS_DOWN = -1,   /* PostgreSQL does not answer, the next call connects again; or there is nothing but what
                        stands in a file of the archive that cannot be read */
    DDS_FENCED = -2, /* another instance has the partitions; what was not committed comes again */
    DDS_REFUSED = -3, /* rights, an unknown type, wrong SQL: dds_error() says what; a person must act */
    DDS_STOPPED = -4, /* the function given to dds_each() did not answer 0; its events come again */
    DDS_MISUSE = -5,  /* calls in an order that makes no sense */
};

/* One subscription. */
struct dds;

/* How to subscribe. Initialise with DDS_OPTIONS first; what is left out is 0 and has the default told here.
 */
struct dds_options {
    size_t size;              /* DDS_OPTIONS */
    const char *database_url; /* postgresql://…; its login is a member of the role dd_subscriber */
    const char *redis_url;    /* redis://… or unix:///…; NULL: the log alone is asked, every 100 ms */
    const char *name;         /* of the subscriber: a-z first, then a-z 0-9 -, at most 48 */
    const char *owner;        /* whom operators ask about it, free text; "" */
    const char *types; /* patterns separated by commas: order.*,cart.item-added,stock.changed.v1; NULL: all */
    const char *start; /* for a new name: "earliest", "now", or a time as RFC 3339; NULL: "earliest" */
    const char *instance; /* stable name of this instance, so that it takes its partitions back at once
                             after a crash; never used twice at the same time; NULL: host and process */
    int lease_ms;         /* silence after which other instances take its partitions; 10000, at least 500 */
    int keep_days;        /* silence after which it is reported and holds nothing in Redis any more; 7 */
    int batch;            /* most events fetched together, and given to one call by dds_each(); 256 */
    const char
        *archive_dir; /* the shop's archive (docs/archive.md) as this program sees it, for events that have
                         left the database; one for all subscriptions of a process; NULL: var/archive */
};
#define DDS_OPTIONS .size = sizeof(struct dds_options)

/* An event: where it stands in the log, and its CloudEvents 1.0 attributes, "" when absent. Valid, with all
 * it points to, until the next dds_next() or dds_each(), or dds_close(). */
struct dds_event {
    const char *topic; /* "orders" */
    int partition;     /* 0… */
    int64_t seq;       /* place in the partition, from 1 without gaps */
    int64_t ms; /* UTC milliseconds of its commit, never falling; its entry in evt:{topic.pp} is "ms-seq" */
    const char *id;      /* unique, a UUID: what a receiver may dedupe by */
    const char *type;    /* "order.placed.v1" */
    const char *source;  /* the group that emitted it */
    const char *subject; /* the aggregate it speaks of */
    const char *time;    /* when it was authored, RFC 3339 */
    const char *dataschema;
    const char *partitionkey;  /* events of one key come in order */
    const char *correlationid; /* id of the command at the root of the story */
    const char *causationid;   /* id of the message that caused this one */
    const char *actor;         /* who did it */
    const char *traceparent;   /* W3C trace context */
    const char *datacontenttype;
    const char *data; /* JSON; personal fields are sealed */
    size_t data_len;  /* bytes of data */
};

/* Registers the name (the first time) and connects. With another list of types than before: new topics begin
 * at `start`, topics that are not wanted any more are given up when no other instance is there. DDS_DOWN,
 * DDS_REFUSED: *ret is NULL, error (may be NULL) holds the reason. A Redis that does not answer is no error.
 */
DDS_API int dds_open(const struct dds_options *options, struct dds **ret, char *error, size_t error_size);

/* The next event, waiting up to timeout_ms (0: only what is at hand). Events are delivered ahead of commits,
 * as many as you like. DDS_TIMEOUT, DDS_DOWN, DDS_FENCED, DDS_REFUSED, DDS_MISUSE: *ret is NULL. */
DDS_API int dds_next(struct dds *sub, int timeout_ms, const struct dds_event **ret);

/* Everything that dds_next() has returned is done: moves the position. DDS_DOWN: repeat it, no event comes
 * twice for that. DDS_FENCED: what came since the last commit will come again. */
DDS_API int dds_commit(struct dds *sub);

/* For work that takes long: renews the leases when that is due, else does nothing. Call it every second or so
 * while an event is in hand; dds_next() does the same by itself. DDS_FENCED: too late, give the work up. */
DDS_API int dds_keep(struct dds *sub);

/* Everything that dds_next() has returned since the last commit will come again. Touches no server. */
DDS_API void dds_rewind(struct dds *sub);

/* ---- exactly once ---- */

/* The transaction of one call of your function. */
struct dds_tx;
/* Adds a statement to it: parameters $1… are texts (NULL is NULL), PostgreSQL infers their types or is told
 * by casts. Copied, sent when the function has returned, run in this order. DDS_OK, or DDS_MISUSE beyond the
 * limits above, which also voids the transaction. */
DDS_API int dds_exec(struct dds_tx *tx, const char *sql, int n, const char *const *values);

/* Handles events[0…n-1], in this order; of each key the order is that of the log. Answers 0 for done. It must
 * have no effect but dds_exec(), since it is called again for the same events after a failure. */
typedef int dds_fn(void *context, struct dds_tx *tx, const struct dds_event *const *events, size_t n);

/* Waits up to timeout_ms for events, gives them to fn, and commits its statements and the position in one
 * transaction. All answers are possible; after any but DDS_OK nothing was committed, or it was and the events
 * do not come again. */
DDS_API int dds_each(struct dds *sub, int timeout_ms, dds_fn *fn, void *context);

/* A statement to be run inside your own transaction on your own connection to the same database, by that
 * login or another member of its role: it moves the position over what dds_next() has returned, and fails
 * with SQLSTATE DSF01 when another instance owns a partition now; roll back then. Run it last, right before
 * COMMIT: it locks rows that the instance renews. Parameters are texts, as for PQexecParams. */
struct dds_statement {
    const char *sql;
    int n;                     /* 0: nothing to move, sql is "SELECT" */
    const char *const *values; /* n texts, valid until dds_settle() */
};
DDS_API int dds_offset(struct dds *sub, struct dds_statement *ret);
/* How that ended. It must be called before anything else is asked of sub, and once: whatever it answers but
 * DDS_MISUSE, it is settled, and dds_next() goes on. Unknown (the connection broke at COMMIT) is as good:
 * PostgreSQL is asked what was committed, and the rest comes again. DDS_DOWN: it will be asked by the next
 * call. A COMMIT that takes effect later than that makes your next transaction void: roll it back, and what
 * came before does not come again. */
enum dds_outcome { DDS_COMMITTED, DDS_ROLLED_BACK, DDS_UNKNOWN };
DDS_API int dds_settle(struct dds *sub, enum dds_outcome outcome);

/* ---- the rest ---- */

/* Why the last call failed, a sentence; "" after one that did not. Holds no secret. Valid until the next
 * call. */
DDS_API const char *dds_error(const struct dds *sub);

struct dds_stats {
    size_t size;       /* set by the caller: sizeof(struct dds_stats) */
    int64_t delivered; /* events returned */
    int64_t from_log;  /* events, wanted or not, that came from PostgreSQL and not from Redis */
    int64_t repeated;  /* entries of Redis that had been seen */
    int64_t fenced;    /* how often partitions were lost with work in hand */
    int partitions;    /* owned now */
    int redis_is_up;   /* 0: the log alone is read at the moment */
};
DDS_API void dds_stats(const struct dds *sub, struct dds_stats *ret);

/* The event as one line of JSON, CloudEvents 1.0 structured mode, without a line end. Like snprintf: writes
 * at most n bytes with a NUL, returns the length of the whole. */
DDS_API size_t dds_event_json(const struct dds_event *event, char *buffer, size_t n);

/* Gives the partitions back, so that others go on at once, and frees. Takes NULL. What was not committed
 * comes again. */
DDS_API void dds_close(struct dds *sub);

DDS_API const char *dds_version(void);

#ifdef __cplusplus
}
#endif
#endif
