/* What threads share in bus/base: counters, the random generation, the hash seed, fetched ciphers, crash
 * points, the log. A plain program for ThreadSanitizer; exit 0 when the sums are right. */
#include <pthread.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/base/seal.h"

enum { THREADS = 8, EACH = 2000 };

static const struct seal_key key = {{1, 2, 3}};

/* One round of everything; false when something came out wrong. */
static bool round_of(struct arena *arena, int i)
{
    struct uuid id = uuid_v7(clock_ms());
    struct str sealed = seal_value(&key, id, STR("\"x\""), arena), opened;
    uint8_t digest[32];

    counter_add(COUNTER_PARKED, 1);
    counter_set(COUNTER_HTTP_CONNECTIONS, i);
    histogram_observe(HISTOGRAM_FLUSH_SECONDS, i);
    hmac256(STR("key"), sealed, digest);
    if (failed(seal_open(&key, sealed, arena, &opened)))
        return false;
    if (i % 500 == 0)
        log_warn("a round of many", kv("id", id), kv("hash", str_hash(sealed)), kv("crc", crc32c(sealed)));
    return !FAULT(RELAY_MID_APPEND) && failed(FAIL(INVALID, "%d", i)) && str_eq(opened, STR("\"x\""));
}

static void *work(void *bad)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    int *n = bad;

    for (int i = 0; i < EACH; i++) {
        *n += !round_of(arena, i);
        arena_reset(arena);
    }
    return NULL;
}

int main(void)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    struct buf page = buf_new(arena, 0);
    pthread_t threads[THREADS];
    int bad[THREADS] = {0}, sum = 0;

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, &bad[i]);
    metrics_print(&page); /* while they write */
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += bad[i];
    }
    if (sum || counter_get(COUNTER_PARKED) != THREADS * EACH) {
        printf("%d rounds went wrong, %d of %d counted\n", sum, (int)counter_get(COUNTER_PARKED),
               THREADS * EACH);
        return 1;
    }
    return 0;
}
