/* HMAC-SHA-256 (RFC 2104), keys derived per purpose, blind indexes, and reading the master key. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bus/base/seal.h"

void hmac256(struct str key, struct str data, uint8_t ret[static 32])
{
    unsigned n = 0;
    const unsigned char *done = HMAC(EVP_sha256(), key.p ? key.p : "", (int)key.n,
                                     (const unsigned char *)(data.p ? data.p : ""), data.n, ret, &n);

    assert(done && n == 32);
}

struct seal_key seal_derive(const struct seal_key *master, const char *purpose)
{
    struct seal_key derived;

    hmac256((struct str){(const char *)master->b, SEAL_KEY}, str_of(purpose), derived.b);
    return derived;
}

struct str seal_blind_index(const struct seal_key *master, struct str text, struct arena *arena)
{
    struct seal_key key = seal_derive(master, "blind-index:1");
    struct str trimmed = str_trim(text);
    char *lowered = arena_alloc(arena, trimmed.n + 1);
    uint8_t digest[32];

    for (size_t i = 0; i < trimmed.n; i++) {
        char c = trimmed.p[i];

        lowered[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    hmac256((struct str){(const char *)key.b, SEAL_KEY}, (struct str){lowered, trimmed.n}, digest);
    return hex((struct str){(const char *)digest, sizeof(digest)}, arena);
}

err seal_key_parse(struct str base64, struct seal_key *ret)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(4096);
    struct str bytes;

    if (base64.n > 64 || failed(base64url_decode(str_trim(base64), arena, &bytes)) || bytes.n != SEAL_KEY)
        return FAIL(CONFIG, "a key must be base64 of exactly %d bytes", SEAL_KEY);
    memcpy(ret->b, bytes.p, SEAL_KEY);
    return OK;
}
