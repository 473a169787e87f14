/*
 * Replies as trees of struct redis_reply. hiredis' reader parses and calls the functions below, which build
 * the tree in one arena per connection: an array is one allocation for all its elements, a string one copy;
 * no malloc per node, and nothing to free. The arena is emptied when the next reply begins.
 */
#include <stdio.h>

#include "bus/redis/internal.h"

/* The node for a task: the root is new, a child has its place in its parent's array. NULL: the reply is too
 * large. */
static struct redis_reply *node(const redisReadTask *task, enum redis_kind kind)
{
    struct arena *arena = *(struct arena **)task->privdata;
    struct redis_reply *reply;
    if (task->parent) {
        const struct redis_reply *parent = task->parent->obj;
        reply = &parent->items[task->idx];
    } else {
        arena_reset(arena);
        reply = arena_new_of(arena, struct redis_reply);
    }
    reply->kind = kind;
    return reply;
}

static bool fits(const redisReadTask *task, size_t n)
{
    return arena_used(*(struct arena **)task->privdata) + n <= REDIS_REPLY_BYTES;
}

static void *on_string(const redisReadTask *task, char *p, size_t n)
{
    static const enum redis_kind kinds[] = {
        [REDIS_REPLY_STRING] = REDIS_STRING,
        [REDIS_REPLY_STATUS] = REDIS_STATUS,
        [REDIS_REPLY_ERROR] = REDIS_ERROR,
    };
    struct redis_reply *reply = node(task, kinds[task->type]);
    if (!fits(task, n))
        return NULL;
    reply->text = arena_str(*(struct arena **)task->privdata, (struct str){p, n});
    return reply;
}

static void *on_array(const redisReadTask *task, int n)
{
    struct redis_reply *reply = node(task, REDIS_ARRAY);
    if (n < 0 || !fits(task, (size_t)n * sizeof(*reply)))
        return NULL;
    reply->n = (size_t)n;
    if (n > 0)
        reply->items = arena_array(*(struct arena **)task->privdata, struct redis_reply, n);
    return reply;
}

static void *on_integer(const redisReadTask *task, long long v)
{
    struct redis_reply *reply = node(task, REDIS_INTEGER);
    reply->integer = v;
    return reply;
}

static void *on_nil(const redisReadTask *task)
{
    return node(task, REDIS_NIL);
}

static void on_free(void *reply)
{
    (void)reply; /* the arena owns it */
}

redisReader *reply_reader(struct arena **replies)
{
    static redisReplyObjectFunctions functions = {
        .createString = on_string,
        .createArray = on_array,
        .createInteger = on_integer,
        .createNil = on_nil,
        .freeObject = on_free,
    };
    redisReader *reader = redisReaderCreateWithFunctions(&functions);
    if (!reader)
        abort();
    reader->privdata = replies;
    reader->maxbuf =
        4 * REDIS_READ_BYTES; /* keeps the buffer of usual reads instead of making it anew each time */
    return reader;
}

bool redis_is_error(const struct redis_reply *reply, const char *prefix)
{
    return reply && reply->kind == REDIS_ERROR && str_starts(reply->text, str_of(prefix));
}

int64_t redis_integer(const struct redis_reply *reply, int64_t fallback)
{
    int64_t v;
    if (reply && reply->kind == REDIS_INTEGER)
        return reply->integer;
    if (reply && reply->kind == REDIS_STRING && !failed(str_int64(reply->text, &v)))
        return v;
    return fallback;
}
