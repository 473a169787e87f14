/*
 * The connection: phases, the queue of exchanges, output in order, deadlines. See conn.h.
 *
 *   HEAD --head complete--> BODY --body complete--> HEAD …
 *     \___ refused, Connection: close, end of input ___> DONE (bytes are dropped until the answers are out)
 *
 * An exchange enters the queue when its head is complete, so refusals, too, are answered in their turn.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/conn.h"
#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

/* ---- exchanges ---- */

static struct exchange *exchange_take(struct conn_host *host)
{
    struct exchange *x = host->spare;

    if (!x) {
        x = calloc(1, sizeof(*x));
        if (!x)
            abort();
        x->req.arena = arena_new(REQUEST_ARENA);
        return x;
    }
    host->spare = x->next;
    host->spares--;
    return x;
}

struct exchange *exchange_new(struct conn *conn)
{
    struct exchange *x = exchange_take(conn->host);
    struct arena *arena = x->req.arena;

    *x = (struct exchange){
        .req = {.arena = arena, .loop = conn->host->loop, .peer = arena_str(arena, str_of(conn->peer))},
        .host = conn->host,
        .conn = conn};
    if (conn->last)
        conn->last->next = x;
    else
        conn->first = x;
    conn->last = x;
    conn->outstanding++;
    return x;
}

/* Its memory goes back to the spares; a large one to malloc. */
void exchange_free(struct exchange *x)
{
    struct conn_host *host = x->host;

    host->held -= x->body_cap;
    free(x->body);
    blob_drop(x->blob);
    stream_free(x);
    arena_reset(x->req.arena);
    if (host->spares == HOST_SPARE) {
        arena_free(x->req.arena);
        free(x);
        return;
    }
    x->next = host->spare;
    host->spare = x;
    host->spares++;
}

void host_deinit(struct conn_host *host)
{
    while (host->spare) {
        struct exchange *x = host->spare;

        host->spare = x->next;
        arena_free(x->req.arena);
        free(x);
    }
    host->spares = 0;
}

