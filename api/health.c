/*
 * /health: the process answers. /health/detailed: 200 when a customer can be served: the database answers,
 * Redis takes writes and is a master, there is room on the disk, somebody owns the shop, and no group has
 * been behind for longer than LAG_S. What cannot be asked is a reason. Each call asks anew, but for those
 * that come while the loop is asking: they share its report.
 */
#include "api/health.h"

#include <sys/statvfs.h>

#include "api/door.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"

enum { LAG_S = 30, ROOM_MB = 64, REASONS_MAX = 16 };

static void put_head(struct json *j, const char *status)
{
    json_kstr(j, "status", str_of(status));
    json_ktime(j, "timestamp", clock_ms());
    json_kstr(j, "version", STR(DAYDREAM_VERSION));
}

void get_health(struct request *req)
{
    struct buf b = buf_new(req->arena, 128);
    struct json j = json_on(&b);
    json_open(&j, '{');
    put_head(&j, "healthy");
    json_close(&j, '}');
    respond(req, 200, buf_view(&b));
}

/* ---- groups ---- */

/* group, events behind, ms of the first event not passed or NULL, parked keys; the last row: NULL, has the
 * shop an owner */
static const struct pg_stmt select_lags = {
    "door_select_lags",
    "SELECT o.grp, sum(greatest(h.seq - o.seq, 0))::bigint, min(coalesce(e.ms, a.first_ms)), "
    "(SELECT count(DISTINCT (d.topic, d.key)) FROM dead_letter d WHERE d.grp = o.grp AND d.state = 'parked') "
    "FROM consumer_offset o JOIN stream_head h USING (topic, part) "
    "LEFT JOIN event_log e ON e.topic = o.topic AND e.part = o.part AND e.seq = o.seq + 1 "
    "LEFT JOIN event_archive a ON a.topic = o.topic AND a.part = o.part "
    "AND a.first_seq <= o.seq + 1 AND a.last_seq > o.seq "
    "WHERE o.grp NOT LIKE 'ext:%' " /* a subscriber of somebody else's that lags is no illness of ours */
    "GROUP BY o.grp UNION ALL "
    "SELECT NULL, EXISTS (SELECT 1 FROM door_user WHERE role = 'super_admin' AND is_active)::int::bigint, "
    "NULL, 0 "
    "ORDER BY 1 LIMIT 200"};

static int64_t seconds_behind(const struct pg_result *rows, int row)
{
    return pg_is_null(rows, row, 2) ? 0 : (clock_ms() - pg_get_int(rows, row, 2)) / 1000;
}

/* ---- the detailed report ---- */

struct report {
    struct request *req;
    struct str reasons[REASONS_MAX];
    size_t n;
    bool database, redis, owner;
    struct str groups; /* JSON */
};

static void fault(struct report *r, struct str reason)
{
    if (r->n < REASONS_MAX)
        r->reasons[r->n++] = reason;
}

/* "healthy: 41% used" */
static struct str disk_state(struct report *r)
{
    struct statvfs fs;
    if (statvfs(conf_str(SET_DAYDREAM_HOME).p, &fs) != 0 || fs.f_blocks == 0)
        return STR("unknown");
    uint64_t free_mb = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
    int used = 100 - (int)(fs.f_bavail * 100 / fs.f_blocks);
    if (free_mb < ROOM_MB)
        fault(r, STR("disk: almost full"));
    const char *word = free_mb < ROOM_MB || used > 90 ? "critical" : used > 80 ? "warning" : "healthy";
    return arena_printf(r->req->arena, "%s: %d%% used", word, used);
}

static void put_state(struct json *j, const char *name, bool ok)
{
    json_kstr(j, name, ok ? STR("healthy") : STR("unhealthy"));
}

static struct str checks_of(struct report *r)
{
    struct buf b = buf_new(r->req->arena, 1024);
    struct json j = json_on(&b);
    json_open(&j, '{');
    put_state(&j, "database", r->database);
    put_state(&j, "redis", r->redis);
    json_kstr(&j, "disk", disk_state(r));
    put_state(&j, "superuser", r->owner);
    json_kraw(&j, "groups", r->groups.p ? r->groups : STR("[]"));
    json_close(&j, '}');
    return buf_view(&b);
}

