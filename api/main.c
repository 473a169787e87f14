/*
 * daydream-api: the front door. The loops listen at once; a thread waits until PostgreSQL and Redis are there
 * and fit (they may come later, or be away for now), and only then shop routes are served. SIGTERM drains.
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "api/door.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/meta.h"
#include "bus/shared_metrics.h"
#include "bus/trace.h"

enum { KEPT = 256 << 10 }; /* an answer seldom has more */

static struct shop shop;

static void *wait_for_servers(void *data)
{
    (void)data;
    struct pg *pg = NULL;
    struct redis *redis = NULL;
    prctl(PR_SET_NAME, "api-start");
    bool fit = meta_wait(&shop.stop, &pg, "dd_door", &redis);
    pg_close(pg);
    redis_close(redis);
    if (fit) {
        log_info("the shop is open");
        atomic_store(&shop.ready, true);
    }
    return NULL;
}

static err prepare(void)
{
    TRY(conf_load("daydream-api"));
    TRY(conf_require(SET_REDIS_URL));
    TRY(conf_require(SET_DATABASE_URL));
    shop.redis_url = conf_str(SET_REDIS_URL).p;
    shop.database_url = conf_str(SET_DATABASE_URL).p;
    return secrets_load(&shop.secrets);
}

static err serve(void)
{
    pthread_t waiting;
    struct server *server;
    struct server_options options = {.port = -1, .routes = shop_routes, .hooks = door_hooks(), .data = &shop};
    TRY(prepare());
    server_block_signals();
    metrics_share("daydream-api", NULL);
    TRY(trace_start("daydream-api", metrics_instance()));
    TRY(server_start(&options, &server));
    if (pthread_create(&waiting, NULL, wait_for_servers, NULL) != 0)
        return FAIL(UNAVAILABLE, "no thread could be started");
    log_info("listening", kv("port", (int64_t)server_port(server)));
    server_run(server);
    shop.stop = true;
    pthread_join(waiting, NULL);
    trace_stop();
    return OK;
}

int main(int argc, char **argv)
{
    prctl(PR_SET_NAME, "daydream-api");
    arena_keep_memory(KEPT);
    if (argc > 1) {
        conf_print(stdout, false, false);
        return strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    err e = serve();
    if (failed(e))
        fprintf(stderr, "daydream-api: %s\n", err_text(e));
    return failed(e) ? 2 : 0;
}