void host_tick(struct conn_host *host, int64_t mono_ms, int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;

    host->now_ms = mono_ms;
    host->wall_ms = wall_ms;
    if (s == host->date_s && host->date[0])
        return;
    host->date_s = s;
    gmtime_r(&s, &tm);
    strftime(host->date, sizeof(host->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

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
        return conn->outstanding < CONN_OUTSTANDING && conn->unwritten < CONN_UNWRITTEN;
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

void conn_eof(struct conn *conn)
{
    if (conn->phase == CONN_BODY) { /* half a request is none */
        struct exchange **at = &conn->first;
        struct exchange *before = NULL;

        for (; *at != conn->last; at = &(*at)->next)
            before = *at;
        exchange_free(*at);
        *at = NULL;
        conn->last = before;
        conn->outstanding--;
    }
    conn_end_input(conn);
    for (struct exchange *x = conn->first; x; x = x->next)
        if (x->state == EXCHANGE_STREAMING)
            conn->broken = true; /* who closed does not follow a stream */
}

/* ---- bytes out ---- */

static void expect_writing(struct conn *conn)
{
    if (conn->write_ms == 0) {
        conn->write_ms = conn->host->now_ms + CONN_WRITE_MS;
        conn->write_n = 0;
    }
}

bool conn_ends_with(struct exchange *x)
{
    struct conn *conn = x->conn;

    if (x->keep_alive && conn->host->draining && conn->phase == CONN_HEAD && conn->last == x)
        conn_end_input(conn);
    return conn->phase == CONN_DONE && conn->last == x;
}

void conn_answered(struct exchange *x, size_t added)
{
    struct conn *conn = x->conn;

    if (!conn) {
        if (x->state == EXCHANGE_ANSWERED) {
            x->host->orphans--;
            exchange_free(x);
        }
        return;
    }
    conn->unwritten += added;
    if (!conn->feeding && conn->host->on_output)
        conn->host->on_output(conn);
}

/* The stream's next bytes, when those being sent are all gone. */
static void swap_stream(struct exchange *x)
{
    struct stream_bytes sent = x->sending;

    sent.n = 0;
    x->sending = x->filling;
    x->filling = sent;
    x->parts[1] = (struct str){x->sending.p, x->sending.n};
}

static bool part_of(struct exchange *x, int i, struct iovec *ret)
{
    if (x->parts[i].n == 0)
        return false;
    *ret = (struct iovec){(void *)(uintptr_t)x->parts[i].p, x->parts[i].n};
    return true;
}

static bool is_out(const struct exchange *x)
{
    return x->state == EXCHANGE_ANSWERED && x->parts[0].n == 0 && x->parts[1].n == 0 && x->filling.n == 0;
}

static void observe(const struct exchange *x)
{
    static const enum counter counters[] = {
        [2] = COUNTER_HTTP_2XX, [3] = COUNTER_HTTP_3XX, [4] = COUNTER_HTTP_4XX, [5] = COUNTER_HTTP_5XX};
    int64_t ns = x->req.arrived_ns ? clock_mono_ns() - x->req.arrived_ns : 0;

    counter_add(counters[x->status / 100], 1);
    if (!x->refused)
        histogram_observe(HISTOGRAM_HTTP_SECONDS, ns);
    log_debug("request", kv("method", method_name(x->req.method)), kv("path", x->req.path),
              kv("status", x->status), kv("request_id", x->req.id), kv("microseconds", ns / 1000));
}

static void leave_queue(struct conn *conn)
{
    struct exchange *x = conn->first;

    conn->first = x->next;
    if (!conn->first)
        conn->last = NULL;
    conn->outstanding--;
    observe(x);
    exchange_free(x);
    if (conn->outstanding == 0 && conn->phase == CONN_HEAD && !guard_started(&conn->guard))
        conn->since_ms = conn->host->now_ms; /* idle from here */
}

/* Lets go of what is answered and written. */
static void settle(struct conn *conn)
{
    while (conn->first && is_out(conn->first))
        leave_queue(conn);
}

/* The interim answer stands in parts[0] until the real one is known. */
static void offer_continue(struct conn *conn, struct exchange *x)
{
    x->expects = false;
    x->parts[0] = STR("HTTP/1.1 100 Continue\r\n\r\n");
    conn->unwritten += x->parts[0].n;
}

int conn_output(struct conn *conn, struct iovec *ret, int max)
{
    int n = 0;

    settle(conn); /* a stream may have ended with nothing left to write */
    for (struct exchange *x = conn->first; x && n + 2 <= max; x = x->next) {
        if (x->expects)
            offer_continue(conn, x);
        if (x->parts[1].n == 0 && x->filling.n > 0)
            swap_stream(x);
        n += part_of(x, 0, ret + n);
        n += part_of(x, 1, ret + n);
        if (x->state != EXCHANGE_ANSWERED || x->filling.n > 0)
            break;
    }
    if (n > 0)
        expect_writing(conn);
    return n;
}

static size_t eat(struct str *part, size_t n)
{
    size_t eaten = n < part->n ? n : part->n;

    part->p += eaten;
    part->n -= eaten;
    return eaten;
}

/* A stream that was told to wait goes on when half of its room is free. */
static void refill(struct conn *conn)
{
    struct exchange *x = conn->first;

    if (x && x->full && x->parts[1].n + x->filling.n < STREAM_HIGH / 2) {
        x->full = false;
        if (x->req.on_drain)
            x->req.on_drain(&x->req);
    }
}

void conn_wrote(struct conn *conn, size_t n)
{
    conn->unwritten -= n;
    conn->write_n += n;
    if (conn->unwritten == 0 || conn->write_n >= CONN_WRITE_STEP_BYTES)
        conn->write_ms = 0;
    while (n > 0) {
        assert(conn->first);
        n -= eat(&conn->first->parts[0], n);
        n -= eat(&conn->first->parts[1], n);
        settle(conn);
    }
    if (conn->unwritten > 0)
        expect_writing(conn);
    refill(conn);
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
