/*
 * See watchdog.h. It counts its own looks instead of comparing times, so that a process which stood still as
 * a whole (stopped, suspended) finds nobody guilty when it goes on.
 */
#include "consumers/watchdog.h"

#include <pthread.h>
#include <stdlib.h>

#include "bus/base/arena.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

enum { LOOK_MS = 50, GIVE_BACK_LOOKS = 40 };

struct watched {
    struct worker *worker;
    int64_t since, looks; /* what it did at the last look, and for how many */
};

struct watchdog {
    pthread_t thread;
    atomic_bool stop;
    struct watched *all;
    size_t n;
};

static bool hangs(struct watched *one)
{
    int64_t since = atomic_load_explicit(&one->worker->handling_ms, memory_order_relaxed);
    one->looks = since && since == one->since ? one->looks + 1 : 0;
    one->since = since;
    return one->looks > conf_int(SET_HANDLER_TIMEOUT_MS) / LOOK_MS;
}

static void *run(void *data)
{
    struct watchdog *dog = data;
    for (int64_t look = 1; !atomic_load(&dog->stop); look++) {
        for (size_t i = 0; i < dog->n; i++)
            if (hangs(&dog->all[i])) {
                log_error("a handler does not return and its process ends itself",
                          kv("group", dog->all[i].worker->group->name));
                abort();
            }
        if (look % GIVE_BACK_LOOKS == 0)
            arena_give_back();
        clock_sleep_ms(LOOK_MS);
    }
    return NULL;
}

struct watchdog *watchdog_start(struct worker *const *workers, size_t n)
{
    struct watchdog *dog = calloc(1, sizeof(*dog));
    if (!dog || !(dog->all = calloc(n, sizeof(*dog->all))))
        abort();
    dog->n = n;
    for (size_t i = 0; i < n; i++)
        dog->all[i].worker = workers[i];
    if (pthread_create(&dog->thread, NULL, run, dog) != 0)
        abort();
    return dog;
}

void watchdog_stop(struct watchdog *dog)
{
    atomic_store(&dog->stop, true);
    pthread_join(dog->thread, NULL);
    free(dog->all);
    free(dog);
}
