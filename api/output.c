/*
 * What goes out of a connection: the answered head of its queue as pieces for writev, counted off as they are
 * taken.
 */
#include <assert.h>

#include "api/conn.h"
#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

/* The reader has to take something now. What waits behind an answer that is not there yet is no matter of
 * his. */
static void expect_writing(struct conn *conn)
{
    if (conn->write_ms == 0) {
        conn->write_ms = conn->host->now_ms + CONN_WRITE_MS;
        conn->write_n = 0;
    }
}

static bool can_write(const struct conn *conn)
{
    const struct exchange *x = conn->first;

    return x && (x->parts[0].n > 0 || x->parts[1].n > 0 || x->filling.n > 0);
}

bool conn_ends_with(struct exchange *x)
{
    struct conn *conn = x->conn;

    if (x->keep_alive && conn->host->draining && conn->phase == CONN_HEAD && conn->last == x)
        conn_end_input(conn);
    return conn->phase == CONN_DONE && conn->last == x;
}

/* What an answer holds besides its bytes (rows, buffers that grew) is often more than them. */
static void keep(struct exchange *x)
{
    struct conn *conn = x->conn;

    if (x->state != EXCHANGE_ANSWERED || x->kept)
        return;
    x->kept = arena_used(x->req.arena);
    x->host->kept += x->kept;
    if (conn_crowded(x->host) && conn->unwritten > CONN_UNWRITTEN)
        conn->broken = true;
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
    keep(x);
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
    if (x->host->metrics)
        route_metrics_count(x->host->metrics, &x->req, x->status, ns);
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

    if (eaten > 0)
        *part = str_slice(*part, eaten, part->n);
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
    if (conn->write_n >= CONN_WRITE_STEP_BYTES && !conn_crowded(conn->host))
        conn->write_ms = 0;
    while (n > 0) {
        assert(conn->first);
        n -= eat(&conn->first->parts[0], n);
        n -= eat(&conn->first->parts[1], n);
        settle(conn);
    }
    if (can_write(conn))
        expect_writing(conn);
    else
        conn->write_ms = 0;
    refill(conn);
}
