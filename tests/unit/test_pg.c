/*
 * The pump of PostgreSQL against a real server: values, transactions up to the Sync, and every way to lose
 * it.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/pg/pg.h"
#include "tests/support/servers.h"

static const struct servers_options pg_only = {.no_redis = true};

static struct servers *servers;
static struct pg *pg;
static struct arena *arena;

static void must(err e)
{
    cr_assert(!failed(e), "%s: %s", err_name(e.code), err_text(e));
}

static void start(void)
{
    servers = servers_start(&pg_only);
    arena = arena_new(64 << 20);
    must(pg_open_within(servers_database_url(servers), NULL, NULL, PG_PATIENT_MS, &pg));
}

static void stop(void)
{
    pg = pg_close(pg);
    arena_free(arena);
    servers = servers_stop(servers);
}

TestSuite(pg, .init = start, .fini = stop, .timeout = 60);

/* What a function saw: calls in all, how many OK, rows, and the last code and text. */
struct seen {
    int calls, good, rows;
    enum err_code code;
    char text[256];
};

static void see(void *data, err e, struct pg_result *result)
{
    struct seen *seen = data;
    seen->calls++;
    seen->good += !failed(e);
    cr_assert(!failed(e) || !result);
    seen->rows += result ? pg_rows(result) : 0;
    seen->code = e.code;
    snprintf(seen->text, sizeof(seen->text), "%s", failed(e) ? err_text(e) : "");
}

static int64_t count_of(const char *table)
{
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    const struct pg_stmt count = {"count", sql};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg *fresh = NULL;
    must(pg_open_within(servers_database_url(servers), NULL, NULL, PG_PATIENT_MS, &fresh));
    must(pg_call(fresh, &count, 0, NULL, &r));
    pg_close(fresh);
    return pg_get_int(r, 0, 0);
}

static const struct pg_stmt scalars = {
    "scalars", "SELECT $1::bigint, $2::bool, $3::uuid, $4::text, $5::bytea, $6::text, $1::bigint::int4, "
               "(-3)::int2, '{\"a\": 1}'::jsonb, NULL::bigint"};

Test(pg, scalars_come_back_as_sent)
{
    struct uuid id = uuid_v7(1234567);
    struct str text = STR("ñandú"), bytes = {"\0\1\xff", 3};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    const struct pg_param params[] = {pg_int(-5000000000), pg_bool(true),  pg_uuid(id),
                                      pg_text(text),       pg_text(bytes), pg_text(STR_NONE)};

    cr_assert_eq(pg_call(pg, &scalars, 6, params, &r).code, ERR_SQL); /* -5e9 is no int4 */
    cr_assert_null(r);
    struct pg_param small[6];
    memcpy(small, params, sizeof(small));
    small[0] = pg_int(-77);
    must(pg_call(pg, &scalars, 6, small, &r));
    cr_assert_eq(pg_rows(r), 1);
    cr_assert_eq(pg_get_int(r, 0, 0), -77);
    cr_assert_eq(pg_get_bool(r, 0, 1), true);
    cr_assert(uuid_eq(pg_get_uuid(r, 0, 2), id));
    cr_assert(str_eq(pg_get_str(r, 0, 3), text));
    cr_assert(str_eq(pg_get_str(r, 0, 4), bytes));
    cr_assert(pg_is_null(r, 0, 5) && pg_get_str(r, 0, 5).p == NULL);
    cr_assert_eq(pg_get_int(r, 0, 6), -77);
    cr_assert_eq(pg_get_int(r, 0, 7), -3);
    cr_assert(str_is(pg_get_str(r, 0, 8), "{\"a\": 1}"));
    cr_assert(pg_is_null(r, 0, 9) && pg_get_int(r, 0, 9) == 0);
}

static const struct pg_stmt unnest = {
    "unnest",
    "SELECT a, b, c, d, e FROM unnest($1::bigint[], $2::bool[], $3::uuid[], $4::text[], $5::bytea[]) "
    "x(a, b, c, d, e)"};

