#include "tests/support/runner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "consumers/worker.h"

struct runner {
    pthread_t thread;
    struct worker *worker;
    atomic_bool stop;
};

struct bus runner_bus(int partitions)
{
    struct bus bus = bus_start(partitions);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("LEASE_MS", "500", 1);
    setenv("LOG_LEVEL", "error", 0);
    bus_must(conf_load("test"));
    return bus;
}

static void *run(void *data)
{
    worker_run(data);
    return NULL;
}

static struct runner *runner_new(const struct group *group, const char *instance)
{
    struct runner *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    r->worker = worker_new(group, instance, &r->stop);
    return r;
}

static struct runner *started(struct runner *r)
{
    if (pthread_create(&r->thread, NULL, run, r->worker) != 0)
        abort();
    return r;
}

struct runner *runner_start(const struct group *group, const char *instance)
{
    return started(runner_new(group, instance));
}

struct runner *runner_start_tight(const struct group *group, const char *instance, size_t ceiling)
{
    struct runner *r = runner_new(group, instance);
    arena_free(r->worker->work);
    r->worker->work = arena_new(ceiling);
    return started(r);
}

void runner_stop(struct runner *r)
{
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    worker_free(r->worker);
    free(r);
}

struct uuid runner_product(struct bus *bus, bool known)
{
    struct uuid id = uuid_v7(clock_ms());
    if (known)
        bus_sql(bus, "INSERT INTO cart_product VALUES ('%s', true)", uuid_str(id, bus->arena).p);
    return id;
}

struct event runner_created(struct bus *bus, struct uuid product)
{
    struct product_created e = {.product_id = product,
                                .name = STR("hat"),
                                .slug = STR("hat"),
                                .sku = STR("H-1"),
                                .price = 5,
                                .currency = STR("CLP"),
                                .is_active = true,
                                .version = 1};
    return event_new(&message_types[PRODUCT_CREATED], STR("test"), uuid_str(product, bus->arena),
                     codec_encode(&shape_product_created, &e, bus->arena), bus->arena);
}

struct envelope runner_add_item(struct bus *bus, struct uuid user, struct uuid product, int64_t quantity)
{
    static const struct seal_key key = {{7}};
    struct cart_add_item c = {.user_id = user, .product_id = product, .quantity = quantity};
    struct str user_text = uuid_str(user, bus->arena);
    struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CARTS, partition_of(user_text), STR("test"));
    return (struct envelope){
        .specversion = STR("1.0"),
        .id = uuid_str(id, bus->arena),
        .source = STR("test"),
        .type = STR("cart.add-item.v1"),
        .subject = user_text,
        .time = clock_text(clock_ms(), bus->arena),
        .partitionkey = user_text,
        .correlationid = uuid_str(id, bus->arena),
        .data = codec_encode(&shape_cart_add_item, &c, bus->arena),
        .client = STR("test"),
    };
}

void runner_publish(struct bus *bus, struct envelope command)
{
    lane_publish(bus->redis, &command, NULL, NULL);
    bus_must(redis_wait(bus->redis, 5000));
}

void runner_expect(struct bus *bus, const char *sql, int64_t expected)
{
    int64_t now = -1;
    for (int i = 0; i < 1500 && (now = bus_query(bus, "%s", sql)) != expected; i++)
        usleep(10000);
    if (now == expected)
        return;
    fprintf(stderr, "%s: %lld, expected %lld\n", sql, (long long)now, (long long)expected);
    abort();
}
