/* Who gets in: roles and routes, tokens that are void, signing in, doors that start without servers, health.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>

#include "api/jwt.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "tests/support/little.h"
#include "tests/support/opened.h"

static struct opened *door;
static struct uuid user, session;
static const char *token;

static void setup(void)
{
    door = opened_start(1, 2);
    user = opened_person(door, "customer", "Ana", &session, &token);
}

static struct reply answers[8];
static size_t answers_n;

static void teardown(void)
{
    door = opened_stop(door);
    while (answers_n)
        reply_clear(&answers[--answers_n]);
}

TestSuite(door, .init = setup, .fini = teardown, .timeout = 60);

static int ask(const char *method, const char *path, const char *who, json_t *body)
{
    return opened_ask(door, &(struct ask){.method = method, .path = path, .token = who, .body = body});
}

/* How long until that path answers so; INT32_MAX: it does not. */
static int becomes(const char *path, const char *who, int status)
{
    int64_t begun = clock_mono_ms();
    while (ask("GET", path, who, NULL) != status) {
        if (clock_mono_ms() - begun > 5000)
            return INT32_MAX;
        clock_sleep_ms(1);
    }
    return (int)(clock_mono_ms() - begun);
}

/* Columns: anonymous, customer, employee, manager, admin, super_admin. Commands that pass are 422 for their
 * empty body, or 202. */
Test(door, roles_and_routes)
{
    static const struct {
        const char *method, *path;
        int status[6];
    } matrix[] = {
        {"GET", "/api/v1/products", {200, 200, 200, 200, 200, 200}},
        {"GET", "/api/v1/categories", {200, 200, 200, 200, 200, 200}},
        {"GET", "/api/v1/cart", {401, 200, 200, 200, 200, 200}},
        {"POST", "/api/v1/cart/items", {401, 422, 422, 422, 422, 422}},
        {"DELETE", "/api/v1/cart", {401, 202, 202, 202, 202, 202}},
        {"POST", "/api/v1/orders", {401, 422, 422, 422, 422, 422}},
        {"GET", "/api/v1/orders", {401, 200, 200, 200, 200, 200}},
        {"POST", "/api/v1/products", {401, 403, 403, 422, 422, 422}},
        {"DELETE", "/api/v1/products/018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6", {401, 403, 403, 202, 202, 202}},
        {"POST", "/api/v1/categories", {401, 403, 403, 422, 422, 422}},
        {"POST", "/api/v1/brands", {401, 403, 403, 422, 422, 422}},
        {"GET", "/api/v1/inventory/movements", {401, 403, 200, 200, 200, 200}},
        {"POST", "/api/v1/inventory/movements", {401, 403, 403, 422, 422, 422}},
        {"PUT", "/api/v1/orders/018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6/status", {401, 403, 403, 403, 422, 422}},
        {"POST",
         "/api/v1/orders/018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6/confirm",
         {401, 403, 403, 403, 202, 202}},
        {"GET", "/api/v1/users", {401, 403, 403, 403, 200, 200}},
        {"PUT", "/api/v1/users/018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6", {401, 403, 403, 403, 404, 404}},
        {"GET", "/api/v1/auth/me", {401, 200, 200, 200, 200, 200}},
        {"POST", "/api/v1/auth/logout", {401, 202, 202, 202, 202, 202}},
        {"GET", "/api/v1/commands/018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6", {404, 404, 404, 404, 404, 404}},
    };
    static const char *const roles[] = {NULL, "customer", "employee", "manager", "admin", "super_admin"};
    for (size_t r = 0; r < 6; r++) {
        const char *who = NULL;
        if (roles[r])
            opened_person(door, roles[r], "X", NULL, &who);
        for (size_t i = 0; i < sizeof(matrix) / sizeof(*matrix); i++) {
            bool body = strcmp(matrix[i].method, "GET") != 0;
            int status = opened_ask(door, &(struct ask){.method = matrix[i].method,
                                                        .path = matrix[i].path,
                                                        .token = who,
                                                        .body = body ? json_object() : NULL,
                                                        .wait_s = -1});
            cr_expect_eq(status, matrix[i].status[r], "%s %s as %s: %d", matrix[i].method, matrix[i].path,
                         roles[r] ? roles[r] : "nobody", status);
        }
    }
}

