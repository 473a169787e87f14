/*
 * See schedules.h. Zones are looked up before the rows are locked, since that is a transaction of its own; a
 * row whose zone was changed in between waits for the next pass. A crash before the commit fires nothing;
 * after it, the sweep brings the events to Redis.
 */
#include "producers/schedules.h"

#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/eventlog.h"

enum { WAIT_MS = 10000, ZONES_MAX = 64, ZONE_KEPT_MS = 86400000, LATE_MS = 60000, ARENA_CEILING = 4 << 20 };

struct kept_zone {
    struct str name;
    struct zone zone;
    bool known; /* false: PostgreSQL has none of that name */
};

struct schedules {
    struct arena *arena; /* of the zones */
    struct kept_zone zones[ZONES_MAX];
    size_t n;
    int64_t kept_ms; /* wall clock when the first of them was looked up */
};

struct schedules *schedules_new(void)
{
    struct schedules *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->arena = arena_new(ARENA_CEILING);
    return s;
}

struct schedules *schedules_free(struct schedules *s)
{
    if (s)
        arena_free(s->arena);
    free(s);
    return NULL;
}

/* ---- zones ---- */

static const struct kept_zone *zone_find(const struct schedules *s, struct str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->zones[i].name, name))
            return &s->zones[i];
    return NULL;
}

static err zone_keep(struct schedules *s, struct pg *pg, struct str name, int64_t now)
{
    struct kept_zone *kept = &s->zones[s->n];
    err e = zone_load(pg, name, now, s->arena, &kept->zone);
    if (failed(e) && e.code != ERR_INVALID)
        return e;
    kept->known = !failed(e);
    kept->name = arena_str(s->arena, name);
    if (s->n++ == 0)
        s->kept_ms = now;
    return OK;
}

static const struct pg_stmt select_zones = {
    "schedules_zones",
    "SELECT DISTINCT zone FROM schedule WHERE is_active AND next_ms <= $1::bigint LIMIT 64"};

/* Looks up the zones of what is due. ret: is anything due at all? */
static err load_zones(struct schedules *s, struct pg *pg, int64_t now, bool *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *due = NULL;
    struct pg_param param = pg_int(now);
    TRY(pg_call(pg, &select_zones, 1, &param, &due));
    *ret = pg_rows(due) > 0;
    if (now - s->kept_ms > ZONE_KEPT_MS || now < s->kept_ms || s->n + (size_t)pg_rows(due) > ZONES_MAX) {
        arena_reset(s->arena);
        s->n = 0;
    }
    for (int i = 0; i < pg_rows(due); i++)
        if (!zone_find(s, pg_get_str(due, i, 0)))
            TRY(zone_keep(s, pg, pg_get_str(due, i, 0), now));
    return OK;
}

/* ---- one schedule ---- */

struct due {
    struct str name, zone_name, catch_up;
    struct cron cron;
    const struct zone *zone;
    int64_t next_ms, last_ms; /* last_ms: the last slot that fires in this pass; 0: none */
};

struct pass {
    struct arena *arena;
    int64_t now;
    struct event *events;
    size_t n;
};

static void tick(struct pass *pass, struct due *due, int64_t slot, int64_t missed)
{
    const struct message_type *type = &message_types[SCHEDULE_TICKED];
    struct schedule_ticked ticked = {.schedule = due->name,
                                     .slot = clock_text(slot, pass->arena),
                                     .zone = due->zone_name,
                                     .missed = missed};
    pass->events[pass->n++] = event_new(type, STR("schedules"), due->name,
                                        codec_encode(type->shape, &ticked, pass->arena), pass->arena);
    due->last_ms = slot;
}

static void tick_each(struct pass *pass, struct due *due)
{
    for (int i = 0; i < SCHEDULES_EACH && due->next_ms <= pass->now; i++) {
        tick(pass, due, due->next_ms, 0);
        due->next_ms = cron_next(&due->cron, due->zone, due->next_ms);
    }
}

static void tick_last(struct pass *pass, struct due *due)
{
    int64_t n, last = cron_last(&due->cron, due->zone, due->next_ms - 1, pass->now, &n);
    if (last == INT64_MIN) { /* the row was moved by hand to a time that is no slot */
        last = due->next_ms;
        n = 1;
    }
    if (!str_is(due->catch_up, "none") || pass->now - last < LATE_MS)
        tick(pass, due, last, n - 1);
    due->next_ms = cron_next(&due->cron, due->zone, pass->now);
}

