/* Webhooks: endpoints out there are told of what happens, at least once, in order per key, signed. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/receiver.h"
#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static struct receiver *receiver;
static char cup[ID_TEXT], hook[ID_TEXT];

static void open_shop(void)
{
    static const char *const settings[] = {"WEBHOOK_ALLOW_PRIVATE=on", NULL};

    signal(SIGPIPE, SIG_IGN); /* servers die while they are spoken to */
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
    static const char *const story[] = {"order.place-requested.v1", "order.placed.v2",
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
    cr_expect_eq((int64_t)receiver_distinct(receiver, NULL),
                 shop_sql(shop, "SELECT count(*) FROM event_log WHERE type LIKE 'order.%%'"));
}

/* ---- who may, and where to ---- */

Test(webhooks, managers_only_and_no_mistake_is_taken)
{
    static const struct {
        const char *url, *types;
    } bad[] = {{"ftp://example.com/", "*"},
               {"https://user:pw@example.com/", "*"},
               {"https://example.com/", "oder.*"},
               {"https://example.com/", "order.*,cart.*"},
               {"not a url", "*"}};

    cr_expect_eq(post(ana, "/api/v1/webhooks", subscription(receiver_url(receiver), "*")), 403);
    cr_expect_eq(get(ana, "/api/v1/webhooks"), 403);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_eq(post(boss, "/api/v1/webhooks", subscription(bad[i].url, bad[i].types)), 422, "%s %s",
                     bad[i].url, bad[i].types);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM webhook"), 0);
}

static void promote(struct person *person)
{
    char path[100];

    snprintf(path, sizeof(path), "/api/v1/users/%s", person->id);
    cr_assert_eq(ask(boss, &(struct ask){.method = "PUT",
                                         .path = path,
                                         .body = json_pack("{s:s}", "role", "manager"),
                                         .wait_s = WAIT_S}),
                 200);
    cr_assert_eq(log_in(person), 200);
}

Test(webhooks, a_manager_is_told_what_a_manager_may_see)
{
    char order[ID_TEXT];

    promote(ana);
    cr_expect_eq(post(ana, "/api/v1/webhooks", subscription(receiver_url(receiver), "user.*")), 422);
    cr_assert_eq(post(ana, "/api/v1/webhooks", subscription(receiver_url(receiver), "*")), 201, "%s",
                 ana->reply.text);
    receiver_secret(receiver, said(ana, "secret"), true);
    buy(order);
    leave(customer(shop));
    cr_assert(receiver_gets(receiver, "order.confirmed.v1", 1));
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_gt(receiver_distinct(receiver, "order.placed.v2"), 0);
    cr_expect_eq(receiver_distinct(receiver, "user.registered.v1"), 0);
    cr_expect_eq(receiver_distinct(receiver, "payment.authorise-requested.v1"), 0);
    for (size_t i = 0; i < receiver_count(receiver); i++)
        cr_expect_null(strstr(receiver_at(receiver, i).body, "sealed:"));
}

/* ---- secrets ---- */

static int about(const char *method, const char *what, json_t *body)
{
    char path[200];

    snprintf(path, sizeof(path), "/api/v1/webhooks/%s%s", hook, what);
    return ask(boss, &(struct ask){.method = method, .path = path, .body = body, .wait_s = WAIT_S});
}

/* A ping goes to that endpoint alone, signed as it is at that moment. */
static struct received ping(struct receiver *to)
{
    size_t before = receiver_count(to);

    cr_assert_eq(about("POST", "/test", json_object()), 200, "%s", boss->reply.text);
    cr_assert(receiver_asked(to, before + 1));
    return receiver_at(to, before);
}

