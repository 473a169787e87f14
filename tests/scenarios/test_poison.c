/* A deploy with a bad handler: what it cannot digest waits, everybody else is served, and once the handler is
 * mended an operator brings the work back with the documented verbs. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/indigestible.h"
#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana, *luis;
static char cup[ID_TEXT], hat[ID_TEXT], order[ID_TEXT], poison[200];

static void open_shop(void)
{
    static const char *const settings[] = {"FAULT_POISON=poison", "PAYMENT_TEST_SLOW_MS=1500",
                                           "HANDLER_TIMEOUT_MS=1000", NULL};

    shop = shop_start(&(struct shop_options){.settings = settings, .resume_after_ms = 500});
    snprintf(poison, sizeof(poison), "%s/poison", shop_home(shop));
    boss = admin(shop);
    ana = customer(shop);
    luis = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 50}, cup);
    create_product(boss, &(struct goods){.name = "Gorro", .price = 2990, .stock = 50}, hat);
    cr_assert(shop_is_quiet(shop, 0)); /* all groups know the goods: only what is new about them is poison */
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    leave(luis);
    shop_stop(shop);
}

TestSuite(poison, .init = open_shop, .fini = close_shop, .timeout = 300);

static void parked_becomes(const char *group, int64_t n)
{
    cr_assert(shop_sql_becomes(shop, n, 0,
                               "SELECT count(*) FROM dead_letter WHERE grp = '%s'"
                               " AND state = 'parked'",
                               group));
}

static int retry(const char *group, const char *topic, const char *key)
{
    return shop_ctl(shop, NULL, (const char *const[]){"bus", "dlq", "retry", group, topic, key, NULL});
}

static int post_later(struct person *person, const char *product, int quantity, char ret[static ID_TEXT])
{
    int status =
        ask(person, &(struct ask){.method = "POST",
                                  .path = "/api/v1/cart/items",
                                  .token = person->access,
                                  .body = json_pack("{sssi}", "product_id", product, "quantity", quantity)});
    snprintf(ret, ID_TEXT, "%s", said(person, "command_id"));
    return status;
}

static void expect_fsck_is_clean(void)
{
    cr_expect_eq(shop_ctl(shop, NULL, (const char *const[]){"bus", "fsck", NULL}), 0);
}

Test(poison, of_one_cart_waits_in_order_and_comes_back_once)
{
    char command[5][ID_TEXT];

    indigestible(poison, ana->id, "bad");
    for (int i = 0; i < 5; i++)
        cr_assert_eq(post_later(ana, cup, i + 1, command[i]), 202);
    parked_becomes("cart", 5);
    cr_expect_eq(get(ana, "/api/v1/commands/%s", command[4]), 202);
    cr_expect_str_eq(said(ana, "status"), "parked");
    cr_expect_eq(add_to_cart(luis, cup, 1), 201);
    cr_expect_eq(retry("cart", "carts", ana->id), 1);
    indigestible(poison, NULL, NULL);
    cr_expect_eq(retry("cart", "carts", ana->id), 0);
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(get(ana, "/api/v1/commands/%s", command[i]), 200);
        cr_expect_str_eq(said(ana, "status"), "succeeded");
    }
    cr_expect_eq(in_cart(ana, cup), 15);
    cr_expect_eq(add_to_cart(ana, cup, 1), 201);
    cr_expect_eq(in_cart(ana, cup), 16);
    expect_fsck_is_clean();
}

/* The product cannot be held, so the order waits; the money is not touched meanwhile. */
Test(poison, of_a_product_leaves_its_orders_pending_until_it_is_mended)
{
    indigestible(poison, cup, "bad");
    place(ana, "tok_ok", &(struct line){cup, 2, 0}, 1, order);
    parked_becomes("inventory", 1);
    get(ana, "/api/v1/orders/%s", order);
    cr_expect_str_eq(said(ana, "status"), "pending");
    place(luis, "tok_ok", &(struct line){hat, 1, 0}, 1, order);
    cr_expect_str_eq(how_it_ends(luis, order), "confirmed");
    indigestible(poison, NULL, NULL);
    cr_expect_eq(retry("inventory", "stock", cup), 0);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM orders WHERE status = 'confirmed'"), 2);
    expect_fsck_is_clean();
}

/* The saga's own key: what its provider answered waits, and the order goes on where it stood. */
/* Which message of the order comes first when the handlers are spoilt, and so in which of the groups its key
 * is parked, is a matter of moments. */
Test(poison, of_a_saga_stops_it_and_a_retry_confirms_the_order)
{
    place(ana, "tok_slow", &(struct line){cup, 2, 0}, 1, order);
    indigestible(poison, order, "bad");
    cr_assert(shop_sql_becomes(shop, 1, 0,
                               "SELECT (count(*) > 0)::int FROM dead_letter WHERE state = 'parked'"
                               " AND grp IN ('orders', 'payments')"));
    get(ana, "/api/v1/orders/%s", order);
    cr_expect_str_eq(said(ana, "status"), "pending");
    indigestible(poison, NULL, NULL);
    cr_expect_eq(shop_ctl(shop, NULL, (const char *const[]){"bus", "dlq", "retry", "--all", NULL}), 0);
    cr_expect_str_eq(how_it_ends(ana, order), "confirmed");
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM payment_test_charge WHERE state = 'captured'"), 1);
    expect_fsck_is_clean();
}

/* The handler dies of one cart; the process with it, and all groups. The supervisor starts it again until the
 * message is found. */
Test(poison, that_kills_the_process_is_found_and_parked)
{
    char command[ID_TEXT];

    indigestible(poison, ana->id, "segv");
    cr_assert_eq(post_later(ana, cup, 1, command), 202);
    cr_assert(shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM dead_letter WHERE reason = 'crash'"));
    cr_expect_leq(shop_crashed(shop), 6);
    cr_expect_eq(add_to_cart(luis, cup, 1), 201);
    cr_expect_eq(retry("cart", "carts", ana->id), 1);
    cr_assert(shop_is_ready(shop, 0));
    indigestible(poison, NULL, NULL);
    cr_expect_eq(retry("cart", "carts", ana->id), 0);
    cr_expect_eq(in_cart(ana, cup), 1);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM handler_attempt"), 0);
    expect_fsck_is_clean();
}

/* On the event lane nothing is pending anywhere: what is suspect is what stands behind the group's offset. */
Test(poison, among_events_that_kills_the_process_is_found_too)
{
    indigestible(poison, cup, "abort");
    place(ana, "tok_ok", &(struct line){cup, 2, 0}, 1, order);
    cr_assert(shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM dead_letter WHERE reason = 'crash'"));
    place(luis, "tok_ok", &(struct line){hat, 1, 0}, 1, order);
    cr_expect_str_eq(how_it_ends(luis, order), "confirmed");
    indigestible(poison, NULL, NULL);
    cr_expect_eq(retry("inventory", "stock", cup), 0);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM orders WHERE status = 'confirmed'"), 2);
    expect_fsck_is_clean();
}

Test(poison, that_hangs_its_handler_is_found_and_parked)
{
    indigestible(poison, ana->id, "hang");
    cr_assert_eq(post_later(ana, cup, 1, order), 202);
    cr_assert(shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM dead_letter WHERE reason = 'crash'"));
    cr_expect_eq(add_to_cart(luis, cup, 1), 201);
    indigestible(poison, NULL, NULL);
    cr_expect_eq(retry("cart", "carts", ana->id), 0);
    cr_expect_eq(in_cart(ana, cup), 1);
    expect_fsck_is_clean();
}