Test(door, a_stale_token_keeps_nobody_from_public_things)
{
    cr_expect_eq(ask("GET", "/api/v1/products", "not.a.token", NULL), 200);
    cr_expect_eq(ask("GET", "/api/v1/cart", "not.a.token", NULL), 401);
}

/* "There is no such command" would make him order again. */
Test(door, whose_token_is_void_is_told_so_when_he_asks_for_his_command)
{
    cr_assert_eq(ask("DELETE", "/api/v1/cart", token, NULL), 202);
    const char *path = arena_printf(door->bus.arena, "/api/v1/commands/%s", command_of(&door->reply)).p;
    cr_expect_eq(ask("GET", path, token, NULL), 202);
    cr_expect_eq(ask("GET", path, "not.a.token", NULL), 401);
    cr_expect_eq(ask("GET", path, NULL, NULL), 404);
}

/* ---- void tokens ---- */

static const char *session_data(const char *reason)
{
    return arena_printf(door->bus.arena, "{\"user_id\":\"%s\",\"session_id\":\"%s\",\"reason\":\"%s\"}",
                        uuid_text(user), uuid_text(session), reason)
        .p;
}

static const char *user_data(const char *more)
{
    return arena_printf(door->bus.arena, "{\"user_id\":\"%s\"%s}", uuid_text(user), more).p;
}

Test(door, a_session_that_ended_is_refused_at_once)
{
    const char *other = opened_token(door, user, uuid_v7(5), "customer");
    cr_assert_eq(ask("GET", "/api/v1/auth/me", token, NULL), 200);
    opened_event(door, USER_SESSION_REVOKED, user, session_data("logged-out"), true);
    cr_expect_leq(becomes("/api/v1/auth/me", token, 401), 1000);
    cr_expect_eq(ask("GET", "/api/v1/auth/me", other, NULL), 200, "another session of the same person");
}

Test(door, also_when_redis_is_silent)
{
    opened_event(door, USER_SESSION_REVOKED, user, session_data("reused"), false);
    cr_expect_leq(becomes("/api/v1/auth/me", token, 401), 1000);
}

Test(door, also_when_redis_is_dead)
{
    servers_kill(door->bus.servers, SERVER_REDIS);
    opened_event(door, USER_SESSION_REVOKED, user, session_data("reused"), false);
    cr_expect_leq(becomes("/api/v1/auth/me", token, 401), 1000);
}

Test(door, who_is_switched_off_is_out_with_all_tokens_for_good)
{
    const char *other = opened_token(door, user, uuid_v7(5), "customer");
    opened_event(door, USER_DEACTIVATED, user, user_data(""), true);
    cr_expect_leq(becomes("/api/v1/auth/me", token, 401), 1000);
    cr_expect_eq(ask("GET", "/api/v1/auth/me", other, NULL), 401);
    opened_event(door, USER_UPDATED, user,
                 user_data(",\"role\":\"customer\",\"is_active\":true,\"version\":3"), true);
    clock_sleep_ms(200);
    cr_expect_eq(ask("GET", "/api/v1/auth/me", token, NULL), 401, "tokens of before stay void");
}

Test(door, a_new_role_counts_at_once)
{
    cr_assert_eq(ask("GET", "/api/v1/users", token, NULL), 403);
    opened_event(door, USER_UPDATED, user, user_data(",\"role\":\"admin\",\"is_active\":true,\"version\":2"),
                 true);
    cr_expect_leq(becomes("/api/v1/users", token, 200), 1000);
    opened_event(door, USER_UPDATED, user,
                 user_data(",\"role\":\"customer\",\"is_active\":true,\"version\":3"), true);
    cr_expect_leq(becomes("/api/v1/users", token, 403), 1000);
}

