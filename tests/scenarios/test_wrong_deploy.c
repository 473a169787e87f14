/*
 * A bad handler was deployed and has written nonsense into a read model for a day; the operator finds it,
 * makes the model anew while customers buy, and has another group take its answers in again: with documented
 * verbs only.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 100}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(wrong_deploy, .init = open_shop, .fini = close_shop, .timeout = 240);

static void buy(int orders)
{
    char order[ID_TEXT];
    for (int i = 0; i < orders; i++) {
        place(ana, "tok_ok", &(struct line){cup, 2, 0}, 1, order);
        cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    }
}

static int bus(const char *verb, const char *group, const char *flag, const char *more, const char *last,
               char **ret_output)
{
    return shop_ctl(shop, ret_output, (const char *const[]){"bus", verb, group, flag, more, last, NULL});
}

static double units(void)
{
    cr_assert_eq(get(boss, "/api/v1/sales/stats"), 200);
    return said_number(boss, "data.0.units");
}

Test(wrong_deploy, a_wrong_read_model_is_found_and_made_anew)
{
    _cleanup_(freep) char *found = NULL, *plan = NULL;
    buy(3);
    cr_assert(shop_is_quiet(shop, 0));
    cr_assert_eq(units(), 6);
    cr_assert_eq(bus("rebuild", "reports", "--verify", NULL, NULL, NULL), 0);

    shop_sql(shop, "UPDATE product_sales SET units = units * 10, updated_ms = 0 RETURNING 1");
    cr_assert_eq(units(), 60);
    cr_assert_eq(bus("rebuild", "reports", "--verify", "--json", NULL, &found), 1);
    cr_assert(strstr(found, "\"table\":\"product_sales\",\"same\":false"), "%s", found);
    cr_assert(strstr(found, "\"table\":\"report_line\",\"same\":true"), "%s", found);
    cr_assert_eq(bus("replay", "reports", "--from", "1", "--dry-run", &plan), 1,
                 "a day cannot be counted twice");
    cr_assert(strstr(plan, "order.confirmed.v1"), "%s", plan);

    cr_assert_eq(bus("rebuild", "reports", NULL, NULL, NULL, NULL), 0);
    cr_assert_eq(units(), 6);
    buy(1);
    cr_assert(shop_is_quiet(shop, 0));
    cr_assert_eq(units(), 8);
    cr_assert_eq(bus("rebuild", "reports", "--verify", NULL, NULL, NULL), 0);
    cr_assert_eq(bus("rebuild", "reports", "--abandon", NULL, NULL, NULL), 1, "there is nothing to abandon");
    cr_assert_eq(bus("fsck", NULL, NULL, NULL, NULL, NULL), 0);
}

Test(wrong_deploy, answers_are_taken_in_again_and_nobody_is_charged_twice)
{
    buy(3);
    cr_assert(shop_is_quiet(shop, 0));
    int64_t charges = shop_sql(shop, "SELECT sum(amount)::bigint FROM payment_test_charge");
    int64_t events = shop_sql(shop, "SELECT count(*) FROM event_log"),
            jobs = shop_sql(shop, "SELECT count(*) FROM job");
    int64_t right = shop_sql(shop, "SELECT count(DISTINCT reference) FROM payment");
    cr_assert_eq(right, 3);
    shop_sql(shop, "UPDATE payment SET reference = 'nonsense' RETURNING 1");

    cr_assert_eq(bus("replay", "payments", "--from", "1", NULL, NULL), 1, "it has effects outside");
    cr_assert_eq(bus("replay", "payments", "--from", "1", "--allow-effects", NULL), 0);
    cr_assert(shop_is_quiet(shop, 0));
    cr_assert_eq(shop_sql(shop, "SELECT count(DISTINCT reference) FROM payment"), right);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM payment WHERE reference = 'nonsense'"), 0);
    cr_assert_eq(shop_sql(shop, "SELECT sum(amount)::bigint FROM payment_test_charge"), charges);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM event_log"), events);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM job"), jobs);
    cr_assert_eq(bus("fsck", NULL, NULL, NULL, NULL, NULL), 0);
}
