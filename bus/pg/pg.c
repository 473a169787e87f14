/*
 * The pump of one connection to PostgreSQL: what was sent and has no outcome yet, and the loop that moves
 * bytes both ways (only writing would deadlock when both sides' buffers are full). Promises: every statement
 * and Sync gets exactly one call of its function, in order; functions are never called from inside pg_queue
 * and pg_sync of a healthy connection; after a failure nothing of the same transaction is told to have
 * worked.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/pg/internal.h"

static char *copy(const char *s)
{
    char *c = s ? strdup(s) : NULL;
    if (s && !c)
        abort();
    return c;
}

err pg_open(const char *url, const char *role, const char *setup, struct pg **ret)
{
    return pg_open_within(url, role, setup, PG_CONNECT_MS, ret);
}

err pg_open_within(const char *url, const char *role, const char *setup, int connect_ms, struct pg **ret)
{
    assert(connect_ms > 0);
    struct pg *pg = calloc(1, sizeof(*pg));
    if (!pg)
        abort();
    *pg = (struct pg){.waiting = RING(struct waiting),
                      .url = copy(url),
                      .role = copy(role),
                      .setup = copy(setup),
                      .connect_ms = connect_ms};
    err e = pg_reopen(pg);
    pg->connect_ms = PG_CONNECT_MS;
    if (failed(e))
        pg = pg_close(pg);
    *ret = pg;
    return e;
}

err pg_reopen(struct pg *pg)
{
    pg_break(pg, "reopened");
    pg->first.code = ERR_NONE;
    return pg_connect(pg);
}

struct pg *pg_close(struct pg *pg)
{
    if (!pg)
        return NULL;
    pg_break(pg, "closed");
    ring_deinit(&pg->waiting);
    explicit_bzero(pg->url, strlen(pg->url)); /* it may hold a password */
    free(pg->url);
    free(pg->role);
    free(pg->setup);
    free(pg);
    return NULL;
}

bool pg_is_up(const struct pg *pg)
{
    return pg->conn && !pg->broken;
}

int pg_fd(const struct pg *pg)
{
    return pg->conn ? PQsocket(pg->conn) : -1;
}

short pg_wants(const struct pg *pg)
{
    return !pg->conn ? 0 : pg->unsent ? POLLIN | POLLOUT : POLLIN;
}

size_t pg_waiting(const struct pg *pg)
{
    return pg->told;
}

/* Notes a failure of the transaction being read; the first one counts. */
static void note(struct failure *at, enum err_code code, const char *text)
{
    if (at->code != ERR_NONE)
        return;
    at->code = code;
    snprintf(at->text, sizeof(at->text), "%s", text);
}

static struct waiting next(struct pg *pg)
{
    struct waiting w = *(struct waiting *)ring_first(&pg->waiting);
    ring_pop(&pg->waiting);
    pg->told -= w.step != STEP_PREPARE;
    return w;
}

void pg_break(struct pg *pg, const char *why)
{
    assert(!pg->running);
    struct failure f = {ERR_PG_DOWN, ""};
    snprintf(f.text, sizeof(f.text), "PostgreSQL at %s: %s", pg->server, why);
    if (pg->conn)
        note(&pg->first, f.code, f.text);
    PQfinish(STEAL(pg->conn));
    PQclear(STEAL(pg->outcome));
    prepared_clear(&pg->prepared);
    pg->broken = pg->open = pg->unasked = pg->unsent = false;
    pg->voided.code = ERR_NONE;
    pg->queueing = pg->reading = 0;
    pg->running = true;
    while (pg->waiting.n) {
        struct waiting w = next(pg);
        if (w.fn)
            w.fn(w.data, failure_err(&f), NULL);
    }
    pg->running = false;
}

/* --- queueing
 * ----------------------------------------------------------------------------------------------------- */

/* A place in the queue of outcomes; NULL when the connection is down, and then fn was told. */
static struct waiting *enqueue(struct pg *pg, struct waiting w)
{
    if (!pg->conn) {
        note(&pg->first, ERR_PG_DOWN, "the connection to PostgreSQL is down");
        if (w.fn)
            w.fn(w.data, FAIL(PG_DOWN, "the connection to PostgreSQL is down"), NULL);
        return NULL;
    }
    struct waiting *place = ring_push(&pg->waiting);
    *place = w;
    pg->told += w.step != STEP_PREPARE;
    pg->unsent = true;
    return place;
}