Test(pg, arrays_carry_rows_and_nulls)
{
    for (int n = 0; n < 300; n += 150) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;
        struct pg_array a = pg_array(arena, PG_INT8, n), b = pg_array(arena, PG_BOOL, n),
                        c = pg_array(arena, PG_UUID, n), d = pg_array(arena, PG_TEXT, 0),
                        e = pg_array(arena, PG_BYTEA, 1);
        for (int i = 0; i < n; i++) {
            pg_array_int(&a, i);
            pg_array_bool(&b, i % 2);
            pg_array_uuid(&c, uuid_v7(i));
            pg_array_text(&d, i % 3 ? arena_printf(arena, "text %d", i) : STR_NONE);
            pg_array_text(&e, STR("\0\1"));
        }
        const struct pg_param params[] = {pg_array_param(&a), pg_array_param(&b), pg_array_param(&c),
                                          pg_array_param(&d), pg_array_param(&e)};
        must(pg_call(pg, &unnest, 5, params, &r));
        cr_assert_eq(pg_rows(r), n);
        for (int i = 0; i < n; i++) {
            cr_assert_eq(pg_get_int(r, i, 0), i);
            cr_assert_eq(pg_get_bool(r, i, 1), i % 2);
            cr_assert_eq(uuid_ms(pg_get_uuid(r, i, 2)), i);
            cr_assert(i % 3 ? str_eq(pg_get_str(r, i, 3), arena_printf(arena, "text %d", i))
                            : pg_is_null(r, i, 3));
            cr_assert_eq(pg_get_str(r, i, 4).n, 2);
        }
    }
}

static const struct pg_stmt insert = {"insert", "INSERT INTO t(id, name) VALUES ($1::bigint, $2::text)"};
static const struct pg_stmt update = {"update", "UPDATE t SET name = $1::text"};
static const struct pg_stmt fence = {"fence", "SELECT fence($1::bigint)"};
static const struct pg_stmt divide = {"divide", "SELECT 1 / $1::bigint"};
static const struct pg_stmt list = {"list", "SELECT id, name FROM t ORDER BY id"};

static const char schema[] =
    "CREATE TABLE t(id bigint PRIMARY KEY, name text CHECK (name <> 'secret'));"
    "CREATE TABLE u(id bigint, CONSTRAINT u_late UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);"
    "CREATE FUNCTION fence(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN IF n < 0 THEN "
    "RAISE EXCEPTION 'no' USING ERRCODE = 'DSF01'; END IF; RETURN n; END $$;";

static void queue_insert(int64_t id, const char *name, struct seen *seen)
{
    const struct pg_param params[] = {pg_int(id), pg_text(str_of(name))};
    pg_queue(pg, &insert, 2, params, see, seen);
}

Test(pg, a_failing_statement_voids_all_up_to_the_sync)
{
    must(pg_script(pg, schema));
    struct seen before = {0}, bad = {0}, after = {0}, end = {0}, next = {0};

    queue_insert(1, "one", &before);
    pg_queue(pg, &fence, 1, (const struct pg_param[]){pg_int(-1)}, see, &bad);
    pg_queue(pg, &divide, 1, (const struct pg_param[]){pg_int(1)}, see, &after);
    queue_insert(2, "two", &after);
    pg_sync(pg, see, &end);
    queue_insert(3, "three", &next);
    pg_sync(pg, see, &next);
    cr_assert_eq(pg_waiting(pg), 7);
    err e = pg_wait(pg, 5000);

    cr_assert_eq(e.code, ERR_FENCED);
    cr_assert_str_eq(err_text(e), "DSF01 in fence");
    cr_assert_eq(before.good, 1); /* it ran, but its transaction is void */
    cr_assert(bad.code == ERR_FENCED && bad.calls == 1);
    cr_assert(after.code == ERR_FENCED && after.calls == 2 && after.good == 0);
    cr_assert(end.code == ERR_FENCED && end.calls == 1);
    cr_assert_eq(next.good, 2);
    cr_assert_eq(pg_waiting(pg), 0);
    cr_assert_eq(count_of("t"), 1);
    must(pg_wait(pg, 1000));
}

