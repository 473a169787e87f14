/* GET /events: what is heard, by whom, from where on, and that nothing is lost when everything falls over. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "tests/support/exposition.h"
#include "tests/support/listener.h"
#include "tests/support/measure.h"

enum { SOON_MS = 90000, ROUNDS = 12 };

static struct shop *shop;
static struct person *boss, *ana, *luis;
static char cup[ID_TEXT];

static void open_shop(void)
{
    static const char *const settings[] = {"RATE_LIMIT=off", "EVENT_STREAMS_PER_USER=3", NULL};

    signal(SIGPIPE, SIG_IGN); /* hiredis writes to servers that are gone */
    shop = shop_start(&(struct shop_options){.doors = 2, .settings = settings});
    boss = admin(shop);
    ana = customer(shop);
    luis = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 1000}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    leave(luis);
    shop_stop(shop);
}

TestSuite(events, .init = open_shop, .fini = close_shop, .timeout = 300);

static struct listener *listen_to(const struct person *person, int door, const char *query)
{
    return listener_start(person, &(struct listener_options){.door = door, .query = query});
}

static void buy(struct person *person, char ret_order[static ID_TEXT])
{
    place(person, "tok_ok", &(struct line){cup, 1, 0}, 1, ret_order);
    cr_expect_str_eq(how_it_ends(person, ret_order), "confirmed");
}

/* The first of that type among what was heard; -1: none. */
static int position_of(const struct listener *l, const char *type)
{
    for (int i = 0; i < listener_heard(l); i++)
        if (strcmp(listener_event(l, i)->type, type) == 0)
            return i;
    return -1;
}

/* Those of one key in their order; a cart and an order stand in partitions of their own, and nobody says
 * which of them is told first. */
Test(events, are_told_in_order_and_only_those_asked_for)
{
    char order[ID_TEXT];
    struct listener *l = listen_to(boss, 1, "?types=order.placed,order.confirmed.v1,cart.*");

    cr_assert_eq(listener_status(l), 200);
    buy(ana, order);
    cr_expect_eq(add_to_cart(luis, cup, 2), 201);
    cr_assert(listener_hears(l, 3, SOON_MS));
    listener_end(l);
    cr_expect_eq(listener_heard(l), 3);
    int cart = position_of(l, "cart.item-added.v1"), placed = position_of(l, "order.placed.v2");
    cr_assert(cart >= 0 && placed >= 0);
    cr_expect_str_eq(listener_event(l, placed)->key, order);
    cr_expect_lt(placed, position_of(l, "order.confirmed.v1"));
    cr_expect_str_eq(listener_wrong(l), "");
    listener_stop(l);
}

Test(events, a_customer_hears_of_himself_alone)
{
    char order[ID_TEXT], other[ID_TEXT];
    struct listener *l = listen_to(ana, 0, "?types=*"), *staff = listen_to(boss, 0, "");

    buy(luis, other);
    buy(ana, order);
    cr_expect_eq(add_to_cart(luis, cup, 1), 201);
    cr_expect_eq(add_to_cart(ana, cup, 1), 201);
    cr_assert(listener_hears(l, 3, SOON_MS));
    cr_assert(listener_hears(staff, 10, SOON_MS));
    listener_end(l);
    listener_end(staff);
    cr_expect_eq(listener_heard(l), 3);
    for (int i = 0; i < listener_heard(l); i++)
        cr_expect(strstr(listener_event(l, i)->data, ana->id) &&
                      !strstr(listener_event(l, i)->data, luis->id) &&
                      !strstr(listener_event(l, i)->data, "sealed:"),
                  "%s", listener_event(l, i)->data);
    for (int i = 0; i < listener_heard(staff); i++)
        cr_expect(!strstr(listener_event(staff, i)->data, "sealed:"), "%s", listener_event(staff, i)->data);
    listener_stop(l);
    listener_stop(staff);
}

Test(events, a_position_resumes_behind_it_and_zero_is_the_beginning)
{
    char first[ID_TEXT], second[ID_TEXT], id[4096];
    struct listener *l = listen_to(boss, 0, "?types=order.confirmed");

    buy(ana, first);
    cr_assert(listener_hears(l, 1, SOON_MS));
    listener_end(l);
    snprintf(id, sizeof(id), "%s", listener_last_id(l));
    listener_stop(l);
    buy(ana, second);
    l = listener_start(
        boss, &(struct listener_options){.door = 1, .query = "?types=order.confirmed", .last_id = id});
    cr_assert(listener_hears(l, 1, SOON_MS));
    listener_end(l);
    cr_expect_eq(listener_heard(l), 1);
    cr_expect_str_eq(listener_event(l, 0)->key, second);
    listener_stop(l);
    l = listen_to(boss, 0, "?from=0");
    cr_assert(listener_hears(l, (int)shop_sql(shop, "SELECT count(*) FROM event_log"), SOON_MS));
    cr_expect_eq(listener_missed(l, shop, "true"), 0);
    cr_expect_str_eq(listener_wrong(l), "");
    listener_stop(l);
}

