/*
 * The pumps of bus/pg as wires of a libuv loop.
 */
#include "api/pg_poll.h"

#include <assert.h>
#include <stdlib.h>

#include "api/wire.h"

/* A query that a person waits for never runs longer than this. */
#define COMMON "SET statement_timeout = '4s'; SET jit = off; "

static const char *const setups[] = {
    /* Statements that walk along an index and stop after a page. A planner that has not met the table's size
     * yet, or does not know how little is wanted, would rather read and sort everything. What has no index is
     * sorted anyway. */
    [PG_POLL_WALKS] = COMMON "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashjoin = off; "
                             "SET enable_mergejoin = off; SET enable_bitmapscan = off",
    /* Statements that look at much: planned each time, for their parameters. */
    [PG_POLL_COUNTS] = COMMON "SET plan_cache_mode = force_custom_plan",
};

struct connection {
    const char *url, *role, *setup;
    struct pg *pg; /* NULL until the first connection */
    struct wire *wire;
};

struct pg_poll {
    int n;
    struct connection *connections[PG_POLL_CONNECTIONS_MAX];
};

static err connect_pg(void *object)
{
    struct connection *c = object;
    return c->pg ? pg_reopen(c->pg) : pg_open(c->url, c->role, c->setup, &c->pg);
}

static int fd_of(const void *object)
{
    return pg_fd(((const struct connection *)object)->pg);
}

static bool is_up(const void *object)
{
    return pg_is_up(((const struct connection *)object)->pg);
}

static short wants(const void *object)
{
    return pg_wants(((const struct connection *)object)->pg);
}

static size_t waiting(const void *object)
{
    return pg_waiting(((const struct connection *)object)->pg);
}

static void pump(void *object, short ready)
{
    pg_pump(((struct connection *)object)->pg, ready);
}

static void stop(void *object)
{
    pg_break(((struct connection *)object)->pg, "closed");
}

static void free_pg(void *object)
{
    struct connection *c = object;
    pg_close(c->pg);
    free(c);
}

static const struct wire_pump pg_pump_of_wire = {
    .name = "postgresql",
    .connect = connect_pg,
    .fd = fd_of,
    .is_up = is_up,
    .wants = wants,
    .waiting = waiting,
    .pump = pump,
    .stop = stop,
    .free = free_pg,
};

struct pg_poll *pg_poll_new(uv_loop_t *loop, const char *url, const char *role, enum pg_poll_use use,
                            int connections)
{
    assert(connections > 0 && connections <= PG_POLL_CONNECTIONS_MAX);
    struct pg_poll *poll = calloc(1, sizeof(*poll));
    if (!poll)
        abort();
    poll->n = connections;
    for (int i = 0; i < connections; i++) {
        struct connection *c = calloc(1, sizeof(*c));
        if (!c)
            abort();
        *c = (struct connection){.url = url, .role = role, .setup = setups[use]};
        c->wire = wire_new(loop, &pg_pump_of_wire, c, PG_POLL_SILENCE_MS, NULL, NULL);
        poll->connections[i] = c;
    }
    return poll;
}

struct pg *pg_poll_up(const struct pg_poll *poll)
{
    struct pg *best = NULL;
    for (int i = 0; poll && i < poll->n; i++) {
        struct connection *c = wire_up(poll->connections[i]->wire);
        if (c && (!best || pg_waiting(c->pg) < pg_waiting(best)))
            best = c->pg;
    }
    return best;
}

err pg_poll_query(struct pg_poll *poll, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                  pg_fn *fn, void *data)
{
    struct pg *pg = pg_poll_up(poll);
    if (!pg)
        return FAIL(PG_DOWN, "no connection to PostgreSQL");
    pg_queue(pg, stmt, n, params, fn, data);
    pg_sync(pg, NULL, NULL);
    return OK;
}

struct pg_poll *pg_poll_free(struct pg_poll *poll)
{
    for (int i = 0; poll && i < poll->n; i++)
        wire_free(poll->connections[i]->wire);
    free(poll);
    return NULL;
}
