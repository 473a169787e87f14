/* See partner.h. */
#include "tests/support/partner.h"

#include <assert.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS_MAX = 16, WORDS = 9 + 2 * STREAMS_MAX, BLOCK_MS = 200, ID_MAX = 40 };

struct partner {
    struct shop *shop;
    char name[49], topic[32], password[80], wrong[200];
    int streams;
    char keys[STREAMS_MAX][64];
    int64_t last[STREAMS_MAX]; /* number of the last event he has; kept with the effects */
    struct diary *diary;
    pthread_t thread;
    atomic_bool stop, falls;
    atomic_int fetched;
    bool owing; /* asks first for what he was given before */
    redisContext *redis;
    PGconn *pg;
};

static void note(struct partner *p, const char *what)
{
    if (!*p->wrong)
        snprintf(p->wrong, sizeof(p->wrong), "%s", what);
}

/* ---- connections ---- */

static void hang_up(struct partner *p)
{
    if (p->redis)
        redisFree(p->redis);
    p->redis = NULL;
}

/* NULL when it failed; then there is no connection any more. */
static redisReply *call(struct partner *p, int n, const char **words)
{
    redisReply *reply = redisCommandArgv(p->redis, n, words, NULL);
    if (!reply)
        hang_up(p);
    return reply;
}

static bool connect_to(struct partner *p)
{
    char user[60];
    snprintf(user, sizeof(user), "sub:%s", p->name);
    const char *words[] = {"AUTH", user, p->password};
    if (p->redis)
        return true;
    p->redis = redisConnectUnix(servers_redis_url(shop_servers(p->shop)) + strlen("unix://"));
    if (!p->redis || p->redis->err) {
        hang_up(p);
        return false;
    }
    redisReply *reply = call(p, 3, words);
    bool good = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LOADING", 7) != 0)
        note(p, reply->str);
    freeReplyObject(reply);
    if (!good)
        hang_up(p);
    p->owing = true;
    return good;
}

/* ---- events ---- */

/* Events first … last of a stream, from the log. False: PostgreSQL is down, try again. */
static bool fetch(struct partner *p, int stream, int64_t first, int64_t last)
{
    char from[24], to[24], part[12];
    const char *const values[] = {p->topic, part, from, to};
    snprintf(from, sizeof(from), "%lld", (long long)first);
    snprintf(to, sizeof(to), "%lld", (long long)last);
    snprintf(part, sizeof(part), "%d", stream);
    if (p->pg && PQstatus(p->pg) != CONNECTION_OK)
        PQreset(p->pg);
    else if (!p->pg)
        p->pg = PQconnectdb(servers_database_url(shop_servers(p->shop)));
    PGresult *result = PQexecParams(p->pg,
                                    "SELECT id FROM event_log WHERE topic = $1 AND part = $2::int AND seq"
                                    " BETWEEN $3::bigint AND $4::bigint ORDER BY seq",
                                    4, NULL, values, NULL, NULL, 0);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (good && PQntuples(result) != last - first + 1)
        note(p, "the log does not have what the stream had");
    for (int i = 0; good && i < PQntuples(result); i++)
        diary_add(p->diary, PQgetvalue(result, i, 0));
    if (good) {
        p->fetched += PQntuples(result);
        p->last[stream] = last;
    }
    PQclear(result);
    return good;
}

static const char *field(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1]->str;
    return NULL;
}

static bool handle(struct partner *p, int stream, const redisReply *entry)
{
    const redisReply *fields = entry->element[1];
    int64_t seq = strtoll(strchr(entry->element[0]->str, '-') + 1, NULL, 10);
    if (seq <= p->last[stream])
        return true;
    if (fields->type != REDIS_REPLY_ARRAY || seq > p->last[stream] + 1)
        return fetch(p, stream, p->last[stream] + 1, seq);
    const char *id = field(fields, "id");
    if (!id) {
        note(p, "an entry without an id");
        return true;
    }
    diary_add(p->diary, id);
    p->last[stream] = seq;
    return true;
}

static void acknowledge(struct partner *p, int stream, const char *id)
{
    const char *words[] = {"XACK", p->keys[stream], p->name, id};
    freeReplyObject(call(p, 4, words));
}

