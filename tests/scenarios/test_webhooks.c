/* Webhooks: endpoints out there are told of what happens, at least once, in order per key, signed. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/receiver.h"
#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static struct receiver *receiver;
static char cup[ID_TEXT], hook[ID_TEXT];

static void open_shop(void)
{
    static const char *const settings[] = {"WEBHOOK_ALLOW_PRIVATE=on", NULL};

    shop = shop_start(&(struct shop_options){.settings = settings, .producers = 2});
    boss = admin(shop);
    ana = customer(shop);
    receiver = receiver_start();
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 1000}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    receiver_stop(receiver);
    shop_stop(shop);
}

TestSuite(webhooks, .init = open_shop, .fini = close_shop, .timeout = 240);

static json_t *subscription(const char *url, const char *types)
{
    return json_pack("{s:s, s:[s]}", "url", url, "types", types);
}

/* 201 or the test ends. */
static void subscribe(struct receiver *to, const char *types, char ret_hook[static ID_TEXT])
{
    cr_assert_eq(post(boss, "/api/v1/webhooks", subscription(receiver_url(to), types)), 201, "%s",
                 boss->reply.text);
    snprintf(ret_hook, ID_TEXT, "%s", said(boss, "id"));
    receiver_secret(to, said(boss, "secret"), true);
}

static void buy(char ret_order[static ID_TEXT])
{
    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, ret_order);
}

Test(webhooks, an_order_is_told_in_its_order_and_signed)
{
    static const char *const story[] = {"order.place-requested.v1", "order.placed.v1",
                                        "order.stock-held.v1",      "order.payment-authorised.v1",
                                        "order.stock-committed.v1", "order.payment-captured.v1",
                                        "order.confirmed.v1"};
    char order[ID_TEXT];
    size_t n = sizeof(story) / sizeof(*story);

    subscribe(receiver, "order.*", hook);
    buy(order);
    cr_assert(receiver_gets(receiver, NULL, n - 1));
    cr_assert(receiver_gets(receiver, "order.confirmed.v1", 1));
    size_t k = 0;
    for (size_t i = 0; i < receiver_count(receiver); i++) {
        struct received r = receiver_at(receiver, i);
        cr_expect_str_eq(r.key, order);
        for (; k < n && strcmp(story[k], r.type) != 0; k++)
            ;
        cr_expect_lt(k, n, "%s does not come here", r.type);
    }
    cr_expect_eq(receiver_forged(receiver), 0);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(receiver_distinct(receiver, NULL),
                 shop_sql(shop, "SELECT count(*) FROM event_log WHERE type LIKE 'order.%%'"));
}