/* The generation under which the statement can be run in the transaction being queued; prepares it where
 * needed. */
static unsigned prepare(struct pg *pg, const struct pg_stmt *stmt)
{
    struct prepared *p = prepared_of(&pg->prepared, stmt);
    if (p->ready)
        return p->ready;
    if (p->sent && p->transaction == pg->queueing)
        return p->sent;
    p->sent++;
    p->transaction = pg->queueing;
    char name[PG_STMT_NAME];
    prepared_name(stmt, p->sent, name);
    enqueue(pg, (struct waiting){.step = STEP_PREPARE, .stmt = stmt, .generation = p->sent});
    pg->broken |= !PQsendPrepare(pg->conn, name, stmt->sql, 0, NULL);
    return p->sent;
}

void pg_queue(struct pg *pg, const struct pg_stmt *stmt, int n, const struct pg_param *params, pg_fn *fn,
              void *data)
{
    assert(n >= 0 && n <= PG_PARAMS);
    const char *values[PG_PARAMS];
    int lengths[PG_PARAMS], formats[PG_PARAMS];
    for (int i = 0; i < n; i++) {
        values[i] = params[i].n < 0 ? NULL : params[i].in ? (const char *)params[i].own.bytes : params[i].p;
        lengths[i] = params[i].n;
        formats[i] = 1;
    }
    struct waiting w = {.step = STEP_STATEMENT, .stmt = stmt, .fn = fn, .data = data};
    if (pg->conn)
        w.generation = prepare(pg, stmt);
    if (!enqueue(pg, w))
        return;
    pg->open = pg->unasked = true;
    char name[PG_STMT_NAME];
    prepared_name(stmt, w.generation, name);
    pg->broken |= !PQsendQueryPrepared(pg->conn, name, n, values, lengths, formats, 1);
}

void pg_queue_text(struct pg *pg, const char *sql, int n, const char *const *values, pg_fn *fn, void *data)
{
    static const struct pg_stmt unnamed = {"a statement of the caller", ""}; /* for texts of errors */
    assert(n >= 0 && n <= PG_PARAMS);
    if (!enqueue(pg, (struct waiting){.step = STEP_STATEMENT, .stmt = &unnamed, .fn = fn, .data = data}))
        return;
    pg->open = pg->unasked = true;
    pg->broken |= !PQsendQueryParams(pg->conn, sql, n, NULL, values, NULL, NULL, 1);
}

void pg_sync(struct pg *pg, pg_fn *fn, void *data)
{
    if (!enqueue(pg, (struct waiting){.step = STEP_SYNC, .fn = fn, .data = data}))
        return;
    pg->open = pg->unasked = false;
    pg->queueing++;
    pg->broken |= !PQpipelineSync(pg->conn);
}

/* --- outcomes
 * ----------------------------------------------------------------------------------------------------- */

static void tell(struct pg *pg, const struct waiting *w, struct pg_result *result)
{
    err e = pg->voided.code == ERR_NONE ? OK : failure_err(&pg->voided);
    if (failed(e))
        result = NULL;
    if (w->fn)
        w->fn(w->data, e, result);
}

/* A refusal. A plan made in an earlier transaction that no longer fits (somebody changed the table, or
 * discarded the session's plans) is no mistake of the statement: forget it, and the same transaction will do
 * when it is repeated. */
static void refused(struct pg *pg, const PGresult *result)
{
    const struct waiting *w = ring_first(&pg->waiting);
    struct failure f;
    failure_describe(result, w->step == STEP_SYNC ? "commit" : w->stmt->name, &f);
    if (w->step == STEP_STATEMENT && w->generation && failure_is_stale_plan(result)) {
        struct prepared *p = prepared_of(&pg->prepared, w->stmt);
        if (p->ready == w->generation && p->transaction < pg->reading) {
            p->ready = 0;
            f.code = ERR_PG_RETRY;
        }
    }
    note(&pg->voided, f.code, f.text);
    note(&pg->first, f.code, f.text);
    pg->broken |= f.code == ERR_PG_DOWN;
}