/* A door that starts later finds it in the tables. */
Test(door, what_was_revoked_before_the_start_is_known)
{
    struct opened later = {.shop = {.secrets = door->shop.secrets,
                                    .redis_url = door->shop.redis_url,
                                    .database_url = door->shop.database_url}};
    struct server_options options = {
        .bind = "127.0.0.1", .loops = 1, .routes = shop_routes, .hooks = door_hooks(), .data = &later.shop};
    struct uuid off = opened_person(door, "customer", "Off", NULL, NULL);
    const char *off_token = opened_token(door, off, uuid_v7(7), "customer");
    bus_sql(&door->bus, "UPDATE session SET is_revoked = true, updated_ms = %lld WHERE id = '%s'",
            (long long)clock_ms(), uuid_text(session));
    bus_sql(&door->bus, "UPDATE app_user SET is_active = false, updated_ms = %lld WHERE id = '%s'",
            (long long)clock_ms(), uuid_text(off));
    atomic_store(&later.shop.ready, true);
    bus_must(server_start(&options, &later.server));
    while (atomic_load(&later.shop.open) < 1)
        clock_sleep_ms(1);
    browser_move(door->browser, server_port(later.server));
    cr_expect_eq(ask("GET", "/api/v1/auth/me", token, NULL), 401);
    cr_expect_eq(ask("GET", "/api/v1/auth/me", off_token, NULL), 401);
    browser_move(door->browser, opened_port(door));
    cr_expect_eq(ask("GET", "/api/v1/auth/me", token, NULL), 200, "nobody told this one");
    server_stop(later.server);
}

/* ---- signing in, with the test as the identity group ---- */

struct signing {
    pthread_t thread;
    struct ask ask;
    struct reply reply;
};

static void *run(void *data)
{
    struct signing *s = data;
    struct browser *browser = browser_new(opened_port(door));
    browser_ask(browser, &s->ask, &s->reply);
    browser_free(browser);
    return NULL;
}

/* Answers that the teardown clears. */
static void finish(struct signing *s)
{
    pthread_join(s->thread, NULL);
    answers[answers_n++] = s->reply;
}

static void begin(struct signing *s, const char *path, json_t *body)
{
    *s = (struct signing){.ask = {.method = "POST", .path = path, .body = body}};
    cr_assert_eq(pthread_create(&s->thread, NULL, run, s), 0);
}

static struct envelope command(size_t n)
{
    struct entry *entries;
    for (int i = 0; i < 5000; i++) {
        if (opened_entries(door, TOPIC_USERS, &entries) >= n)
            return entries[n - 1].envelope;
        clock_sleep_ms(1);
    }
    cr_assert_fail("no command came");
    return (struct envelope){0};
}

/* The hash of "Segura-123" as the door makes it. */
static void set_password(void)
{
    struct entry *entries;
    struct user_register c;
    json_t *body = json_pack("{s:s,s:s,s:s}", "email", "x@example.cl", "password", "Segura-123", "name", "X");
    cr_assert_eq(
        opened_ask(door,
                   &(struct ask){.method = "POST", .path = "/auth/register", .body = body, .wait_s = -1}),
        202);
    cr_assert_eq(opened_entries(door, TOPIC_USERS, &entries), 1);
    bus_must(codec_decode(&shape_user_register, CODEC_BUS, entries[0].envelope.data, NULL, 0, door->bus.arena,
                          &c, NULL));
    bus_sql(&door->bus, "UPDATE app_user SET password_hash = '%.*s', email_index = '%.*s'",
            STR_ARG(c.password_hash), STR_ARG(c.email_index));
    bus_redis_do(&door->bus, "FLUSHALL");
}

