/*
 * See wait.h. One node per command; looks are batched: while one is under way, hints collect for the next.
 */
#include "api/wait.h"

#include <assert.h>
#include <stdlib.h>

#include "api/door.h"
#include "api/idmap.h"
#include "api/outcome.h"
#include "bus/base/clock.h"

enum { LOOK_MAX = 4096, SCRATCH = 1 << 20 };

static const int64_t EVERYBODY = INT64_MAX - 1; /* later than any time somebody waits until */

struct awaited {
    struct idmap_node node;
    struct wait *first;
    bool hinted; /* stands in waiters->hinted */
};

struct waiters {
    struct door *door;
    struct str channel;
    struct redis_poll *hints;
    struct idmap map;
    uv_timer_t timer;
    struct arena *scratch;
    struct uuid hinted[LOOK_MAX]; /* to be asked for at once; one more is left to the next look at all */
    size_t hinted_n;
    bool looking_all, looking_hinted;
    bool drained; /* whoever waits from now on is told at once */
};

bool outcome_is_final(const struct outcome *o)
{
    return str_is(o->status, "succeeded") || str_is(o->status, "rejected") || str_is(o->status, "lost");
}

/* ---- rows ---- */

#define SELECT_COMMAND                                                                                       \
    "SELECT " OUTCOME_COLUMNS " FROM command c LEFT JOIN command w ON w.id = c.same_as " OUTCOME_EVENTS
static const struct pg_stmt select_commands = {"door_select_commands",
                                               SELECT_COMMAND "WHERE c.id = ANY($1::uuid[])"};
static const struct pg_stmt select_command = {"door_select_command", SELECT_COMMAND "WHERE c.id = $1::uuid"};

struct outcome outcome_of(const struct pg_result *rows, int row)
{
    return (struct outcome){.id = pg_get_uuid(rows, row, 0),
                            .status = pg_get_str(rows, row, 1),
                            .http = (int)pg_get_int(rows, row, 2),
                            .result = pg_get_str(rows, row, 3),
                            .events = pg_get_str(rows, row, 4)};
}

struct look_at {
    outcome_fn *fn;
    void *data;
};

static void on_row(void *data, err e, struct pg_result *rows)
{
    struct look_at *at = data;
    bool there = !failed(e) && pg_rows(rows) > 0;
    struct outcome o = there ? outcome_of(rows, 0) : (struct outcome){0};
    at->fn(at->data, e, there ? &o : NULL);
}

err outcome_select(struct door *door, struct uuid id, outcome_fn *fn, void *data, struct arena *arena)
{
    struct look_at *at = arena_new_of(arena, struct look_at);
    *at = (struct look_at){fn, data};
    struct pg_param param = pg_uuid(id);
    return pg_poll_query(door->pg, &select_command, 1, &param, on_row, at);
}

/* ---- telling ---- */

/* Takes those out of a command's list that are to be told. While functions run, anybody may begin or end to
 * wait; who was taken out does not wait any more. until_ms: those whose time is over then. */
static struct wait *take_out(struct awaited *awaited, int64_t until_ms)
{
    struct wait *taken = NULL, *kept = NULL, *next;
    for (struct wait *wait = awaited->first; wait; wait = next) {
        bool take = wait->until_ms && wait->until_ms <= until_ms;
        next = wait->others;
        wait->waiting = !take;
        wait->hinted |=
            !take && until_ms == INT64_MAX; /* its publish has no reply yet: it looks again then */
        wait->others = take ? taken : kept;
        *(take ? &taken : &kept) = wait;
    }
    awaited->first = kept;
    return taken;
}

static void tell(struct wait *taken, const struct outcome *o)
{
    for (struct wait *next; taken; taken = next) {
        next = taken->others;
        taken->fn(taken, o);
    }
}

static void tell_rows(struct waiters *waiters, const struct pg_result *rows)
{
    for (int i = 0; i < pg_rows(rows); i++) {
        struct outcome o = outcome_of(rows, i);
        struct awaited *awaited = idmap_peek(&waiters->map, o.id);
        if (!awaited || !outcome_is_final(&o))
            continue;
        struct wait *taken = take_out(awaited, INT64_MAX);
        if (!awaited->first)
            idmap_remove(&waiters->map, o.id);
        tell(taken, &o);
    }
}

static void tell_late(struct waiters *waiters, int64_t now)
{
    struct wait *late = NULL;
    struct idmap_node *newer;
    for (struct idmap_node *node = waiters->map.oldest; node; node = newer) {
        newer = node->newer;
        struct awaited *awaited = (struct awaited *)node;
        struct wait *taken = take_out(awaited, now), *last = taken;
        while (last && last->others)
            last = last->others;
        if (last) {
            last->others = late;
            late = taken;
        }
        if (!awaited->first)
            idmap_remove(&waiters->map, node->id);
    }
    tell(late, NULL);
}

/* ---- looking ---- */

static void look_hinted(struct waiters *waiters);

static void on_all(void *data, err e, struct pg_result *rows)
{
    struct waiters *waiters = data;
    waiters->looking_all = false;
    if (!failed(e))
        tell_rows(waiters, rows);
}

static void on_hinted(void *data, err e, struct pg_result *rows)
{
    struct waiters *waiters = data;
    waiters->looking_hinted = false;
    if (!failed(e))
        tell_rows(waiters, rows);
    look_hinted(waiters);
}

