/* The first order of a new shop, seen from outside, and then from behind the counter: the streams tell the
 * story, the groups are level, nothing is left open. */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 5}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(first_order, .init = open_shop, .fini = close_shop, .timeout = 240);

/* The value of a field of a stream entry or of a reply of XINFO. */
static const redisReply *member(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1];
    return NULL;
}

/* The types of every event under that key in a stream, each followed by a space. */
static char *story_of(const char *topic, const char *key)
{
    int part = (int)shop_sql(shop, "SELECT part FROM event_log WHERE topic = '%s' AND partitionkey = '%s'",
                             topic, key);
    redisReply *r = shop_redis(shop, "XRANGE evt:{%s.%02d} - +", topic, part);
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    for (size_t i = 0; i < r->elements; i++) {
        const redisReply *fields = r->element[i]->element[1];

        if (strcmp(member(fields, "partitionkey")->str, key) == 0)
            fprintf(f, "%s ", member(fields, "type")->str);
    }
    fclose(f);
    freeReplyObject(r);
    return text;
}

Test(first_order, is_confirmed_and_leaves_nothing_open)
{
    char order[ID_TEXT];
    int quantity, reserved;

    place(ana, "tok_ok", &(struct line){cup, 2, 0}, 1, order);
    cr_expect_str_eq(said(ana, "status"), "pending");
    cr_expect_eq(said_number(ana, "total_amount"), 25980);
    cr_expect_eq(said_number(ana, "tax_amount"), 4148, "19 %% IVA are included");
    cr_expect_str_eq(said(ana, "currency"), "CLP");

    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    cr_expect_str_eq(said(ana, "payment_status"), "paid");
    look_at_stock(boss, cup, &quantity, &reserved);
    cr_expect_eq(quantity, 3);
    cr_expect_eq(reserved, 0);
    cr_assert(shop_is_quiet(shop, 0));
    cr_expect_eq(shop_sql(shop, "SELECT sum(amount) FROM payment_test_charge WHERE state = 'captured'"),
                 25980);
}

Test(first_order, is_told_by_the_streams)
{
    char order[ID_TEXT];

    cr_assert(shop_is_quiet(shop, 0), "the opening of stock is told before the story begins");
    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    how_it_ends(ana, order);
    cr_assert(shop_is_quiet(shop, 0));
    _cleanup_(freep) char *of_order = story_of("orders", order), *of_stock = story_of("stock", cup);
    cr_expect_str_eq(of_order, "order.placed.v2 order.stock-held.v1 order.payment-authorised.v1 "
                               "order.stock-committed.v1 order.payment-captured.v1 order.confirmed.v1 ");
    cr_expect_str_eq(of_stock, "stock.opened.v1 stock.changed.v1 stock.hold-requested.v1 stock.changed.v1 "
                               "stock.commit-requested.v1 stock.changed.v1 ");
}

/* How many groups XINFO GROUPS shows, or -1 when one of them is not level. */
static int level_groups(const char *topic, int part)
{
    redisReply *r = shop_redis(shop, "XINFO GROUPS evt:{%s.%02d}", topic, part);
    int n = r->type == REDIS_REPLY_ARRAY ? (int)r->elements : 0;

    for (int i = 0; i < n; i++) {
        const redisReply *lag = member(r->element[i], "lag");

        if (lag->type != REDIS_REPLY_INTEGER || lag->integer != 0) {
            n = -1;
            break;
        }
    }
    freeReplyObject(r);
    return n;
}

Test(first_order, leaves_every_group_level_for_redis_cli)
{
    char order[ID_TEXT];
    int64_t deadline = shop_now_ms() + 10000;
    int part, n;

    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    how_it_ends(ana, order);
    cr_assert(shop_is_quiet(shop, 0));
    part = (int)shop_sql(shop, "SELECT part FROM event_log WHERE topic = 'orders' AND partitionkey = '%s'",
                         order);
    while ((n = level_groups("orders", part)) <= 0 && shop_now_ms() < deadline)
        shop_nap();
    cr_expect_gt(n, 0);
    cr_expect_eq(shop_redis_number(shop, "XLEN cmd:{orders.%02d}", part), 0, "a lane holds open work only");
}
