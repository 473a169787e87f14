/*
 * schedule ls | set | pause | resume | rm: the rows that daydream-producers fires by (producers/schedules.h).
 * A schedule is checked before it is stored: what stands in the table can be understood.
 */
#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"
#include "bus/zone.h"

/* ---- ls ---- */

static const struct pg_stmt select_schedules = {
    "ctl_schedules",
    "SELECT name, cron, zone, catch_up, next_ms, last_ms, is_active, fault FROM schedule ORDER BY name"};

static struct str time_or_dash(const struct ctl *ctl, const struct pg_result *rows, int row, int column)
{
    return pg_is_null(rows, row, column) ? STR("-") : clock_text(pg_get_int(rows, row, column), ctl->arena);
}

static void print_line(const struct ctl *ctl, const struct pg_result *rows, int i)
{
    bool active = pg_get_bool(rows, i, 6);
    struct str next = active ? time_or_dash(ctl, rows, i, 4) : STR("-"), last = time_or_dash(ctl, rows, i, 5);
    printf("%-24.*s %-20.*s %-20.*s %-5.*s %-24.*s  %-24.*s  %s%.*s\n", STR_ARG(pg_get_str(rows, i, 0)),
           STR_ARG(pg_get_str(rows, i, 1)), STR_ARG(pg_get_str(rows, i, 2)), STR_ARG(pg_get_str(rows, i, 3)),
           STR_ARG(next), STR_ARG(last), active ? "active" : "paused ", STR_ARG(pg_get_str(rows, i, 7)));
}

static void put_object(struct json *j, const struct pg_result *rows, int i)
{
    json_open(j, '{');
    json_kstr(j, "name", pg_get_str(rows, i, 0));
    json_kstr(j, "cron", pg_get_str(rows, i, 1));
    json_kstr(j, "zone", pg_get_str(rows, i, 2));
    json_kstr(j, "catch_up", pg_get_str(rows, i, 3));
    json_kbool(j, "is_active", pg_get_bool(rows, i, 6));
    json_ktime(j, "next", pg_get_int(rows, i, 4));
    json_key(j, "last");
    if (pg_is_null(rows, i, 5))
        json_nil(j);
    else
        json_time(j, pg_get_int(rows, i, 5));
    json_kstr(j, "fault", pg_get_str(rows, i, 7));
    json_close(j, '}');
}

enum ctl_exit run_schedule_ls(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = pg_call(ctl->pg, &select_schedules, 0, NULL, &rows);
    if (failed(e))
        return ctl_fail(e);
    struct buf b = buf_new(ctl->arena, 1024);
    struct json j = json_on(&b);
    if (!ctl->json)
        printf("%-24s %-20s %-20s %-5s %-24s  %-24s\n", "schedule", "cron", "zone", "catch", "next", "last");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(rows); i++) {
        if (ctl->json)
            put_object(&j, rows, i);
        else
            print_line(ctl, rows, i);
    }
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return CTL_OK;
}

/* ---- changing one ---- */

static const struct pg_stmt upsert_schedule = {
    "ctl_schedule_set",
    "INSERT INTO schedule (name, cron, zone, catch_up, next_ms, created_ms)"
    " VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::bigint) ON CONFLICT (name) DO UPDATE "
    "SET"
    " cron = excluded.cron, zone = excluded.zone, catch_up = excluded.catch_up, next_ms = excluded.next_ms,"
    " is_active = true, fault = NULL"};
static const struct pg_stmt select_schedule = {"ctl_schedule_one",
                                               "SELECT cron, zone FROM schedule WHERE name = $1::text"};
static const struct pg_stmt resume_schedule = {
    "ctl_schedule_resume",
    "UPDATE schedule SET is_active = true, fault = NULL, next_ms = $2::bigint WHERE name = $1::text"};
static const struct pg_stmt pause_schedule = {"ctl_schedule_pause",
                                              "UPDATE schedule SET is_active = false WHERE name = $1::text"};
static const struct pg_stmt delete_schedule = {"ctl_schedule_rm",
                                               "DELETE FROM schedule WHERE name = $1::text"};

