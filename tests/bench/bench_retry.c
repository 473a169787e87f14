/*
 * How fast parked work comes back: KEYS carts with EACH commands in every one of them are parked by a table
 * that refuses them, then the table is mended and one `daydreamctl bus dlq retry --all` brings them back
 * through two workers, with durability on. Each message is a transaction of its own.
 *
 * bench_retry [keys [each]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "tests/support/ctl.h"
#include "tests/support/runner.h"

static struct bus open_bus(void)
{
    const struct servers_options durable = {.pg_fsync = true, .wal_segment_mb = 16};
    struct bus b = {.servers = servers_start(&durable), .arena = arena_new((size_t)1 << 30)};
    setenv("DATABASE_URL", servers_database_url(b.servers), 1);
    setenv("REDIS_URL", servers_redis_url(b.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(b.servers), 1);
    setenv("LOG_LEVEL", "warn", 1);
    bus_must(conf_load("bench_retry"));
    bus_must(pg_open(servers_database_url(b.servers), NULL, NULL, &b.pg));
    bus_must(migrate_up(b.pg, DAYDREAM_SOURCE_DIR "/migrations", 8, NULL, NULL));
    bus_must(redis_open(servers_redis_url(b.servers), &b.redis));
    bus_must(meta_check(b.pg, b.redis));
    return b;
}

static void publish(struct bus *b, int keys, int each)
{
    struct uuid product = runner_product(b, true);
    for (int k = 0; k < keys; k++) {
        struct uuid user = uuid_v7(clock_ms());
        for (int i = 0; i < each; i++) {
            struct envelope e = runner_add_item(b, user, product, 1);
            lane_publish(b->redis, &e, NULL, NULL);
        }
        bus_must(redis_wait(b->redis, 30000));
    }
}

static void until(struct bus *b, const char *sql, int64_t n)
{
    while (bus_query(b, "%s", sql) != n)
        usleep(20000);
}

int main(int argc, char **argv)
{
    int keys = argc > 1 ? atoi(argv[1]) : 500, each = argc > 2 ? atoi(argv[2]) : 4;
    struct bus b = open_bus();
    bus_sql(&b, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$");
    bus_sql(&b, "CREATE TRIGGER refuse BEFORE INSERT ON cart_line EXECUTE FUNCTION refuse()");
    publish(&b, keys, each);
    struct runner *one = runner_start(&cart_group, "one"), *two = runner_start(&cart_group, "two");
    until(&b, "SELECT count(*) FROM command WHERE status = 'parked'", (int64_t)keys * each);
    bus_sql(&b, "DROP TRIGGER refuse ON cart_line");
    int64_t start = clock_mono_ms();
    ctl_expect(&b, 0, "handled", "bus dlq retry --all --wait 600 --json > /dev/null && echo handled");
    int64_t took = clock_mono_ms() - start;
    until(&b, "SELECT count(*) FROM command WHERE status = 'succeeded'", (int64_t)keys * each);
    printf("%d keys with %d messages each: %lld ms, %.0f messages/s\n", keys, each, (long long)took,
           keys * each * 1000.0 / (double)took);
    runner_stop(one);
    runner_stop(two);
    bus_stop(&b);
    return 0;
}
