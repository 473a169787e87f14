/*
 * A subscriber from outside: follows every event stream by XREAD as anybody with redis-cli could, and notes
 * whether the numbers it sees have no holes and no repeats. It may be cut off and trimmed over; it must never
 * see event n+1 while event n is neither there nor trimmed.
 */
#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/faults.h"

enum { STREAMS_MAX = 64, NAME = 60 };

struct followed {
    char name[NAME], last[NAME]; /* id */
    int64_t seq;
};

struct follower {
    struct shop *shop;
    struct followed streams[STREAMS_MAX];
    int n;
    int64_t events;
    redisContext *redis;
    atomic_bool stop;
    char complaint[200];
    pthread_t thread;
};

static int64_t seq_of(const char *id)
{
    const char *dash = strchr(id, '-');

    return dash ? strtoll(dash + 1, NULL, 10) : 0;
}

static redisReply *tell(struct follower *f, int argc, const char **argv)
{
    if (f->redis && f->redis->err) {
        redisFree(f->redis);
        f->redis = NULL;
    }
    if (!f->redis)
        f->redis = redisConnectUnix(servers_redis_url(shop_servers(f->shop)) + strlen("unix://"));
    return f->redis && !f->redis->err ? redisCommandArgv(f->redis, argc, argv, NULL) : NULL;
}

/* The oldest event of the stream; beyond all when it was trimmed to nothing meanwhile, or cannot be asked. */
static int64_t oldest(struct follower *f, const char *stream)
{
    const char *argv[] = {"XRANGE", stream, "-", "+", "COUNT", "1"};
    redisReply *r = tell(f, 6, argv);
    int64_t seq =
        r && r->type == REDIS_REPLY_ARRAY && r->elements ? seq_of(r->element[0]->element[0]->str) : INT64_MAX;

    if (r)
        freeReplyObject(r);
    return seq;
}

static void see(struct follower *f, struct followed *s, const char *id)
{
    int64_t seq = seq_of(id), first;

    f->events++;
    if (seq != s->seq + 1 && !f->complaint[0]) {
        first = oldest(f, s->name);
        if (first <= s->seq + 1 || seq <= s->seq)
            snprintf(f->complaint, sizeof(f->complaint), "%s: %s after %s, the oldest is %" PRId64, s->name,
                     id, s->last, first);
    }
    s->seq = seq;
    snprintf(s->last, NAME, "%s", id);
}

static void see_all(struct follower *f, const redisReply *r)
{
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
        const redisReply *stream = r->element[i];

        for (int k = 0; k < f->n; k++)
            for (size_t e = 0;
                 strcmp(f->streams[k].name, stream->element[0]->str) == 0 && e < stream->element[1]->elements;
                 e++)
                see(f, &f->streams[k], stream->element[1]->element[e]->element[0]->str);
    }
}

static void *follow(void *data)
{
    struct follower *f = data;
    const char *argv[6 + 2 * STREAMS_MAX] = {"XREAD", "COUNT", "500", "BLOCK", "100", "STREAMS"};

    while (!atomic_load(&f->stop)) {
        redisReply *r;

        for (int i = 0; i < f->n; i++) {
            argv[6 + i] = f->streams[i].name;
            argv[6 + f->n + i] = f->streams[i].last;
        }
        r = tell(f, 6 + 2 * f->n, argv);
        if (r) {
            see_all(f, r);
            freeReplyObject(r);
        } else {
            shop_nap();
        }
    }
    if (f->redis)
        redisFree(f->redis);
    return NULL;
}

struct follower *follower_start(struct shop *shop)
{
    struct follower *f = calloc(1, sizeof(*f));
    char *heads = shop_sql_text(
             shop, "SELECT string_agg('evt:{' || topic || '.' || lpad(part::text, 2, '0') || '} ' || ms"
                   " || '-' || seq, ' ') FROM stream_head"),
         *rest = heads, *name, *id;

    assert(f);
    f->shop = shop;
    while ((name = strsep(&rest, " ")) && *name && (id = strsep(&rest, " "))) {
        struct followed *s = &f->streams[f->n++];

        assert(f->n <= STREAMS_MAX);
        snprintf(s->name, NAME, "%s", name);
        snprintf(s->last, NAME, "%s", id);
        s->seq = seq_of(id);
    }
    free(heads);
    if (pthread_create(&f->thread, NULL, follow, f) != 0)
        abort();
    return f;
}

void follower_stop(struct follower *f, struct verdict *verdict)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    if (f->complaint[0] && !verdict->torn)
        check_failed(verdict, "I3", "a subscriber from outside never sees a hole", f->complaint);
    if (f->events == 0)
        check_failed(verdict, "I3", "a subscriber from outside sees events", "none");
    free(f);
}