/* The first slot from now on. */
static err next_slot(struct ctl *ctl, struct str text, struct str zone_name, int64_t *ret)
{
    struct cron cron;
    struct zone zone;
    TRY(cron_parse(text, &cron));
    TRY(zone_load(ctl->pg, zone_name, clock_ms(), ctl->arena, &zone));
    *ret = cron_next(&cron, &zone, clock_ms());
    if (*ret == INT64_MAX)
        return FAIL(INVALID, "there is no such day");
    return OK;
}

static bool name_is_good(struct str name)
{
    if (name.n < 1 || name.n > 63 || name.p[0] < 'a' || name.p[0] > 'z')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", name.p[i]))
            return false;
    return true;
}

static enum ctl_exit told(struct ctl *ctl, int64_t next_ms)
{
    struct buf b = buf_new(ctl->arena, 128);
    struct json j = json_on(&b);
    if (!ctl->json) {
        printf("%s fires next at %.*s\n", ctl->args[0], STR_ARG(clock_text(next_ms, ctl->arena)));
        return CTL_OK;
    }
    json_open(&j, '{');
    json_kstr(&j, "name", str_of(ctl->args[0]));
    json_ktime(&j, "next", next_ms);
    json_close(&j, '}');
    ctl_print_json(&b);
    return CTL_OK;
}

enum ctl_exit run_schedule_set(struct ctl *ctl)
{
    struct str name = str_of(ctl->args[0]), cron = str_of(ctl->args[1]);
    const char *zone = ctl_option(ctl, "zone"), *how = ctl_option(ctl, "catch-up");
    struct str zone_name = str_of(zone ? zone : "America/Santiago"), catch_up = str_of(how ? how : "last");
    int64_t next_ms = 0;
    if (!name_is_good(name))
        return ctl_usage(ctl, "a name is lower-case letters, digits and dashes, at most 63");
    if (!str_is(catch_up, "last") && !str_is(catch_up, "each") && !str_is(catch_up, "none"))
        return ctl_usage(ctl, "--catch-up is last, each or none");
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = next_slot(ctl, cron, zone_name, &next_ms);
    if (failed(e))
        return ctl_fail(e);
    struct pg_param params[] = {pg_text(name),     pg_text(cron),   pg_text(zone_name),
                                pg_text(catch_up), pg_int(next_ms), pg_int(clock_ms())};
    e = pg_call(ctl->pg, &upsert_schedule, 6, params, NULL);
    return failed(e) ? ctl_fail(e) : told(ctl, next_ms);
}

static enum ctl_exit unknown(const struct ctl *ctl)
{
    fprintf(stderr, "daydreamctl: there is no schedule %s\n", ctl->args[0]);
    return CTL_FINDINGS;
}

enum ctl_exit run_schedule_resume(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *row = NULL;
    struct pg_param params[] = {pg_text(str_of(ctl->args[0])), pg_null()};
    int64_t next_ms = 0;
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = pg_call(ctl->pg, &select_schedule, 1, params, &row);
    if (!failed(e) && pg_rows(row) == 0)
        return unknown(ctl);
    if (!failed(e))
        e = next_slot(ctl, pg_get_str(row, 0, 0), pg_get_str(row, 0, 1), &next_ms);
    params[1] = pg_int(next_ms);
    if (!failed(e))
        e = pg_call(ctl->pg, &resume_schedule, 2, params, NULL);
    return failed(e) ? ctl_fail(e) : told(ctl, next_ms);
}

static enum ctl_exit change(struct ctl *ctl, const struct pg_stmt *stmt)
{
    _cleanup_(pg_result_freep) struct pg_result *done = NULL;
    struct pg_param name = pg_text(str_of(ctl->args[0]));
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = pg_call(ctl->pg, stmt, 1, &name, &done);
    if (failed(e))
        return ctl_fail(e);
    return pg_affected(done) ? CTL_OK : unknown(ctl);
}

enum ctl_exit run_schedule_pause(struct ctl *ctl)
{
    return change(ctl, &pause_schedule);
}

enum ctl_exit run_schedule_rm(struct ctl *ctl)
{
    return change(ctl, &delete_schedule);
}
