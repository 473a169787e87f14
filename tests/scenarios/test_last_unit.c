/* Many want the last unit, and none gets half of it. */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

enum { BUYERS = 64 };

static struct shop *shop;
static struct person *boss, *people[BUYERS];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
}

static void close_shop(void)
{
    leave(boss);
    for (int i = 0; i < BUYERS; i++)
        leave(people[i]);
    shop_stop(shop);
}

TestSuite(last_unit, .init = open_shop, .fini = close_shop, .timeout = 300);

static void arrive(int i, void *data)
{
    (void)data;
    people[i] = customer(shop);
}

static char cup[ID_TEXT], orders[BUYERS][ID_TEXT];

static void buy_one(int i, void *data)
{
    (void)data;
    place(people[i], "tok_ok", &(struct line){cup, 1, 0}, 1, orders[i]);
}

Test(last_unit, goes_to_one_of_64_buyers)
{
    int confirmed = 0, quantity, reserved;

    create_product(boss, &(struct goods){.name = "Última taza", .price = 5000, .stock = 1}, cup);
    all_at_once(BUYERS, arrive, NULL);
    all_at_once(BUYERS, buy_one, NULL);
    for (int i = 0; i < BUYERS; i++) {
        if (strcmp(how_it_ends(people[i], orders[i]), "confirmed") == 0) {
            confirmed++;
            continue;
        }
        cr_expect_str_eq(said(people[i], "status"), "cancelled");
        cr_expect_str_eq(said(people[i], "reason"), "insufficient_stock");
    }
    cr_expect_eq(confirmed, 1);
    /* An order is final only when nothing of it is left, so this needs no patience. */
    look_at_stock(boss, cup, &quantity, &reserved);
    cr_expect_eq(quantity, 0);
    cr_expect_eq(reserved, 0);
    cr_expect_eq(
        shop_sql(shop, "SELECT count(*) FROM payment_test_charge WHERE state IN ('authorised', 'captured')"),
        1);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM stock_hold WHERE state = 'held'"), 0);
}

Test(last_unit, two_lines_of_one_product_are_summed)
{
    struct person *ana = people[0] = customer(shop);
    char order[ID_TEXT];
    int quantity, reserved;

    create_product(boss, &(struct goods){.name = "Taza", .price = 5000, .stock = 3}, cup);
    place(ana, "tok_ok", (struct line[]){{cup, 2, 0}, {cup, 2, 0}}, 2, order);
    cr_assert_str_eq(how_it_ends(ana, order), "cancelled", "4 are more than 3");
    place(ana, "tok_ok", (struct line[]){{cup, 2, 0}, {cup, 1, 0}}, 2, order);
    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    cr_expect_eq(said_number(ana, "total_amount"), 15000);
    look_at_stock(boss, cup, &quantity, &reserved);
    cr_expect_eq(quantity, 0);
    cr_expect_eq(reserved, 0);
}

Test(last_unit, is_free_again_for_the_next_after_a_refusal_elsewhere)
{
    struct person *ana = people[0] = customer(shop), *luis = people[1] = customer(shop);
    char order[ID_TEXT], gone[ID_TEXT];

    create_product(boss, &(struct goods){.name = "Taza", .price = 5000, .stock = 1}, cup);
    create_product(boss, &(struct goods){.name = "Agotado", .price = 100, .stock = 0}, gone);
    place(ana, "tok_ok", (struct line[]){{cup, 1, 0}, {gone, 1, 0}}, 2, order);
    cr_assert_str_eq(how_it_ends(ana, order), "cancelled");
    place(luis, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    cr_assert_str_eq(how_it_ends(luis, order), "confirmed");
}
