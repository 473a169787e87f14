/*
 * Four people shop, and every few seconds something falls over: a door, the consumers, the producers, Redis,
 * PostgreSQL by kill -9, or event lanes are deleted. Meanwhile four follow: an employee's two streams at two
 * doors, one of everything that reads slowly, and a customer his own. Ends with 1 unless each heard every
 * event he should at least once, in the order of its key, none twice on a connection, no block in two chunks.
 *
 * follow [--minutes N]
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/listener.h"

enum { MINUTES = 10, PEOPLE = 4, STEP_MS = 4000, SLOW_MS = 1500, CATCH_UP_MS = 120000, STEPS = 7 };

static struct shop *shop;
static struct person *boss, *people[PEOPLE];
static char cup[ID_TEXT];
static atomic_bool over;
static atomic_int sent;

/* ---- people who shop, whatever happens ---- */

static void go_shopping(int i, void *unused)
{
    (void)unused;
    for (int n = 0; !over; n++) {
        struct line line = {cup, 1, 0};
        json_t *body =
            n % 4 ? json_pack("{sssi}", "product_id", cup, "quantity", 1) : order_body("tok_ok", &line, 1);

        try_to(people[i], &(struct ask){.method = "POST",
                                        .path = n % 4 ? "/api/v1/cart/items" : "/api/v1/orders",
                                        .body = body,
                                        .token = people[i]->access,
                                        .wait_s = 5,
                                        .timeout_ms = 8000});
        sent += people[i]->reply.status == 201;
        if (people[i]->reply.status == 0 || people[i]->reply.status == 503)
            shop_nap();
    }
}

static void *let_them(void *unused)
{
    all_at_once(PEOPLE, go_shopping, NULL);
    return unused;
}

/* ---- what falls over ---- */

static void restart(enum servers_which server)
{
    servers_kill(shop_servers(shop), server);
    servers_restart(shop_servers(shop), server);
}

static void fall_over(int step)
{
    if (step < PROGRAMS) {
        shop_kill(shop, (enum program)step, 0);
        shop_launch(shop, (enum program)step, 0);
    } else if (step == PROGRAMS) {
        restart(SERVER_REDIS);
    } else if (step == PROGRAMS + 1) {
        restart(SERVER_POSTGRES);
    } else if (step == PROGRAMS + 2) {
        freeReplyObject(shop_redis(shop, "DEL evt:{carts.00} evt:{orders.01} evt:{payments.02}"));
    } else {
        freeReplyObject(shop_redis(shop, "FLUSHALL"));
    }
}

/* ---- who follows ---- */

static struct follower {
    const char *name, *query, *where;
    int door;
    bool slow;
    struct listener *listener;
} followers[] = {
    {"orders, cart.item-added", "?types=order.*,cart.item-added",
     "topic = 'orders' OR type = 'cart.item-added.v1'", 0, false, NULL},
    {"all", "", "true", 1, false, NULL},
    {"all, slowly", "", "true", 0, true, NULL},
    {"a customer's own", "", NULL, 1, false, NULL},
};
enum { FOLLOWERS = sizeof(followers) / sizeof(*followers) };

static void follow(void)
{
    for (int i = 0; i < FOLLOWERS; i++)
        followers[i].listener =
            listener_start(followers[i].where ? boss : people[0],
                           &(struct listener_options){.door = followers[i].door,
                                                      .query = followers[i].query,
                                                      .receive_buffer = followers[i].slow ? 8192 : 0});
}

static int judge(struct follower *f, int64_t since)
{
    char where[300];
    int wanted;

    if (f->where)
        snprintf(where, sizeof(where), "ms > %lld AND (%s)", (long long)since, f->where);
    else
        snprintf(where, sizeof(where),
                 "ms > %lld AND data LIKE '%%\"user_id\":\"%s\"%%' AND (topic = 'carts' OR type IN"
                 " ('order.placed.v2', 'order.confirmed.v1', 'order.cancelled.v1'))",
                 (long long)since, people[0]->id);
    wanted = (int)shop_sql(shop, "SELECT count(*) FROM event_log WHERE %s", where);
    listener_hears(f->listener, wanted, CATCH_UP_MS);
    int missed = listener_missed(f->listener, shop, where);
    printf("%-24s events %7d, heard %7d, missed or out of order %d, connections %d, wrong: %s\n", f->name,
           wanted, listener_heard(f->listener), missed, listener_connections(f->listener),
           *listener_wrong(f->listener) ? listener_wrong(f->listener) : "nothing");
    return missed || *listener_wrong(f->listener);
}

int main(int argc, char **argv)
{
    static const char *const settings[] = {"RATE_LIMIT=off", "JWT_LEEWAY_S=3600", NULL};
    int minutes = argc == 3 && strcmp(argv[1], "--minutes") == 0 ? atoi(argv[2]) : MINUTES, bad = 0;
    pthread_t thread;

    signal(SIGPIPE, SIG_IGN); /* hiredis writes to servers that are gone */
    shop = shop_start(&(struct shop_options){.doors = 2, .settings = settings});
    boss = admin(shop);
    for (int i = 0; i < PEOPLE; i++)
        people[i] = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 1000000}, cup);
    shop_is_quiet(shop, 0);
    int64_t since = shop_sql(shop, "SELECT max(ms) FROM stream_head"), end = shop_now_ms() + minutes * 60000;
    follow();
    pthread_create(&thread, NULL, let_them, NULL);
    for (int step = 0; shop_now_ms() < end; step++) {
        int64_t next = shop_now_ms() + STEP_MS;
        fall_over(step % STEPS);
        while (shop_now_ms() < next) {
            listener_pause(followers[2].listener, shop_now_ms() < next - SLOW_MS);
            shop_nap();
        }
        bad += !shop_is_ready(shop, 0);
    }
    over = true;
    pthread_join(thread, NULL);
    listener_pause(followers[2].listener, false);
    bad += !shop_is_quiet(shop, CATCH_UP_MS);
    for (int i = 0; i < FOLLOWERS; i++)
        bad += judge(&followers[i], since);
    printf("%d minutes, %d commands answered 201\n", minutes, (int)sent);
    shop_stop(shop);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