Test(webhooks, a_secret_is_replaced_without_a_gap)
{
    char first[80], second[80];

    subscribe(receiver, "product.*", hook);
    snprintf(first, sizeof(first), "%s", said(boss, "secret"));
    cr_expect_eq(about("GET", "/secret", NULL), 200);
    cr_expect_str_eq(said(boss, "secret"), first);
    cr_expect_str_eq(ping(receiver).type, "webhook.pinged.v1");

    cr_assert_eq(about("POST", "/rotate", json_object()), 200);
    snprintf(second, sizeof(second), "%s", said(boss, "secret"));
    cr_expect_str_neq(first, second);
    cr_expect_eq(ping(receiver).signatures, 2);
    receiver_secret(receiver, second, true);
    cr_expect(ping(receiver).good);

    cr_assert_eq(about("POST", "/rotate", json_pack("{s:i}", "overlap_s", 0)), 200);
    cr_expect_not(ping(receiver).good, "the second secret is over");
    cr_expect_eq(about("GET", "/secret", NULL), 200);
    receiver_secret(receiver, said(boss, "secret"), true);
    struct received last = ping(receiver);
    cr_expect(last.good);
    cr_expect_eq(last.signatures, 1);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM command WHERE result LIKE '%%whsec%%'"), 0);
    cr_expect_eq(
        shop_sql(shop,
                 "SELECT count(*) FROM event_log WHERE data LIKE '%%whsec%%' OR data LIKE '%%hook%%/hook%%'"),
        0);
}

/* ---- deliveries ---- */

