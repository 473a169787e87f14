/* /metrics of a whole shop: the rules of the format, what each program counted, what is asked at the scrape,
 * and a bounded number of series. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/exposition.h"
#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 50}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(metrics_page, .init = open_shop, .fini = close_shop, .timeout = 240);

static const char *page(void)
{
    cr_assert_eq(get(ana, "/metrics"), 200);
    return ana->reply.text;
}

static void buy(void)
{
    char order[ID_TEXT];
    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
}

Test(metrics_page, keeps_the_rules_and_shows_all_programs)
{
    buy();
    cr_assert(shop_is_quiet(shop, 0));
    const char *p = page();
    cr_assert_null(exposition_fault(p), "%s", exposition_fault(p));
    cr_expect_gt(exposition_value(p, "messages_handled_total{program=\"daydream-consumers\""), 5);
    cr_expect_geq(exposition_value(p, "relay_appended_total{program=\"daydream-producers\""), 0);
    cr_expect_gt(exposition_value(p, "process_resident_memory_bytes{program=\"daydream-producers\""), 100000);
    cr_expect_gt(exposition_value(p, "process_open_fds{program=\"daydream-consumers\""), 5);
    cr_expect_gt(
        exposition_value(p, "http_requests_total{method=\"GET\",endpoint=\"/api/v1/orders/{order_id}\""), 0);
    cr_expect_eq(exposition_value(p, "group_lag_events{group=\"orders\"}"), 0);
    cr_expect_eq(exposition_value(p, "commands_waiting{topic=\"orders\"}"), 0);
    cr_expect_eq(exposition_value(p, "relay_behind_events{topic=\"orders\"}"), 0);
    cr_expect_gt(exposition_value(p, "redis_memory_used_bytes"), 100000);
    cr_expect_gt(exposition_value(p, "postgres_connections"), 5);
    cr_expect_eq(exposition_value(p, "postgres_up"), 1);
    cr_expect_eq(exposition_value(p, "redis_up"), 1);
    cr_expect_null(strstr(p, cup), "no id is a label");
}

/* Prometheus' own linter, on machines that have it. */
Test(metrics_page, promtool_accepts_it)
{
    char path[300], command[400];
    if (system("command -v promtool >/dev/null") != 0)
        cr_skip_test("promtool is not installed (package prometheus)");
    buy();
    snprintf(path, sizeof(path), "%s/page", servers_dir(shop_servers(shop)));
    FILE *f = fopen(path, "we");
    fputs(page(), f);
    fclose(f);
    snprintf(command, sizeof(command), "promtool check metrics <'%s'", path);
    cr_expect_eq(system(command), 0);
    fprintf(stderr, "%zu values\n", exposition_values(ana->reply.text));
}

/* Ids, wrong paths and methods make no series of their own. */
Test(metrics_page, the_number_of_series_is_bounded)
{
    get(ana, "/api/v1/orders/%s", cup);
    get(ana, "/nowhere/0");
    size_t before = exposition_values(page());
    for (int i = 1; i <= 50; i++) {
        cr_expect_eq(get(ana, "/nowhere/%d", i), 404);
        cr_expect_eq(get(ana, "/api/v1/orders/%.33s%03d", cup, i), 404);
    }
    cr_expect_leq(exposition_values(page()), before + 20, "the scrape itself is a route");
    cr_expect_geq(exposition_value(page(), "http_requests_total{method=\"GET\",endpoint=\"none\""), 51);
}

/* Without its servers the page is shorter, says so, and keeps the rules. */
Test(metrics_page, servers_that_are_away_are_left_out)
{
    servers_pause(shop_servers(shop), SERVER_REDIS);
    const char *p = page();
    cr_expect_null(exposition_fault(p), "%s", exposition_fault(p));
    cr_expect_eq(exposition_value(p, "redis_up"), 0);
    cr_expect_eq(exposition_value(p, "postgres_up"), 1);
    servers_resume(shop_servers(shop), SERVER_REDIS);
}