/* divide was first used behind a failure: its Parse never ran. */
Test(pg, a_statement_whose_parse_was_skipped_is_prepared_again)
{
    must(pg_script(pg, schema));
    struct seen seen = {0};

    for (int round = 0; round < 3; round++) {
        pg_queue(pg, &fence, 1, (const struct pg_param[]){pg_int(-1)}, NULL, NULL);
        pg_queue(pg, &divide, 1, (const struct pg_param[]){pg_int(1)}, NULL, NULL);
        pg_sync(pg, NULL, NULL);
    }
    for (int i = 0; i < 3; i++) { /* queued before it is known whether the Parses above ran */
        pg_queue(pg, &divide, 1, (const struct pg_param[]){pg_int(1)}, see, &seen);
        pg_queue(pg, &divide, 1, (const struct pg_param[]){pg_int(1)}, see, &seen);
        pg_sync(pg, see, &seen);
    }
    cr_assert_eq(pg_wait(pg, 5000).code, ERR_FENCED);
    cr_assert(seen.calls == 9 && seen.good == 9, "%s", seen.text);
    must(pg_call(pg, &divide, 1, (const struct pg_param[]){pg_int(1)}, NULL));
}

Test(pg, refusals_have_their_class_and_tell_no_values)
{
    must(pg_script(pg, schema));
    static const struct pg_stmt absent = {"absent", "SELECT * FROM absent"};
    static const struct pg_stmt cast = {"cast", "SELECT $1::text::uuid"};
    static const struct pg_stmt raise = {
        "raise", "DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '40001'; END $$"};
    const struct {
        const struct pg_stmt *stmt;
        int n;
        struct pg_param params[2];
        enum err_code code;
        const char *text;
    } rows[] = {
        {&insert, 2, {pg_int(1), pg_text(STR("x"))}, ERR_UNIQUE, "23505 in insert, constraint t_pkey"},
        {&insert,
         2,
         {pg_int(2), pg_text(STR("secret"))},
         ERR_SQL,
         "23514 in insert, constraint t_name_check"},
        {&absent, 0, {{0}}, ERR_SQL, "42P01 in absent: relation \"absent\" does not exist, character 15"},
        {&cast, 1, {pg_text(STR("secret"))}, ERR_SQL, "22P02 in cast"},
        {&divide, 1, {pg_int(0)}, ERR_SQL, "22012 in divide"},
        {&fence, 1, {pg_int(-1)}, ERR_FENCED, "DSF01 in fence"},
        {&raise, 0, {{0}}, ERR_PG_RETRY, "40001 in raise"},
    };
    must(pg_call(pg, &insert, 2, (const struct pg_param[]){pg_int(1), pg_text(STR("secre"))}, NULL));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        err e = pg_call(pg, rows[i].stmt, rows[i].n, rows[i].params, NULL);
        cr_assert_eq(e.code, rows[i].code, "%s: %s", rows[i].text, err_text(e));
        cr_assert_str_eq(err_text(e), rows[i].text);
    }
}

Test(pg, a_commit_that_fails_is_told_to_the_sync)
{
    must(pg_script(pg, schema));
    static const struct pg_stmt late = {"late", "INSERT INTO u VALUES (1)"};
    struct seen seen = {0}, end = {0}, next = {0};

    pg_queue(pg, &late, 0, NULL, see, &seen);
    pg_queue(pg, &late, 0, NULL, see, &seen);
    pg_sync(pg, see, &end);
    pg_queue(pg, &late, 0, NULL, see, &next);
    pg_sync(pg, see, &next);
    err e = pg_wait(pg, 5000);
    cr_assert_eq(e.code, ERR_UNIQUE);
    cr_assert_str_eq(err_text(e), "23505 in commit, constraint u_late");
    cr_assert_eq(seen.good, 2);
    cr_assert(end.calls == 1 && end.code == ERR_UNIQUE);
    cr_assert_eq(next.good, 2);
    cr_assert_eq(count_of("u"), 1);
}

