/*
 * The program of docs/examples/subscriber.c, twice under one name, beside a shop that sells: one of them is
 * killed, both servers are, streams go, everything in Redis goes. In the end its table is the log: each event
 * once, and of each order in the order of the log.
 */
#include <criterion/criterion.h>
#include <signal.h>

#include "tests/support/invoices.h"
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
    invoices_table(shop);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(subscribers, .init = open_shop, .fini = close_shop, .timeout = 240);

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
    cr_expect_eq(invoices_wrong(shop, 0), 0);
    cr_expect_gt(shop_sql(shop, "SELECT count(*) FROM seen_order"), 0);
}

Test(subscribers, each_event_has_its_effect_once_whatever_is_killed)
{
    pid_t one = invoices_launch(shop), two = invoices_launch(shop);
    sell(4);
    cr_assert(shop_sql_becomes(
        shop, 2, 0, "SELECT count(DISTINCT owner) FROM consumer_offset WHERE grp = 'ext:invoices'"));
    invoices_end(one, SIGKILL);
    sell(3);
    freeReplyObject(shop_redis(shop, "DEL evt:{orders.00} evt:{orders.01} evt:{orders.02}"));
    sell(3);
    seen_all();
    one = invoices_launch(shop);
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
    invoices_end(two, SIGKILL);
    sell(2);
    seen_all();
    cr_assert_eq(invoices_end(one, SIGTERM), 0);
    cr_expect_eq(
        shop_sql(shop,
                 "SELECT count(*) FROM consumer_offset WHERE grp = 'ext:invoices' AND owner IS NOT NULL"),
        0, "leases are given back");
}
