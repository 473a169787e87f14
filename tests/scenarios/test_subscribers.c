/*
 * The program of docs/examples/subscriber.c, twice under one name, beside a shop that sells: one of them is
 * killed, both servers are, streams go, everything in Redis goes. In the end its table is the log: each event
 * once, and of each order in the order of the log. SUBSCRIBER names another build of the program (the one
 * made against the installed library).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT];

static void open_shop(void)
{
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to a server that was killed */
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 1000}, cup);
    shop_sql(shop,
             "CREATE TABLE seen_order (topic text, part int, seq bigint, key text, type text, n bigserial,"
             " PRIMARY KEY (topic, part, seq))");
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(subscribers, .init = open_shop, .fini = close_shop, .timeout = 240);

/* Dies with the test. */
static pid_t launch(void)
{
    const char *program = getenv("SUBSCRIBER");
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        setenv("DATABASE_URL", servers_database_url(shop_servers(shop)), 1);
        setenv("REDIS_URL", servers_redis_url(shop_servers(shop)), 1);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
            execl(program ? program : DAYDREAM_BIN_DIR "/example_subscriber", "subscriber", "invoices", NULL);
        _exit(127);
    }
    return pid;
}

static int end(pid_t pid, int signal_number)
{
    int status;
    cr_assert_eq(kill(pid, signal_number), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void sell(int n)
{
    const struct line line = {cup, 1, 0};
    char order[ID_TEXT];
    for (int i = 0; i < n; i++)
        place(ana, "tok_ok", &line, 1, order);
}

static void seen_all(void)
{
    cr_assert(shop_is_quiet(shop, 0)); /* that includes the position of the subscriber */
    cr_expect_eq(shop_sql(shop,
                          "SELECT count(*) FROM event_log l FULL JOIN seen_order s USING (topic, part, seq)"
                          " WHERE (l.type LIKE 'order.%%' OR s.type IS NOT NULL)"
                          " AND (l.type, l.partitionkey) IS DISTINCT FROM (s.type, s.key)"),
                 0);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM (SELECT seq - lag(seq) OVER (PARTITION BY part, key"
                                " ORDER BY n) AS step FROM seen_order) steps WHERE step <= 0"),
                 0);
    cr_expect_gt(shop_sql(shop, "SELECT count(*) FROM seen_order"), 0);
}

Test(subscribers, each_event_has_its_effect_once_whatever_is_killed)
{
    pid_t one = launch(), two = launch();
    sell(4);
    cr_assert(shop_sql_becomes(
        shop, 2, 0, "SELECT count(DISTINCT owner) FROM consumer_offset WHERE grp = 'ext:invoices'"));
    end(one, SIGKILL);
    sell(3);
    freeReplyObject(shop_redis(shop, "DEL evt:{orders.00} evt:{orders.01} evt:{orders.02}"));
    sell(3);
    seen_all();
    one = launch();
    servers_kill(shop_servers(shop), SERVER_REDIS);
    servers_restart(shop_servers(shop), SERVER_REDIS);
    cr_assert(shop_is_ready(shop, 0));
    sell(3);
    seen_all();
    freeReplyObject(shop_redis(shop, "FLUSHALL"));
    sell(3);
    servers_kill(shop_servers(shop), SERVER_POSTGRES);
    servers_restart(shop_servers(shop), SERVER_POSTGRES);
    cr_assert(shop_is_ready(shop, 0));
    sell(3);
    end(two, SIGKILL);
    sell(2);
    seen_all();
    cr_assert_eq(end(one, SIGTERM), 0);
    cr_expect_eq(
        shop_sql(shop,
                 "SELECT count(*) FROM consumer_offset WHERE grp = 'ext:invoices' AND owner IS NOT NULL"),
        0, "leases are given back");
}