Test(pg, large_rows_both_ways_do_not_deadlock)
{
    static const struct pg_stmt echo = {"echo", "SELECT $1::text"};
    enum { SIZE = 3 << 20, ROWS = 10 };
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    struct seen seen = {0};

    for (int i = 0; i < ROWS; i++)
        pg_queue(pg, &echo, 1, (const struct pg_param[]){pg_text((struct str){big, SIZE})}, see, &seen);
    pg_sync(pg, see, &seen);
    must(pg_wait(pg, 30000));
    cr_assert_eq(seen.rows, ROWS);
    cr_assert_eq(seen.good, ROWS + 1);
    free(big);
}

static const struct pg_stmt nap = {"nap", "SELECT pg_sleep(30)"};
static const struct pg_stmt self = {"self", "SELECT pg_backend_pid()"};
static const struct pg_stmt terminate = {"terminate", "SELECT pg_terminate_backend($1::bigint::int)"};

static void queue_work(struct seen *seen)
{
    for (int i = 0; i < 20; i++)
        pg_queue(pg, &self, 0, NULL, see, seen);
    pg_sync(pg, see, seen);
    pg_queue(pg, &nap, 0, NULL, see, seen);
    pg_queue(pg, &self, 0, NULL, see, seen);
    pg_sync(pg, see, seen);
    pg_queue(pg, &self, 0, NULL, see, seen);
    pg_sync(pg, see, seen);
}

Test(pg, a_terminated_backend_is_down_for_everybody)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg *other = NULL;
    struct seen seen = {0};

    must(pg_open_within(servers_database_url(servers), NULL, NULL, PG_PATIENT_MS, &other));
    must(pg_call(pg, &self, 0, NULL, &r));
    queue_work(&seen);
    pg_flush(pg);
    must(pg_call(other, &terminate, 1, (const struct pg_param[]){pg_int(pg_get_int(r, 0, 0))}, NULL));
    int64_t start_ms = clock_mono_ms();
    cr_assert_eq(pg_wait(pg, 20000).code, ERR_PG_DOWN);
    cr_assert(clock_mono_ms() - start_ms < 5000);
    cr_assert_eq(seen.calls, 26);
    cr_assert(seen.good == 21 || seen.good == 0, "%d",
              seen.good); /* the first transaction may have had its answer */
    cr_assert_eq(seen.code, ERR_PG_DOWN);
    cr_assert(!pg_is_up(pg) && pg_fd(pg) == -1 && pg_waiting(pg) == 0);

    cr_assert_eq(pg_call(pg, &self, 0, NULL, NULL).code, ERR_PG_DOWN);
    pg_sync(pg, see, &seen);
    cr_assert_eq(seen.calls, 27);
    must(pg_reopen(pg));
    must(pg_call(pg, &self, 0, NULL, NULL));
    pg_close(other);
}

Test(pg, a_server_killed_between_flush_and_reply_is_down_for_everybody)
{
    struct seen seen = {0};

    queue_work(&seen);
    pg_flush(pg);
    servers_kill(servers, SERVER_POSTGRES);
    cr_assert_eq(pg_wait(pg, 20000).code, ERR_PG_DOWN);
    cr_assert_eq(seen.calls, 26);
    cr_assert_eq(seen.code, ERR_PG_DOWN);
    cr_assert_eq(pg_reopen(pg).code, ERR_PG_DOWN);
    cr_assert_eq(pg_script(pg, "SELECT 1").code, ERR_PG_DOWN);
    servers_restart(servers, SERVER_POSTGRES);
    must(pg_reopen(pg));
    must(pg_call(pg, &self, 0, NULL, NULL));
}

Test(pg, a_server_killed_before_the_write_is_down_for_everybody)
{
    struct seen seen = {0};

    must(pg_call(pg, &self, 0, NULL, NULL));
    servers_kill(servers, SERVER_POSTGRES);
    char *big = calloc(1, 1 << 20);
    memset(big, 'x', 1 << 20);
    for (int i = 0; i < 10; i++) {
        pg_queue(pg, &divide, 1, (const struct pg_param[]){pg_text((struct str){big, 1 << 20})}, see, &seen);
        pg_sync(pg, see, &seen);
    }
    cr_assert_eq(pg_wait(pg, 20000).code, ERR_PG_DOWN);
    cr_assert(seen.calls == 20 && seen.good == 0);
    free(big);
}

