/* Results: waiting for them, polling them, how they look, and what is lost. Nobody is behind the door but the
 * test. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "tests/support/opened.h"

static struct opened *door;
static struct uuid user;
static const char *token;

static void setup(void)
{
    door = opened_start(2, 3);
    user = opened_person(door, "customer", "Ana", NULL, &token);
}

/* Answers that the teardown clears. */
static struct reply joined[32];
static size_t joined_n;

static void teardown(void)
{
    door = opened_stop(door);
    while (joined_n)
        reply_clear(&joined[--joined_n]);
}

TestSuite(wait, .init = setup, .fini = teardown, .timeout = 60);

/* A client that waits in a thread of its own. */
struct waiter {
    pthread_t thread;
    struct ask ask;
    struct reply reply;
    int64_t took_ms;
};

static void *run(void *data)
{
    struct waiter *w = data;
    struct browser *browser = browser_new(opened_port(door));
    int64_t begun = clock_mono_ms();
    browser_ask(browser, &w->ask, &w->reply);
    w->took_ms = clock_mono_ms() - begun;
    browser_free(browser);
    return NULL;
}

static void begin(struct waiter *w, struct ask ask)
{
    *w = (struct waiter){.ask = ask};
    cr_assert_eq(pthread_create(&w->thread, NULL, run, w), 0);
}

static void join(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    joined[joined_n++] = w->reply;
}

static struct ask clear_cart(int wait_s)
{
    return (struct ask){.method = "DELETE", .path = "/api/v1/cart", .token = token, .wait_s = wait_s};
}

/* The one command that is on its way, as soon as it is. */
static struct envelope command(enum topic topic)
{
    struct entry *entries;
    for (int i = 0; i < 5000; i++) {
        size_t n = opened_entries(door, topic, &entries);
        if (n)
            return entries[n - 1].envelope;
        clock_sleep_ms(1);
    }
    cr_assert_fail("no command came");
    return (struct envelope){0};
}

static int poll_command(const char *id, int wait_s)
{
    char path[100];
    snprintf(path, sizeof(path), "/api/v1/commands/%s", id);
    return opened_ask(door, &(struct ask){.method = "GET", .path = path, .token = token, .wait_s = wait_s});
}

Test(wait, a_hint_brings_the_result_at_top_level)
{
    struct waiter w;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "succeeded", 201, "{\"id\":\"x\",\"n\":1}");
    opened_hint(door, &e);
    join(&w);
    cr_expect_eq(w.reply.status, 201);
    cr_expect_str_eq(w.reply.text, "{\"id\":\"x\",\"n\":1}");
    cr_expect(w.reply.preference_applied);
}

Test(wait, a_lost_hint_costs_a_tenth_of_a_second)
{
    struct waiter w;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    int64_t begun = clock_mono_ms();
    opened_result(door, &e, "succeeded", 204, "");
    join(&w);
    cr_expect_eq(w.reply.status, 204);
    cr_expect_lt(clock_mono_ms() - begun, 1000);
}

Test(wait, running_and_parked_keep_waiting)
{
    struct waiter w;
    begin(&w, clear_cart(2));
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "running", 0, "");
    opened_hint(door, &e);
    clock_sleep_ms(300);
    opened_result(door, &e, "parked", 0, "");
    opened_hint(door, &e);
    join(&w);
    cr_expect_eq(w.reply.status, 202);
    cr_expect_geq(w.took_ms, 1900);
    cr_expect_eq(poll_command(e.id.p, 0), 202);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "parked");
}

Test(wait, a_refusal_becomes_a_problem)
{
    struct waiter w;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "rejected", 409,
                  "{\"error\":\"CONFLICT\",\"detail\":\"Too late.\",\"differences\":[{\"sent\":1}]}");
    opened_hint(door, &e);
    join(&w);
    cr_expect_eq(w.reply.status, 409);
    cr_expect_str_eq(reply_str(&w.reply, "type"), "/problems/conflict");
    cr_expect_str_eq(reply_str(&w.reply, "error"), "Too late.");
    cr_expect_eq(reply_num(&w.reply, "differences.0.sent"), 1);
    cr_assert_eq(poll_command(e.id.p, 0), 200);
    cr_expect_eq(reply_num(&door->reply, "http_status"), 409);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "rejected");
    cr_expect_str_eq(reply_str(&door->reply, "problem.detail"), "Too late.");
}

Test(wait, what_is_lost_is_told_as_503)
{
    struct waiter w;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "lost", 503, "");
    join(&w);
    cr_expect_eq(w.reply.status, 503);
    cr_expect_str_eq(reply_str(&w.reply, "type"), "/problems/lost");
}

