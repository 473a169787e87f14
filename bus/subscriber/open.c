/*
 * A subscription: its options, its registration, its two connections. PostgreSQL is needed, Redis is not:
 * when it does not answer, the log is read, and a new attempt is made now and then.
 */
#include "bus/base/conf.h"
#include "bus/subscriber/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"

enum { ARENA_CEILING = 256 << 20, LEASE_MS = 10000, LEASE_MIN_MS = 500, KEEP_DAYS = 7, BATCH = 256 };
enum { REDIS_RETRY_MS = 500 };

/* Plans of an empty young table must not stay; a row locked by the program's own transaction must not hold us
 * for long. */
static const char setup[] = "SET enable_seqscan = off; SET lock_timeout = '3s'";

static const struct pg_stmt register_name = {
    "dds_open",
    "SELECT subscriber_open($1::text, $2::text, $3::text, $4::text, $5::text[], $6::text, $7::bigint)"};

/* ---- answers ---- */

int sub_status(struct dds *sub, err e)
{
    sub->error[0] = 0;
    if (!failed(e))
        return DDS_OK;
    snprintf(sub->error, sizeof(sub->error), "%s", err_text(e));
    if (e.code == ERR_FENCED)
        return DDS_FENCED;
    return err_class_of(e.code) == ERR_CLASS_RETRY && e.code != ERR_UNIQUE ? DDS_DOWN : DDS_REFUSED;
}

int sub_misuse(struct dds *sub, const char *text)
{
    snprintf(sub->error, sizeof(sub->error), "%s", text);
    return DDS_MISUSE;
}

const char *dds_error(const struct dds *sub)
{
    return sub->error;
}

const char *dds_version(void)
{
    return DDS_VERSION;
}

void dds_stats(const struct dds *sub, struct dds_stats *ret)
{
    struct dds_stats all = sub->stats;
    for (size_t i = 0; i < sub->n_places; i++)
        all.partitions += sub->places[i].owned;
    all.redis_is_up = sub->redis && redis_is_up(sub->redis);
    size_t size = ret->size < sizeof(all) ? ret->size : sizeof(all);
    all.size = size;
    memcpy(ret, &all, size);
}

/* ---- connections ---- */

void sub_down(struct dds *sub, err e)
{
    if (e.code != ERR_FENCED && e.code != ERR_UNIQUE && e.code != ERR_SQL && e.code != ERR_UNAVAILABLE)
        sub->pg = pg_close(sub->pg);
    sub->next_turn_ms = 0;
}

/* No failure: without Redis the log is read. */
static void redis_up(struct dds *sub)
{
    int64_t now = clock_mono_ms();
    if (!sub->redis_url || (sub->redis && redis_is_up(sub->redis)) || now < sub->next_redis_ms)
        return;
    sub->redis = redis_close(sub->redis);
    sub->next_redis_ms = now + REDIS_RETRY_MS;
    if (failed(redis_open(sub->redis_url, &sub->redis)))
        sub->redis = redis_close(sub->redis);
}

err sub_up(struct dds *sub)
{
    if (sub->pg && !pg_is_up(sub->pg))
        sub->pg = pg_close(sub->pg);
    if (!sub->pg) {
        TRY(pg_open(sub->database_url, NULL, setup, &sub->pg));
        sub->next_turn_ms = 0;
    }
    redis_up(sub);
    if (clock_mono_ms() >= sub->next_turn_ms)
        TRY(sub_turn(sub));
    return OK;
}

/* ---- opening ---- */

static char *copy(const char *text)
{
    char *copied = text ? strdup(text) : NULL;
    if (text && !copied)
        abort();
    return copied;
}

static err make_places(struct dds *sub, int partitions_n)
{
    if (partitions_n < 1 || partitions_n > PARTITIONS_MAX)
        return FAIL(CONFIG, "the database has a partition count that makes no sense");
    sub->places = calloc((size_t)TOPIC_COUNT * (size_t)partitions_n, sizeof(*sub->places));
    if (!sub->places)
        abort();
    for (int part = 0; part < partitions_n; part++)
        for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++) {
            if (!topic_is(topic) || !sub->filter.topics[topic])
                continue;
            struct place *place = &sub->places[sub->n_places++];
            *place = (struct place){.topic = (enum topic)topic, .part = part};
            stream_name(place->topic, part, place->stream);
        }
    return OK;
}

/* "earliest", "now", or UTC milliseconds as text. */
static err start_text(struct dds *sub, const char *start, struct str *ret)
{
    int64_t ms;
    *ret = str_of(start ? start : "earliest");
    if (str_is(*ret, "earliest") || str_is(*ret, "now"))
        return OK;
    if (failed(clock_parse(*ret, &ms)))
        return FAIL(INVALID, "start is earliest, now, or a time like 2026-11-22T20:30:00Z");
    *ret = arena_printf(sub->scratch, "%lld", (long long)ms);
    return OK;
}

