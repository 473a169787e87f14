/*
 * The connection: phases, input, deadlines. See conn.h; what goes out is output.c.
 *
 *   HEAD --head complete--> BODY --body complete--> HEAD …
 *     \___ refused, Connection: close, end of input ___> DONE (bytes are dropped until the answers are out)
 *
 * An exchange enters the queue when its head is complete, so refusals, too, are answered in their turn.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/conn.h"
#include "bus/base/clock.h"
#include "bus/base/metrics.h"

/* ---- life ---- */

void conn_init(struct conn *conn, struct conn_host *host, const char *peer)
{
    *conn = (struct conn){.host = host, .since_ms = host->now_ms};
    snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
}

static void forget_partial(struct conn *conn)
{
    conn->host->held -= conn->partial_cap;
    free(conn->partial);
    conn->partial = NULL;
    conn->partial_n = conn->partial_cap = 0;
}

/* What a handler still owes lives on until it answers. */
static void orphan(struct exchange *x)
{
    x->conn = NULL;
    x->next = NULL;
    if (x->state == EXCHANGE_RECEIVING || x->state == EXCHANGE_ANSWERED) {
        exchange_free(x);
        return;
    }
    x->host->orphans++;
    x->req.gone = true;
    if (x->req.on_gone)
        x->req.on_gone(&x->req);
}

void conn_deinit(struct conn *conn)
{
    struct exchange *x = conn->first;

    forget_partial(conn);
    conn->first = conn->last = NULL;
    conn->outstanding = 0;
    conn->unwritten = 0;
    conn->phase = CONN_DONE;
    while (x) {
        struct exchange *next = x->next;

        orphan(x);
        x = next;
    }
}

/* ---- bytes in ---- */

bool conn_reads(const struct conn *conn)
{
    if (conn->phase == CONN_HEAD && conn->last && conn->last->http10)
        return false; /* HTTP/1.0 knows no pipelining: its answer may end with the connection */
    if (conn->phase == CONN_HEAD)
        return conn->outstanding < CONN_OUTSTANDING &&
               conn->unwritten < (conn_crowded(conn->host) ? 1 : CONN_UNWRITTEN);
    return true;
}

void conn_end_input(struct conn *conn)
{
    conn->phase = CONN_DONE;
    forget_partial(conn);
}

static void refuse(struct conn *conn, struct exchange *x, enum err_code code, const char *detail)
{
    counter_add(COUNTER_HTTP_BAD, 1);
    conn_end_input(conn);
    respond_refusal(x, code, detail);
}

static void begin_message(struct conn *conn)
{
    conn->phase = CONN_HEAD;
    conn->guard = (struct guard){0};
    conn->since_ms = conn->host->now_ms;
}

/* The whole request is there. */
static void hand_over(struct conn *conn, struct exchange *x)
{
    x->state = EXCHANGE_ASKED;
    x->expects = false;
    x->req.body = x->body ? (struct str){x->body, x->body_n} : STR_NONE;
    x->req.arrived_ns = clock_mono_ns();
    conn->used = true;
    if (x->keep_alive)
        begin_message(conn);
    else
        conn_end_input(conn);
    dispatch(x);
}

static void begin_body(struct conn *conn)
{
    conn->phase = CONN_BODY;
    conn->since_ms = conn->host->now_ms;
    conn->step_ms = conn->since_ms + CONN_BODY_STEP_MS;
    conn->step_n = 0;
}

static void keep_partial(struct conn *conn, const char *p, size_t n)
{
    size_t need = conn->partial_n + n;

    if (need > conn->partial_cap) {
        size_t cap = need < 512 ? 512 : need * 2;

        conn->partial = realloc(conn->partial, cap);
        if (!conn->partial)
            abort();
        conn->host->held += cap - conn->partial_cap;
        conn->partial_cap = cap;
    }
    memcpy(conn->partial + conn->partial_n, p, n);
    conn->partial_n = need;
}

static void take_head(struct conn *conn, const char *p, size_t n)
{
    struct exchange *x = exchange_new(conn);
    enum err_code code = head_read(conn, x, p, n);

    forget_partial(conn);
    if (code != ERR_NONE)
        refuse(conn, x, code, conn->refusal);
    else if (conn->complete)
        hand_over(conn, x);
    else
        begin_body(conn);
}

static const char *detail_of(enum err_code code)
{
    switch (code) {
    case ERR_URI_TOO_LONG:
        return "The request line is longer than allowed.";
    case ERR_HEADERS_TOO_LARGE:
        return "The header fields are more or larger than allowed.";
    default:
        return "The head of the request is not well-formed.";
    }
}

