/*
 * One pass: lock what is due, delete it, append its events, commit. A crash before the commit fires nothing;
 * after it, the sweep brings the events to Redis.
 */
#include "producers/timers.h"

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/eventlog.h"

enum { WAIT_MS = 10000, POSTPONE_MS = 60000 };

static const struct pg_stmt select_due = {"timers_due",
                                          "SELECT id, grp, name, key, type, data, correlationid, "
                                          "causationid, actor FROM timer WHERE due_ms <= $1::bigint"
                                          " ORDER BY due_ms, id LIMIT $2::bigint FOR UPDATE SKIP LOCKED"};
static const struct pg_stmt delete_fired = {"timers_fired", "DELETE FROM timer WHERE id = ANY($1::uuid[])"};
static const struct pg_stmt postpone_unknown = {
    "timers_postpone", "UPDATE timer SET due_ms = due_ms + $2::bigint WHERE id = ANY($1::uuid[])"};

/* Ends the open transaction, whatever became of it. */
static err commit(struct pg *pg)
{
    pg_sync(pg, NULL, NULL);
    return pg_wait(pg, WAIT_MS);
}

static struct event timer_event(const struct pg_result *due, int row, const struct message_type *type,
                                struct arena *arena)
{
    struct str key = arena_str(arena, pg_get_str(due, row, 3));
    struct str data = arena_str(arena, pg_get_str(due, row, 5));
    struct event event = event_new(type, STR("timer"), key, data, arena);
    event.envelope.correlationid = arena_str(arena, pg_get_str(due, row, 6));
    event.envelope.causationid = arena_str(arena, pg_get_str(due, row, 7));
    event.envelope.actor = arena_str(arena, pg_get_str(due, row, 8));
    return event;
}

/* Queues the deletion and the events of what is known, and a later time for what is not: a type that another
 * version of the shop set must not stop the timers behind it. Returns the number of events. */
static size_t queue_fire(struct pg *pg, const struct pg_result *due, struct arena *arena)
{
    int n = pg_rows(due);
    struct event *events = arena_array(arena, struct event, n);
    struct pg_array fired = pg_array(arena, PG_UUID, n), unknown = pg_array(arena, PG_UUID, 1);
    size_t fires = 0;
    for (int i = 0; i < n; i++) {
        enum message message = message_find(pg_get_str(due, i, 4));
        if (message == MESSAGE_NONE) {
            log_error("a timer has a type that is not known", kv("type", pg_get_str(due, i, 4)),
                      kv("timer", pg_get_uuid(due, i, 0)), kv("correlationid", pg_get_str(due, i, 6)));
            pg_array_uuid(&unknown, pg_get_uuid(due, i, 0));
            continue;
        }
        pg_array_uuid(&fired, pg_get_uuid(due, i, 0));
        events[fires++] = timer_event(due, i, &message_types[message], arena);
    }
    struct pg_param ids = pg_array_param(&fired);
    if (fires)
        pg_queue(pg, &delete_fired, 1, &ids, NULL, NULL);
    struct pg_param later[] = {pg_array_param(&unknown), pg_int(POSTPONE_MS)};
    if (unknown.n)
        pg_queue(pg, &postpone_unknown, 2, later, NULL, NULL);
    eventlog_queue(pg, events, fires, arena);
    return fires;
}

err timers_fire(struct pg *pg, struct arena *arena, size_t *ret)
{
    *ret = 0;
    _cleanup_(pg_result_freep) struct pg_result *due = NULL;
    struct pg_param params[] = {pg_int(clock_ms()), pg_int(TIMERS_BATCH)};
    pg_queue(pg, &select_due, 2, params, pg_keep, &due);
    err e = pg_wait(pg, WAIT_MS);
    if (!failed(e) && due && pg_rows(due) && FAULT(TIMER_AFTER_SELECT))
        e = FAIL(UNAVAILABLE, "crash point");
    if (failed(e) || !due || pg_rows(due) == 0) {
        err ended = commit(pg);
        return failed(e) ? e : ended;
    }
    size_t fires = queue_fire(pg, due, arena);
    TRY(commit(pg));
    *ret = fires;
    if (fires && FAULT(TIMER_AFTER_COMMIT))
        return FAIL(UNAVAILABLE, "crash point");
    return OK;
}
