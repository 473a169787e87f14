/* Waiting on conditions of the monotonic clock. */
#include "producers/bell.h"

#include <time.h>

#include "bus/base/clock.h"

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct timespec at_mono_ms(int64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

void bell_init(struct bell *bell)
{
    pthread_mutex_init(&bell->lock, NULL);
    cond_init(&bell->rings);
    bell->rung = false;
}

void bell_deinit(struct bell *bell)
{
    pthread_cond_destroy(&bell->rings);
    pthread_mutex_destroy(&bell->lock);
}

void bell_ring(struct bell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->rung = true;
    pthread_cond_signal(&bell->rings);
    pthread_mutex_unlock(&bell->lock);
}

void bell_wait(struct bell *bell, int64_t ms)
{
    struct timespec until = at_mono_ms(clock_mono_ms() + ms);
    pthread_mutex_lock(&bell->lock);
    int timed_out = 0;
    while (!bell->rung && !timed_out)
        timed_out = pthread_cond_timedwait(&bell->rings, &bell->lock, &until);
    bell->rung = false;
    pthread_mutex_unlock(&bell->lock);
}

void patience_init(struct patience *patience)
{
    pthread_mutex_init(&patience->lock, NULL);
    cond_init(&patience->ends);
    patience->until_ms = 0;
    patience->over = true;
}

void patience_deinit(struct patience *patience)
{
    pthread_cond_destroy(&patience->ends);
    pthread_mutex_destroy(&patience->lock);
}

void patience_begin(struct patience *patience, int64_t ms)
{
    pthread_mutex_lock(&patience->lock);
    patience->until_ms = clock_mono_ms() + ms;
    patience->over = false;
    pthread_mutex_unlock(&patience->lock);
}

void patience_end(struct patience *patience)
{
    pthread_mutex_lock(&patience->lock);
    patience->over = true;
    pthread_cond_broadcast(&patience->ends);
    pthread_mutex_unlock(&patience->lock);
}

int64_t patience_left(struct patience *patience)
{
    pthread_mutex_lock(&patience->lock);
    int64_t left = patience->over ? 0 : patience->until_ms - clock_mono_ms();
    pthread_mutex_unlock(&patience->lock);
    return left > 0 ? left : 0;
}

bool patience_over(struct patience *patience)
{
    return patience_left(patience) == 0;
}

bool patience_wait(struct patience *patience, int64_t ms)
{
    pthread_mutex_lock(&patience->lock);
    int64_t wanted;
    if (__builtin_add_overflow(clock_mono_ms(), ms > 0 ? ms : 0, &wanted))
        wanted = INT64_MAX;
    bool enough = wanted <= patience->until_ms;
    struct timespec until = at_mono_ms(enough ? wanted : patience->until_ms);
    int timed_out = 0;
    while (!patience->over && !timed_out)
        timed_out = pthread_cond_timedwait(&patience->ends, &patience->lock, &until);
    bool passed = enough && !patience->over;
    pthread_mutex_unlock(&patience->lock);
    return passed;
}
