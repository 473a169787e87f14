/*
 * Migrations against a real PostgreSQL, and the check at start.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/conf.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "bus/topics.h"
#include "tests/support/servers.h"

#define REAL DAYDREAM_SOURCE_DIR "/migrations"

static struct servers *servers;
static struct pg *pg;
static struct arena *arena;
static char folder[512];

static void must(err e)
{
    cr_assert(!failed(e), "%s: %s", err_name(e.code), err_text(e));
}

static void write_file(const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void start(void)
{
    servers = servers_start(NULL);
    must(pg_open_within(servers_database_url(servers), NULL, NULL, PG_PATIENT_MS, &pg));
    arena = arena_new(64 << 20);
    snprintf(folder, sizeof(folder), "%s/migrations", servers_dir(servers));
    cr_assert_eq(mkdir(folder, 0700), 0);
    write_file("0001_bus.up.sql",
               "CREATE TABLE bus_meta (name text PRIMARY KEY, value text); CREATE TABLE one (n int)");
    write_file("0001_bus.down.sql", "DROP TABLE one, bus_meta");
    write_file("0002_two.up.sql", "CREATE TABLE two (n int); -- a comment at the end");
    write_file("0002_two.down.sql", "DROP TABLE two");
    write_file("notes.txt", "not a migration");
}

static void stop(void)
{
    pg = pg_close(pg);
    arena = arena_free(arena);
    servers = servers_stop(servers);
}

TestSuite(migrate, .init = start, .fini = stop, .timeout = 60);

static void count(void *data, const struct migration *migration)
{
    cr_assert(migration->version > 0);
    ++*(int *)data;
}

static int64_t query(const char *sql)
{
    static struct pg_stmt stmts[64]; /* a statement is known by its place */
    static char names[64][16];
    static int n;
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    snprintf(names[n], sizeof(names[n]), "query%d", n);
    stmts[n] = (struct pg_stmt){names[n], sql};
    must(pg_call(pg, &stmts[n++], 0, NULL, &result));
    return pg_get_int(result, 0, 0);
}

Test(migrate, all_are_applied_once)
{
    int told = 0;
    must(migrate_up(pg, folder, 5, count, &told));
    cr_assert_eq(told, 2);
    must(migrate_up(pg, folder, 7, count, &told));
    cr_assert_eq(told, 2);
    cr_assert_eq(query("SELECT count(*) FROM schema_migration WHERE length(sha256) = 64"), 2);
    cr_assert_eq(query("SELECT value::int FROM bus_meta WHERE name = 'partitions'"), 5,
                 "fixed by the first one");
}

Test(migrate, one_that_fails_leaves_nothing_and_those_before_it_stay)
{
    write_file("0003_bad.up.sql", "CREATE TABLE three (n int); SELECT 1 / 0");
    cr_assert_eq(migrate_up(pg, folder, 8, NULL, NULL).code, ERR_SQL);
    cr_assert_eq(query("SELECT count(*) FROM schema_migration"), 2);
    cr_assert_eq(query("SELECT (to_regclass('three') IS NULL)::int"), 1);
    write_file("0003_bad.up.sql", "CREATE TABLE three (n int)");
    must(migrate_up(pg, folder, 8, NULL, NULL));
}

Test(migrate, a_changed_file_is_refused_by_name)
{
    must(migrate_up(pg, folder, 8, NULL, NULL));
    write_file("0001_bus.up.sql", "CREATE TABLE bus_meta (name text PRIMARY KEY, value text)");
    err e = migrate_up(pg, folder, 8, NULL, NULL);
    cr_assert_eq(e.code, ERR_CONFIG);
    cr_assert(strstr(err_text(e), "0001_bus"), "%s", err_text(e));
    struct migration *list;
    size_t n;
    must(migrate_list(pg, folder, arena, &list, &n));
    cr_assert_eq(n, 2);
    cr_assert_eq(list[0].state, MIGRATION_CHANGED);
    cr_assert_eq(list[1].state, MIGRATION_APPLIED);
}

Test(migrate, one_below_an_applied_one_is_refused)
{
    must(migrate_up(pg, folder, 8, NULL, NULL));
    write_file("0004_four.up.sql", "CREATE TABLE four (n int)");
    must(migrate_up(pg, folder, 8, NULL, NULL));
    write_file("0003_late.up.sql", "CREATE TABLE three (n int)");
    cr_assert_eq(migrate_up(pg, folder, 8, NULL, NULL).code, ERR_CONFIG);
    write_file("0003_also.up.sql", "CREATE TABLE three (n int)");
    err e = migrate_up(pg, folder, 8, NULL, NULL);
    cr_assert(strstr(err_text(e), "0003"), "two of one number: %s", err_text(e));
}

Test(migrate, down_goes_back_to_a_version)
{
    int told = 0;
    must(migrate_up(pg, folder, 8, NULL, NULL));
    must(migrate_down(pg, folder, 1, count, &told));
    cr_assert_eq(told, 1);
    cr_assert_eq(query("SELECT (to_regclass('two') IS NULL)::int"), 1);
    must(migrate_up(pg, folder, 8, count, &told));
    must(migrate_down(pg, folder, 0, count, &told));
    cr_assert_eq(told, 4);
    cr_assert_eq(query("SELECT count(*) FROM schema_migration"), 0);
}

static void *migrate_along(void *data)
{
    struct pg *own;
    must(pg_open_within(servers_database_url(servers), NULL, NULL, PG_PATIENT_MS, &own));
    must(migrate_up(own, folder, 8, NULL, NULL));
    pg_close(own);
    return data;
}

