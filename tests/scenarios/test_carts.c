/* Carts under parallel hands: nothing is lost, nothing counts twice. */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

enum { HANDS = 32, SENDS = 40 };

static struct shop *shop;
static struct person *boss, *ana, *hands[SENDS];
static char products[HANDS][ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    for (int i = 0; i < SENDS; i++)
        hands[i] = at_door(ana, 0);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    for (int i = 0; i < SENDS; i++)
        leave(hands[i]);
    shop_stop(shop);
}

TestSuite(carts, .init = open_shop, .fini = close_shop, .timeout = 240);

static void make_products(int n)
{
    for (int i = 0; i < n; i++)
        create_product(boss, &(struct goods){.name = "Cosa", .price = 1000 + i, .stock = 100}, products[i]);
}

static void add_mine(int i, void *data)
{
    (void)data;
    add_to_cart(hands[i], products[i], 1);
}

Test(carts, keep_32_lines_of_32_parallel_adds)
{
    make_products(HANDS);
    all_at_once(HANDS, add_mine, NULL);
    cr_expect_eq(cart_lines(ana), HANDS);
    cr_expect_eq(said_number(ana, "subtotal"), HANDS * 1000 + HANDS * (HANDS - 1) / 2);
}

Test(carts, say_nothing_rather_than_a_wrong_sum)
{
    create_product(boss, &(struct goods){.name = "Cosa", .price = 99999999999999, .stock = 1}, products[0]);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(add_to_cart(ana, products[0], 10000), 201, "%s", ana->reply.text);
    cr_assert_eq(get(ana, "/api/v1/cart"), 200);
    cr_expect_eq(said_number(ana, "items.0.quantity"), 100000);
    cr_expect(strstr(ana->reply.text, "\"line_total\":null"), "%s", ana->reply.text);
    cr_expect(strstr(ana->reply.text, "\"subtotal\":null"), "%s", ana->reply.text);
    cr_expect_eq(check_out(ana, "tok_ok"), 409, "%s", ana->reply.text);
}

static void add_five_times(int i, void *data)
{
    (void)data;
    for (int n = 0; n < 5; n++)
        add_to_cart(hands[i], products[0], 1);
}

Test(carts, sum_a_hundred_adds_of_one_product)
{
    make_products(1);
    all_at_once(20, add_five_times, NULL);
    cr_expect_eq(in_cart(ana, products[0]), 100);
    cr_expect_eq(cart_lines(ana), 1);
}

static void add_with_one_key(int i, void *data)
{
    (void)data;
    hands[i]->key = "una-sola-vez";
    add_to_cart(hands[i], products[0], 3);
}

Test(carts, forty_sends_of_one_key_are_one_line_and_one_answer)
{
    make_products(1);
    all_at_once(SENDS, add_with_one_key, NULL);
    for (int i = 0; i < SENDS; i++) {
        cr_expect_eq(hands[i]->reply.status, 201);
        cr_expect_str_eq(hands[i]->reply.text, hands[0]->reply.text);
    }
    cr_expect_eq(in_cart(ana, products[0]), 3);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM event_log WHERE type = 'cart.item-added.v1'"), 1);
}

Test(carts, another_body_under_a_used_key_is_refused)
{
    make_products(1);
    ana->key = "clave";
    cr_expect_eq(add_to_cart(ana, products[0], 1), 201);
    ana->key = "clave";
    cr_expect_eq(add_to_cart(ana, products[0], 2), 422);
    cr_expect_eq(in_cart(ana, products[0]), 1);
}

Test(carts, are_empty_after_a_check_out_and_full_again_when_it_fails)
{
    char order[ID_TEXT];

    make_products(2);
    add_to_cart(ana, products[0], 2);
    add_to_cart(ana, products[1], 101);
    cr_assert_eq(check_out(ana, "tok_ok"), 201);
    snprintf(order, sizeof(order), "%s", said(ana, "id"));
    cr_expect_eq(cart_lines(ana), 0);
    cr_assert_str_eq(how_it_ends(ana, order), "cancelled");
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(in_cart(ana, products[0]), 2);
    cr_expect_eq(in_cart(ana, products[1]), 101);
}

Test(carts, nobody_checks_out_an_empty_one)
{
    cr_expect_eq(check_out(ana, "tok_ok"), 409);
}