static json_t *credentials(const char *password)
{
    return json_pack("{s:s,s:s}", "email", " X@Example.cl", "password", password);
}

static void answer_session(const struct envelope *e, int generation)
{
    struct arena *arena = door->bus.arena;
    const char *id = opened_member(door, e, "session_id");
    opened_result(
        door, e, "succeeded", 200,
        arena_printf(arena,
                     "{\"user_id\":\"%s\",\"session_id\":\"%s\",\"generation\":%d,\"user\":{\"id\":\"%s\","
                     "\"role\":\"manager\"}}",
                     uuid_text(user), id, generation, uuid_text(user))
            .p);
    opened_hint(door, e);
}

Test(door, logging_in_and_refreshing)
{
    struct signing s;
    struct claims claims;
    char refresh[200];
    set_password();
    cr_expect_eq(ask("POST", "/api/v1/auth/login", NULL, credentials("Segura-124")), 401);
    cr_expect_eq(
        ask("POST", "/api/v1/auth/login", NULL, json_pack("{s:s,s:s}", "email", "no@b.cl", "password", "x")),
        401);
    begin(&s, "/api/v1/auth/login", credentials("Segura-123"));
    struct envelope e = command(1);
    cr_expect(str_is(e.type, "user.log-in.v1"));
    cr_expect(str_is(e.partitionkey, uuid_text(user)));
    answer_session(&e, 1);
    finish(&s);
    cr_assert_eq(s.reply.status, 200);
    cr_assert(!failed(jwt_verify(&door->shop.secrets, str_of(reply_str(&s.reply, "access_token")),
                                 clock_ms() / 1000, 0, door->bus.arena, &claims)));
    cr_expect_eq(claims.role, ROLE_MANAGER);
    cr_expect(uuid_eq(claims.user, user));
    cr_expect_str_eq(reply_str(&s.reply, "user.role"), "manager");
    snprintf(refresh, sizeof(refresh), "%s", reply_str(&s.reply, "refresh_token"));

    bus_sql(&door->bus, "INSERT INTO session VALUES ('%s', '%s', 1, false, 0, 0)", uuid_text(claims.session),
            uuid_text(user));
    begin(&s, "/api/v1/auth/refresh", json_pack("{s:s}", "refresh_token", refresh));
    e = command(2);
    cr_expect(str_is(e.type, "user.refresh.v1"));
    cr_expect_str_eq(opened_member(door, &e, "generation"), "1");
    answer_session(&e, 2);
    finish(&s);
    cr_assert_eq(s.reply.status, 200);
    cr_expect_str_neq(reply_str(&s.reply, "refresh_token"), refresh);
    cr_expect_eq(ask("POST", "/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", "AAAA")), 401);
}

Test(door, who_is_switched_off_cannot_log_in)
{
    struct entry *entries;
    set_password();
    bus_sql(&door->bus, "UPDATE app_user SET is_active = false");
    cr_expect_eq(ask("POST", "/api/v1/auth/login", NULL, credentials("Segura-123")), 401);
    cr_expect_eq(opened_entries(door, TOPIC_USERS, &entries), 0);
}

/* bcrypt of imported people fits, and the login brings its replacement. */
Test(door, an_old_hash_is_replaced_at_login)
{
    struct signing s;
    set_password();
    bus_sql(&door->bus, "UPDATE app_user SET password_hash = '%s'",
            "$2b$04$abcdefghijklmnopqrstuu5Q8QmN2oTXcGB0Zs/2lz4pgOgV9Ncn2");
    cr_expect_eq(ask("POST", "/api/v1/auth/login", NULL, credentials("Segura-123")), 401);
    bus_sql(&door->bus, "CREATE EXTENSION IF NOT EXISTS pgcrypto");
    bus_sql(&door->bus, "UPDATE app_user SET password_hash = crypt('Segura-123', gen_salt('bf', 4))");
    begin(&s, "/api/v1/auth/login", credentials("Segura-123"));
    struct envelope e = command(1);
    cr_expect(str_starts(str_of(opened_member(door, &e, "rehashed")), STR("$argon2id$")));
    answer_session(&e, 1);
    finish(&s);
    cr_expect_eq(s.reply.status, 200);
}

