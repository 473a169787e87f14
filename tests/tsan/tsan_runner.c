/*
 * What the threads of daydream-consumers share: two members of the cart group and one of inventory in one
 * process, under load, with partitions changing hands. A plain program, since Criterion and ThreadSanitizer
 * do not go together.
 */
#include <stdio.h>

#include "bus/base/clock.h"
#include "consumers/worker.h"
#include "tests/support/runner.h"

extern const struct group inventory_group;

enum { USERS = 20, COMMANDS = 2000 };

static void load(struct bus *bus, struct uuid product, int n)
{
    static struct uuid users[USERS];
    for (int i = 0; i < USERS; i++)
        users[i] = uuid_is_nil(users[i]) ? uuid_v7(clock_ms()) : users[i];
    for (int i = 0; i < n; i++)
        runner_publish(bus, runner_add_item(bus, users[i % USERS], product, 1));
}

int main(void)
{
    struct bus bus = runner_bus(4);
    struct uuid product = runner_product(&bus, true);
    struct runner *one = runner_start(&cart_group, "one"), *stock = runner_start(&inventory_group, "one");
    load(&bus, product, COMMANDS / 2);
    struct runner *two = runner_start(&cart_group, "two");
    load(&bus, product, COMMANDS / 2);
    runner_stop(one);
    runner_expect(&bus, "SELECT coalesce(sum(quantity), 0)::bigint FROM cart_line", COMMANDS);
    runner_stop(two);
    runner_stop(stock);
    bus_stop(&bus);
    puts("1 passed, 0 failed");
    return 0;
}
