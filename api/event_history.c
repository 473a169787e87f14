/* See event_history.h. First the table; only when that begins too late, the way that also knows archives. */
#include "api/event_history.h"

#include <stdlib.h>

#include "api/door.h"

enum { SCRATCH = 64 << 20 };

struct history {
    struct door *door;
    enum topic topic;
    int part;
    int64_t after;
    struct event_history_page page;
    event_history_fn *fn;
    void *data;
    struct arena *arena;
    err e;
    struct event *events;
    size_t n;
};

static void tell(struct history *h)
{
    h->fn(h->data, h->e, h->events, h->n);
    arena_free(h->arena);
    free(h);
}

/* ---- on a thread ---- */

static err read_old(struct history *h)
{
    struct pg *pg;
    TRY(pg_open(h->door->shop->database_url, "dd_door", NULL, &pg));
    err e = eventlog_read(pg, h->topic, h->part, h->after, h->page.events, h->arena, &h->events, &h->n);
    pg_close(pg);
    return e;
}

static void work(void *data)
{
    struct history *h = data;
    h->events = NULL;
    h->n = 0;
    h->e = read_old(h);
}

static void worked(void *data)
{
    tell(data);
}

/* ---- on the loop ---- */

static void on_rows(void *data, err e, struct pg_result *rows)
{
    struct history *h = data;
    h->e = e;
    if (!failed(e))
        h->events = eventlog_rows(rows, h->topic, h->part, h->arena, &h->n);
    bool begins_late = !failed(e) && (!h->n || h->events[0].seq != h->after + 1);
    if (begins_late)
        h->e = work_submit(h->door->loop, work, worked, h);
    if (!begins_late || failed(h->e))
        tell(h);
}

err event_history_read(struct door *door, enum topic topic, int part, int64_t after,
                       struct event_history_page page, event_history_fn *fn, void *data)
{
    struct pg *pg = pg_poll_up(door->pg);
    if (!pg)
        return FAIL(PG_DOWN, "no connection to PostgreSQL");
    struct history *h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    *h = (struct history){.door = door,
                          .topic = topic,
                          .part = part,
                          .after = after,
                          .page = page,
                          .fn = fn,
                          .data = data,
                          .arena = arena_new(SCRATCH)};
    eventlog_queue_read(pg, topic, part, after, page.events, page.bytes, on_rows, h);
    pg_sync(pg, NULL, NULL);
    return OK;
}