/* Why it cannot run, NULL when it can. */
static const char *understand(const struct schedules *s, struct due *due, struct str cron)
{
    const struct kept_zone *kept = zone_find(s, due->zone_name);
    err e = cron_parse(cron, &due->cron);
    if (failed(e))
        return err_text(e);
    if (!kept->known)
        return "there is no such time zone";
    due->zone = &kept->zone;
    return NULL;
}

/* ---- one pass ---- */

static const struct pg_stmt select_due = {"schedules_due",
                                          "SELECT name, cron, zone, catch_up, next_ms FROM schedule"
                                          " WHERE is_active AND next_ms <= $1::bigint"
                                          " ORDER BY next_ms, name LIMIT $2::bigint FOR UPDATE SKIP LOCKED"};
static const struct pg_stmt update_fired = {
    "schedules_fired",
    "UPDATE schedule s SET next_ms = x.next_ms, last_ms = coalesce(nullif(x.last_ms, 0), s.last_ms)"
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS x(name, next_ms, last_ms) WHERE s.name = "
    "x.name"};
static const struct pg_stmt update_fault = {
    "schedules_fault", "UPDATE schedule SET is_active = false, fault = $2::text WHERE name = $1::text"};

static void stop_schedule(struct pg *pg, struct str name, const char *why)
{
    struct pg_param params[] = {pg_text(name), pg_text(str_of(why))};
    log_error("a schedule cannot be understood and is stopped", kv("schedule", name), kv("why", why));
    pg_queue(pg, &update_fault, 2, params, NULL, NULL);
}

static void queue_fire(struct schedules *s, struct pg *pg, const struct pg_result *rows, struct pass *pass)
{
    int n = pg_rows(rows);
    struct pg_array columns[] = {pg_array(pass->arena, PG_TEXT, n), pg_array(pass->arena, PG_INT8, n),
                                 pg_array(pass->arena, PG_INT8, n)};
    pass->events = arena_array(pass->arena, struct event, (size_t)n * SCHEDULES_EACH);
    for (int i = 0; i < n; i++) {
        struct due due = {.name = arena_str(pass->arena, pg_get_str(rows, i, 0)),
                          .zone_name = arena_str(pass->arena, pg_get_str(rows, i, 2)),
                          .catch_up = arena_str(pass->arena, pg_get_str(rows, i, 3)),
                          .next_ms = pg_get_int(rows, i, 4)};
        if (!zone_find(s, due.zone_name))
            continue; /* changed since zones were looked up */
        const char *fault = understand(s, &due, pg_get_str(rows, i, 1));
        if (fault) {
            stop_schedule(pg, due.name, fault);
            continue;
        }
        if (str_is(due.catch_up, "each"))
            tick_each(pass, &due);
        else
            tick_last(pass, &due);
        pg_array_text(&columns[0], due.name);
        pg_array_int(&columns[1], due.next_ms);
        pg_array_int(&columns[2], due.last_ms);
    }
    struct pg_param params[] = {pg_array_param(&columns[0]), pg_array_param(&columns[1]),
                                pg_array_param(&columns[2])};
    pg_queue(pg, &update_fired, 3, params, NULL, NULL);
    eventlog_queue(pg, pass->events, pass->n, pass->arena);
}

err schedules_fire(struct schedules *s, struct pg *pg, struct arena *arena, size_t *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    struct pass pass = {.arena = arena, .now = clock_ms()};
    bool any;
    *ret = 0;
    TRY(load_zones(s, pg, pass.now, &any));
    if (!any)
        return OK;
    struct pg_param params[] = {pg_int(pass.now), pg_int(SCHEDULES_BATCH)};
    pg_queue(pg, &select_due, 2, params, pg_keep, &rows);
    err e = pg_wait(pg, WAIT_MS);
    if (!failed(e) && rows && pg_rows(rows) && FAULT(SCHEDULE_AFTER_SELECT))
        e = FAIL(UNAVAILABLE, "crash point");
    if (!failed(e) && rows)
        queue_fire(s, pg, rows, &pass);
    pg_sync(pg, NULL, NULL);
    err ended = pg_wait(pg, WAIT_MS);
    TRY(failed(e) ? e : ended);
    *ret = pass.n;
    if (pass.n && FAULT(SCHEDULE_AFTER_COMMIT))
        return FAIL(UNAVAILABLE, "crash point");
    return OK;
}
