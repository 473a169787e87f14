/*
 * Random bytes from the kernel. Small requests are served from a buffer per thread, so an id does not cost a
 * system call; keys (32 bytes and more) come straight from the kernel and are never left in a buffer. What
 * was handed out is wiped, and a forked child starts with an empty buffer, so that no two processes hand out
 * the same bytes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "bus/base/uuid.h"

enum { BUFFER = 512, DIRECT = 32 };

static _Thread_local struct {
    unsigned char bytes[BUFFER];
    size_t left; /* the unused bytes are the last ones */
    unsigned generation;
} pool;

static _Atomic unsigned generation; /* of this process: forks since the first one */

static void on_fork(void)
{
    atomic_fetch_add(&generation, 1);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, on_fork);
}

static void from_kernel(unsigned char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            perror("getrandom");
            abort();
        }
        p += got;
        n -= (size_t)got;
    }
}

#ifdef DAYDREAM_FAULTS
/* RANDOM_SEED=n: a stream per thread, numbered in the order in which threads first ask, and different in
 * every program (else two programs of one shop would make the same ids). splitmix64. */
static bool from_seed(unsigned char *p, size_t n)
{
    static _Atomic uint64_t threads;
    static _Thread_local uint64_t state;
    const char *seed = getenv("RANDOM_SEED");

    if (!seed)
        return false;
    if (state == 0) {
        state = strtoull(seed, NULL, 10) + (atomic_fetch_add(&threads, 1) << 32);
        for (const char *c = program_invocation_short_name; *c; c++)
            state = (state ^ (unsigned char)*c) * 0x100000001b3;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t z = state += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        p[i] = (unsigned char)(z >> 56);
    }
    return true;
}
#else
static bool from_seed(unsigned char *p, size_t n)
{
    (void)p, (void)n;
    return false;
}
#endif

void random_bytes(void *p, size_t n)
{
    unsigned now = atomic_load_explicit(&generation, memory_order_relaxed);

    if (from_seed(p, n))
        return;
    if (n >= DIRECT) {
        from_kernel(p, n);
        return;
    }
    if (pool.left < n || pool.generation != now) {
        from_kernel(pool.bytes, BUFFER);
        pool.left = BUFFER;
        pool.generation = now;
    }
    memcpy(p, pool.bytes + BUFFER - pool.left, n);
    explicit_bzero(pool.bytes + BUFFER - pool.left, n);
    pool.left -= n;
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof(v));
    return v;
}
