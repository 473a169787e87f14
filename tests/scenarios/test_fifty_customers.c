/*
 * Fifty customers buy what the shop has while every process and both servers are killed once. The products
 * are real data beside the project; without them there is nothing to tell.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/support/verbs.h"

enum { CUSTOMERS = 50, ORDERS_EACH = 3, PRODUCTS = 194 };

static const char catalogue[] = DAYDREAM_SOURCE_DIR "/../shared/data/dummyjson-products.json";

static struct shop *shop;
static struct person *people[CUSTOMERS];
static char products[PRODUCTS][ID_TEXT], orders[CUSTOMERS][ORDERS_EACH][ID_TEXT];

static void arrive(int i, void *data)
{
    (void)data;
    people[i] = customer(shop);
}

/* Everybody's luck is a seed, so that a failure can be met again. */
static struct line choose(unsigned *seed)
{
    int product = rand_r(seed) % PRODUCTS;

    return (struct line){products[product], 1 + rand_r(seed) % 3, 0};
}

/* Sends until somebody answers: with the same key that is one order, however often the shop is killed
 * meanwhile. */
static void order_whatever_happens(int i, int n, unsigned *seed)
{
    struct line lines[] = {choose(seed), choose(seed), choose(seed)};
    int64_t deadline = shop_now_ms() + 120000;
    char key[60];

    snprintf(key, sizeof(key), "cliente-%d-pedido-%d", i, n);
    do {
        try_to(people[i], &(struct ask){.method = "POST",
                                        .path = "/api/v1/orders",
                                        .key = key,
                                        .wait_s = WAIT_S,
                                        .body = order_body("tok_ok", lines, 3),
                                        .timeout_ms = 25000});
        if (people[i]->reply.status != 201)
            shop_nap();
    } while (people[i]->reply.status != 201 && shop_now_ms() < deadline);
    if (people[i]->reply.status != 201)
        shop_die(shop, "%s: %d %s", key, people[i]->reply.status, people[i]->reply.text);
    snprintf(orders[i][n], ID_TEXT, "%s", said(people[i], "id"));
}

static void shop_for_a_while(int i, void *data)
{
    unsigned seed = 4711u + (unsigned)i;

    (void)data;
    for (int n = 0; n < ORDERS_EACH; n++)
        order_whatever_happens(i, n, &seed);
}

static void kill_server(enum servers_which which)
{
    servers_kill(shop_servers(shop), which);
    servers_restart(shop_servers(shop), which);
}

/* The next blow falls when that many more orders were placed, so that all of them fall into work. */
static void await_orders(int64_t n)
{
    while (shop_sql(shop, "SELECT count(*) FROM orders") < n)
        shop_nap();
}

/* On the main thread: servers that are started again die with the thread that started them. */
static void destroy(void)
{
    enum { STEP = CUSTOMERS * ORDERS_EACH / 7 };

    for (int i = 0; i < PROGRAMS; i++) {
        await_orders((i + 1) * STEP);
        shop_kill(shop, (enum program)i, 0);
        shop_launch(shop, (enum program)i, 0);
    }
    await_orders(4 * STEP);
    kill_server(SERVER_REDIS);
    await_orders(5 * STEP);
    kill_server(SERVER_POSTGRES);
}

static void *let_them_in(void *unused)
{
    all_at_once(CUSTOMERS, shop_for_a_while, NULL);
    return unused;
}

static void read_products(struct person *person)
{
    int n = 0;

    for (int page = 1; n < PRODUCTS; page++) {
        size_t i;
        json_t *product;

        get(person, "/api/v1/products?limit=100&page=%d", page);
        cr_assert_gt(json_array_size(reply_at(&person->reply, "data")), 0, "%s", person->reply.text);
        json_array_foreach(reply_at(&person->reply, "data"), i, product)
            snprintf(products[n++], ID_TEXT, "%s", json_string_value(json_object_get(product, "id")));
    }
}

Test(fifty_customers, lose_nothing_when_everything_is_killed_once, .timeout = 400)
{
    static const char *const settings[] = {"DEFAULT_CURRENCY=USD", NULL};
    pthread_t crowd;
    int confirmed = 0;

    if (access(catalogue, R_OK) != 0)
        cr_skip_test("no %s", catalogue);
    shop = shop_start(&(struct shop_options){.settings = settings});
    cr_assert_eq(shop_ctl(shop, NULL, (const char *const[]){"import", catalogue, "--currency", "USD", NULL}),
                 0);
    all_at_once(CUSTOMERS, arrive, NULL);
    cr_assert(shop_sql_becomes(shop, PRODUCTS, 0, "SELECT count(*) FROM product"));
    read_products(people[0]);
    shop_supervise(shop, 0);
    pthread_create(&crowd, NULL, let_them_in, NULL);
    destroy();
    pthread_join(crowd, NULL);

    if (!shop_is_ready(shop, 0) || !shop_is_quiet(shop, 0))
        shop_die(shop, "the shop does not come to rest");
    for (int i = 0; i < CUSTOMERS; i++)
        for (int n = 0; n < ORDERS_EACH; n++)
            confirmed += strcmp(how_it_ends(people[i], orders[i][n]), "confirmed") == 0;
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM orders"), CUSTOMERS * ORDERS_EACH, "no order twice");
    cr_expect_gt(confirmed, CUSTOMERS);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM payment_test_charge WHERE state = 'captured'"),
                 confirmed);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM stock WHERE reserved <> 0"), 0);
    cr_expect_eq(
        shop_sql(shop, "SELECT count(*) FROM stock s WHERE quantity <> (SELECT coalesce(sum(m.quantity), 0)"
                       " FROM stock_movement m WHERE m.product_id = s.product_id)"),
        0);
    cr_expect_eq(shop_ctl(shop, NULL, (const char *const[]){"bus", "fsck", NULL}), 0,
                 "bus fsck is not clean");
    for (int i = 0; i < CUSTOMERS; i++)
        leave(people[i]);
    shop_stop(shop);
}