Test(pg, a_silent_server_is_down_at_the_deadline)
{
    struct seen seen = {0};

    servers_pause(servers, SERVER_POSTGRES);
    pg_queue(pg, &self, 0, NULL, see, &seen);
    pg_sync(pg, see, &seen);
    int64_t start_ms = clock_mono_ms();
    cr_assert_eq(pg_wait(pg, 200).code, ERR_PG_DOWN);
    cr_assert(clock_mono_ms() - start_ms < 1500);
    cr_assert_eq(seen.calls, 2);
    start_ms = clock_mono_ms();
    cr_assert_eq(pg_reopen(pg).code, ERR_PG_DOWN);
    cr_assert(clock_mono_ms() - start_ms < 5000);
    servers_resume(servers, SERVER_POSTGRES);
    must(pg_reopen(pg));
}

/* A function that queues the next statement from inside, sometimes with a Sync, sometimes flushing at once.
 */
struct chain {
    int left, done, sync;
};

static void next_link(void *data, err e, struct pg_result *result)
{
    struct chain *chain = data;
    cr_assert(!failed(e), "%s", err_text(e));
    chain->done += result != NULL;
    if (chain->left-- <= 0)
        return;
    pg_queue(pg, &self, 0, NULL, next_link, chain);
    if (chain->sync)
        pg_sync(pg, NULL, NULL);
    if (chain->left % 7 == 0)
        pg_flush(pg);
}

Test(pg, functions_may_queue_more_while_a_poller_drives)
{
    struct chain chain = {.left = 500, .sync = true};

    for (int i = 0; i < 10; i++)
        pg_queue(pg, &self, 0, NULL, next_link, &chain);
    pg_sync(pg, NULL, NULL);
    while (pg_waiting(pg)) {
        struct pollfd p = {.fd = pg_fd(pg), .events = pg_wants(pg)};
        cr_assert_eq(poll(&p, 1, 5000), 1);
        pg_pump(pg, p.revents);
    }
    cr_assert_eq(chain.done, 510);
    chain = (struct chain){.left = 50}; /* pg_wait gets outcomes without a Sync, too */
    pg_queue(pg, &self, 0, NULL, next_link, &chain);
    must(pg_wait(pg, 5000));
    cr_assert_eq(chain.done, 51);
    pg_sync(pg, NULL, NULL);
    must(pg_wait(pg, 5000));
}

Test(pg, a_plan_outdated_by_a_migration_asks_to_repeat)
{
    must(pg_script(pg, schema));
    static const struct pg_stmt all = {"all", "SELECT * FROM t"};

    must(pg_call(pg, &all, 0, NULL, NULL));
    must(pg_script(pg, "ALTER TABLE t ADD COLUMN extra text"));
    cr_assert_eq(pg_call(pg, &all, 0, NULL, NULL).code, ERR_PG_RETRY);
    must(pg_call(pg, &all, 0, NULL, NULL));
    must(pg_script(pg, "DEALLOCATE ALL"));
    cr_assert_eq(pg_call(pg, &all, 0, NULL, NULL).code, ERR_PG_RETRY);
    must(pg_call(pg, &all, 0, NULL, NULL));
}

Test(pg, hundreds_of_statements_are_prepared_once_each)
{
    enum { N = 500 };
    static char names[N][16], sql[N][32];
    static struct pg_stmt stmts[N];
    static const struct pg_stmt known = {"known", "SELECT count(*) FROM pg_prepared_statements"};
    struct seen seen = {0};

    for (int i = 0; i < 3 * N; i++) {
        snprintf(names[i % N], sizeof(names[0]), "s%d", i % N);
        snprintf(sql[i % N], sizeof(sql[0]), "SELECT %d", i % N);
        stmts[i % N] = (struct pg_stmt){names[i % N], sql[i % N]};
        pg_queue(pg, &stmts[i % N], 0, NULL, see, &seen);
    }
    pg_sync(pg, NULL, NULL);
    must(pg_wait(pg, 20000));
    cr_assert_eq(seen.rows, 3 * N);
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    must(pg_call(pg, &known, 0, NULL, &r));
    cr_assert_eq(pg_get_int(r, 0, 0), N + 1);
}

