/*
 * Answers of unknown length. What is written while earlier bytes are on their way gathers in a second buffer,
 * so the bytes given to the kernel never move; memory is bounded by STREAM_MAX per stream.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/conn.h"

void stream_free(struct exchange *x)
{
    free(x->sending.p);
    free(x->filling.p);
}

static void append(struct stream_bytes *b, const char *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p)
            abort();
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void stream_begin(struct request *req, int status, const char *content_type)
{
    struct exchange *x = exchange_of(req);

    assert(x->state == EXCHANGE_ASKED);
    x->state = EXCHANGE_STREAMING;
    if (!x->conn)
        return;
    if (x->http10) { /* only the end of the connection can tell the end */
        x->keep_alive = false;
        conn_end_input(x->conn);
    }
    x->parts[0] = respond_head(x, status, content_type, -1);
    conn_answered(x, x->parts[0].n);
}

static size_t put_chunk(struct exchange *x, struct str bytes)
{
    char size[20];
    size_t before = x->filling.n;

    if (x->http10) {
        append(&x->filling, bytes.p, bytes.n);
    } else {
        append(&x->filling, size, (size_t)sprintf(size, "%zx\r\n", bytes.n));
        append(&x->filling, bytes.p, bytes.n);
        append(&x->filling, "\r\n", 2);
    }
    return x->filling.n - before;
}

bool stream_write(struct request *req, struct str bytes)
{
    struct exchange *x = exchange_of(req);

    assert(x->state == EXCHANGE_STREAMING);
    if (!x->conn || bytes.n == 0 || req->method == HEAD || x->conn->broken)
        return true;
    if (x->filling.n + bytes.n > STREAM_MAX) {
        x->conn->broken = true;
        conn_answered(x, 0);
        return true;
    }
    conn_answered(x, put_chunk(x, bytes));
    x->full = x->parts[1].n + x->filling.n > STREAM_HIGH;
    return !x->full;
}

void stream_end(struct request *req)
{
    struct exchange *x = exchange_of(req);
    size_t before = x->filling.n;

    assert(x->state == EXCHANGE_STREAMING);
    x->state = EXCHANGE_ANSWERED;
    x->full = false;
    if (x->conn && !x->http10 && req->method != HEAD)
        append(&x->filling, "0\r\n\r\n", 5);
    conn_answered(x, x->filling.n - before);
}
