/*
 * The check at start. A wrong partition count would send messages to lanes nobody reads, and a Redis that
 * evicts or forgets would break promises already made: better not to start.
 */
#include "bus/meta.h"

#include <inttypes.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/topics.h"

#define FORMAT "1" /* of keys, entries and the partition hash (crc32c) */

static const struct pg_stmt has_meta = {"meta_exists", "SELECT to_regclass('bus_meta') IS NOT NULL"};
static const struct pg_stmt select_meta = {
    "meta_select",
    "SELECT max(value) FILTER (WHERE name = 'partitions'), max(value) FILTER (WHERE name = 'format')"
    " FROM bus_meta"};

/* UNAVAILABLE while the schema is not there: somebody may be migrating. */
static err meta_read(struct pg *pg, int *ret_partitions)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &has_meta, 0, NULL, &result));
    bool made = pg_get_bool(result, 0, 0);
    result = pg_result_free(result);
    if (!made)
        return FAIL(UNAVAILABLE, "the database is not migrated: run daydreamctl migrate up");
    TRY(pg_call(pg, &select_meta, 0, NULL, &result));
    if (pg_is_null(result, 0, 0))
        return FAIL(UNAVAILABLE, "the partition count is not fixed yet: run daydreamctl migrate up");
    int64_t p;
    if (failed(str_int64(pg_get_str(result, 0, 0), &p)) || p < 1 || p > PARTITIONS_MAX)
        return FAIL(CONFIG, "bus_meta holds a partition count that makes no sense");
    if (!str_is(pg_get_str(result, 0, 1), FORMAT))
        return FAIL(CONFIG, "the database has another format (%.*s, not " FORMAT ")",
                    STR_ARG(pg_get_str(result, 0, 1)));
    *ret_partitions = (int)p;
    return OK;
}

/* HSETNX, then what stands: two programs that start at once agree. */
static err meta_mirror(struct redis *redis, int p)
{
    const struct redis_reply *reply;
    TRY(redis_callf(redis, &reply, "HSETNX bus:meta partitions %d", (int64_t)p));
    TRY(redis_callf(redis, &reply, "HSETNX bus:meta format %s", FORMAT));
    TRY(redis_callf(redis, &reply, "HSETNX bus:meta hash %s", "crc32c"));
    TRY(redis_callf(redis, &reply, "HMGET bus:meta partitions format hash"));
    if (reply->kind != REDIS_ARRAY || reply->n != 3)
        return FAIL(CONFIG, "bus:meta in Redis cannot be read");
    if (redis_integer(&reply->items[0], 0) != p)
        return FAIL(CONFIG, "Redis was made with %" PRId64 " partitions, the database with %d",
                    redis_integer(&reply->items[0], 0), p);
    if (!str_is(reply->items[1].text, FORMAT) || !str_is(reply->items[2].text, "crc32c"))
        return FAIL(CONFIG, "the data in Redis has another format");
    return OK;
}

/* ---- would Redis lose data? ---- */

/* A line "name:value" of INFO. */
static bool info_says(struct str info, const char *line)
{
    size_t n = strlen(line);
    for (size_t at = 0; at < info.n;) {
        struct str rest = str_slice(info, at, info.n);
        size_t end = str_find(rest, '\n');
        if (str_eq(str_trim(str_slice(rest, 0, end)), (struct str){line, n}))
            return true;
        at += end + 1;
    }
    return false;
}