static bool ask(struct waiters *waiters, struct pg_array *ids, pg_fn *fn)
{
    struct pg_param param = pg_array_param(ids);
    bool asked =
        ids->n && !failed(pg_poll_query(waiters->door->pg, &select_commands, 1, &param, fn, waiters));
    arena_reset(waiters->scratch);
    return asked;
}

static void look_hinted(struct waiters *waiters)
{
    if (waiters->looking_hinted || !waiters->hinted_n)
        return;
    struct pg_array ids = pg_array(waiters->scratch, PG_UUID, (int)waiters->hinted_n);
    for (size_t i = 0; i < waiters->hinted_n; i++) {
        struct awaited *awaited = idmap_peek(&waiters->map, waiters->hinted[i]);
        if (!awaited)
            continue;
        awaited->hinted = false;
        pg_array_uuid(&ids, awaited->node.id);
    }
    waiters->hinted_n = 0;
    waiters->looking_hinted = ask(waiters, &ids, on_hinted);
}

/* Everything that is waited for, the oldest first. */
static void look_all(struct waiters *waiters)
{
    if (waiters->looking_all)
        return;
    struct pg_array ids = pg_array(waiters->scratch, PG_UUID, 64);
    for (struct idmap_node *node = waiters->map.oldest; node && ids.n < LOOK_MAX; node = node->newer)
        pg_array_uuid(&ids, node->id);
    waiters->looking_all = ask(waiters, &ids, on_all);
}

static void hint(struct waiters *waiters, struct awaited *awaited)
{
    if (awaited->hinted || waiters->hinted_n == LOOK_MAX)
        return;
    awaited->hinted = true;
    waiters->hinted[waiters->hinted_n++] = awaited->node.id;
    look_hinted(waiters);
}

/* Ids of commands that have a result now, with a space between two. */
static void on_hint(void *data, struct str channel, struct str payload)
{
    (void)channel;
    struct waiters *waiters = data;
    for (size_t from = 0; from < payload.n;) {
        size_t to = from + str_find(str_slice(payload, from, payload.n), ' ');
        struct uuid id;
        bool is_id = !failed(uuid_parse(str_slice(payload, from, to), &id));
        struct awaited *awaited = is_id ? idmap_peek(&waiters->map, id) : NULL;
        if (awaited)
            hint(waiters, awaited);
        from = to + 1;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct waiters *waiters = timer->data;
    tell_late(waiters, waiters->drained ? EVERYBODY : clock_mono_ms());
    look_all(waiters);
    if (!waiters->map.n)
        uv_timer_stop(timer);
}

/* ---- waiting ---- */

static void drop_awaited(struct idmap_node *node)
{
    free(node);
}

void wait_begin(struct waiters *waiters, struct wait *wait)
{
    struct awaited *awaited = idmap_peek(&waiters->map, wait->id);
    if (!awaited) {
        awaited = calloc(1, sizeof(*awaited));
        if (!awaited)
            abort();
        awaited->node.id = wait->id;
        idmap_put(&waiters->map, &awaited->node);
    }
    wait->until_ms = 0;
    wait->hinted = false;
    wait->waiting = true;
    wait->others = awaited->first;
    awaited->first = wait;
    if (!uv_is_active((uv_handle_t *)&waiters->timer))
        uv_timer_start(&waiters->timer, on_timer, WAIT_LOOK_MS, WAIT_LOOK_MS);
}

void wait_until(struct waiters *waiters, struct wait *wait, int64_t until_ms, bool now)
{
    struct awaited *awaited = idmap_peek(&waiters->map, wait->id);
    assert(awaited && wait->waiting && until_ms > 0);
    wait->until_ms = until_ms;
    if (now || wait->hinted)
        hint(waiters, awaited);
}

void wait_end(struct waiters *waiters, struct wait *wait)
{
    if (!wait->waiting)
        return;
    struct awaited *awaited = idmap_peek(&waiters->map, wait->id);
    struct wait **at = &awaited->first;
    while (*at != wait)
        at = &(*at)->others;
    *at = wait->others;
    wait->waiting = false;
    if (!awaited->first)
        idmap_remove(&waiters->map, wait->id);
}

void waiters_drain(struct waiters *waiters)
{
    waiters->drained = true;
    tell_late(waiters, EVERYBODY);
}

/* ---- life ---- */

static void on_link(void *data, bool up)
{
    struct waiters *waiters = data;
    struct redis *redis = redis_poll_up(waiters->hints);
    if (up && redis)
        redis_subscribe(redis, waiters->channel, on_hint, waiters);
}

struct waiters *waiters_new(struct door *door, struct str channel)
{
    struct waiters *waiters = calloc(1, sizeof(*waiters));
    if (!waiters)
        abort();
    *waiters = (struct waiters){.door = door, .channel = channel, .scratch = arena_new(SCRATCH)};
    idmap_init(&waiters->map, 0, drop_awaited);
    waiters->hints = redis_poll_new(loop_uv(door->loop), door->shop->redis_url, on_link, waiters);
    uv_timer_init(loop_uv(door->loop), &waiters->timer);
    waiters->timer.data = waiters;
    return waiters;
}

static void on_closed(uv_handle_t *handle)
{
    struct waiters *waiters = handle->data;
    idmap_deinit(&waiters->map);
    arena_free(waiters->scratch);
    free(waiters);
}

struct waiters *waiters_free(struct waiters *waiters)
{
    if (!waiters)
        return NULL;
    waiters_drain(waiters);
    waiters->hints = redis_poll_free(waiters->hints);
    uv_close((uv_handle_t *)&waiters->timer, on_closed);
    return NULL;
}