/* The transaction is over. An error may precede this: commit itself can fail, by a deferred constraint. */
static void finish_sync(struct pg *pg)
{
    struct waiting w = next(pg);
    assert(w.step == STEP_SYNC);
    pg->reading++;
    tell(pg, &w, NULL);
    pg->voided.code = ERR_NONE;
}

/* libpq says that the first in the queue is complete. */
static void finish_step(struct pg *pg)
{
    struct waiting w = next(pg);
    struct pg_result result = {STEAL(pg->outcome)};
    if (w.step == STEP_STATEMENT)
        tell(pg, &w, &result);
    else if (PQresultStatus(result.pg) == PGRES_COMMAND_OK)
        prepared_of(&pg->prepared, w.stmt)->ready = w.generation;
    PQclear(result.pg);
}

static void take(struct pg *pg, PGresult *result)
{
    const struct waiting *w = ring_first(&pg->waiting);
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        finish_sync(pg);
        return;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_ABORTED: /* not run: an earlier one of the transaction was refused */
        break;
    default:
        refused(pg, result);
    }
    PQclear(pg->outcome);
    pg->outcome = w->step == STEP_SYNC ? NULL : result; /* a Sync is complete with PGRES_PIPELINE_SYNC only */
    if (w->step == STEP_SYNC)
        PQclear(result);
}

static void take_results(struct pg *pg)
{
    int empty = 0; /* a second NULL in a row: libpq has nothing for us, whatever it says about being busy */
    while (pg->waiting.n && !pg->broken && empty < 2 && !PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        empty = result || pg->outcome ? 0 : empty + 1;
        if (result)
            take(pg, result);
        else if (pg->outcome)
            finish_step(pg);
    }
}

/* --- driving
 * ------------------------------------------------------------------------------------------------------ */

static void push_out(struct pg *pg)
{
    int left = PQflush(pg->conn);
    pg->unsent = left > 0;
    pg->broken |= left < 0 || PQstatus(pg->conn) == CONNECTION_BAD;
}

void pg_pump(struct pg *pg, short ready)
{
    if (!pg->conn)
        return;
    if (pg->running) { /* called by a function of ours: only write, the pump around it sees what breaks */
        push_out(pg);
        return;
    }
    pg->running = true;
    bool up = !(ready & ~POLLOUT) || PQconsumeInput(pg->conn);
    take_results(pg); /* also when the connection is gone: what arrived before counts */
    push_out(pg);
    pg->running = false;
    if (!up || pg->broken)
        pg_break(pg, "the connection broke");
}

void pg_flush(struct pg *pg)
{
    pg_pump(pg, 0);
}

static void run(struct pg *pg, int64_t timeout_ms)
{
    assert(!pg->running);
    int64_t deadline = clock_mono_ms() + timeout_ms;
    while (pg->conn && pg->waiting.n) {
        if (STEAL(pg->unasked))
            pg->broken |= !PQsendFlushRequest(pg->conn);
        pg_pump(pg, 0);
        short ready;
        if (!pg->conn || !pg->waiting.n)
            return;
        if (pg_poll(pg, pg_wants(pg), deadline, &ready))
            pg_pump(pg, ready);
        else
            pg_break(pg, "no answer in time");
    }
}

err pg_wait(struct pg *pg, int64_t timeout_ms)
{
    run(pg, timeout_ms);
    struct failure first = pg->first;
    pg->first.code = ERR_NONE;
    if (first.code != ERR_NONE)
        return failure_err(&first);
    return pg_is_up(pg) ? OK : FAIL(PG_DOWN, "the connection to PostgreSQL is down");
}

err pg_call(struct pg *pg, const struct pg_stmt *stmt, int n, const struct pg_param *params,
            struct pg_result **ret)
{
    if (ret)
        *ret = NULL;
    pg_queue(pg, stmt, n, params, ret ? pg_keep : NULL, ret);
    pg_sync(pg, NULL, NULL);
    err e = pg_wait(pg, PG_CALL_MS);
    if (failed(e) && ret)
        *ret = pg_result_free(*ret);
    return e;
}
