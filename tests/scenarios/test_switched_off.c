/* Somebody who is switched off is out at every door before an eye can blink. */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

enum { BLINK_MS = 100, LOADED = 3 };

static struct shop *shop;
static struct person *boss, *ana[2];

static void open_shop(void)
{
    shop = shop_start(&(struct shop_options){.doors = 2});
    boss = admin(shop);
    ana[0] = customer(shop);
    ana[1] = at_door(ana[0], 1);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana[0]);
    leave(ana[1]);
    shop_stop(shop);
}

TestSuite(switched_off, .init = open_shop, .fini = close_shop, .timeout = 180);

static int switch_off(void)
{
    char path[100];

    snprintf(path, sizeof(path), "/api/v1/users/%s", ana[0]->id);
    return ask(boss, &(struct ask){.method = "PUT",
                                   .path = path,
                                   .body = json_pack("{sb}", "is_active", 0),
                                   .wait_s = WAIT_S});
}

/* How long after `since` that door says 401. */
static int64_t out_at(int door, int64_t since)
{
    while (get(ana[door], "/api/v1/cart") != 401 && shop_now_ms() - since < 30000)
        shop_nap();
    return shop_now_ms() - since;
}

Test(switched_off, is_out_at_both_doors)
{
    cr_assert_eq(get(ana[0], "/api/v1/cart"), 200);
    cr_assert_eq(get(ana[1], "/api/v1/cart"), 200);
    cr_assert_eq(switch_off(), 200);
    int64_t since = shop_now_ms();
    cr_expect_leq(out_at(0, since), BLINK_MS * LOADED);
    cr_expect_leq(out_at(1, since), BLINK_MS * LOADED);
    cr_expect_eq(log_in(ana[0]), 401);
}

Test(switched_off, is_out_also_while_redis_forgets_everything)
{
    freeReplyObject(shop_redis(shop, "FLUSHALL"));
    cr_assert_eq(get(ana[1], "/api/v1/cart"), 200);
    cr_assert_eq(switch_off(), 200);
    int64_t since = shop_now_ms();
    cr_expect_leq(out_at(1, since), BLINK_MS * LOADED);
    cr_expect_leq(out_at(0, since), BLINK_MS * LOADED);
    freeReplyObject(shop_redis(shop, "FLUSHALL"));
    cr_expect_eq(get(ana[0], "/api/v1/cart"), 401);
    cr_expect_eq(get(ana[1], "/api/v1/cart"), 401);
}