static int ask_events(struct person *person, const char *method, const char *query, const char *last_id)
{
    char path[200], header[300];

    snprintf(path, sizeof(path), "/api/v1/events%s", query);
    snprintf(header, sizeof(header), "Last-Event-ID: %s\r\n", last_id);
    return ask(person, &(struct ask){.method = method,
                                     .path = path,
                                     .token = *person->access ? person->access : NULL,
                                     .more = *last_id ? header : NULL});
}

Test(events, what_cannot_be_is_refused)
{
    _cleanup_(leavep) struct person *nobody = visitor(shop, 0);
    struct listener *l[3];

    cr_expect_eq(ask_events(nobody, "GET", "", ""), 401);
    cr_expect_eq(ask_events(ana, "GET", "?types=user.*", ""), 403);
    cr_expect_eq(ask_events(ana, "GET", "?types=order.nothing", ""), 422);
    cr_expect_eq(ask_events(ana, "GET", "?token=x", ""), 422);
    cr_expect_eq(ask_events(ana, "POST", "", ""), 405);
    cr_expect_eq(ask_events(ana, "GET", "", "x"), 400);
    cr_expect_eq(ask_events(ana, "GET", "", "../../etc"), 400);
    cr_expect_eq(ask_events(ana, "GET", "", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 400);
    cr_expect_eq(ask_events(ana, "GET", "?from=%2527", ""), 400);
    for (int i = 0; i < 3; i++)
        l[i] = listen_to(ana, 0, "");
    cr_expect_leq(listener_connections(l[0]) + listener_connections(l[1]) + listener_connections(l[2]), 3);
    for (int i = 0; i < 3; i++)
        listener_stop(l[i]);
}

/* ---- who reads nothing ---- */

/* 24 MB of events; ASan keeps what was freed for a while. */
#if defined(__SANITIZE_ADDRESS__)
enum { MEMORY_MAX = 1 << 30 };
#else
enum { MEMORY_MAX = 16 << 20 };
#endif
enum { BIG_EVENTS = 400, BIG_BYTES = 60000, CUT_MS = 60000 };

/* Events as large as they may be, of Ana's cart. */
static void write_much(void)
{
    cr_assert_eq(
        shop_sql(shop,
                 "WITH h AS (INSERT INTO stream_head AS s (topic, part, seq, ms) VALUES ('carts', 0, %d, 1)"
                 "  ON CONFLICT (topic, part) DO UPDATE SET seq = s.seq + %d RETURNING seq, ms),"
                 " l AS (INSERT INTO event_log (topic, part, seq, ms, id, source, type, partitionkey, data)"
                 "  SELECT 'carts', 0, h.seq - %d + n, h.ms, gen_random_uuid(), 'cart', 'cart.cleared.v1',"
                 "   '%s', '{\"user_id\":\"%s\",\"pad\":\"' || repeat('x', %d) || '\"}'"
                 "  FROM h, generate_series(1, %d) n RETURNING 1) SELECT count(*) FROM l",
                 BIG_EVENTS, BIG_EVENTS, BIG_EVENTS, ana->id, ana->id, BIG_BYTES, BIG_EVENTS),
        BIG_EVENTS);
}

/* Of all doors: the page of one has the numbers of each. */
static int streams_on(const char *page)
{
    double n = 0;

    for (const char *at = page; (at = strstr(at, "\nevent_streams{")); at++)
        n += exposition_value(at + 1, "event_streams{");
    return (int)n;
}

static bool streams_become(int door, int n)
{
    _cleanup_(leavep) struct person *person = visitor(shop, door);
    int64_t until = shop_now_ms() + CUT_MS;

    do {
        get(person, "/metrics");
        if (streams_on(person->reply.text) == n)
            return true;
        shop_nap();
    } while (shop_now_ms() < until);
    return false;
}

Test(events, who_reads_nothing_is_cut_off_and_resumes)
{
    int64_t before = memory_resident(shop_pid(shop, PROGRAM_API, 0));
    struct listener *l = listener_start(
        ana, &(struct listener_options){.query = "?types=cart.*", .receive_buffer = 8192, .paused = true});

    write_much();
    cr_expect(streams_become(0, 1));
    cr_expect(streams_become(0, 0));
    cr_expect_lt(memory_resident(shop_pid(shop, PROGRAM_API, 0)) - before, MEMORY_MAX);
    listener_pause(l, false);
    cr_expect(listener_hears(l, BIG_EVENTS, SOON_MS));
    cr_expect_eq(listener_missed(l, shop, "type = 'cart.cleared.v1'"), 0);
    cr_expect_geq(listener_connections(l), 2);
    cr_expect_str_eq(listener_wrong(l), "");
    listener_stop(l);
}

/* ---- ends that are no failures ---- */

Test(events, a_door_that_closes_and_a_person_who_is_switched_off_end_a_stream)
{
    char path[80];
    struct listener *l = listen_to(ana, 0, ""), *there = listen_to(ana, 1, "");

    cr_expect_lt(shop_end(shop, PROGRAM_API, 0), 2000 + SOON_MS);
    shop_launch(shop, PROGRAM_API, 0);
    cr_assert(shop_is_ready(shop, 0));
    cr_expect_eq(add_to_cart(ana, cup, 1), 201);
    cr_expect(listener_hears(l, 1, SOON_MS) && listener_hears(there, 1, SOON_MS));
    cr_expect_eq(listener_connections(l), 2);
    cr_expect_eq(listener_connections(there), 1);
    snprintf(path, sizeof(path), "/api/v1/users/%s", ana->id);
    cr_expect_eq(ask(boss, &(struct ask){.method = "PUT",
                                         .path = path,
                                         .body = json_pack("{sb}", "is_active", 0),
                                         .wait_s = WAIT_S}),
                 200);
    cr_expect(streams_become(0, 0) && streams_become(1, 0));
    listener_stop(l);
    listener_stop(there);
}

Test(events, a_log_with_a_hole_is_not_jumped_over)
{
    for (int i = 0; i < 4; i++)
        cr_expect_eq(add_to_cart(ana, cup, 1), 201);
    cr_assert(shop_is_quiet(shop, 0));
    shop_sql(shop, "DELETE FROM event_log WHERE topic = 'carts' AND seq = 3 RETURNING seq");
    struct listener *l = listen_to(ana, 0, "?types=cart.*&from=0");

    cr_expect(listener_hears(l, 2, SOON_MS));
    while (listener_connections(l) < 2)
        shop_nap();
    listener_end(l);
    cr_expect_eq(listener_heard(l), 2, "what follows the hole is not told");
    listener_stop(l);
}

/* PostgreSQL came back from a backup. Whoever heard what it lost must be told: his position is none any more,
 * and what takes the lost numbers he would never hear of. */
Test(events, a_log_that_lost_its_end_ends_the_streams)
{
    for (int i = 0; i < 4; i++)
        cr_expect_eq(add_to_cart(ana, cup, 1), 201);
    struct listener *l = listen_to(ana, 0, "?types=cart.*&from=0");
    cr_assert(listener_hears(l, 4, SOON_MS));
    cr_assert(shop_is_quiet(shop, 0));
    shop_sql(shop,
             "WITH h AS (UPDATE stream_head h SET seq = 3, ms = l.ms FROM event_log l WHERE h.topic ="
             "  'carts' AND h.seq = 4 AND l.topic = 'carts' AND l.part = h.part AND l.seq = 3"
             "  RETURNING h.part, h.ms),"
             " o AS (UPDATE consumer_offset o SET seq = 3, ms = h.ms FROM h WHERE o.topic = 'carts' AND"
             "  o.part = h.part AND o.seq = 4)"
             " DELETE FROM event_log l USING h WHERE l.topic = 'carts' AND l.part = h.part AND l.seq = 4"
             " RETURNING l.seq");
    for (int64_t until = shop_now_ms() + SOON_MS; shop_now_ms() < until && listener_status(l) == 200;)
        shop_nap();
    cr_expect_eq(listener_status(l), 400);
    listener_end(l);
    cr_expect_eq(listener_heard(l), 4);
    listener_stop(l);
}

/* ---- falling over ---- */

static void fall_over(int round)
{
    enum program program = round % 3 == 0   ? PROGRAM_API
                           : round % 3 == 1 ? PROGRAM_CONSUMERS
                                            : PROGRAM_PRODUCERS;

    shop_kill(shop, program, 0);
    shop_launch(shop, program, 0);
    if (round % 4 == 1) {
        enum servers_which server = round % 8 == 1 ? SERVER_REDIS : SERVER_POSTGRES;
        servers_kill(shop_servers(shop), server);
        servers_restart(shop_servers(shop), server);
    }
    freeReplyObject(shop_redis(shop, "DEL evt:{carts.00} evt:{orders.01}"));
    cr_assert(shop_is_ready(shop, 0));
}

Test(events, nothing_is_lost_when_processes_servers_and_lanes_go)
{
    char order[ID_TEXT];
    struct listener *l[2] = {listen_to(boss, 0, "?types=order.*,cart.item-added"), listen_to(boss, 1, "")};

    for (int round = 0; round < ROUNDS; round++) {
        cr_expect_eq(add_to_cart(luis, cup, 1), 201);
        place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
        fall_over(round);
    }
    cr_expect(shop_is_quiet(shop, 0));
    cr_expect(
        listener_hears(l[0],
                       (int)shop_sql(shop, "SELECT count(*) FROM event_log WHERE topic = 'orders' OR type = "
                                           "'cart.item-added.v1'"),
                       SOON_MS));
    cr_expect_eq(listener_missed(l[0], shop, "topic = 'orders' OR type = 'cart.item-added.v1'"), 0);
    cr_expect_gt(listener_connections(l[0]), 1);
    for (int i = 0; i < 2; i++) {
        cr_expect_str_eq(listener_wrong(l[i]), "");
        l[i] = listener_stop(l[i]);
    }
}
