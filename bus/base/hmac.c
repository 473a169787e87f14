/* HMAC-SHA-256 (RFC 2104), keys derived per purpose, blind indexes, and reading the master key. */
#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "bus/base/seal.h"

enum { BLOCK = 64, DIGEST = 32 };

static EVP_MD
    *sha256; /* fetched once: OpenSSL's own HMAC fetches at every call, which costs more than the hashing */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_digest(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    assert(sha256);
}

static void free_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

/* H(first ‖ second); ret may be one of them. */
static void hash(EVP_MD_CTX *context, struct str first, struct str second, uint8_t ret[static DIGEST])
{
    int done =
        EVP_DigestInit_ex2(context, sha256, NULL) == 1 && EVP_DigestUpdate(context, first.p, first.n) == 1 &&
        EVP_DigestUpdate(context, second.p, second.n) == 1 && EVP_DigestFinal_ex(context, ret, NULL) == 1;

    assert(done);
}

void hmac256(struct str key, struct str data, uint8_t ret[static 32])
{
    _cleanup_(free_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t pad[BLOCK] = {0};
    const struct str block = {(const char *)pad, BLOCK}, digest = {(const char *)ret, DIGEST};

    assert(context);
    pthread_once(&once, fetch_digest);
    if (key.n > BLOCK)
        hash(context, key, STR(""), pad);
    else if (key.n > 0)
        memcpy(pad, key.p, key.n);
    for (int i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36;
    hash(context, block, data, ret);
    for (int i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    hash(context, block, digest, ret);
    explicit_bzero(pad, BLOCK);
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