/* The stream of an answer; all there is of it, as far as he gets. Returns how many entries it had. */
static size_t handle_stream(struct partner *p, const redisReply *answer)
{
    int stream = 0;
    const redisReply *entries = answer->element[1];
    while (stream < p->streams && strcmp(p->keys[stream], answer->element[0]->str) != 0)
        stream++;
    assert(stream < p->streams);
    for (size_t i = 0; i < entries->elements && p->redis && !p->stop; i++) {
        while (!handle(p, stream, entries->element[i]) && !p->stop)
            shop_nap();
        if (p->falls) /* it has its effect and is not acknowledged */
            hang_up(p);
        else
            acknowledge(p, stream, entries->element[i]->element[0]->str);
    }
    return entries->elements;
}

/* ---- the loop ---- */

static redisReply *read_group(struct partner *p)
{
    const char *words[WORDS] = {"XREADGROUP", "GROUP", p->name, "w1", "COUNT", "100"};
    char block[12];
    int n = 6;
    snprintf(block, sizeof(block), "%d", BLOCK_MS);
    words[n++] = "BLOCK";
    words[n++] = block;
    words[n++] = "STREAMS";
    for (int i = 0; i < p->streams; i++)
        words[n++] = p->keys[i];
    for (int i = 0; i < p->streams; i++)
        words[n++] = p->owing ? "0" : ">";
    return call(p, n, words);
}

/* The stream was lost, or is: it comes back, and the group with it. */
static bool passes(const char *error)
{
    static const char *const those[] = {"NOGROUP", "UNBLOCKED", "LOADING", "-LOADING", "MISCONF"};
    for (size_t i = 0; i < sizeof(those) / sizeof(*those); i++)
        if (strncmp(error, those[i], strlen(those[i])) == 0)
            return true;
    return false;
}

static void read_once(struct partner *p)
{
    redisReply *reply = read_group(p);
    size_t n = 0;
    if (reply && reply->type == REDIS_REPLY_ERROR) {
        if (!passes(reply->str))
            note(p, reply->str);
        p->owing = true;
        shop_nap();
    } else if (reply) {
        for (size_t i = 0; i < reply->elements; i++)
            n += handle_stream(p, reply->element[i]);
        p->owing = p->owing && n > 0;
    }
    freeReplyObject(reply);
}

static void *run(void *data)
{
    struct partner *p = data;
    while (!p->stop) {
        if (!connect_to(p)) {
            shop_nap();
            continue;
        }
        read_once(p);
        if (p->falls) {
            hang_up(p);
            p->falls = false;
        }
    }
    return NULL;
}

/* ---- from outside ---- */

/* What the grant prints, and where the streams end now. */
static void grant(struct partner *p, const char *types)
{
    char *text;
    const char *const words[] = {"events", "grant", p->name, "--types", types, "--json", NULL};
    int status = shop_ctl(p->shop, &text, words);
    assert(status == 0);
    json_t *json = json_loads(text, 0, NULL);
    const char *password = json_string_value(json_object_get(json, "password"));
    assert(password);
    snprintf(p->password, sizeof(p->password), "%s", password);
    json_decref(json);
    free(text);
    for (int i = 0; i < p->streams; i++)
        p->last[i] =
            shop_sql(p->shop, "SELECT seq FROM subscriber_group WHERE name = '%s' AND part = %d", p->name, i);
}

struct partner *partner_start(struct shop *shop, const char *name, const char *types, const char *topic,
                              int partitions)
{
    struct partner *p = calloc(1, sizeof(*p));
    assert(p && partitions <= STREAMS_MAX);
    p->shop = shop;
    p->streams = partitions;
    p->diary = diary_new();
    snprintf(p->name, sizeof(p->name), "%s", name);
    snprintf(p->topic, sizeof(p->topic), "%s", topic);
    for (int i = 0; i < partitions; i++)
        snprintf(p->keys[i], sizeof(p->keys[i]), "evt:{%s.%02d}", topic, i);
    grant(p, types);
    int failed_to = pthread_create(&p->thread, NULL, run, p);
    assert(!failed_to);
    return p;
}

struct partner *partner_stop(struct partner *p)
{
    if (!p)
        return NULL;
    p->stop = true;
    pthread_join(p->thread, NULL);
    hang_up(p);
    PQfinish(p->pg);
    diary_free(p->diary);
    free(p);
    return NULL;
}

void partner_falls_over(struct partner *p)
{
    p->falls = true;
}

struct diary *partner_diary(struct partner *p)
{
    return p->diary;
}

int partner_fetched(const struct partner *p)
{
    return p->fetched;
}

const char *partner_wrong(const struct partner *p)
{
    return p->wrong;
}
