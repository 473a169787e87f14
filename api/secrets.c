/*
 * Reads and derives the door's keys.
 */
#include "api/secrets.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus/base/conf.h"

/* {"alg":"HS256","typ":"JWT","kid":"…"}: the kid is derived from the key, so that it tells nothing about it.
 */
static void write_header(struct jwt_key *key)
{
    uint8_t digest[32];
    char json[80], kid[17];
    _cleanup_(arena_freep) struct arena *arena = arena_new(4096);
    hmac256(key->bytes, STR("kid:1"), digest);
    for (size_t i = 0; i < 8; i++)
        snprintf(kid + 2 * i, 3, "%02x", digest[i]);
    int n = snprintf(json, sizeof(json), "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", kid);
    struct str segment = base64url((struct str){json, (size_t)n}, arena);
    memcpy(key->header, segment.p, segment.n + 1);
}

static err take_jwt_key(struct secrets *ret, struct str text)
{
    if (text.n < JWT_KEY_MIN || ret->n_jwt == JWT_KEYS_MAX)
        return FAIL(CONFIG, "JWT_SECRET_KEY must be at least %d bytes, or two such keys separated by a comma",
                    JWT_KEY_MIN);
    struct jwt_key *key = &ret->jwt[ret->n_jwt++];
    key->bytes = text; /* settings live as long as the process */
    write_header(key);
    return OK;
}

static err take_jwt_keys(struct secrets *ret)
{
    TRY(conf_require(SET_JWT_SECRET_KEY));
    struct str text = conf_str(SET_JWT_SECRET_KEY);
    for (size_t comma; (comma = str_find(text, ',')) < text.n; text = str_slice(text, comma + 1, text.n))
        TRY(take_jwt_key(ret, str_slice(text, 0, comma)));
    return take_jwt_key(ret, text);
}

err secrets_load(struct secrets *ret)
{
    *ret = (struct secrets){0};
    TRY(conf_require(SET_ENCRYPTION_KEY));
    TRY(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &ret->master));
    ret->command_id = seal_derive(&ret->master, "command-id");
    ret->fingerprint = seal_derive(&ret->master, "fingerprint");
    ret->refresh = seal_derive(&ret->master, "refresh-token");
    return take_jwt_keys(ret);
}
