/*
 * How fast webhooks leave: N events over K keys are committed, then each of E endpoints (receivers in this
 * process, on loopback, answering at once) has to have all of them. One daydream-producers' worth of
 * webhooks, in this process too.
 *
 *     bench_webhooks [events 5000] [keys 500] [endpoints 2]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "producers/webhooks.h"
#include "tests/support/bus.h"
#include "tests/support/receiver.h"

enum { ENDPOINTS_MAX = 8 };

static struct bus bus;

static int64_t argument(int argc, char **argv, int i, int64_t fallback)
{
    return argc > i ? strtoll(argv[i], NULL, 10) : fallback;
}

static void subscribe(const char *url)
{
    bus_sql(&bus,
            "INSERT INTO webhook (id, url, types, is_active, rights, generation, previous_until_ms, version, "
            "created_ms,"
            " updated_ms) VALUES ('%s', '%s', '*', true, 63, 1, 0, 1, 0, 0)",
            uuid_str(uuid_v7(clock_ms()), bus.arena).p, url);
}

static void commit_all(int64_t events, int64_t keys)
{
    for (int64_t k = 0; k < keys; k++)
        bus_commit(&bus, bus.pg, arena_printf(bus.arena, "key %" PRId64, k).p, (size_t)(events / keys));
}

static void configure(void)
{
    setenv("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1);
    setenv("LOG_LEVEL", "error", 1);
    setenv("WEBHOOK_ALLOW_PRIVATE", "on", 1);
    bus = bus_start(8);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    bus_must(conf_load("bench"));
}

int main(int argc, char **argv)
{
    int64_t events = argument(argc, argv, 1, 5000), keys = argument(argc, argv, 2, 500),
            n = argument(argc, argv, 3, 2);
    struct receiver *receivers[ENDPOINTS_MAX];
    struct webhooks *webhooks;
    struct bell told;
    configure();
    bell_init(&told);
    for (int64_t i = 0; i < n && i < ENDPOINTS_MAX; i++) {
        receivers[i] = receiver_start();
        subscribe(receiver_url(receivers[i]));
    }
    commit_all(events, keys);
    int64_t begun = clock_mono_ms();
    bus_must(webhooks_start(&told, &webhooks));
    for (int64_t i = 0; i < n && i < ENDPOINTS_MAX; i++)
        if (!receiver_asked(receivers[i], (size_t)(events / keys * keys)))
            fprintf(stderr, "endpoint %" PRId64 " did not get all\n", i);
    int64_t took = clock_mono_ms() - begun;
    printf("%" PRId64 " events over %" PRId64 " keys to %" PRId64 " endpoints: %" PRId64 " ms, %" PRId64
           " webhooks/s\n",
           events, keys, n, took, events * n * 1000 / (took ? took : 1));
    webhooks_stop(webhooks);
    for (int64_t i = 0; i < n && i < ENDPOINTS_MAX; i++)
        receiver_stop(receivers[i]);
    bus_stop(&bus);
    return 0;
}