Test(pg, scripts_are_one_transaction)
{
    must(pg_script(pg, schema));
    err e = pg_script(pg, "INSERT INTO t VALUES (1, 'a');\nINSERT INTO t VALUES (2, 'b'); SELEC 1");
    cr_assert_eq(e.code, ERR_SQL);
    cr_assert(strstr(err_text(e), "42601 in script: syntax error at or near \"SELEC\", character"), "%s",
              err_text(e));
    e = pg_script(pg, "INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (1, 'b')");
    cr_assert_eq(e.code, ERR_UNIQUE);
    cr_assert_eq(count_of("t"), 0);
    cr_assert_eq(pg_script(pg, "COPY t FROM STDIN").code, ERR_PG_DOWN);
    must(pg_reopen(pg));
    must(pg_script(
        pg, "INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, 'b'); SELECT * FROM t; DO $$ BEGIN "
            "RAISE NOTICE 'not for standard error'; END $$"));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    must(pg_call(pg, &list, 0, NULL, &r));
    cr_assert_eq(pg_rows(r), 2);
    must(pg_call(pg, &update, 1, (const struct pg_param[]){pg_text(STR("c"))}, NULL));
}

static void see_affected(void *data, err e, struct pg_result *result)
{
    cr_assert(!failed(e));
    *(int64_t *)data = pg_affected(result);
}

Test(pg, affected_rows_are_counted)
{
    must(pg_script(pg, schema));
    must(pg_script(pg, "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 7) n"));
    int64_t affected = 0;
    pg_queue(pg, &update, 1, (const struct pg_param[]){pg_text(STR("y"))}, see_affected, &affected);
    pg_sync(pg, NULL, NULL);
    must(pg_wait(pg, 5000));
    cr_assert_eq(affected, 7);
}

Test(pg, role_and_setup_hold_again_after_a_reopen)
{
    static const struct pg_stmt who = {
        "who", "SELECT current_user::text, current_setting('enable_seqscan'), current_setting('work_mem')"};
    must(pg_script(pg, "CREATE ROLE \"cart's\" NOLOGIN"));
    struct pg *limited = NULL;

    must(pg_open_within(servers_database_url(servers), "cart's",
                        "SET enable_seqscan = off; SET work_mem = '5MB'", PG_PATIENT_MS, &limited));
    for (int i = 0; i < 2; i++) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;
        must(pg_call(limited, &who, 0, NULL, &r));
        cr_assert(str_is(pg_get_str(r, 0, 0), "cart's"));
        cr_assert(str_is(pg_get_str(r, 0, 1), "off"));
        cr_assert(str_is(pg_get_str(r, 0, 2), "5MB"));
        must(pg_reopen(limited));
    }
    cr_assert_eq(pg_script(limited, "CREATE ROLE another").code, ERR_SQL);
    pg_close(limited);
    cr_assert_eq(pg_open(servers_database_url(servers), "nobody at all", NULL, &limited).code, ERR_SQL);
    cr_assert_null(limited);
}

Test(pg, addresses_that_fail_do_not_tell_the_password)
{
    static const struct {
        const char *url;
        enum err_code code;
    } wrong[] = {
        {"postgresql://u:secret@h:port/d?nosuch=secret", ERR_CONFIG},
        {"postgresql://u:secret%zz@h/d", ERR_CONFIG},
        {"secret", ERR_CONFIG},
        {"postgresql://u:secret@127.0.0.1:1/d", ERR_PG_DOWN},
        {"postgresql:///d?host=/nowhere/at/all&user=u&password=secret", ERR_PG_DOWN},
        {"postgresql://u:secret@127.0.0.1:70000/d", ERR_PG_DOWN},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct pg *none = NULL;
        err e = pg_open(wrong[i].url, NULL, NULL, &none);
        cr_assert_eq(e.code, wrong[i].code, "%s: %s", wrong[i].url, err_text(e));
        cr_assert(!strstr(err_text(e), "secret"), "%s", err_text(e));
        cr_assert_null(none);
    }
}