/* The row of a repeat under a forgotten key points at the first command. */
Test(wait, same_as_is_followed)
{
    struct waiter w;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    struct uuid first = uuid_v7(clock_ms());
    bus_sql(
        &door->bus,
        "INSERT INTO command (id, status, http_status, result) VALUES ('%s', 'succeeded', 200, '{\"a\":1}')",
        uuid_text(first));
    bus_sql(&door->bus, "INSERT INTO command (id, status, same_as) VALUES ('%s', 'succeeded', '%s')", e.id.p,
            uuid_text(first));
    join(&w);
    cr_expect_eq(w.reply.status, 200);
    cr_expect_eq(reply_num(&w.reply, "a"), 1);
}

Test(wait, ten_waiters_for_one_key_get_one_answer)
{
    struct waiter w[10];
    struct ask ask = clear_cart(10);
    ask.key = "k";
    for (size_t i = 0; i < 10; i++)
        begin(&w[i], ask);
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "succeeded", 200, "{\"once\":true}");
    opened_hint(door, &e);
    for (size_t i = 0; i < 10; i++) {
        join(&w[i]);
        cr_expect_eq(w[i].reply.status, 200);
        cr_expect_str_eq(w[i].reply.text, "{\"once\":true}");
    }
    /* Who comes later finds it by the first look, without any hint. */
    ask.wait_s = 10;
    cr_expect_eq(opened_ask(door, &ask), 200);
}

Test(wait, waiting_is_the_default_where_only_the_result_is_of_use)
{
    struct waiter w;
    begin(&w, (struct ask){.method = "DELETE", .path = "/cart", .token = token}); /* a path of S4 */
    struct envelope e = command(TOPIC_CARTS);
    opened_result(door, &e, "succeeded", 204, "");
    join(&w);
    cr_expect_eq(w.reply.status, 204);
    cr_expect_not(w.reply.preference_applied);
    cr_expect_eq(
        opened_ask(door, &(struct ask){.method = "DELETE", .path = "/cart", .token = token, .wait_s = -1}),
        202);
}

Test(wait, sealed_values_are_opened_for_the_owner)
{
    struct waiter w;
    struct str sealed;
    struct arena *arena = door->bus.arena;
    begin(&w, clear_cart(10));
    struct envelope e = command(TOPIC_CARTS);
    const struct pg_stmt by_id = {"test_name", "SELECT name FROM app_user"};
    struct pg_result *rows;
    bus_must(pg_call(door->bus.pg, &by_id, 0, NULL, &rows));
    sealed = arena_str(arena, pg_get_str(rows, 0, 0));
    pg_result_free(rows);
    opened_result(door, &e, "succeeded", 200,
                  arena_printf(arena, "{\"name\":\"%s\",\"n\":[\"%s\"]}", sealed.p, sealed.p).p);
    join(&w);
    cr_expect_str_eq(w.reply.text, "{\"name\":\"Ana\",\"n\":[\"Ana\"]}");
}

Test(wait, the_door_is_left_while_waiting)
{
    struct waiter w;
    struct ask ask = clear_cart(30);
    ask.timeout_ms = 300;
    begin(&w, ask);
    struct envelope e = command(TOPIC_CARTS);
    join(&w);
    cr_expect_eq(w.reply.status, 0);
    opened_result(door, &e, "succeeded", 200, "{}");
    opened_hint(door, &e);
    cr_expect_eq(poll_command(e.id.p, 0), 200);
}

/* A drain answers who waits at once, and the process leaves in time. */
Test(wait, a_drain_answers_who_waits)
{
    struct waiter w;
    begin(&w, clear_cart(30));
    command(TOPIC_CARTS);
    int64_t begun = clock_mono_ms();
    server_drain(door->server);
    join(&w);
    cr_expect_eq(w.reply.status, 202);
    door->server = server_stop(door->server);
    cr_expect_lt(clock_mono_ms() - begun, 2000);
}

/* While Redis has not replied, nothing was accepted: also a drain does not say so. */
Test(wait, a_drain_does_not_accept_what_redis_has_not)
{
    struct waiter w;
    servers_pause(door->bus.servers, SERVER_REDIS);
    begin(&w, clear_cart(30));
    clock_sleep_ms(200); /* for the request to come in; if it has not, nothing is proved and nothing fails */
    server_drain(door->server);
    join(&w);
    cr_expect_neq(w.reply.status, 202);
    door->server = server_stop(door->server);
    servers_resume(door->bus.servers, SERVER_REDIS);
}

/* ---- polling ---- */

Test(wait, polling_knows_what_is_on_its_way)
{
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "DELETE", .path = "/api/v1/cart", .token = token}),
                 202);
    char id[64];
    snprintf(id, sizeof(id), "%s", command_of(&door->reply));
    cr_expect_eq(poll_command(id, 0), 202);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "accepted");
    struct envelope e = command(TOPIC_CARTS);
    struct waiter w;
    char path[100];
    snprintf(path, sizeof(path), "/api/v1/commands/%s", id);
    begin(&w, (struct ask){.method = "GET", .path = path, .token = token, .wait_s = 10});
    clock_sleep_ms(50);
    opened_result(door, &e, "succeeded", 201, "{\"id\":\"y\"}");
    join(&w);
    cr_expect_eq(w.reply.status, 200);
    cr_expect_eq(reply_num(&w.reply, "http_status"), 201);
    cr_expect_str_eq(reply_str(&w.reply, "result.id"), "y");
}

