/*
 * One connection to PostgreSQL in libpq's pipeline mode with a non-blocking pump (a blocking pipeline
 * deadlocks when both buffers fill). Statements are constants with a name; each is prepared once per
 * connection, on first use, inside the same pipeline. Everything between two Syncs is one implicit
 * transaction: it commits at the Sync or is void as a whole, so no BEGIN, COMMIT or ROLLBACK is ever sent.
 * Parameters and results are binary. Two ways to drive it, as with redis.h: a poller, or sequentially
 * pg_wait()/pg_call(). libpq is included nowhere else. Not thread-safe: one owner.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/base/uuid.h"

struct pg;

struct pg_stmt {
    const char *name; /* unique in the program, below 60 characters */
    const char *sql;  /* parameters carry casts where their type is not evident: $1::uuid[] */
};

/* A parameter, borrowed until pg_queue returns. n < 0 is NULL. */
struct pg_param {
    const void *p;
    int n;
    union {
        uint8_t bytes[16];
        int64_t integer;
    } own;   /* scalars are kept inside */
    bool in; /* p is `own` */
};
struct pg_param pg_int(int64_t v); /* for bigint parameters: cast $n::bigint */
struct pg_param pg_bool(bool v);
struct pg_param pg_uuid(struct uuid id);
struct pg_param pg_text(struct str s); /* text; also bytea. STR_NONE is NULL */
struct pg_param pg_null(void);

/* One-dimensional binary arrays for unnest and = ANY. Elements are appended; all of one type. */
enum pg_type { PG_BOOL = 16, PG_BYTEA = 17, PG_INT8 = 20, PG_TEXT = 25, PG_UUID = 2950 };
struct pg_array {
    struct buf b;
    enum pg_type type;
    int n;
};
struct pg_array pg_array(struct arena *arena, enum pg_type type, int expected);
void pg_array_int(struct pg_array *a, int64_t v);
void pg_array_bool(struct pg_array *a, bool v);
void pg_array_text(struct pg_array *a, struct str s); /* PG_TEXT or PG_BYTEA; STR_NONE is NULL */
void pg_array_uuid(struct pg_array *a, struct uuid id);
void pg_array_null(struct pg_array *a);
struct pg_param pg_array_param(struct pg_array *a);

/* A result: rows of binary columns. */
struct pg_result;
int pg_rows(const struct pg_result *r); /* rows returned; 0 for a command */
int64_t pg_affected(const struct pg_result *r);
bool pg_is_null(const struct pg_result *r, int row, int column);
int64_t pg_get_int(const struct pg_result *r, int row, int column); /* int2, int4, int8, bool; NULL is 0 */
bool pg_get_bool(const struct pg_result *r, int row, int column);
struct uuid pg_get_uuid(const struct pg_result *r, int row, int column); /* NULL is nil */
struct str pg_get_str(const struct pg_result *r, int row,
                      int column); /* text, bytea; borrowed; NULL is STR_NONE */
struct pg_result *pg_result_free(struct pg_result *r);
void pg_result_freep(struct pg_result **r);

/* Gets each statement's outcome in order. e is OK with a result (freed after fn returns), or a failure with
 * NULL: FENCED (SQLSTATE DSF01), UNIQUE (23505), PG_RETRY (40 53 55P03 57 58, and a plan outdated by a change
 * of its tables), PG_DOWN (08, 57P, whatever is FATAL, sockets), SQL (the rest; text says SQLSTATE and
 * statement name, never values). After a failure all later ones up to the Sync get the same code. */
typedef void pg_fn(void *data, err e, struct pg_result *result);

enum {
    PG_CONNECT_MS = 3000,  /* for loops: they try again, and must be able to end */
    PG_PATIENT_MS = 30000, /* for who has one try: a busy machine may need seconds for a new backend */
};

/* Connects (bounded by PG_CONNECT_MS). role: SET ROLE after connecting, NULL for none. setup: further
 * statements separated by ';' run at connect, NULL for none. PG_DOWN when nobody answers or the login is
 * refused, CONFIG: not a URL, SQL: role or setup refused. On failure *ret is NULL. */
err pg_open(const char *url, const char *role, const char *setup, struct pg **ret) _must_use_;
/* The same with so many ms for this connection, at least 1; those of pg_reopen have PG_CONNECT_MS. */
err pg_open_within(const char *url, const char *role, const char *setup, int connect_ms,
                   struct pg **ret) _must_use_;
struct pg *pg_close(struct pg *pg); /* takes NULL, returns NULL; waiting functions get PG_DOWN */
/* Ends the connection, also one that answers; everybody who waits gets PG_DOWN at once, the text says why.
 * What arrived and was not read is dropped. Not from inside a pg_fn. */
void pg_break(struct pg *pg, const char *why);
bool pg_is_up(const struct pg *pg);
err pg_reopen(struct pg *pg) _must_use_; /* the same url, role and setup */

/* Queues one statement of at most 64 parameters, which are copied. fn may be NULL. On a connection that is
 * down fn gets PG_DOWN at once. */
void pg_queue(struct pg *pg, const struct pg_stmt *stmt, int n, const struct pg_param *params, pg_fn *fn,
              void *data);
/* The same for a statement that is not ours, hence has no name: values are texts whose types PostgreSQL
 * infers, a NULL pointer is NULL. Not prepared, all is copied. */
void pg_queue_text(struct pg *pg, const char *sql, int n, const char *const *values, pg_fn *fn, void *data);
/* Ends the transaction. fn (may be NULL) gets OK with NULL when it has committed, else the first failure. */
void pg_sync(struct pg *pg, pg_fn *fn, void *data);

int pg_fd(const struct pg *pg);
short pg_wants(const struct pg *pg);
void pg_pump(struct pg *pg, short ready);
size_t pg_waiting(const struct pg *pg); /* statements and Syncs without outcome */

/* Sequential: sends what is queued and runs until nothing waits. Returns the first failure since the last
 * pg_wait. A timeout closes the connection: PG_DOWN. Statements without a Sync get their outcome too; their
 * transaction stays open. Not from inside a pg_fn. */
err pg_wait(struct pg *pg, int64_t timeout_ms) _must_use_;
/* Writes what is queued as far as the socket takes it, without waiting; may call functions, as pg_pump does.
 */
void pg_flush(struct pg *pg);
/* A pg_fn that keeps the result: data is struct pg_result **, owned by the caller afterwards. */
void pg_keep(void *data, err e, struct pg_result *result);
/* Sequential: one statement and Sync, within 30 s. ret may be NULL; the caller frees *ret, NULL on failure.
 * What was queued before is of the same transaction. */
err pg_call(struct pg *pg, const struct pg_stmt *stmt, int n, const struct pg_param *params,
            struct pg_result **ret) _must_use_;
/* Simple-protocol script of several statements, for migrations; not in pipeline mode, runs in one
 * transaction, within 10 min. Nothing may wait or be open. */
err pg_script(struct pg *pg, const char *sql) _must_use_;
