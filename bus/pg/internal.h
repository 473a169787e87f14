/*
 * What the files of bus/pg share. connect.c opens and runs plain scripts, prepared.c remembers what the
 * server has prepared, failure.c reads SQLSTATEs, value.c writes parameters and reads results, pg.c is the
 * pump.
 */
#pragma once

#include <libpq-fe.h>

#include "bus/base/ring.h"
#include "bus/pg/pg.h"

enum {
    PG_CALL_MS = 30000,    /* deadline of pg_call */
    PG_SCRIPT_MS = 600000, /* deadline of pg_script: a migration may rewrite a large table */
    PG_PARAMS = 64,        /* most parameters of a statement */
    PG_STMT_NAME = 64,     /* PostgreSQL keeps 63 bytes of a name */
};

/* What went wrong, kept until everybody concerned was told. ERR_NONE: nothing. */
struct failure {
    enum err_code code;
    char text[240];
};

/*
 * What the server knows of a statement. A name is used for one Parse only: while its outcome is unknown a
 * later transaction must not count on it (the transaction may have been void before its Parse ran) and
 * prepares anew under the name of the next generation.
 */
struct prepared {
    const struct pg_stmt *stmt;
    unsigned ready;       /* generation that the server has confirmed, 0 for none */
    unsigned sent;        /* last generation sent, 0 for none */
    uint64_t transaction; /* in which that was sent */
};

/* Open addressing by the statement's address; grows at three quarters. */
struct prepared_table {
    struct prepared *slots;
    size_t cap, n;
};
/* The statement's entry, new when it has none; valid until the next call. */
struct prepared *prepared_of(struct prepared_table *t, const struct pg_stmt *stmt);
void prepared_clear(struct prepared_table *t);
void prepared_name(const struct pg_stmt *stmt, unsigned generation, char ret[static PG_STMT_NAME]);

enum step { STEP_PREPARE, STEP_STATEMENT, STEP_SYNC };

/* Something sent whose outcome has not come back. */
struct waiting {
    enum step step;
    unsigned generation; /* of the statement */
    const struct pg_stmt *stmt;
    pg_fn *fn;
    void *data;
};

struct pg_result {
    PGresult *pg;
};

struct pg {
    PGconn *conn; /* NULL: down */
    bool broken;  /* libpq gave up or the server said FATAL; the next pump ends the connection */
    bool running; /* functions are being called: no nested pump, no sequential call */
    bool open;    /* statements were queued since the last Sync */
    bool unasked; /* the server was not yet asked to send the outcome of what is queued */
    bool unsent;  /* libpq may still hold bytes */
    struct ring waiting;
    size_t told;       /* of those in `waiting`, how many are told to somebody: all but STEP_PREPARE */
    PGresult *outcome; /* of the first in `waiting`, until libpq says that it is complete */
    struct prepared_table prepared;
    uint64_t queueing,
        reading;           /* number of the transaction being queued, and of that whose outcomes come in */
    struct failure voided; /* the first failure of the transaction being read */
    struct failure first;  /* the first failure since the last pg_wait */
    char *url, *role, *setup;
    int connect_ms;   /* how long the next connection may take */
    char server[128]; /* for errors: host and port, never credentials */
};

/* failure.c. describe: name is the statement's, or "script". */
void failure_describe(const PGresult *result, const char *name, struct failure *ret);
err failure_err(const struct failure *f);
bool failure_is_stale_plan(const PGresult *result);

/* connect.c */
err pg_connect(struct pg *pg) _must_use_;
/* Polls the socket until an event or the deadline (clock_mono_ms); false at the deadline. */
bool pg_poll(const struct pg *pg, short wanted, int64_t deadline, short *ret_ready);
