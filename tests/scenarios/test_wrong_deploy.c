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

/* Prints what the verb said when it ends in another way than the story wants. */
static void bus(int expected, char **ret_output, const char *verb, const char *group, const char *flag,
                const char *more, const char *last)
{
    _cleanup_(freep) char *output = NULL;
    int status = shop_ctl(shop, &output, (const char *const[]){"bus", verb, group, flag, more, last, NULL});
    cr_assert_eq(status, expected, "bus %s ended with %d: %s", verb, status, output);
    if (ret_output)
        *ret_output = STEAL(output);
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
    bus(0, NULL, "rebuild", "reports", "--verify", NULL, NULL);

    shop_sql(shop, "UPDATE product_sales SET units = units * 10, updated_ms = 0 RETURNING 1");
    cr_assert_eq(units(), 60);
    bus(1, &found, "rebuild", "reports", "--verify", "--json", NULL);
    cr_assert(strstr(found, "\"table\":\"product_sales\",\"same\":false"), "%s", found);
    cr_assert(strstr(found, "\"table\":\"report_line\",\"same\":true"), "%s", found);
    bus(1, &plan, "replay", "reports", "--from", "1", "--dry-run");
    cr_assert(strstr(plan, "order.confirmed.v1"), "%s", plan);

    bus(0, NULL, "rebuild", "reports", NULL, NULL, NULL);
    cr_assert_eq(units(), 6);
    buy(1);
    cr_assert(shop_is_quiet(shop, 0));
    cr_assert_eq(units(), 8);
    bus(0, NULL, "rebuild", "reports", "--verify", NULL, NULL);
    bus(1, NULL, "rebuild", "reports", "--abandon", NULL, NULL);
    bus(0, NULL, "fsck", NULL, NULL, NULL, NULL);
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

    bus(1, NULL, "replay", "payments", "--from", "1", NULL);
    bus(0, NULL, "replay", "payments", "--from", "1", "--allow-effects");
    cr_assert(shop_is_quiet(shop, 0));
    cr_assert_eq(shop_sql(shop, "SELECT count(DISTINCT reference) FROM payment"), right);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM payment WHERE reference = 'nonsense'"), 0);
    cr_assert_eq(shop_sql(shop, "SELECT sum(amount)::bigint FROM payment_test_charge"), charges);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM event_log"), events);
    cr_assert_eq(shop_sql(shop, "SELECT count(*) FROM job"), jobs);
    bus(0, NULL, "fsck", NULL, NULL, NULL, NULL);
}