static size_t feed_head(struct conn *conn, const char *p, size_t n)
{
    size_t used;
    bool begins = !guard_started(&conn->guard);
    enum err_code code = guard_scan(&conn->guard, p, n, &used);

    if (begins)
        conn->since_ms = conn->host->now_ms;
    if (code != ERR_NONE) {
        refuse(conn, exchange_new(conn), code, detail_of(code));
        return used;
    }
    if (!conn->guard.complete && conn->host->held > conn->host->held_limit) {
        refuse(conn, exchange_new(conn), ERR_OVERLOADED, "Too many requests are being received.");
        return used;
    }
    if (conn->partial_n > 0 || !conn->guard.complete)
        keep_partial(conn, p, used);
    if (conn->guard.complete && conn->partial_n > 0)
        take_head(conn, conn->partial, conn->partial_n);
    else if (conn->guard.complete)
        take_head(conn, p, used);
    return used;
}

static size_t feed_body(struct conn *conn, const char *p, size_t n)
{
    struct exchange *x = conn->last;
    size_t used;
    enum err_code code = body_read(conn, x, p, n, &used);

    conn->step_n += used;
    x->expects = false; /* it does not wait for us */
    if (code != ERR_NONE)
        refuse(conn, x, code, conn->refusal);
    else if (conn->complete)
        hand_over(conn, x);
    return used;
}

static size_t drop(struct conn *conn, size_t n)
{
    conn->dropped += n;
    if (conn->dropped > CONN_LINGER_BYTES)
        conn->broken = true;
    return n;
}

size_t conn_feed(struct conn *conn, const char *p, size_t n)
{
    size_t at = 0;

    conn->feeding = true;
    while (at < n && conn_reads(conn)) {
        if (conn->phase == CONN_HEAD)
            at += feed_head(conn, p + at, n - at);
        else if (conn->phase == CONN_BODY)
            at += feed_body(conn, p + at, n - at);
        else
            at += drop(conn, n - at);
    }
    conn->feeding = false;
    return at;
}

/* Half a request is none. But bytes of a 100 Continue that are counted as output, and may be on their way,
 * belong to somebody: then it is answered. */
static void end_body(struct conn *conn)
{
    struct exchange **at = &conn->first;
    struct exchange *before = NULL;

    if (conn->last->parts[0].n > 0) {
        refuse(conn, conn->last, ERR_MALFORMED, "The body of the request is not complete.");
        return;
    }
    for (; *at != conn->last; at = &(*at)->next)
        before = *at;
    exchange_free(*at);
    *at = NULL;
    conn->last = before;
    conn->outstanding--;
}

void conn_eof(struct conn *conn)
{
    if (conn->phase == CONN_BODY)
        end_body(conn);
    conn_end_input(conn);
    for (struct exchange *x = conn->first; x; x = x->next)
        if (x->state == EXCHANGE_STREAMING)
            conn->broken = true; /* who closed does not follow a stream */
}

/* ---- ends ---- */

bool conn_finished(const struct conn *conn)
{
    return conn->phase == CONN_DONE && !conn->first;
}

void conn_linger(struct conn *conn)
{
    conn->lingering = true;
    conn->dropped = 0;
    conn->since_ms = conn->host->now_ms;
}

bool conn_broken(const struct conn *conn)
{
    return conn->broken;
}

bool conn_idle(const struct conn *conn)
{
    return !conn->first && conn->phase == CONN_HEAD && !guard_started(&conn->guard);
}

int64_t conn_deadline(const struct conn *conn)
{
    if (conn->lingering)
        return conn->since_ms + CONN_LINGER_MS;
    if (conn->write_ms)
        return conn->write_ms;
    if (conn->phase == CONN_BODY)
        return conn->step_ms < conn->since_ms + CONN_BODY_MS ? conn->step_ms : conn->since_ms + CONN_BODY_MS;
    if (conn->phase == CONN_HEAD && guard_started(&conn->guard))
        return conn->since_ms + CONN_HEAD_MS;
    if (conn->first)
        return INT64_MAX; /* the handlers' time is theirs */
    return conn->since_ms + (conn->used ? CONN_IDLE_MS : CONN_HEAD_MS);
}

bool conn_expire(struct conn *conn)
{
    if (conn->lingering || conn->write_ms || conn->phase != CONN_BODY)
        return true;
    if (conn->host->now_ms >= conn->since_ms + CONN_BODY_MS || conn->step_n < CONN_BODY_STEP_BYTES)
        return true;
    conn->step_ms = conn->host->now_ms + CONN_BODY_STEP_MS;
    conn->step_n = 0;
    return false;
}