Test(door, nobody_changes_his_betters)
{
    const char *admin, *super;
    char path[100], boss_path[100];
    opened_person(door, "admin", "A", NULL, &admin);
    struct uuid boss = opened_person(door, "super_admin", "S", NULL, &super);
    snprintf(path, sizeof(path), "/api/v1/users/%s", uuid_text(user));
    snprintf(boss_path, sizeof(boss_path), "/api/v1/users/%s", uuid_text(boss));
    cr_expect_eq(ask("PUT", path, token, json_pack("{s:s}", "name", "B")), 202);
    cr_expect_eq(ask("PUT", path, token, json_pack("{s:s}", "role", "admin")), 403);
    cr_expect_eq(ask("PUT", path, token, json_pack("{s:b}", "is_active", 0)), 403);
    cr_expect_eq(ask("PUT", boss_path, token, json_pack("{s:s}", "name", "B")), 403);
    cr_expect_eq(ask("PUT", path, admin, json_pack("{s:b}", "is_active", 0)), 202);
    cr_expect_eq(ask("PUT", path, admin, json_pack("{s:s}", "role", "manager")), 202);
    cr_expect_eq(ask("PUT", path, admin, json_pack("{s:s}", "role", "admin")), 403);
    cr_expect_eq(ask("PUT", boss_path, admin, json_pack("{s:b}", "is_active", 0)), 403);
    cr_expect_eq(ask("PUT", path, super, json_pack("{s:s}", "role", "admin")), 202);
    cr_expect_eq(ask("PUT", path, super, json_pack("{s:s}", "role", "god")), 422);
}

/* ---- health ---- */

Test(door, health_tells_what_is_missing)
{
    cr_expect_eq(ask("GET", "/health", NULL, NULL), 200);
    cr_expect_eq(ask("GET", "/health/detailed", NULL, NULL), 503);
    cr_expect_not_null(strstr(door->reply.text, "superuser"));
    opened_person(door, "super_admin", "S", NULL, NULL);
    cr_expect_eq(ask("GET", "/health/detailed", NULL, NULL), 200);
    bus_sql(&door->bus, "INSERT INTO consumer_offset (grp, topic, part) VALUES ('slow', 'users', 0)");
    bus_sql(&door->bus, "INSERT INTO stream_head VALUES ('users', 0, 2, 1)");
    bus_sql(
        &door->bus,
        "INSERT INTO event_log (topic, part, seq, ms, id) VALUES ('users', 0, 1, %lld, gen_random_uuid())",
        (long long)clock_ms() - 20000);
    cr_expect_eq(ask("GET", "/health/detailed", NULL, NULL), 200, "a lag is no fault before 30 s");
    cr_expect_eq(reply_num(&door->reply, "checks.groups.0.lag_events"), 2);
    bus_sql(&door->bus, "UPDATE event_log SET ms = ms - 20000");
    cr_expect_eq(ask("GET", "/health/detailed", NULL, NULL), 503);
    cr_expect_eq(ask("GET", "/metrics", NULL, NULL), 200);
    cr_expect_not_null(strstr(door->reply.text, "group_lag_events{group=\"slow\"} 2"));
    cr_expect_not_null(strstr(door->reply.text, "commands_accepted_total"));
    bus_sql(&door->bus, "DELETE FROM consumer_offset");
    servers_kill(door->bus.servers, SERVER_REDIS);
    cr_expect_leq(becomes("/health/detailed", NULL, 503), 5000);
    servers_restart(door->bus.servers, SERVER_REDIS);
    cr_expect_leq(becomes("/health/detailed", NULL, 200), 5000);
    servers_kill(door->bus.servers, SERVER_POSTGRES);
    cr_expect_leq(becomes("/health/detailed", NULL, 503), 5000);
    cr_expect_eq(ask("GET", "/health", NULL, NULL), 200);
    servers_restart(door->bus.servers, SERVER_POSTGRES);
    cr_expect_leq(becomes("/health/detailed", NULL, 200), 5000);
}

