/*
 * See webhook.h.
 */
#include "bus/webhook.h"

#include <inttypes.h>
#include <stdio.h>

struct str base64(struct str bytes, struct arena *arena)
{
    struct str url = base64url(bytes, arena);
    struct buf b = buf_new(arena, url.n + 4);
    for (size_t i = 0; i < url.n; i++)
        buf_char(&b, (char)(url.p[i] == '-' ? '+' : url.p[i] == '_' ? '/' : url.p[i]));
    while (b.n % 4)
        buf_char(&b, '=');
    return buf_view(&b);
}

struct webhook_secret webhook_secret_of(const struct seal_key *master, struct uuid id, int64_t generation)
{
    struct seal_key key = seal_derive(master, "webhook-secret:1");
    char text[UUID_TEXT + 24], id_text[UUID_TEXT + 1];
    struct webhook_secret secret;
    uuid_print(id, id_text);
    int n = snprintf(text, sizeof(text), "%s.%" PRId64, id_text, generation);
    hmac256((struct str){(const char *)key.b, SEAL_KEY}, (struct str){text, (size_t)n}, secret.b);
    return secret;
}

struct str webhook_secret_text(const struct webhook_secret *secret, struct arena *arena)
{
    struct str text = base64((struct str){(const char *)secret->b, WEBHOOK_SECRET}, arena);
    return arena_printf(arena, "whsec_%.*s", STR_ARG(text));
}

struct str webhook_sign(struct str key, struct str id, int64_t timestamp, struct str body,
                        struct arena *arena)
{
    uint8_t digest[32];
    struct buf content = buf_new(arena, id.n + body.n + 24);
    buf_str(&content, id);
    buf_char(&content, '.');
    buf_int(&content, timestamp);
    buf_char(&content, '.');
    buf_str(&content, body);
    hmac256(key, buf_view(&content), digest);
    struct str text = base64((struct str){(const char *)digest, sizeof(digest)}, arena);
    return arena_printf(arena, "v1,%.*s", STR_ARG(text));
}

struct str webhook_signatures(const struct seal_key *master, struct uuid webhook, int64_t generation,
                              bool previous, struct str id, int64_t timestamp, struct str body,
                              struct arena *arena)
{
    struct webhook_secret secret = webhook_secret_of(master, webhook, generation);
    struct str now =
        webhook_sign((struct str){(const char *)secret.b, WEBHOOK_SECRET}, id, timestamp, body, arena);
    if (!previous || generation < 2)
        return now;
    secret = webhook_secret_of(master, webhook, generation - 1);
    struct str before =
        webhook_sign((struct str){(const char *)secret.b, WEBHOOK_SECRET}, id, timestamp, body, arena);
    return arena_printf(arena, "%.*s %.*s", STR_ARG(now), STR_ARG(before));
}
