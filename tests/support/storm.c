/* See storm.h. */
#include "tests/support/storm.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

enum { QUIET_MS = 300000, ORDER_EACH = 4 };

static const struct storm *storm;
static atomic_bool over;
static atomic_int sent;

/* ---- people ---- */

static void shop_for_ever(int i, void *unused)
{
    struct person *person = storm->people[i];
    struct line line = {storm->product, 1, 0};

    (void)unused;
    for (int n = 0; !over; n++) {
        bool order = n % ORDER_EACH == 0;
        json_t *body = order ? order_body("tok_ok", &line, 1)
                             : json_pack("{sssi}", "product_id", storm->product, "quantity", 1);

        try_to(person, &(struct ask){.method = "POST",
                                     .path = order ? "/api/v1/orders" : "/api/v1/cart/items",
                                     .body = body,
                                     .token = person->access,
                                     .wait_s = 5,
                                     .timeout_ms = 8000});
        sent += person->reply.status == 201;
        if (person->reply.status == 0 || person->reply.status == 503)
            shop_nap();
    }
}

static void *let_them(void *unused)
{
    all_at_once(storm->n_people, shop_for_ever, NULL);
    return unused;
}

/* ---- what falls over ---- */

static void restart_program(int program)
{
    shop_kill(storm->shop, (enum program)program, 0);
    shop_launch(storm->shop, (enum program)program, 0);
}

static void restart_server(int server)
{
    servers_kill(shop_servers(storm->shop), (enum servers_which)server);
    servers_restart(shop_servers(storm->shop), (enum servers_which)server);
}

static void delete_lanes(int turn)
{
    int part = turn % 3;
    freeReplyObject(shop_redis(storm->shop, "DEL evt:{carts.%02d} evt:{orders.%02d} evt:{payments.%02d}",
                               part, part, part));
}

static void flush(int unused)
{
    (void)unused;
    freeReplyObject(shop_redis(storm->shop, "FLUSHALL"));
}

static void test_falls(int turn)
{
    if (storm->fall)
        storm->fall(turn);
}

static const struct {
    void (*make)(int argument);
    int argument; /* -1: the turn */
} falls[] = {
    {restart_program, PROGRAM_API},
    {test_falls, -1},
    {restart_program, PROGRAM_CONSUMERS},
    {delete_lanes, -1},
    {restart_program, PROGRAM_PRODUCERS},
    {restart_server, SERVER_REDIS},
    {test_falls, -1},
    {restart_server, SERVER_POSTGRES},
    {flush, -1},
};
enum { FALLS = sizeof(falls) / sizeof(*falls) };

static void fall_over(int step)
{
    int turn = step / FALLS, argument = falls[step % FALLS].argument;
    falls[step % FALLS].make(argument < 0 ? turn : argument);
}

static bool get_over_it(int64_t until)
{
    while (shop_now_ms() < until) {
        if (storm->meanwhile)
            storm->meanwhile((int)(until - shop_now_ms()));
        shop_nap();
    }
    return shop_is_ready(storm->shop, 0);
}

void storm_run(const struct storm *what, int64_t for_ms, struct storm_result *ret)
{
    int64_t end = shop_now_ms() + for_ms;
    pthread_t thread;

    storm = what;
    over = false;
    sent = 0;
    *ret = (struct storm_result){.calm = true};
    int failed_to = pthread_create(&thread, NULL, let_them, NULL);
    assert(!failed_to);
    for (; shop_now_ms() < end; ret->falls++) {
        int64_t next = shop_now_ms() + storm->step_ms;
        fall_over(ret->falls);
        ret->calm &= get_over_it(next);
    }
    over = true;
    pthread_join(thread, NULL);
    ret->sent = sent;
    ret->calm &= shop_is_quiet(storm->shop, QUIET_MS);
}
