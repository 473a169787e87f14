/*
 * Orders from the command to the end: the groups cart, inventory, orders and payments with their runner,
 * timers, jobs and the relay, in this process, against a private Redis and PostgreSQL.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/cmdid.h"
#include "bus/lane.h"
#include "consumers/worker.h"
#include "producers/jobs.h"
#include "producers/timers.h"
#include "tests/support/bus.h"

extern const struct group inventory_group, cart_group, orders_group, payments_group;
static const struct group *const ran[] = {&inventory_group, &cart_group, &orders_group, &payments_group};
enum { GROUPS = sizeof(ran) / sizeof(*ran) };

static struct bus bus;
static struct bell told;
static struct jobs *jobs;
static struct seal_key key, person_key;
static struct uuid person;
static atomic_bool over;
static struct worker *workers[GROUPS];
static pthread_t threads[GROUPS + 1];

static void *run_worker(void *worker)
{
    worker_run(worker);
    return NULL;
}

/* What daydream-producers does, in one thread. */
static void *run_producer(void *unused)
{
    (void)unused;
    struct pg *pg = bus_pg(&bus);
    struct redis *redis = bus_redis(&bus);
    struct relay *relay = relay_new(redis, pg);
    struct arena *arena = arena_new(64 << 20);
    while (!atomic_load(&over)) {
        size_t fired;
        bus_must(timers_fire(pg, arena, &fired));
        bus_must(relay_sweep(relay, NULL));
        arena_reset(arena);
        bell_wait(&told, 20);
    }
    arena_free(arena);
    relay_free(relay);
    redis_close(redis);
    pg_close(pg);
    return NULL;
}

static void make_person(void)
{
    struct seal_key master;
    uint8_t wrapped[SEAL_WRAPPED];
    person = uuid_v7(clock_ms());
    person_key = seal_key_random();
    bus_must(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &master));
    seal_wrap(&master, person, &person_key, wrapped);
    struct str text = hex((struct str){(const char *)wrapped, sizeof(wrapped)}, bus.arena);
    bus_sql(&bus, "INSERT INTO person_key VALUES ('%s', '\\x%s', 0)", uuid_str(person, bus.arena).p, text.p);
}

static void start(void)
{
    setenv("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1);
    setenv("LOG_LEVEL", getenv("LOG_LEVEL") ?: "error", 1);
    setenv("PAYMENT_TEST_SLOW_MS", "700", 1);
    setenv("PAYMENT_TIMEOUT_MS", "2000", 1);
    bus = bus_start(3);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    bus_must(conf_load("test"));
    key = seal_key_random();
    make_person();
    bell_init(&told);
    jobs = jobs_start(&told);
    for (int i = 0; i < GROUPS; i++) {
        workers[i] = worker_new(ran[i], "test", &over);
        cr_assert_eq(pthread_create(&threads[i], NULL, run_worker, workers[i]), 0);
    }
    cr_assert_eq(pthread_create(&threads[GROUPS], NULL, run_producer, NULL), 0);
}

static void stop(void)
{
    atomic_store(&over, true);
    for (int i = 0; i <= GROUPS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < GROUPS; i++)
        worker_free(workers[i]);
    jobs_stop(jobs);
    bus_stop(&bus);
}

TestSuite(orders, .init = start, .fini = stop, .timeout = 120);

/* ---- verbs ---- */

static const char *text_of(struct uuid id)
{
    return uuid_str(id, bus.arena).p;
}

/* What the catalogue tells when a product appears; -1: no stock is opened. */
static struct uuid sell(int64_t price, const char *currency, int64_t stock)
{
    struct uuid id = uuid_v7(clock_ms());
    struct str of = uuid_str(id, bus.arena);
    struct product_created created = {.product_id = id,
                                      .name = STR("Pan"),
                                      .slug = of,
                                      .sku = of,
                                      .price = price,
                                      .currency = str_of(currency),
                                      .is_active = true,
                                      .version = 1};
    struct stock_opened opened = {id, stock};
    struct event events[] = {
        event_new(&message_types[PRODUCT_CREATED], STR("catalog"), of,
                  codec_encode(&shape_product_created, &created, bus.arena), bus.arena),
        event_new(&message_types[STOCK_OPENED], STR("catalog"), of,
                  codec_encode(&shape_stock_opened, &opened, bus.arena), bus.arena),
    };
    eventlog_queue(bus.pg, events, stock < 0 ? 1 : 2, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 5000));
    return id;
}