Test(webhooks, a_delivery_is_looked_at_and_sent_once_more)
{
    char order[ID_TEXT], event[ID_TEXT], again[200];

    subscribe(receiver, "order.confirmed", hook);
    buy(order);
    cr_assert(receiver_gets(receiver, NULL, 1));
    cr_assert(
        shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'"));
    cr_assert_eq(about("GET", "/deliveries?state=delivered", NULL), 200);
    cr_expect_str_eq(said(boss, "data.0.type"), "order.confirmed.v1");
    cr_expect_str_eq(said(boss, "data.0.partitionkey"), order);
    cr_expect_eq(said_number(boss, "data.0.statuses.0"), 200);
    cr_expect_eq(said_number(boss, "pagination.total"), 1);
    snprintf(event, sizeof(event), "%s", said(boss, "data.0.event_id"));
    cr_expect(receiver_has(receiver, event), "one change, one webhook, one id");

    snprintf(again, sizeof(again), "/deliveries/%s/redeliver", said(boss, "data.0.id"));
    cr_assert_eq(about("POST", again, json_object()), 200, "%s", boss->reply.text);
    cr_assert(receiver_asked(receiver, 2));
    cr_expect_str_eq(receiver_at(receiver, 1).id, event);
    cr_expect_eq(about("POST", "/deliveries/00000000-0000-7000-8000-000000000000/redeliver", json_object()),
                 404);

    cr_expect_eq(about("DELETE", "", NULL), 204);
    cr_expect_eq(about("GET", "", NULL), 404);
}

/* An endpoint of an admin's, turned by a manager to an address of his own. */
Test(webhooks, what_a_manager_may_not_see_is_not_sent_again_to_him)
{
    char path[200], delivery[ID_TEXT];
    struct receiver *his = receiver_start();

    promote(ana);
    subscribe(receiver, "user.registered", hook);
    leave(customer(shop));
    cr_assert(receiver_gets(receiver, "user.registered.v1", 1));
    cr_assert(
        shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'"));
    cr_assert_eq(about("GET", "/deliveries", NULL), 200);
    snprintf(delivery, sizeof(delivery), "%s", said(boss, "data.0.id"));

    snprintf(path, sizeof(path), "/api/v1/webhooks/%s", hook);
    cr_assert_eq(ask(ana, &(struct ask){.method = "PUT",
                                        .path = path,
                                        .body = json_pack("{s:s}", "url", receiver_url(his)),
                                        .wait_s = WAIT_S}),
                 200, "%s", ana->reply.text);
    snprintf(path, sizeof(path), "/api/v1/webhooks/%s/deliveries/%s/redeliver", hook, delivery);
    cr_assert_eq(post(ana, path, json_object()), 200, "%s", ana->reply.text);
    cr_expect(shop_sql_becomes(shop, 1, 20000,
                               "SELECT count(*) FROM webhook_delivery WHERE state = 'failed' AND error = "
                               "'no-right'"));
    cr_expect_eq(receiver_distinct(his, "user.registered.v1"), 0);

    receiver_secret(his, "whsec_AAAA", true);
    snprintf(path, sizeof(path), "/api/v1/webhooks/%s/test", hook);
    cr_assert_eq(post(ana, path, json_object()), 200, "%s", ana->reply.text);
    cr_expect(receiver_gets(his, "webhook.pinged.v1", 1), "a ping tells nothing");
    receiver_stop(his);
}

Test(webhooks, one_that_is_gone_is_switched_off_and_may_come_back)
{
    char order[ID_TEXT];
    struct receiver *other = receiver_start();
    char others[ID_TEXT];

    subscribe(other, "webhook.disabled", others);
    subscribe(receiver, "order.*", hook);
    receiver_answers(receiver, 410, NULL, 0);
    buy(order);
    cr_assert(shop_sql_becomes(
        shop, 1, 0, "SELECT count(*) FROM webhook WHERE disabled_reason = 'gone' AND NOT is_active"));
    cr_assert(receiver_gets(other, "webhook.disabled.v1", 1));
    cr_expect_eq(about("POST", "/test", json_object()), 409);
    receiver_answers(receiver, 200, NULL, 0);
    cr_expect_eq(about("PUT", "", json_pack("{s:b, s:[s]}", "is_active", 1, "types", "order.placed")), 200);
    cr_assert(shop_is_quiet(shop, 0));
    size_t before = receiver_distinct(receiver, "order.placed.v2");
    buy(order);
    cr_assert(receiver_gets(receiver, "order.placed.v2", before + 1));
    receiver_stop(other);
}

/* ---- when things break ---- */

Test(webhooks, one_endpoint_delays_no_other)
{
    enum { ORDERS = 5 };
    struct receiver *slow = receiver_start(), *down = receiver_start();
    char order[ID_TEXT];

    subscribe(slow, "*", hook);
    subscribe(down, "*", hook);
    subscribe(receiver, "order.confirmed", hook);
    receiver_answers(slow, 200, NULL, 60000);
    receiver_answers(down, 0, NULL, 0);
    for (int i = 0; i < ORDERS; i++)
        buy(order);
    cr_assert(receiver_gets(receiver, "order.confirmed.v1", ORDERS));
    cr_expect_eq(receiver_accepted(receiver, NULL), ORDERS, "none of them had to be repeated");
    receiver_stop(slow);
    receiver_stop(down);
}

/* The first time each id is seen, its key's events come in the order of the log. */
static void expect_order(struct receiver *of)
{
    for (size_t i = 0; i < receiver_count(of); i++) {
        struct received r = receiver_at(of, i);
        int64_t seq = shop_sql(shop, "SELECT seq FROM event_log WHERE id = '%s'", r.id);
        bool first = true;
        for (size_t k = 0; k < i && first; k++)
            first = strcmp(receiver_at(of, k).id, r.id) != 0;
        for (size_t k = 0; k < i && first; k++) {
            struct received before = receiver_at(of, k);
            if (strcmp(before.key, r.key) == 0)
                cr_expect_lt(shop_sql(shop, "SELECT seq FROM event_log WHERE id = '%s'", before.id), seq,
                             "%s", r.type);
        }
    }
}

Test(webhooks, nothing_is_missed_whatever_is_killed)
{
    enum { ORDERS = 12 };
    char orders[ORDERS][ID_TEXT];

    subscribe(receiver, "order.*", hook);
    for (int i = 0; i < ORDERS; i++) {
        buy(orders[i]);
        if (i % 3 == 0) {
            shop_kill(shop, PROGRAM_PRODUCERS, i / 3 % 2);
            shop_launch(shop, PROGRAM_PRODUCERS, i / 3 % 2);
        }
        if (i == 4)
            freeReplyObject(shop_redis(shop, "DEL evt:{orders.00} evt:{orders.01} evt:{orders.02}"));
        if (i == 6) {
            servers_kill(shop_servers(shop), SERVER_POSTGRES);
            servers_restart(shop_servers(shop), SERVER_POSTGRES);
            cr_assert(shop_is_ready(shop, 0));
        }
        if (i == 9) {
            servers_kill(shop_servers(shop), SERVER_REDIS);
            servers_restart(shop_servers(shop), SERVER_REDIS);
            cr_assert(shop_is_ready(shop, 0));
        }
    }
    for (int i = 0; i < ORDERS; i++)
        cr_assert_str_eq(how_it_ends(ana, orders[i]), "confirmed");
    cr_assert(shop_is_quiet(shop, 0));
    size_t told = (size_t)shop_sql(shop, "SELECT count(*) FROM event_log WHERE topic = 'orders'");
    cr_assert(receiver_gets(receiver, NULL, told), "%zu of %zu", receiver_distinct(receiver, NULL), told);
    cr_expect_eq(receiver_distinct(receiver, NULL), told);
    cr_expect_eq(receiver_forged(receiver), 0);
    expect_order(receiver);
}