Test(wait, others_and_guessed_ids_are_not_there)
{
    const char *other;
    char id[64], path[100];
    opened_person(door, "super_admin", "Eva", NULL, &other);
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "DELETE", .path = "/api/v1/cart", .token = token}),
                 202);
    snprintf(id, sizeof(id), "%s", command_of(&door->reply));
    snprintf(path, sizeof(path), "/api/v1/commands/%s", id);
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "GET", .path = path, .token = other}), 404);
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "GET", .path = path}), 404);
    cr_expect_eq(poll_command(uuid_text(uuid_v7(clock_ms())), 0), 404);
    cr_expect_eq(poll_command("nonsense", 0), 404);
    id[35] = id[35] == '0' ? '1' : '0';
    cr_expect_eq(poll_command(id, 0), 404);
}

/* ---- lost ---- */

static int64_t shifted_by;
static int64_t shifted(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + shifted_by;
}

static void accept_one(char id[static 64])
{
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "DELETE", .path = "/api/v1/cart", .token = token}),
                 202);
    snprintf(id, 64, "%s", command_of(&door->reply));
}

static void empty_lanes(void)
{
    for (int part = 0; part < partitions(); part++)
        bus_redis_do(&door->bus, "DEL cmd:{carts.%02d}", part);
}

Test(wait, a_vanished_command_is_lost_after_its_deadline_and_not_before)
{
    char id[64];
    accept_one(id);
    empty_lanes();
    cr_expect_eq(poll_command(id, 0), 202, "its publish may still be under way");
    shifted_by = 5100;
    clock_set(shifted);
    cr_assert_eq(poll_command(id, 0), 200);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "lost");
    cr_expect_str_eq(reply_str(&door->reply, "problem.type"), "/problems/lost");
    cr_expect_eq(
        bus_query(&door->bus, "SELECT count(*) FROM command WHERE id = '%s' AND status = 'lost'", id), 1);
}

Test(wait, an_old_entry_in_the_lane_keeps_hope)
{
    char id[64], later[64];
    accept_one(id);
    shifted_by = 5100;
    clock_set(shifted);
    cr_expect_eq(poll_command(id, 0), 202, "its own entry is there");
    empty_lanes();
    accept_one(later); /* Redis gives this entry a time of its own, which is not 5 s later */
    cr_expect_eq(poll_command(id, 0), 202, "the oldest entry is not late enough");
}

/* Somebody wrote an id beyond 2^63: those that follow on the lane say nothing about the time. */
Test(wait, an_entry_whose_id_is_no_time_makes_nothing_lost)
{
    char id[64];
    for (int part = 0; part < partitions(); part++) {
        bus_redis_do(&door->bus, "XADD cmd:{carts.%02d} 9223372036854775808-0 a b", part);
        bus_redis_do(&door->bus, "XDEL cmd:{carts.%02d} 9223372036854775808-0", part);
    }
    accept_one(id);
    shifted_by = 5100;
    clock_set(shifted);
    cr_expect_eq(poll_command(id, 0), 202, "it waits in its lane");
    empty_lanes();
    cr_expect_eq(poll_command(id, 0), 200);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "lost");
}

Test(wait, an_error_is_not_an_empty_lane)
{
    char id[64];
    accept_one(id);
    empty_lanes();
    for (int part = 0; part < partitions(); part++)
        bus_redis_do(&door->bus, "SET cmd:{carts.%02d} x", part);
    shifted_by = 10000;
    clock_set(shifted);
    cr_expect_eq(poll_command(id, 0), 503);
    cr_expect_eq(bus_query(&door->bus, "SELECT count(*) FROM command"), 0);
}

Test(wait, a_result_stands_before_the_rule_of_the_lost)
{
    char id[64];
    accept_one(id);
    struct envelope e = command(TOPIC_CARTS);
    empty_lanes();
    opened_result(door, &e, "parked", 0, "");
    shifted_by = 10000;
    clock_set(shifted);
    cr_expect_eq(poll_command(id, 0), 202);
    opened_result(door, &e, "succeeded", 200, "{}");
    cr_expect_eq(poll_command(id, 0), 200);
    cr_expect_str_eq(reply_str(&door->reply, "status"), "succeeded");
}

Test(wait, ids_older_than_results_are_kept_are_not_there)
{
    char id[64];
    accept_one(id);
    shifted_by = INT64_C(31) * 24 * 3600 * 1000;
    clock_set(shifted);
    token = opened_token(door, user, uuid_v7(1), "customer");
    cr_expect_eq(poll_command(id, 0), 404);
}
