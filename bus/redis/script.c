/*
 * Scripts by EVALSHA. The server may have forgotten a script at any time (restart, SCRIPT FLUSH, failover)
 * and then answers NOSCRIPT without having done anything; so the encoded words are kept until the reply is
 * there, and sent again behind EVAL with the whole source, which also teaches the server the script.
 */
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>

#include "bus/redis/internal.h"

/* Fills script->sha once; several threads may meet here. sha[0] is written last and says that the rest is
 * there. */
static void script_hash(struct redis_script *script)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    if (__atomic_load_n(&script->sha[0], __ATOMIC_ACQUIRE))
        return;
    unsigned char digest[20];
    char text[41];
    if (!EVP_Digest(script->source, strlen(script->source), digest, NULL, EVP_sha1(), NULL))
        abort(); /* only memory can lack */
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    pthread_mutex_lock(&one);
    if (!script->sha[0]) {
        memcpy(script->sha + 1, text + 1, sizeof(text) - 1);
        __atomic_store_n(&script->sha[0], text[0], __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&one);
}

void redis_script_send(struct redis *redis, struct redis_script *script, redis_fn *fn, void *data, size_t n,
                       const struct str *words)
{
    script_hash(script);
    struct waiting *w = redis_enqueue(redis, fn, data);
    if (!w)
        return;
    size_t before = fifo_n(&redis->kept);
    encode_words(&redis->kept, n, words);
    w->script = script;
    w->words = n;
    w->kept = fifo_n(&redis->kept) - before;
    encode_count(&redis->out, '*', n + 2);
    encode_words(&redis->out, 2, (const struct str[]){STR("EVALSHA"), {script->sha, 40}});
    fifo_put(&redis->out, redis->kept.p + redis->kept.end - w->kept, w->kept);
    redis_queued(redis);
}

bool script_resend(struct redis *redis, const struct waiting *w, const struct redis_reply *reply)
{
    bool again = redis_is_error(reply, "NOSCRIPT");
    if (again) {
        redis_enqueue(redis, w->fn, w->data); /* up: we are reading from it */
        encode_count(&redis->out, '*', w->words + 2);
        encode_words(&redis->out, 2, (const struct str[]){STR("EVAL"), str_of(w->script->source)});
        fifo_put(&redis->out, redis->kept.p + redis->kept.start, w->kept);
    }
    fifo_take(&redis->kept, w->kept);
    return again;
}
