/*
 * The pump of bus/redis as a wire of a libuv loop.
 */
#include "api/redis_poll.h"

#include <stdlib.h>

#include "api/wire.h"

struct redis_poll {
    const char *url;
    struct redis *redis; /* NULL until the first connection */
    struct wire *wire;
};

static err connect_redis(void *object)
{
    struct redis_poll *poll = object;
    return poll->redis ? redis_reopen(poll->redis) : redis_open(poll->url, &poll->redis);
}

static int fd_of(const void *object)
{
    return redis_fd(((const struct redis_poll *)object)->redis);
}

static bool is_up(const void *object)
{
    return redis_is_up(((const struct redis_poll *)object)->redis);
}

static short wants(const void *object)
{
    return redis_wants(((const struct redis_poll *)object)->redis);
}

static size_t waiting(const void *object)
{
    return redis_waiting(((const struct redis_poll *)object)->redis);
}

static void pump(void *object, short ready)
{
    redis_pump(((struct redis_poll *)object)->redis, ready);
}

static void stop(void *object)
{
    redis_break(((struct redis_poll *)object)->redis);
}

static void free_redis(void *object)
{
    struct redis_poll *poll = object;
    redis_close(poll->redis);
    free(poll);
}

static const struct wire_pump redis_pump_of_wire = {
    .name = "redis",
    .connect = connect_redis,
    .fd = fd_of,
    .is_up = is_up,
    .wants = wants,
    .waiting = waiting,
    .pump = pump,
    .stop = stop,
    .free = free_redis,
};

struct redis_poll *redis_poll_new(uv_loop_t *loop, const char *url, redis_poll_fn *fn, void *data)
{
    struct redis_poll *poll = calloc(1, sizeof(*poll));
    if (!poll)
        abort();
    poll->url = url;
    poll->wire = wire_new(loop, &redis_pump_of_wire, poll, REDIS_POLL_SILENCE_MS, fn, data);
    return poll;
}

struct redis *redis_poll_up(const struct redis_poll *poll)
{
    return poll && wire_up(poll->wire) ? poll->redis : NULL;
}

struct redis_poll *redis_poll_free(struct redis_poll *poll)
{
    if (poll)
        wire_free(poll->wire);
    return NULL;
}