/* SETs that Redis has been asked for. */
static int64_t sets(void)
{
    const struct redis_reply *reply = bus_redis_do(&door->bus, "INFO commandstats");
    const char *at = strstr(arena_str(door->bus.arena, reply->text).p, "cmdstat_set:calls=");
    return at ? strtoll(at + strlen("cmdstat_set:calls="), NULL, 10) : 0;
}

/* The look writes to Redis and reads PostgreSQL, and anybody may ask for it as often as he likes. */
Test(door, many_who_ask_for_its_health_at_once_share_a_look)
{
    enum { MANY = 60 };
    static char asked[MANY * 80];
    opened_person(door, "super_admin", "S", NULL, NULL);
    for (int i = 0; i < MANY; i++)
        strcat(asked, "GET /health/detailed HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int64_t before = sets();
    cr_expect_eq(raw_count(raw_ask(opened_port(door), asked), "HTTP/1.1 200"), MANY);
    cr_expect_leq(sets() - before, 3);
}

Test(blind, a_door_without_servers_is_alive_and_says_so, .timeout = 30)
{
    door = opened_blind("unix:///nowhere/redis.sock", "postgresql:///x?host=/nowhere");
    cr_expect_eq(ask("GET", "/health", NULL, NULL), 200);
    cr_expect_eq(ask("GET", "/health/detailed", NULL, NULL), 503);
    cr_expect_geq(json_array_size(reply_at(&door->reply, "reasons")), 3);
    cr_expect_eq(ask("GET", "/api/v1/products", NULL, NULL), 503);
    cr_expect_eq(ask("POST", "/api/v1/auth/login", NULL, json_object()), 503);
    door = opened_stop(door);
}

/* ---- limits of rate ---- */

/* How many of n requests in a row pass; the last refusal stays in door->reply. */
static int pass(int n, const char *method, const char *path, const char *who)
{
    int passed = 0;
    for (int i = 0; i < n; i++) {
        bool body = strcmp(method, "POST") == 0;
        passed += ask(method, path, who, body ? json_object() : NULL) != 429;
    }
    return passed;
}

Test(door, signing_in_is_throttled_by_address)
{
    conf_set(SET_RATE_LIMIT, "on");
    cr_expect_eq(pass(8, "POST", "/api/v1/auth/login", NULL), 5);
    cr_expect_eq(door->reply.status, 429);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/throttled");
    cr_expect_eq(ask("POST", "/auth/register", NULL, json_object()), 429, "another door to the same room");
    cr_expect_neq(ask("GET", "/api/v1/products", NULL, NULL), 429, "a policy of its own");
    conf_set(SET_RATE_LIMIT, "off");
    cr_expect_eq(pass(8, "POST", "/api/v1/auth/login", NULL), 8);
}

Test(door, reading_is_throttled_by_person_or_address)
{
    conf_set(SET_RATE_LIMIT, "on");
    int passed = pass(130, "GET", "/api/v1/categories", NULL);
    cr_expect(passed >= 100 && passed <= 112, "%d", passed);
    cr_expect_neq(ask("GET", "/api/v1/categories", token, NULL), 429,
                  "who is known has an allowance of his own");
}

Test(door, without_redis_each_loop_counts_for_itself)
{
    servers_kill(door->bus.servers, SERVER_REDIS);
    cr_assert_leq(becomes("/health/detailed", NULL, 503), 5000);
    conf_set(SET_RATE_LIMIT, "on");
    cr_expect_eq(pass(8, "POST", "/api/v1/auth/login", NULL), 5);
}
