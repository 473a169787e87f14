/*
 * A loop's context: made before the loop listens, brought to life when the servers were found fit, ended when
 * the last connection is gone. Until it is ready only the direct routes (health) are served.
 */
#include "api/door.h"

#include <stdlib.h>

#include "api/admit.h"
#include "api/call.h"
#include "api/events.h"
#include "api/lanes.h"
#include "api/passwords.h"
#include "api/persons.h"
#include "api/products.h"
#include "api/rate.h"
#include "api/reads.h"
#include "api/revoked.h"
#include "api/tail.h"
#include "api/wait.h"
#include "bus/base/clock.h"

enum { START_LOOK_MS = 20, PG_CONNECTIONS = 2 };

struct door *door_of(const struct request *req)
{
    return loop_context(req->loop);
}

/* ---- what events mean to the memory of this loop ---- */

static void on_revoked_loaded(void *data, err e)
{
    tail_loaded(((struct door *)data)->tail, e);
}

static void on_load(void *data)
{
    struct door *door = data;
    products_forget(door->products);
    revoked_load(door->revoked, on_revoked_loaded, door);
}

static void on_event(void *data, const struct event *event)
{
    struct door *door = data;
    struct uuid id;
    streams_tell(door->streams, event);
    if (event->topic == TOPIC_USERS)
        revoked_event(door->revoked, message_find(event->envelope.type), event->envelope.data, event->ms);
    else if ((event->topic == TOPIC_CATALOG || event->topic == TOPIC_STOCK) &&
             !failed(uuid_parse(event->envelope.partitionkey, &id)))
        products_changed(door->products, event->topic, id);
}

static const struct tail_hooks tail_hooks = {.load = on_load, .event = on_event};

/* ---- life ---- */

/* Partitions are known now. */
static void come_alive(struct door *door)
{
    door->lanes = lanes_new(door);
    door->tail = tail_new(door, &tail_hooks, door);
    door->ready = true;
}

static bool has_all(const struct door *door)
{
    return tail_is_live(door->tail) && redis_poll_up(door->redis) && pg_poll_up(door->pg);
}

static void on_start(uv_timer_t *timer)
{
    struct door *door = timer->data;
    if (!door->ready && atomic_load(&door->shop->ready))
        come_alive(door);
    if (!door->ready || !has_all(door))
        return;
    uv_timer_stop(timer);
    atomic_fetch_add(&door->shop->open, 1);
}

static err door_init(struct loop *loop, void *data, void **ret_context)
{
    struct shop *shop = data;
    struct door *door = calloc(1, sizeof(*door));
    if (!door)
        abort();
    door->shop = shop;
    door->loop = loop;
    atomic_fetch_add(&shop->doors, 1);
    memcpy(door->channel, "res:", 4);
    uuid_print(uuid_v7(clock_ms()), door->channel + 4);
    door->redis = redis_poll_new(loop_uv(loop), shop->redis_url, NULL, NULL);
    door->pg = pg_poll_new(loop_uv(loop), shop->database_url, "dd_door", PG_POLL_WALKS, PG_CONNECTIONS);
    door->counting = pg_poll_new(loop_uv(loop), shop->database_url, "dd_door", PG_POLL_COUNTS, 1);
    door->persons = persons_new(door);
    door->passwords = passwords_new(loop);
    door->waiters = waiters_new(door, str_of(door->channel));
    door->revoked = revoked_new(door);
    door->tokens = tokens_new();
    door->products = products_new();
    door->reads = reads_new(door);
    door->streams = streams_new(door);
    door->rates = rates_new(door);
    uv_timer_init(loop_uv(loop), &door->start);
    door->start.data = door;
    uv_timer_start(&door->start, on_start, 0, START_LOOK_MS);
    *ret_context = door;
    return OK;
}

/* Commands that were accepted are answered 202 at once; who polls is told where things stand; a queue of
 * passwords would take longer than the drain may. */
static void door_drain(struct loop *loop, void *context)
{
    (void)loop;
    waiters_drain(((struct door *)context)->waiters);
    passwords_drain(((struct door *)context)->passwords);
    reads_drain(((struct door *)context)->reads);
    streams_drain(((struct door *)context)->streams);
}

/* Connections first: whoever waits for a reply is told while all else is still there. */
static void door_fini(struct loop *loop, void *context)
{
    (void)loop;
    struct door *door = context;
    door->ready = false;
    door->redis = redis_poll_free(door->redis);
    door->pg = pg_poll_free(door->pg);
    door->counting = pg_poll_free(door->counting);
    door->streams = streams_free(door->streams);
    door->tail = tail_free(door->tail);
    door->waiters = waiters_free(door->waiters);
    door->reads = reads_free(door->reads);
    door->lanes = lanes_free(door->lanes);
    uv_close((uv_handle_t *)&door->start, NULL);
}

static void door_free(void *context)
{
    struct door *door = context;
    persons_free(door->persons);
    passwords_free(door->passwords);
    revoked_free(door->revoked);
    tokens_free(door->tokens);
    products_free(door->products);
    rates_free(door->rates);
    free(door);
}

static void run_query(struct request *req)
{
    req->route->query(req);
}

static void wait_query(struct request *req)
{
    reads_wait(req, run_query);
}

static void query_hook(struct request *req)
{
    if (door_admit(req))
        rate_check(req, false, wait_query);
}

static void command_hook(struct request *req)
{
    if (door_admit(req))
        rate_check(req, true, run_command);
}

struct server_hooks door_hooks(void)
{
    return (struct server_hooks){.init = door_init,
                                 .drain = door_drain,
                                 .fini = door_fini,
                                 .free_context = door_free,
                                 .command = command_hook,
                                 .query = query_hook};
}

/* ---- reading PostgreSQL for a request ---- */

struct selecting {
    struct request *req;
    rows_fn *fn;
    void *data;
};

static void on_rows(void *data, err e, struct pg_result *rows)
{
    struct selecting *s = data;
    if (failed(e))
        respond_error(s->req, e);
    else
        s->fn(s->req, rows, s->data);
}

static void select_by(struct pg_poll *pg, struct request *req, const struct pg_stmt *stmt, int n,
                      const struct pg_param *params, rows_fn *fn, void *data)
{
    struct selecting *s = arena_new_of(req->arena, struct selecting);
    *s = (struct selecting){req, fn, data};
    err e = pg_poll_query(pg, stmt, n, params, on_rows, s);
    if (failed(e))
        respond_error(req, e);
}

void door_select(struct request *req, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                 rows_fn *fn, void *data)
{
    select_by(door_of(req)->pg, req, stmt, n, params, fn, data);
}

void door_select_slowly(struct request *req, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                        rows_fn *fn, void *data)
{
    select_by(door_of(req)->counting, req, stmt, n, params, fn, data);
}
