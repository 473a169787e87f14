/* Payments that go wrong, come late or are no longer wanted: in the end nothing is held and nothing is
 * charged. */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT], order[ID_TEXT];

static void open_shop(void)
{
    static const char *const settings[] = {"PAYMENT_TIMEOUT_MS=6000", "PAYMENT_TEST_SLOW_MS=700",
                                           "JOB_TIMEOUT_MS=400", NULL};

    shop = shop_start(&(struct shop_options){.settings = settings});
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 10}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(payments, .init = open_shop, .fini = close_shop, .timeout = 240);

static void order_two(const char *token)
{
    place(ana, token, &(struct line){cup, 2, 0}, 1, order);
}

static void expect_stock(int wanted)
{
    int quantity, reserved;

    look_at_stock(boss, cup, &quantity, &reserved);
    cr_expect_eq(quantity, wanted);
    cr_expect_eq(reserved, 0);
}

static int charges(const char *state)
{
    return (int)shop_sql(shop, "SELECT count(*) FROM payment_test_charge WHERE state = '%s'", state);
}

static void expect_cancelled(const char *reason)
{
    cr_assert_str_eq(how_it_ends(ana, order), "cancelled");
    cr_expect_str_eq(said(ana, "reason"), reason);
    expect_stock(10);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(charges("authorised") + charges("captured"), 0);
}

Test(payments, a_declined_one_frees_the_stock)
{
    order_two("tok_declined");
    expect_cancelled("payment_declined");
}

Test(payments, one_that_never_answers_times_out_and_is_voided)
{
    order_two("tok_timeout");
    expect_cancelled("payment_timeout");
}

Test(payments, a_slow_one_is_waited_for)
{
    order_two("tok_slow");
    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    cr_expect_eq(charges("captured"), 1);
    expect_stock(8);
}

Test(payments, a_refused_capture_gives_everything_back)
{
    order_two("tok_capture_refused");
    expect_cancelled("capture_refused");
}

Test(payments, a_cancel_while_the_provider_thinks_wins)
{
    order_two("tok_slow");
    cr_assert(shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM orders WHERE step = 'authorising'"));
    cr_expect_eq(cancel_order(ana, order), 200);
    cr_expect_str_eq(said(ana, "status"), "cancelled");
    expect_cancelled("cancelled_by_customer");
}

Test(payments, a_cancel_while_the_answer_is_lost_voids_what_was_authorised)
{
    order_two("tok_timeout");
    cr_assert(
        shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM payment_test_charge WHERE state = 'authorised'"));
    cr_expect_eq(cancel_order(ana, order), 200);
    expect_cancelled("cancelled_by_customer");
    cr_expect_eq(charges("voided"), 1);
}

Test(payments, what_is_confirmed_cannot_be_cancelled)
{
    order_two("tok_ok");
    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    cr_expect_eq(cancel_order(ana, order), 409);
    expect_stock(8);
    cr_expect_eq(charges("captured"), 1);
}
