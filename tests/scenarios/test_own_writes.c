/* Whoever sends the position of his last result reads nothing older; a group that stands still is told. */
#include <criterion/criterion.h>

#include "tests/support/pairs.h"
#include "tests/support/verbs.h"

enum { PAIRS = 300, SEED = 7 };

static struct shop *shop;

static void open_shop(void)
{
    static const char *const settings[] = {"RATE_LIMIT=off", NULL};

    shop = shop_start(&(struct shop_options){.doors = 2, .settings = settings});
}

static void close_shop(void)
{
    shop = shop_stop(shop);
}

TestSuite(own_writes, .init = open_shop, .fini = close_shop, .timeout = 240);

Test(own_writes, are_never_missing_from_what_is_read_next)
{
    static struct pairs_result result;

    pairs_run(shop, PAIRS, SEED, &result);
    for (int kind = 0; kind < PAIR_KINDS; kind++)
        cr_expect_eq(result.past[kind], 0, "%s: %d of %d", pair_names[kind], result.past[kind],
                     result.made[kind]);
}

static int read_at(struct person *person, const char *path, const char *position)
{
    char header[1100];

    snprintf(header, sizeof(header), "X-Event-Position: %s\r\n", position);
    return ask(person, &(struct ask){.method = "GET", .path = path, .token = person->access, .more = header});
}

Test(own_writes, a_group_that_stands_still_is_told)
{
    _cleanup_(leavep) struct person *boss = admin(shop), *there = at_door(boss, 1);
    char cup[ID_TEXT], order[ID_TEXT], position[1024];

    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 10}, cup);
    snprintf(position, sizeof(position), "%s", boss->reply.position);
    cr_expect_eq(read_at(there, "/api/v1/products", position), 200);
    cr_expect_str_eq(there->reply.position, position);

    place(boss, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    snprintf(position, sizeof(position), "%s", boss->reply.position);
    cr_expect_str_eq(how_it_ends(boss, order), "confirmed");
    shop_kill(shop, PROGRAM_CONSUMERS, 0);
    shop_sql(shop, "UPDATE consumer_offset SET seq = 0 WHERE grp = 'reports' AND topic = 'orders'"
                   " RETURNING seq");
    cr_expect_eq(read_at(there, "/api/v1/sales/stats", position), 200);
    cr_expect_str_eq(there->reply.position, "behind");
    cr_expect_eq(read_at(there, "/api/v1/cart", position), 200, "the group of carts does not stand behind");
    cr_expect_str_eq(there->reply.position, position);
}

Test(own_writes, what_is_no_position_is_refused)
{
    static const char *const nonsense[] = {"x", "0", "AQAAAAAA", "behind, y", "*", "AQ,AQ,AQ"};
    _cleanup_(leavep) struct person *somebody = visitor(shop, 0);
    char header[200];

    for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
        snprintf(header, sizeof(header), "X-Event-Position: %s\r\n", nonsense[i]);
        cr_expect_eq(
            ask(somebody, &(struct ask){.method = "GET", .path = "/api/v1/products", .more = header}), 400,
            "%s", nonsense[i]);
    }
    cr_expect_eq(ask(somebody, &(struct ask){.method = "GET",
                                             .path = "/api/v1/products",
                                             .more = "X-Event-Position: behind\r\n"}),
                 200);
}