Test(migrate, four_at_once_apply_each_once)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, migrate_along, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(query("SELECT count(*) FROM schema_migration"), 2);
}

Test(migrate, the_shop_goes_up_down_and_up_again)
{
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    must(migrate_down(pg, REAL, 0, NULL, NULL));
    cr_assert_eq(query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 1,
                 "only schema_migration stays");
    must(migrate_up(pg, REAL, 8, NULL, NULL));
}

/* Decision 0017: also the periods that come later. */
Test(migrate, no_table_that_only_grows_is_vacuumed_for_its_inserts)
{
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    cr_assert_gt(query("SELECT event_log_ahead(1800000000000, 'month', 1)"), 0);
    cr_assert_eq(query("SELECT count(*) FROM pg_class LEFT JOIN pg_inherits ON inhrelid = oid"
                       " WHERE (oid = 'command'::regclass OR inhparent = 'event_log'::regclass)"
                       " AND 'autovacuum_vacuum_insert_threshold=-1' = ANY (reloptions) IS NOT true"),
                 0);
    must(migrate_down(pg, REAL, 20, NULL, NULL));
    cr_assert_eq(query("SELECT count(*) FROM pg_class WHERE"
                       " 'autovacuum_vacuum_insert_threshold=-1' = ANY (reloptions)"),
                 0);
}

static int64_t columns_with(const char *target)
{
    char sql[400];
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM pg_attribute LEFT JOIN pg_inherits ON inhrelid = attrelid"
             " WHERE (attrelid = 'command'::regclass OR inhparent = 'event_log'::regclass)"
             " AND attnum > 0 AND NOT attisdropped AND attstattarget %s",
             target);
    return query(sql);
}

/* Decision 0022: also the periods that come later. */
Test(migrate, samples_of_tables_that_only_grow_are_small)
{
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    cr_assert_gt(query("SELECT event_log_ahead(1800000000000, 'month', 1)"), 0);
    cr_assert_gt(columns_with("= 10"), 3 * 16);
    cr_assert_eq(columns_with("<> 10"), 0);
    must(migrate_down(pg, REAL, 25, NULL, NULL));
    cr_assert_eq(columns_with("<> -1"), 0);
}

/* ---- the check at start ---- */

static enum err_code check(void)
{
    struct redis *redis;
    must(redis_open_within(servers_redis_url(servers), REDIS_PATIENT_MS, &redis));
    err e = meta_check(pg, redis);
    redis_close(redis);
    return e.code;
}

static void redis_do(const char *words)
{
    struct redis *redis;
    const struct redis_reply *reply;
    must(redis_open_within(servers_redis_url(servers), REDIS_PATIENT_MS, &redis));
    must(redis_callf(redis, &reply, words));
    redis_close(redis);
}

Test(migrate, a_shop_that_fits_starts)
{
    must(migrate_up(pg, REAL, 6, NULL, NULL));
    cr_assert_eq(check(), ERR_NONE, "%s", err_text(OK));
    cr_assert_eq(partitions(), 6);
    cr_assert_eq(check(), ERR_NONE);
}

Test(migrate, a_redis_of_another_partition_count_is_refused)
{
    cr_assert_eq(check(), ERR_CONFIG, "not migrated");
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    redis_do("HSET bus:meta partitions 16");
    cr_assert_eq(check(), ERR_CONFIG);
}

Test(migrate, a_redis_that_would_lose_data_is_refused_unless_relaxed)
{
    static const char *const sabotage[] = {"CONFIG SET appendfsync everysec", "CONFIG SET appendfsync always",
                                           "CONFIG SET maxmemory-policy allkeys-lru",
                                           "CONFIG SET maxmemory-policy noeviction",
                                           "CONFIG SET appendonly no"};
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    conf_set(SET_REDIS_RELAXED, "off");
    for (size_t i = 0; i < sizeof(sabotage) / sizeof(*sabotage); i++) {
        redis_do(sabotage[i]);
        cr_assert_eq(check(), i % 2 ? ERR_NONE : ERR_CONFIG, "%s", sabotage[i]);
    }
    conf_set(SET_REDIS_RELAXED, "on");
    cr_assert_eq(check(), ERR_NONE);
    redis_do("REPLICAOF 127.0.0.1 1");
    cr_assert_eq(check(), ERR_CONFIG, "a replica is never accepted");
}

Test(migrate, waiting_ends_when_the_servers_are_there_or_when_told)
{
    bool stop_now = true;
    struct redis *redis;
    struct pg *own;
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    conf_set(SET_DATABASE_URL, servers_database_url(servers));
    conf_set(SET_REDIS_URL, servers_redis_url(servers));
    cr_assert(!meta_wait(&stop_now, &own, NULL, &redis));
    cr_assert(!own && !redis);
    stop_now = false;
    cr_assert(meta_wait(&stop_now, &own, "dd_producers", &redis));
    pg_close(own);
    redis_close(redis);
}

Test(migrate, production_refuses_a_redis_that_lets_everybody_in)
{
    must(migrate_up(pg, REAL, 8, NULL, NULL));
    struct redis *redis;
    must(redis_open_within(servers_redis_url(servers), REDIS_PATIENT_MS, &redis));
    conf_set(SET_ENVIRONMENT, "production");
    cr_assert_eq(meta_check(pg, redis).code, ERR_CONFIG);
    redis_do("ACL SETUSER default resetpass >a-password-of-some-length");
    cr_assert_eq(meta_check(pg, redis).code, ERR_NONE, "%s", err_text(OK));
    redis_close(redis);
}
