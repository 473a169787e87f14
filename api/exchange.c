/* Exchanges come from a small stock per loop, each with its arena, so a request costs no malloc. */
#include <stdlib.h>
#include <time.h>

#include "api/conn.h"

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

    if (x->began_ns)
        span_of_answer(x);
    host->held -= x->body_cap;
    host->kept -= x->kept;
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
