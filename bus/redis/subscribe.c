/*
 * Channels this connection listens to. In RESP2 a message looks like a reply, ["message", channel, payload];
 * on a connection with subscriptions such arrays go to the channel's function and everything else answers a
 * command.
 */
#include "bus/redis/internal.h"

static struct subscription *find(struct redis *redis, struct str channel)
{
    for (size_t i = 0; i < redis->n_subscriptions; i++) {
        struct subscription *s = &redis->subscriptions[i];
        if (str_eq((struct str){s->channel, s->n}, channel))
            return s;
    }
    return NULL;
}

static struct subscription *add(struct redis *redis, struct str channel)
{
    size_t n = redis->n_subscriptions + 1;
    redis->subscriptions = realloc(redis->subscriptions, n * sizeof(struct subscription));
    char *copy = malloc(channel.n + 1);
    if (!redis->subscriptions || !copy)
        abort();
    memcpy(copy, channel.p, channel.n);
    redis->n_subscriptions = n;
    redis->subscriptions[n - 1] = (struct subscription){.channel = copy, .n = channel.n};
    return &redis->subscriptions[n - 1];
}

/* The server has confirmed a SUBSCRIBE or an UNSUBSCRIBE. */
static void confirm(struct redis *redis, struct str kind, struct str channel)
{
    struct subscription *s = find(redis, channel);
    if (s && str_is(kind, "subscribe") && s->asked)
        s->asked--;
    if (!s || !str_is(kind, "unsubscribe") || s->asked)
        return;
    free(s->channel);
    *s = redis->subscriptions[--redis->n_subscriptions];
}

void redis_subscribe(struct redis *redis, struct str channel, redis_push_fn *fn, void *data)
{
    if (!redis_is_up(redis))
        return;
    struct subscription *s = find(redis, channel);
    if (!s)
        s = add(redis, channel);
    s->fn = fn;
    s->data = data;
    s->asked++;
    redis_send(redis, NULL, NULL, 2, (const struct str[]){STR("SUBSCRIBE"), channel});
}

bool subscription_deliver(struct redis *redis, const struct redis_reply *reply)
{
    if (!redis->n_subscriptions || reply->kind != REDIS_ARRAY || reply->n != 3)
        return false;
    struct str kind = reply->items[0].text, channel = reply->items[1].text;
    if (!str_is(kind, "message")) {
        confirm(redis, kind, channel);
        return false;
    }
    const struct subscription *s = find(redis, channel);
    if (s)
        s->fn(s->data, channel, reply->items[2].text);
    return true;
}

void subscriptions_clear(struct redis *redis)
{
    for (size_t i = 0; i < redis->n_subscriptions; i++)
        free(redis->subscriptions[i].channel);
    free(STEAL(redis->subscriptions));
    redis->n_subscriptions = 0;
}
