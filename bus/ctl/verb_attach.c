/*
 * bus detach, bus attach: who holds back the trimming of streams, decided by a person. A group that is
 * detached so stays detached until a person attaches it; it misses nothing, since it reads what is gone from
 * the log.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"
#include "bus/topics.h"

enum { REDIS_MS = 10000 };

/* The name under which trimming knows whom the operator means: groups of ours by their own, subscribers that
 * use the library by that of their offsets, others as they are called in Redis. NULL: no row has heard of it.
 */
static const struct pg_stmt select_group = {
    "ctl_detach_whom",
    "SELECT CASE WHEN EXISTS (SELECT FROM consumer_offset WHERE grp = $1::text) THEN $1::text"
    " WHEN EXISTS (SELECT FROM consumer_offset WHERE grp = 'ext:' || $1::text) THEN 'ext:' || $1::text"
    " WHEN EXISTS (SELECT FROM subscriber WHERE name = $1::text) THEN $1::text END"};
/* A group without offsets of ours reads the streams from outside, any of them. */
static const struct pg_stmt detach_group = {
    "ctl_detach", "INSERT INTO group_detached (grp, topic, part, reason, seq, since_ms)"
                  " SELECT $1::text, x.topic, x.part, 'operator', x.seq, $2::bigint FROM ("
                  "  SELECT topic, part, seq FROM consumer_offset WHERE grp = $1::text UNION ALL"
                  "  SELECT topic, part, 0 FROM stream_head WHERE NOT EXISTS (SELECT FROM consumer_offset "
                  "WHERE grp = $1::text)) x"
                  " ON CONFLICT (grp, topic, part) DO UPDATE SET reason = 'operator'"};
static const struct pg_stmt attach_group = {
    "ctl_attach", "DELETE FROM group_detached WHERE grp IN ($1::text, 'ext:' || $1::text) RETURNING grp"};

static enum ctl_exit report(const struct ctl *ctl, struct str group, const char *what, int64_t partitions)
{
    struct buf b = buf_new(ctl->arena, 256);
    struct json j = json_on(&b);
    if (!ctl->json) {
        printf("%.*s is %s on %" PRId64 " partitions\n", STR_ARG(group), what, partitions);
        return CTL_OK;
    }
    json_open(&j, '{');
    json_kstr(&j, "group", group);
    json_kstr(&j, "state", str_of(what));
    json_kint(&j, "partitions", partitions);
    json_close(&j, '}');
    ctl_print_json(&b);
    return CTL_OK;
}

/* ---- who is meant ---- */

struct search {
    struct str name;
    bool found;
};

static void on_groups(void *data, const struct redis_reply *reply)
{
    struct search *search = data;
    for (size_t i = 0; reply && reply->kind == REDIS_ARRAY && i < reply->n; i++)
        for (size_t k = 0; k + 1 < reply->items[i].n; k += 2)
            if (str_is(reply->items[i].items[k].text, "name"))
                search->found |= str_eq(reply->items[i].items[k + 1].text, search->name);
}

/* Somebody's group on a stream, which the relay writes down within a second or so. */
static err find_in_redis(struct ctl *ctl, struct search *search)
{
    char stream[STREAM_NAME];
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            stream_name((enum topic)topic, part, stream);
            redis_sendf(ctl->redis, on_groups, search, "XINFO GROUPS %s", stream);
        }
    return redis_wait(ctl->redis, REDIS_MS);
}

static err find_group(struct ctl *ctl, struct str *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct search search = {.name = str_of(ctl->args[0])};
    const struct pg_param name = pg_text(search.name);
    TRY(pg_call(ctl->pg, &select_group, 1, &name, &result));
    *ret = arena_str(ctl->arena, pg_get_str(result, 0, 0));
    if (ret->p)
        return OK;
    TRY(find_in_redis(ctl, &search));
    *ret = search.name;
    return search.found ? OK : FAIL(NOT_FOUND, "there is no group or subscriber %s", ctl->args[0]);
}

/* ---- the verbs ---- */

enum ctl_exit run_bus_detach(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct str group = STR_NONE;
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = find_group(ctl, &group);
    const struct pg_param params[] = {pg_text(group), pg_int(clock_ms())};
    if (!failed(e))
        e = pg_call(ctl->pg, &detach_group, 2, params, &result);
    if (!failed(e) && pg_affected(result) == 0)
        e = FAIL(NOT_FOUND, "no stream has an event yet: there is nothing to detach %s from", ctl->args[0]);
    return failed(e) ? ctl_fail(e) : report(ctl, group, "detached", pg_affected(result));
}

enum ctl_exit run_bus_attach(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param group = pg_text(str_of(ctl->args[0]));
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &attach_group, 1, &group, &result);
    if (!failed(e) && pg_rows(result) == 0)
        e = FAIL(NOT_FOUND, "%s is not detached", ctl->args[0]);
    return failed(e) ? ctl_fail(e) : report(ctl, pg_get_str(result, 0, 0), "attached again", pg_rows(result));
}