static err redis_durable(struct redis *redis)
{
    static const struct {
        const char *section, *line, *sentence;
        bool always; /* also when relaxed */
    } rules[] = {
        {"replication", "role:master", "it is a replica", true},
        {"persistence", "aof_enabled:1", "appendonly is not yes", false},
        {"memory", "maxmemory_policy:noeviction", "maxmemory-policy is not noeviction", false},
    };
    const struct redis_reply *reply;
    bool relaxed = conf_on(SET_REDIS_RELAXED);
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        TRY(redis_callf(redis, &reply, "INFO %s", rules[i].section));
        if (!info_says(reply->text, rules[i].line) && (rules[i].always || !relaxed))
            return FAIL(CONFIG, "this Redis would lose data: %s%s", rules[i].sentence,
                        rules[i].always ? "" : " (REDIS_RELAXED=on accepts that)");
    }
    if (relaxed)
        return OK;
    err e = redis_callf(redis, &reply, "CONFIG GET appendfsync");
    if (e.code == ERR_REDIS_REFUSED)
        return FAIL(
            CONFIG,
            "whether appendfsync is always cannot be asked: allow CONFIG GET, or set REDIS_RELAXED=on");
    TRY(e);
    if (reply->kind != REDIS_ARRAY || reply->n != 2 || !str_is(reply->items[1].text, "always"))
        return FAIL(CONFIG,
                    "this Redis would lose data: appendfsync is not always (REDIS_RELAXED=on accepts that)");
    return OK;
}

/* In production Redis must know who speaks: a default user without a password may do everything, for
 * everybody who reaches its port. A user who may not ask about users is one of an ACL. */
static err redis_guarded(struct redis *redis)
{
    const struct redis_reply *reply;
    if (!conf_production())
        return OK;
    err e = redis_callf(redis, &reply, "ACL GETUSER default");
    if (e.code == ERR_REDIS_REFUSED)
        return OK;
    TRY(e);
    for (size_t i = 0; i + 1 < reply->n; i += 2)
        for (size_t f = 0; str_is(reply->items[i].text, "flags") && f < reply->items[i + 1].n; f++)
            if (str_is(reply->items[i + 1].items[f].text, "nopass"))
                return FAIL(CONFIG,
                            "this Redis lets everybody in: give its default user a password or switch it off"
                            " (ACL SETUSER default off), which ENVIRONMENT=production asks for");
    return OK;
}

/* ---- public ---- */

static err check(struct pg *pg, struct redis *redis)
{
    int p = 0;
    TRY(meta_read(pg, &p));
    TRY(redis_durable(redis));
    TRY(redis_guarded(redis));
    TRY(meta_mirror(redis, p));
    partitions_set(p);
    return OK;
}

err meta_check(struct pg *pg, struct redis *redis)
{
    err e = check(pg, redis);
    if (e.code == ERR_UNAVAILABLE)
        return FAIL(CONFIG, "the database is not migrated: run daydreamctl migrate up");
    return e;
}

err meta_check_pg(struct pg *pg)
{
    int p = 0;
    err e = meta_read(pg, &p);
    if (e.code == ERR_UNAVAILABLE)
        return FAIL(CONFIG, "the database is not migrated: run daydreamctl migrate up");
    TRY(e);
    partitions_set(p);
    return OK;
}

/* A role that does not exist yet is refused as SQL: the migration makes it. */
static err open_both(struct pg **pg, const char *role, struct redis **redis)
{
    err e = OK;
    if (!*pg)
        e = pg_open(conf_str(SET_DATABASE_URL).p, role, "SET enable_seqscan = off", pg);
    else if (!pg_is_up(*pg))
        e = pg_reopen(*pg);
    if (e.code == ERR_SQL)
        return FAIL(UNAVAILABLE, "the database does not know the role yet: run daydreamctl migrate up");
    TRY(e);
    if (!*redis)
        TRY(redis_open(conf_str(SET_REDIS_URL).p, redis));
    else if (!redis_is_up(*redis))
        TRY(redis_reopen(*redis));
    return check(*pg, *redis);
}

bool meta_wait(const volatile bool *stop, struct pg **pg, const char *role, struct redis **redis)
{
    *pg = NULL;
    *redis = NULL;
    err told = OK;
    for (int attempt = 0; !*stop; attempt++) {
        err e = open_both(pg, role, redis);
        if (!failed(e))
            return true;
        if (err_class_of(e.code) != ERR_CLASS_RETRY) {
            log_error("the shop cannot start", kv("why", err_text(e)));
            break;
        }
        if (told.code != e.code)
            log_warn("waiting for the servers", kv("why", err_text(e)));
        told = e;
        clock_sleep_ms(20 + backoff_ms(attempt < 6 ? attempt : 6, 20, 500));
    }
    *pg = pg_close(*pg);
    *redis = redis_close(*redis);
    return false;
}
