/*
 * Connecting, and scripts in the simple protocol: what happens outside of pipeline mode. libpq is
 * non-blocking here too, so every wait has a deadline. Errors never quote the URL.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/pg/internal.h"

bool pg_poll(const struct pg *pg, short wanted, int64_t deadline, short *ret_ready)
{
    struct pollfd p = {.fd = PQsocket(pg->conn), .events = wanted};
    int64_t left = deadline - clock_mono_ms();
    int n = left > 0 ? poll(&p, 1, left < INT32_MAX ? (int)left : INT32_MAX) : 0;
    assert(n >= 0 || errno == EINTR);
    *ret_ready = n > 0 ? p.revents : 0;
    return n != 0;
}

/* Notices would go to standard error: only loops log. */
static void drop_notice(void *data, const PGresult *notice)
{
    (void)data;
    (void)notice;
}

/* The first line of libpq's words, which name host, port, user and database. */
static err connect_failed(const struct pg *pg)
{
    const char *text = PQerrorMessage(pg->conn);
    return FAIL(PG_DOWN, "%.*s", (int)strcspn(text, "\n"), text);
}

static err start(struct pg *pg)
{
    /* What stands before dbname is a default that the URL may override; what stands behind it is not. A peer
     * that is gone without a word is noticed after seconds, not hours. */
    static const char *const keys[] = {"keepalives_idle",  "keepalives_interval",
                                       "keepalives_count", "tcp_user_timeout",
                                       "gssencmode",       "sslmode",
                                       "dbname",           "fallback_application_name",
                                       "client_encoding",  NULL};
    const char *const values[] = {"5",      "2",     "3",        "10000", "disable",
                                  "prefer", pg->url, "daydream", "UTF8",  NULL};
    PQconninfoOption *options = PQconninfoParse(pg->url, NULL);
    if (!options)
        return FAIL(CONFIG,
                    "DATABASE_URL is not postgresql://[user[:password]@][host][:port][/database][?options]");
    PQconninfoFree(options);
    pg->conn = PQconnectStartParams(keys, values, 1);
    if (!pg->conn)
        abort();
    PQsetNoticeReceiver(pg->conn, drop_notice, NULL);
    return PQstatus(pg->conn) == CONNECTION_BAD ? connect_failed(pg) : OK;
}

static err establish(struct pg *pg, int64_t deadline)
{
    TRY(start(pg));
    PostgresPollingStatusType s = PGRES_POLLING_WRITING;
    while (s != PGRES_POLLING_OK) {
        short ready;
        if (s == PGRES_POLLING_FAILED)
            return connect_failed(pg);
        if (!pg_poll(pg, s == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, &ready))
            return FAIL(PG_DOWN, "PostgreSQL does not answer within %d ms", pg->connect_ms);
        s = PQconnectPoll(pg->conn);
    }
    if (PQsetnonblocking(pg->conn, 1))
        return connect_failed(pg);
    const char *host = PQhost(pg->conn);
    snprintf(pg->server, sizeof(pg->server), "%s:%s", host ? host : "", PQport(pg->conn));
    return OK;
}

/* Takes the results that are there; true when the script is through. Keeps the first failure. */
static bool take_results(struct pg *pg, const char *name, struct failure *first)
{
    while (!PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            return true;
        ExecStatusType status = PQresultStatus(result);
        bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
        if (!good && first->code == ERR_NONE)
            failure_describe(result, name, first);
        PQclear(result);
        if (PQstatus(pg->conn) == CONNECTION_BAD || (!good && status != PGRES_FATAL_ERROR))
            return true; /* a COPY in a script cannot be served: there is nobody to feed it */
    }
    return false;
}

/* Several statements as one simple query: one transaction. On PG_DOWN the caller ends the connection. */
static err simple(struct pg *pg, const char *name, const char *sql, int64_t deadline)
{
    struct failure first = {ERR_NONE, ""};
    if (!PQsendQuery(pg->conn, sql))
        return connect_failed(pg);
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (take_results(pg, name, &first))
            break;
        short ready;
        if (!pg_poll(pg, unsent > 0 ? POLLIN | POLLOUT : POLLIN, deadline, &ready))
            return FAIL(PG_DOWN, "no answer to %s in time", name);
        if ((ready & ~POLLOUT) && !PQconsumeInput(pg->conn)) {
            (void)take_results(pg, name, &first);
            return first.code != ERR_NONE ? failure_err(&first)
                                          : FAIL(PG_DOWN, "the connection broke in %s", name);
        }
    }
    if (first.code != ERR_NONE)
        return failure_err(&first);
    return PQstatus(pg->conn) == CONNECTION_BAD ? connect_failed(pg) : OK;
}

static err set_role(struct pg *pg, int64_t deadline)
{
    char *quoted = PQescapeIdentifier(pg->conn, pg->role, strlen(pg->role));
    if (!quoted)
        return FAIL(CONFIG, "the name of the role is not valid");
    char sql[512];
    int n = snprintf(sql, sizeof(sql), "SET ROLE %s", quoted);
    PQfreemem(quoted);
    if (n >= (int)sizeof(sql))
        return FAIL(CONFIG, "the name of the role is too long");
    return simple(pg, "SET ROLE", sql, deadline);
}

static err prepare_session(struct pg *pg, int64_t deadline)
{
    TRY(establish(pg, deadline));
    if (pg->role)
        TRY(set_role(pg, deadline));
    if (pg->setup)
        TRY(simple(pg, "setup", pg->setup, deadline));
    if (!PQenterPipelineMode(pg->conn))
        return connect_failed(pg);
    return OK;
}

err pg_connect(struct pg *pg)
{
    err e = prepare_session(pg, clock_mono_ms() + pg->connect_ms);
    if (failed(e)) {
        PQfinish(pg->conn);
        pg->conn = NULL;
    }
    return e;
}

err pg_script(struct pg *pg, const char *sql)
{
    assert(!pg->running && pg->waiting.n == 0 && !pg->open);
    if (!pg_is_up(pg))
        return FAIL(PG_DOWN, "the connection to PostgreSQL is down");
    if (!PQexitPipelineMode(pg->conn))
        return connect_failed(pg);
    err e = simple(pg, "script", sql, clock_mono_ms() + PG_SCRIPT_MS);
    if (e.code == ERR_PG_DOWN || PQstatus(pg->conn) == CONNECTION_BAD)
        pg_break(pg, "the connection broke in a script");
    else if (!PQenterPipelineMode(pg->conn))
        pg_break(pg, "PostgreSQL did not leave the script");
    return e;
}