static err subscribe(struct dds *sub, const struct dds_options *options)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct str start;
    TRY(start_text(sub, options->start, &start));
    struct pg_array names = pg_array(sub->scratch, PG_TEXT, TOPIC_COUNT);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        if (topic_is(topic) && sub->filter.topics[topic])
            pg_array_text(&names, str_of(topic_name((enum topic)topic)));
    const struct pg_param params[] = {pg_text(str_of(sub->name)),
                                      pg_text(str_of(sub->instance)),
                                      pg_text(str_of(options->owner ? options->owner : "")),
                                      pg_text(str_of(sub->types)),
                                      pg_array_param(&names),
                                      pg_text(start),
                                      pg_int(options->keep_days > 0 ? options->keep_days : KEEP_DAYS)};
    TRY(pg_open(sub->database_url, NULL, setup, &sub->pg));
    TRY(pg_call(sub->pg, &register_name, 7, params, &result));
    return make_places(sub, (int)pg_get_int(result, 0, 0));
}

static err configure(struct dds *sub, const struct dds_options *options)
{
    if (options->size < offsetof(struct dds_options, batch) + sizeof(int))
        return FAIL(INVALID, "the options do not begin with DDS_OPTIONS");
    if (!options->database_url || !options->name)
        return FAIL(INVALID, "database_url and name are needed");
    if (strlen(options->name) >= sizeof(sub->name))
        return FAIL(INVALID, "the name of a subscriber has at most %zu characters", sizeof(sub->name) - 1);
    snprintf(sub->name, sizeof(sub->name), "%s", options->name);
    char host[64] = "";
    gethostname(host, sizeof(host) - 1);
    if (options->instance)
        snprintf(sub->instance, sizeof(sub->instance), "%s", options->instance);
    else
        snprintf(sub->instance, sizeof(sub->instance), "%s-%d-%llx", host, (int)getpid(),
                 (unsigned long long)clock_mono_ns());
    sub->database_url = copy(options->database_url);
    sub->redis_url = copy(options->redis_url);
    sub->types = copy(options->types ? options->types : "*");
    sub->lease_ms = options->lease_ms == 0             ? LEASE_MS
                    : options->lease_ms < LEASE_MIN_MS ? LEASE_MIN_MS
                                                       : options->lease_ms;
    if (options->size >= sizeof(*options) && options->archive_dir &&
        !str_is(conf_str(SET_ARCHIVE_DIR), options->archive_dir))
        conf_set(SET_ARCHIVE_DIR, options->archive_dir);
    sub->batch = options->batch < 1 ? BATCH : options->batch > 10000 ? 10000 : options->batch;
    return type_filter_parse(str_of(sub->types), &sub->filter);
}

/* Wrong words about Redis are told at once; a Redis that is down is not. */
static err try_redis(struct dds *sub)
{
    if (!sub->redis_url)
        return OK;
    err e = redis_open(sub->redis_url, &sub->redis);
    if (failed(e))
        sub->redis = redis_close(sub->redis);
    return e.code == ERR_REDIS_DOWN ? OK : e;
}

static err open_all(struct dds *sub, const struct dds_options *options)
{
    TRY(configure(sub, options));
    TRY(try_redis(sub));
    TRY(subscribe(sub, options));
    return sub_up(sub);
}

int dds_open(const struct dds_options *options, struct dds **ret, char *error, size_t error_size)
{
    struct dds *sub = calloc(1, sizeof(*sub));
    if (!sub)
        abort();
    sub->arena = arena_new(ARENA_CEILING);
    sub->scratch = arena_new(ARENA_CEILING);
    int status = sub_status(sub, open_all(sub, options));
    if (error && error_size)
        snprintf(error, error_size, "%s", sub->error);
    *ret = sub;
    if (status != DDS_OK) {
        dds_close(sub);
        *ret = NULL;
    }
    return status;
}

static void wipe(char *url)
{
    if (url)
        explicit_bzero(url, strlen(url)); /* it may hold a password */
    free(url);
}

void dds_close(struct dds *sub)
{
    if (!sub)
        return;
    sub_give_back(sub);
    redis_close(sub->redis);
    pg_close(sub->pg);
    arena_free(sub->arena);
    arena_free(sub->scratch);
    wipe(sub->database_url);
    wipe(sub->redis_url);
    free(sub->types);
    free(sub->places);
    free(sub);
}