static struct str sealed(const char *json)
{
    return seal_value(&person_key, person, str_of(json), bus.arena);
}

#define ADDRESS sealed("{\"street\":\"A 1\",\"city\":\"B\",\"country\":\"CL\"}")

static struct str token_of(const char *token)
{
    return token ? sealed(arena_printf(bus.arena, "\"%s\"", token).p) : STR_NONE;
}

/* Publishes a command; of: its aggregate, nil when the command makes it. Returns the command's id. */
static struct uuid send(enum message message, struct uuid of, const void *data)
{
    const struct message_type *type = &message_types[message];
    bool self = uuid_is_nil(of);
    int part = self ? CMDID_SELF : partition_of(uuid_str(of, bus.arena));
    struct uuid id = cmdid_new(&key, clock_ms(), type->topic, part, STR("test"));
    struct str id_text = uuid_str(id, bus.arena);
    struct str subject = self ? id_text : uuid_str(of, bus.arena);
    struct envelope e = {.specversion = STR("1.0"),
                         .id = id_text,
                         .source = STR("test"),
                         .type = str_of(type->name),
                         .subject = subject,
                         .time = clock_text(clock_ms(), bus.arena),
                         .partitionkey = subject,
                         .correlationid = id_text,
                         .data = codec_encode(type->shape, data, bus.arena),
                         .client = STR("test")};
    lane_publish(bus.redis, &e, NULL, NULL);
    bus_must(redis_wait(bus.redis, 5000));
    return id;
}

static struct uuid place_items(const struct order_place_items *items, size_t n, const char *token)
{
    struct order_place c = {.user_id = person,
                            .items = items,
                            .items_n = n,
                            .shipping_address = ADDRESS,
                            .payment_method = STR("test"),
                            .payment_token = token_of(token)};
    return send(ORDER_PLACE, (struct uuid){{0}}, &c);
}

static struct uuid place(struct uuid product, int64_t quantity, const char *token)
{
    struct order_place_items item = {.product_id = product, .quantity = quantity};
    return place_items(&item, 1, token);
}

static struct uuid cancel(struct uuid order)
{
    struct order_cancel c = {.order_id = order, .has_user_id = true, .user_id = person};
    return send(ORDER_CANCEL, order, &c);
}

