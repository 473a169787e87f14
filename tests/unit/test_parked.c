/* Parked keys and how operators bring them back: the cart group in this process, daydreamctl beside it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/support/ctl.h"
#include "tests/support/runner.h"

/* What the handlers cannot digest from now on; NULL: they are mended. The workers of this process read the
 * file at each call. */
static void indigestible(struct bus *s, struct str key, const char *action)
{
    struct str path = arena_printf(s->arena, "%s/poison", servers_dir(s->servers));
    struct str next = arena_printf(s->arena, "%s.next", path.p);
    FILE *f = fopen(next.p, "we");
    cr_assert(f);
    if (action)
        fprintf(f, "%.*s %s\n", STR_ARG(key), action);
    cr_assert_eq(fclose(f), 0);
    cr_assert_eq(rename(next.p, path.p), 0);
    setenv("FAULT_POISON", path.p, 1);
}

static const char *key_of(struct bus *s, struct uuid user)
{
    return uuid_str(user, s->arena).p;
}

Test(parked, a_retry_handles_the_whole_sequence_in_order_and_frees_the_key)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), other = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    indigestible(&s, uuid_str(user, s.arena), "bad");
    struct runner *r = runner_start(&cart_group, "one");
    for (int i = 1; i <= 5; i++)
        runner_publish(&s, runner_add_item(&s, user, shirt, i));
    runner_publish(&s, runner_add_item(&s, other, shirt, 1));
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'parked'", 5);
    runner_expect(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'", 1);
    ctl_expect(&s, 0, "1 keys, 5 messages wait", "bus dlq ls --group cart");
    ctl_expect(&s, 1, "5 stay: poison", "bus dlq retry cart carts %s", key_of(&s, user));
    cr_expect_eq(bus_query(&s, "SELECT max(attempts)::bigint FROM dead_letter"), 2);
    indigestible(&s, STR_NONE, NULL);
    ctl_expect(&s, 0, "5 handled", "bus dlq retry cart carts %s", key_of(&s, user));
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM command WHERE status = 'succeeded'"), 6);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter WHERE state = 'handled'"), 5);
    cr_expect_eq(bus_query(&s,
                           "SELECT count(*) FROM (SELECT (data::json->>'added')::bigint AS added,"
                           " row_number() OVER (ORDER BY seq) AS n FROM event_log WHERE partitionkey ="
                           " '%s') x WHERE added <> n",
                           key_of(&s, user)),
                 0);
    runner_publish(&s, runner_add_item(&s, user, shirt, 6));
    runner_expect(&s, "SELECT max(quantity) FROM cart_line", 21);
    cr_expect_eq(bus_query(&s, "SELECT count(*) FROM dead_letter"), 5);
    ctl_expect(&s, 0, "0 keys", "bus dlq ls");
    ctl_expect(&s, 0, "0 findings", "bus fsck");
    runner_stop(r);
    bus_stop(&s);
}
