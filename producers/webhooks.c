/*
 * Two threads: the fan-out, which is woken every FANOUT_MS, and the sender, which it wakes when it made
 * something.
 */
#include "producers/webhooks.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "producers/webhook_fanout.h"
#include "producers/webhook_sender.h"

enum { FANOUT_MS = 50, SCRATCH = 64 << 20 };

struct webhooks {
    struct sender *sender;
    struct bell bell; /* wakes the fan-out when all shall stop */
    atomic_bool stop;
    pthread_t fanning, sending;
};

static void *run_fanout(void *data)
{
    struct webhooks *webhooks = data;
    struct link link = {.loop = "webhook fan-out"};
    struct arena *arena = arena_new(SCRATCH);
    while (!atomic_load(&webhooks->stop)) {
        size_t made = 0;
        bool more = false;
        err e = OK;
        if (link_up(&link))
            e = webhook_fanout(link.pg, arena, &made, &more);
        if (made)
            sender_wake(webhooks->sender);
        arena_reset(arena);
        link_rest(&link, e, &webhooks->bell, more ? 0 : FANOUT_MS);
    }
    arena_free(arena);
    link_close(&link);
    return NULL;
}

static void *run_sender(void *data)
{
    struct webhooks *webhooks = data;
    sender_run(webhooks->sender);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *data)
{
    int failed_to = pthread_create(thread, NULL, run, data);
    assert(!failed_to);
}

err webhooks_start(struct bell *told, struct webhooks **ret)
{
    struct seal_key master;
    TRY(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &master));
    CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(ready == CURLE_OK);
    struct webhooks *webhooks = calloc(1, sizeof(*webhooks));
    if (!webhooks)
        abort();
    webhooks->sender = sender_new(&master, told);
    bell_init(&webhooks->bell);
    start_thread(&webhooks->fanning, run_fanout, webhooks);
    start_thread(&webhooks->sending, run_sender, webhooks);
    *ret = webhooks;
    return OK;
}

struct webhooks *webhooks_stop(struct webhooks *webhooks)
{
    if (!webhooks)
        return NULL;
    atomic_store(&webhooks->stop, true);
    atomic_store(&webhooks->sender->stop, true);
    bell_ring(&webhooks->bell);
    sender_wake(webhooks->sender);
    pthread_join(webhooks->fanning, NULL);
    pthread_join(webhooks->sending, NULL);
    sender_free(webhooks->sender);
    bell_deinit(&webhooks->bell);
    free(webhooks);
    return NULL;
}