/* Polls until the number is what the story expects; the bound only keeps a broken build from hanging. */
static void _printf_(2, 3) expect_soon(int64_t expected, const char *format, ...)
{
    char sql[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(sql, sizeof(sql), format, list);
    va_end(list);
    struct pg_stmt *stmt = arena_new_of(bus.arena, struct pg_stmt);
    static int number;
    *stmt = (struct pg_stmt){arena_printf(bus.arena, "expect_%d", number++).p,
                             arena_str(bus.arena, str_of(sql)).p};
    int64_t now = -1;
    for (int i = 0; i < 3000 && now != expected; i++) {
        _cleanup_(pg_result_freep) struct pg_result *result = NULL;
        bus_must(pg_call(bus.pg, stmt, 0, NULL, &result));
        now = pg_rows(result) ? pg_get_int(result, 0, 0) : -1;
        if (now != expected)
            usleep(10000);
    }
    cr_assert_eq(now, expected, "%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

static void expect_result(struct uuid command, int http)
{
    expect_soon(http, "SELECT http_status FROM command WHERE id = '%s' AND status <> 'running'",
                text_of(command));
}

static void expect_order(struct uuid order, const char *status, const char *payment, const char *reason)
{
    expect_soon(1, "SELECT count(*) FROM orders WHERE id = '%s' AND status = '%s'", text_of(order), status);
    cr_assert_eq(
        bus_query(&bus,
                  "SELECT count(*) FROM orders WHERE id = '%s' AND payment_status = '%s' AND step = 'done'"
                  " AND coalesce(reason, '') = '%s'",
                  text_of(order), payment, reason),
        1);
}

static void expect_stock(struct uuid product, int64_t quantity, int64_t reserved)
{
    expect_soon(1,
                "SELECT count(*) FROM stock WHERE product_id = '%s' AND quantity = %lld AND reserved = %lld",
                text_of(product), (long long)quantity, (long long)reserved);
}

static void expect_nothing_left(void)
{
    cr_assert_eq(
        bus_query(&bus, "SELECT count(*) FROM payment_test_charge WHERE state IN ('authorised', 'captured')"),
        0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM stock_hold WHERE state IN ('held', 'committed')"), 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM timer"), 0);
}

static const char *result_of(struct uuid command)
{
    static const struct pg_stmt stmt = {"result_of", "SELECT result FROM command WHERE id = $1::uuid"};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg_param id = pg_uuid(command);
    bus_must(pg_call(bus.pg, &stmt, 1, &id, &r));
    return arena_str(bus.arena, pg_get_str(r, 0, 0)).p;
}

/* ---- stories ---- */

Test(orders, a_paid_order_is_confirmed_and_its_stock_has_left)
{
    struct uuid bread = sell(1190, "CLP", 5);
    struct order_place_items two[] = {
        {.product_id = bread, .quantity = 1},
        {.product_id = bread, .quantity = 2, .has_price = true, .price = 11900000}};
    struct uuid order = place_items(two, 2, "tok_ok");
    expect_result(order, 201);
    struct str json = str_of(result_of(order));
    cr_assert_eq(json_member_int(json, "total_amount", 0, bus.arena), 3570);
    cr_assert_eq(json_member_int(json, "tax_amount", 0, bus.arena), 570);
    cr_assert(str_is(json_member_str(json, "status", bus.arena), "pending"));
    cr_assert(str_starts(json_member_str(json, "order_number", bus.arena), STR("DS-")));
    expect_order(order, "confirmed", "paid", "");
    expect_stock(bread, 2, 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM order_line WHERE quantity = 3 AND stock = 'taken'"),
                 1);
    cr_assert_eq(
        bus_query(&bus,
                  "SELECT count(*) FROM payment_test_charge WHERE state = 'captured' AND amount = 3570"),
        1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE data LIKE '%%tok_ok%%'"), 0);
    expect_result(cancel(order), 409);
    struct order_confirm by_hand = {order};
    expect_result(send(ORDER_CONFIRM, order, &by_hand), 409);
}

Test(orders, of_64_customers_one_gets_the_last_unit)
{
    enum { CUSTOMERS = 64 };
    struct uuid last = sell(990, "CLP", 1);
    for (int i = 0; i < CUSTOMERS; i++)
        place(last, 1, "tok_ok");
    expect_soon(CUSTOMERS, "SELECT count(*) FROM orders WHERE step = 'done'");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM orders WHERE status = 'confirmed'"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM orders WHERE status = 'cancelled'"
                                 " AND reason = 'insufficient_stock'"),
                 CUSTOMERS - 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(DISTINCT order_number) FROM orders"), CUSTOMERS);
    expect_stock(last, 0, 0);
}

Test(orders, what_ends_badly_leaves_no_hold_and_no_charge)
{
    static const struct {
        const char *token, *payment, *reason;
    } ends[] = {
        {"tok_declined", "failed", "payment_declined"},
        {"tok_timeout", "voided", "payment_timeout"},
        {"tok_capture_refused", "failed", "capture_refused"},
    };
    struct uuid bread = sell(1190, "CLP", 5);
    struct uuid orders[3];
    for (int i = 0; i < 3; i++)
        orders[i] = place(bread, 1, ends[i].token);
    for (int i = 0; i < 3; i++)
        expect_order(orders[i], "cancelled", ends[i].payment, ends[i].reason);
    expect_stock(bread, 5, 0);
    expect_nothing_left();
}

Test(orders, a_cancel_is_accepted_while_the_payment_is_asked)
{
    struct uuid bread = sell(1190, "CLP", 5);
    struct uuid order = place(bread, 2, "tok_slow");
    expect_soon(1, "SELECT count(*) FROM orders WHERE step = 'authorising'");
    struct uuid first = cancel(order), second = cancel(order);
    expect_result(first, 200);
    expect_result(second, 409);
    cr_assert(str_is(json_member_str(str_of(result_of(first)), "status", bus.arena), "cancelled"));
    expect_order(order, "cancelled", "voided", "cancelled_by_customer");
    expect_stock(bread, 5, 0);
    expect_nothing_left();
}

/* The provider authorises after the customer has gone: its books say so before the void arrives. */
Test(orders, a_payment_that_is_authorised_after_the_cancel_is_voided)
{
    struct uuid bread = sell(1190, "CLP", 5);
    struct uuid order = place(bread, 1, "tok_timeout");
    expect_soon(1, "SELECT count(*) FROM payment_test_charge WHERE state = 'authorised'");
    expect_result(cancel(order), 200);
    expect_order(order, "cancelled", "voided", "cancelled_by_customer");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM payment_test_charge WHERE state = 'voided'"), 1);
    expect_stock(bread, 5, 0);
    expect_nothing_left();
}

Test(orders, what_cannot_be_is_refused_before_anything_happens)
{
    struct uuid bread = sell(1190, "CLP", 5), dollar = sell(1000, "USD", 5);
    struct order_place_items mixed[] = {{.product_id = bread, .quantity = 1},
                                        {.product_id = dollar, .quantity = 1}};
    expect_result(place_items(mixed, 2, "tok_ok"), 409);
    struct order_place_items cheap = {.product_id = dollar, .quantity = 1, .has_price = true, .price = 99900};
    struct uuid refused = place_items(&cheap, 1, "tok_ok");
    expect_result(refused, 409);
    struct str differences = json_member(str_of(result_of(refused)), "differences", bus.arena);
    cr_assert(differences.p && strstr(differences.p, "9.99") && strstr(differences.p, "10.00"), "%s",
              differences.p);
    expect_result(place(uuid_v7(clock_ms()), 1, "tok_ok"), 404);
    expect_result(place(bread, 1, NULL), 422);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM orders"), 0);
    expect_result(cancel(uuid_v7(clock_ms())), 404);
}

static struct uuid check_out(const char *token)
{
    struct cart_check_out c = {.user_id = person,
                               .shipping_address = ADDRESS,
                               .payment_method = STR("test"),
                               .payment_token = token_of(token)};
    return send(CART_CHECK_OUT, person, &c);
}

static void add_to_cart(struct uuid product, int64_t quantity)
{
    struct cart_add_item c = {.user_id = person, .product_id = product, .quantity = quantity};
    struct uuid command = send(CART_ADD_ITEM, person, &c);
    expect_soon(1, "SELECT count(*) FROM command WHERE id = '%s' AND status = 'succeeded'", text_of(command));
}

Test(orders, a_cart_becomes_an_order_or_comes_back)
{
    struct uuid bread = sell(1190, "CLP", 5);
    add_to_cart(bread, 2);
    struct uuid order = check_out("tok_ok");
    expect_result(order, 201);
    expect_order(order, "confirmed", "paid", "");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM cart_line"), 0);

    add_to_cart(bread, 3);
    order = check_out("tok_declined");
    expect_result(order, 201);
    expect_order(order, "cancelled", "failed", "payment_declined");
    expect_soon(3, "SELECT quantity FROM cart_line");

    expect_result(check_out(NULL), 422);
    expect_soon(3, "SELECT quantity FROM cart_line");
    expect_stock(bread, 3, 0);
}

static struct uuid set_status(struct uuid order, const char *status)
{
    struct order_set_status c = {order, str_of(status)};
    return send(ORDER_SET_STATUS, order, &c);
}

Test(orders, staff_moves_an_order_along_its_life_only)
{
    struct uuid order = place(sell(1190, "CLP", 1), 1, "tok_ok");
    expect_order(order, "confirmed", "paid", "");
    expect_result(set_status(order, "shipped"), 409);
    expect_result(set_status(order, "nowhere"), 422);
    expect_result(set_status(order, "PROCESSING"), 200);
    expect_result(set_status(order, "Shipped"), 200);
    expect_result(set_status(order, "delivered"), 200);
    expect_result(set_status(order, "cancelled"), 409);
    expect_result(set_status(order, "completed"), 200);
    expect_soon(1, "SELECT count(*) FROM orders WHERE status = 'completed'");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE type = 'order.status-changed.v1'"), 4);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) = max(n) FROM order_timeline"), 1);
}