static void answer(struct report *r)
{
    struct buf b = buf_new(r->req->arena, 2048);
    struct json j = json_on(&b);
    struct str checks = checks_of(r);
    json_open(&j, '{');
    put_head(&j, r->n ? "unhealthy" : "healthy");
    json_key(&j, "reasons");
    json_open(&j, '[');
    for (size_t i = 0; i < r->n; i++)
        json_str(&j, r->reasons[i]);
    json_close(&j, ']');
    json_kraw(&j, "checks", checks);
    json_close(&j, '}');
    glance_end(&door_of(r->req)->health, r->n ? 503 : 200, "application/json", buf_view(&b));
}

/* ---- Redis: a write, and the role ---- */

static void on_role(void *data, const struct redis_reply *reply)
{
    struct report *r = data;
    bool master =
        reply && reply->kind == REDIS_ARRAY && reply->n > 0 && str_is(reply->items[0].text, "master");
    if (!master)
        fault(r, STR("redis: is not a master, or does not say so"));
    r->redis &= master;
    answer(r);
}

static void on_written(void *data, const struct redis_reply *reply)
{
    struct report *r = data;
    r->redis = reply && reply->kind == REDIS_STATUS;
    if (!r->redis)
        fault(r, STR("redis: takes no writes"));
}

static void ask_redis(struct report *r)
{
    struct door *door = door_of(r->req);
    struct redis *redis = redis_poll_up(door->redis);
    if (!redis) {
        fault(r, STR("redis: no connection"));
        answer(r);
        return;
    }
    redis_sendf(redis, on_written, r, "SET health:%s 1 PX 60000", door->channel);
    redis_sendf(redis, on_role, r, "ROLE");
}

/* ---- PostgreSQL ---- */

static void put_group(struct report *r, struct json *j, const struct pg_result *rows, int row)
{
    struct str name = pg_get_str(rows, row, 0);
    int64_t seconds = seconds_behind(rows, row);
    json_open(j, '{');
    json_kstr(j, "group", name);
    json_kint(j, "lag_events", pg_get_int(rows, row, 1));
    json_kint(j, "lag_seconds", seconds);
    json_kint(j, "parked_keys", pg_get_int(rows, row, 3));
    json_close(j, '}');
    if (seconds > LAG_S)
        fault(r, arena_printf(r->req->arena, "group %.*s: behind for %lld s", STR_ARG(name),
                              (long long)seconds));
}

static void take_lags(struct report *r, const struct pg_result *rows)
{
    struct buf b = buf_new(r->req->arena, 512);
    struct json j = json_on(&b);
    r->database = true;
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(rows); i++) {
        if (pg_is_null(rows, i, 0))
            r->owner = pg_get_int(rows, i, 1) != 0;
        else
            put_group(r, &j, rows, i);
    }
    json_close(&j, ']');
    r->groups = buf_view(&b);
    if (!r->owner)
        fault(r, STR("superuser: there is none yet"));
}

static void on_lags(void *data, err e, struct pg_result *rows)
{
    struct report *r = data;
    if (failed(e))
        fault(r, arena_printf(r->req->arena, "database: %s", err_sentence(e.code)));
    else
        take_lags(r, rows);
    ask_redis(r);
}

void get_health_detailed(struct request *req)
{
    struct door *door = door_of(req);
    if (!glance_begin(&door->health, req))
        return;
    struct report *r = arena_new_of(req->arena, struct report);
    r->req = req;
    if (!door->ready)
        fault(r, STR("starting: the servers were not found fit yet"));
    else if (atomic_load(&door->shop->open) < atomic_load(&door->shop->doors))
        fault(r, STR("starting: not all loops have their connections yet"));
    err e = pg_poll_query(door->pg, &select_lags, 0, NULL, on_lags, r);
    if (failed(e))
        on_lags(r, e, NULL);
}
