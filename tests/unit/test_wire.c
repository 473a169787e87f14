/* The door's connections inside a loop: when one is closed, whoever waits is told while all he needs is
 * alive. */
#include <criterion/criterion.h>
#include <poll.h>

#include "api/pg_poll.h"
#include "api/redis_poll.h"
#include "tests/support/servers.h"

enum { WAIT_MS = 30000 };

static struct servers *servers;
static uv_loop_t loop;

/* Who asks, and what he was told. He asks once more on each answer, as those who load in two steps do. */
struct asker {
    struct pg_poll *pg;
    struct redis_poll *redis;
    int asked, told, answered;
};

static struct asker asker;

static void start(void)
{
    servers = servers_start(NULL);
    asker = (struct asker){0};
    cr_assert_eq(uv_loop_init(&loop), 0);
}

static void stop(void)
{
    uv_run(&loop, UV_RUN_DEFAULT); /* the connections end */
    cr_assert_eq(uv_loop_close(&loop), 0);
    servers = servers_stop(servers);
}

TestSuite(wire, .init = start, .fini = stop, .timeout = 60);

static void wait_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, WAIT_MS), 1, "no answer came");
}

/* What is to hold behind every close. */
static void expect_all_told(void)
{
    cr_expect_eq(asker.told, asker.asked, "%d of %d were told before the close came back", asker.told,
                 asker.asked);
    cr_expect_eq(asker.answered, 0, "an answer was handed out while all is torn down");
    int told = asker.told;
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect_eq(asker.told, told, "somebody was told after the close, when what he needs may be gone");
}

/* ---- PostgreSQL ---- */

static const struct pg_stmt one = {"test_one", "SELECT 1"};
static const struct pg_stmt nap = {"test_nap", "SELECT pg_sleep(30)"};

static void on_rows(void *data, err e, struct pg_result *rows);

static void ask_pg(const struct pg_stmt *stmt)
{
    if (!failed(pg_poll_query(asker.pg, stmt, 0, NULL, on_rows, NULL)))
        asker.asked++;
}

static void on_rows(void *data, err e, struct pg_result *rows)
{
    (void)data;
    (void)rows;
    asker.told++;
    asker.answered += !failed(e);
    ask_pg(&one);
}

static void begin_pg(int connections)
{
    asker.pg = pg_poll_new(&loop, servers_database_url(servers), NULL, PG_POLL_WALKS, connections);
    while (!pg_poll_up(asker.pg))
        uv_run(&loop, UV_RUN_ONCE);
}

/* An answer has come and was not read; another is not made yet. */
Test(wire, whoever_waits_for_postgresql_is_told_before_the_close_comes_back)
{
    begin_pg(1);
    ask_pg(&one);
    ask_pg(&nap);
    struct pg *pg = pg_poll_up(asker.pg);
    pg_flush(pg);
    wait_readable(pg_fd(pg));
    asker.pg = pg_poll_free(asker.pg);
    expect_all_told();
}

/* The one that is closed first tells people who ask the other. */
Test(wire, also_those_who_ask_the_connection_that_is_closed_last)
{
    begin_pg(2);
    for (int i = 0; i < 8; i++)
        ask_pg(&nap);
    asker.pg = pg_poll_free(asker.pg);
    expect_all_told();
}

/* ---- Redis ---- */

static void on_reply(void *data, const struct redis_reply *reply)
{
    (void)data;
    asker.told++;
    asker.answered += reply != NULL;
}

Test(wire, whoever_waits_for_redis_is_told_before_the_close_comes_back)
{
    struct redis *redis;
    asker.redis = redis_poll_new(&loop, servers_redis_url(servers), NULL, NULL);
    while (!(redis = redis_poll_up(asker.redis)))
        uv_run(&loop, UV_RUN_ONCE);
    redis_sendf(redis, on_reply, NULL, "GET nowhere");
    redis_sendf(redis, on_reply, NULL, "BLPOP nowhere 30");
    asker.asked = 2;
    redis_pump(redis, 0);
    wait_readable(redis_fd(redis));
    asker.redis = redis_poll_free(asker.redis);
    expect_all_told();
}
