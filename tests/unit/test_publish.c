/* From a request to its lane: what stands there, who may, keys, and what happens when Redis does not. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/cmdid.h"
#include "tests/support/opened.h"

static struct opened *door;
static struct uuid user, product;
static const char *token;

static void setup(void)
{
    door = opened_start(2, 3);
    user = opened_person(door, "customer", "Ana", NULL, &token);
    product = uuid_v7(clock_ms());
}

static void teardown(void)
{
    door = opened_stop(door);
}

TestSuite(publish, .init = setup, .fini = teardown, .timeout = 60);

static json_t *line(int quantity)
{
    return json_pack("{s:s, s:i}", "product_id", uuid_text(product), "quantity", quantity);
}

static int add(const char *key, int quantity)
{
    return opened_ask(door, &(struct ask){.method = "POST",
                                          .path = "/api/v1/cart/items",
                                          .body = line(quantity),
                                          .token = token,
                                          .key = key});
}

static int ask(const char *method, const char *path, const char *who, json_t *body, const char *more)
{
    return opened_ask(
        door, &(struct ask){.method = method, .path = path, .token = who, .body = body, .more = more});
}

Test(publish, accepted_means_it_is_in_its_lane)
{
    struct entry *entries;
    cr_assert_eq(
        ask("POST", "/api/v1/cart/items", token, line(2),
            "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nIf-Match: \"7-12\"\r\n"
            "X-Request-Id: request-1\r\n"),
        202);
    cr_assert_eq(opened_entries(door, TOPIC_CARTS, &entries), 1);
    const struct envelope *e = &entries[0].envelope;
    cr_expect_str_eq(reply_str(&door->reply, "status"), "accepted");
    cr_expect(str_is(e->id, reply_str(&door->reply, "command_id")));
    cr_expect(str_is(e->id, command_of(&door->reply)));
    cr_expect(str_is(e->type, "cart.add-item.v1"));
    cr_expect(str_is(e->dataschema, "cart.add-item/1.0"));
    cr_expect(str_is(e->partitionkey, uuid_text(user)));
    cr_expect_eq(entries[0].part, partition_of(e->partitionkey));
    cr_expect(str_is(e->client, arena_printf(door->bus.arena, "user:%s", uuid_text(user)).p));
    cr_expect(str_eq(e->actor, e->client));
    cr_expect(str_eq(e->correlationid, e->id));
    cr_expect(str_is(e->causationid, "request-1"));
    cr_expect(str_starts(e->traceparent, STR("00-4bf92f3577b34da6a3ce929d0e0e4736-")));
    cr_expect(str_is(e->expectedversion, "7"));
    cr_expect(str_starts(e->replyto, STR("res:")));
    struct str expected =
        arena_printf(door->bus.arena, "{\"user_id\":\"%s\",\"product_id\":\"%s\",\"quantity\":2}",
                     uuid_text(user), uuid_text(product));
    cr_expect(str_eq(e->data, expected), "%.*s", STR_ARG(e->data));
}

Test(publish, what_is_wrong_is_named_and_nothing_is_published)
{
    struct entry *entries;
    json_t *body =
        json_pack("{s:s, s:i, s:b, s:s}", "product_id", "x", "quantity", 0, "gift", 1, "user_id", "x");
    cr_assert_eq(ask("POST", "/api/v1/cart/items", token, body, NULL), 422);
    cr_expect_eq(json_array_size(reply_at(&door->reply, "errors")), 4);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/invalid");
    cr_expect_eq(ask("POST", "/api/v1/cart/items", token, json_pack("[]"), NULL), 422);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", NULL, line(1), NULL), 401);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", "no.token.this", line(1), NULL), 401);
    cr_expect_eq(ask("POST", "/api/v1/products", token, json_pack("{}"), NULL), 403);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", token, line(1), "If-Match: 7\r\n"), 400);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", token, line(1), "If-Match: \"seven\"\r\n"), 400);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", token, line(1), "If-Match: W/\"7\"\r\n"), 412);
    cr_expect_eq(ask("POST", "/api/v1/cart/items", token, line(1), "Idempotency-Key: a b\r\n"), 400);
    cr_expect_eq(opened_entries(door, TOPIC_CARTS, &entries), 0);
}

Test(publish, a_known_key_is_the_same_command)
{
    struct entry *entries;
    char id[64];
    cr_assert_eq(add("k1", 1), 202);
    snprintf(id, sizeof(id), "%s", command_of(&door->reply));
    cr_assert_eq(add("k1", 1), 202);
    cr_expect_str_eq(command_of(&door->reply), id);
    cr_assert_eq(add("k1", 2), 422);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/idempotency-key-reused");
    cr_assert_eq(add("k2", 1), 202);
    cr_expect_str_neq(command_of(&door->reply), id);
    cr_assert_eq(ask("DELETE", "/api/v1/cart", token, NULL, "Idempotency-Key: k1\r\n"), 422);
    /* The repeat is published again, on its own lane, for whoever handles it to drop. */
    cr_assert_eq(opened_entries(door, TOPIC_CARTS, &entries), 3);
    cr_expect(str_eq(entries[0].envelope.id, entries[1].envelope.id));
    cr_expect(str_eq(entries[0].envelope.fingerprint, entries[1].envelope.fingerprint));
}

/* Refused for want of time, or lost: nothing was done and no row holds the key, so the same key may try
 * again. */
Test(publish, a_key_whose_command_had_no_chance_is_free)
{
    struct entry *entries;
    char first[64], second[64];
    cr_assert_eq(add("k1", 1), 202);
    snprintf(first, sizeof(first), "%s", command_of(&door->reply));
    opened_entries(door, TOPIC_CARTS, &entries);
    opened_result(door, &entries[0].envelope, "rejected", 503, "{\"error\":\"UNAVAILABLE\"}");
    cr_assert_eq(add("k1", 2), 422);
    cr_assert_eq(add("k1", 1), 202);
    snprintf(second, sizeof(second), "%s", command_of(&door->reply));
    cr_expect_str_neq(second, first);
    cr_assert_eq(add("k1", 1), 202);
    cr_expect_str_eq(command_of(&door->reply), second);
    bus_sql(&door->bus, "SELECT command_lost('%s')", second);
    cr_assert_eq(add("k1", 1), 202);
    cr_expect_str_neq(command_of(&door->reply), second);
    cr_expect_str_neq(command_of(&door->reply), first);
}

Test(publish, keys_belong_to_their_client)
{
    const char *other;
    char id[64];
    opened_person(door, "customer", "Eva", NULL, &other);
    cr_assert_eq(add("same", 1), 202);
    snprintf(id, sizeof(id), "%s", command_of(&door->reply));
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "POST",
                                                .path = "/api/v1/cart/items",
                                                .body = line(9),
                                                .token = other,
                                                .key = "same"}),
                 202);
    cr_expect_str_neq(command_of(&door->reply), id);
}

/* ---- many at once ---- */

enum { AT_ONCE = 40 };
static char ids[AT_ONCE][64];

static void *add_with_one_key(void *data)
{
    struct browser *browser = browser_new(opened_port(door));
    struct reply reply = {0};
    browser_ask(
        browser,
        &(struct ask){
            .method = "POST", .path = "/api/v1/cart/items", .body = line(1), .token = token, .key = "one"},
        &reply);
    snprintf(data, 64, "%d %s", reply.status, command_of(&reply));
    reply_clear(&reply);
    browser_free(browser);
    return NULL;
}

Test(publish, forty_at_once_with_one_key_are_one_command)
{
    pthread_t threads[AT_ONCE];
    struct entry *entries;
    for (size_t i = 0; i < AT_ONCE; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_with_one_key, ids[i]), 0);
    for (size_t i = 0; i < AT_ONCE; i++)
        pthread_join(threads[i], NULL);
    size_t n = opened_entries(door, TOPIC_CARTS, &entries);
    cr_expect_eq(n, AT_ONCE); /* each publishes, all the same id */
    for (size_t i = 0; i < AT_ONCE; i++)
        cr_expect_str_eq(ids[i], ids[0]);
    for (size_t i = 0; i < n; i++)
        cr_expect(str_is(entries[i].envelope.id, ids[0] + 4));
}

/* ---- Redis ---- */

Test(publish, a_full_lane_is_told_before_and_by_the_script)
{
    conf_set(SET_LANE_CAP, "2");
    cr_expect_eq(add("a", 1), 202);
    cr_expect_eq(add("b", 1), 202);
    cr_expect_eq(add("c", 1), 503);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/overloaded");
    int status = 0; /* commands without a key see the sample, which is 100 ms old at most */
    for (int i = 0; i < 1000 && (status = add(NULL, 1)) == 202; i++)
        clock_sleep_ms(5);
    cr_expect_eq(status, 503);
}

Test(publish, without_redis_nothing_is_promised)
{
    servers_kill(door->bus.servers, SERVER_REDIS);
    for (int i = 0; i < 200 && add(NULL, 1) != 503; i++)
        clock_sleep_ms(5);
    cr_expect_eq(add("k", 1), 503);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/unavailable");
    servers_restart(door->bus.servers, SERVER_REDIS);
    int status = 0;
    for (int i = 0; i < 1000 && (status = add("k", 1)) == 503; i++)
        clock_sleep_ms(5);
    cr_expect_eq(status, 202);
}

/* Redis stops in the middle: the command may or may not be there, and the answer says so; the same key
 * afterwards is one command. */
Test(publish, an_unknown_outcome_is_told_as_such)
{
    struct entry *entries;
    cr_assert_eq(add("first", 1), 202);
    servers_pause(door->bus.servers, SERVER_REDIS);
    cr_expect_eq(add("k", 1), 503);
    cr_expect_str_eq(reply_str(&door->reply, "type"), "/problems/outcome-unknown");
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "GET", .path = "/health"}), 200);
    servers_resume(door->bus.servers, SERVER_REDIS);
    int status = 0;
    for (int i = 0; i < 1000 && (status = add("k", 1)) == 503; i++)
        clock_sleep_ms(5);
    cr_assert_eq(status, 202);
    size_t n = opened_entries(door, TOPIC_CARTS, &entries);
    cr_expect(n == 2 || n == 3);
    for (size_t i = 1; i < n; i++)
        cr_expect(str_eq(entries[i].envelope.id, entries[n - 1].envelope.id) ||
                  str_is(entries[i].envelope.idempotencykey, "first") ||
                  str_is(entries[n - 1].envelope.idempotencykey, "first"));
}

Test(publish, ids_name_their_lane_and_their_owner)
{
    struct uuid id;
    enum topic topic;
    int part;
    cr_assert_eq(add(NULL, 1), 202);
    cr_assert(!failed(uuid_parse(str_of(command_of(&door->reply)), &id)));
    cr_assert(cmdid_lane(id, &topic, &part));
    cr_expect_eq(topic, TOPIC_CARTS);
    cr_expect_eq(part, partition_of(str_of(uuid_text(user))));
    struct str client = arena_printf(door->bus.arena, "user:%s", uuid_text(user));
    cr_expect(!failed(cmdid_check(&door->shop.secrets.command_id, id, client)));
    cr_expect(failed(cmdid_check(&door->shop.secrets.command_id, id, STR("anon"))));
}

/* ---- personal data ---- */

Test(publish, addresses_travel_sealed_under_their_persons_key)
{
    struct entry *entries;
    json_t *body =
        json_pack("{s:{s:s,s:s,s:s},s:s,s:s}", "shipping_address", "street", "Calle Larga 1", "city",
                  "Santiago", "country", "Chile", "payment_method", "test", "payment_token", "tok_secret");
    cr_assert_eq(ask("POST", "/api/v1/orders", token, body, NULL), 202);
    cr_assert_eq(opened_entries(door, TOPIC_CARTS, &entries), 1);
    struct str data = entries[0].envelope.data;
    cr_expect(str_is(entries[0].envelope.type, "cart.check-out.v1"));
    cr_expect_null(memmem(data.p, data.n, "Calle", 5));
    cr_expect_null(memmem(data.p, data.n, "tok_secret", 10));
    cr_expect_not_null(memmem(data.p, data.n, uuid_text(user), UUID_TEXT));
    cr_expect_not_null(memmem(data.p, data.n, "sealed:1:", 9));
}

Test(publish, a_person_without_a_key_cannot_go_on)
{
    json_t *body = json_pack("{s:{s:s,s:s,s:s},s:s}", "shipping_address", "street", "a", "city", "b",
                             "country", "CL", "payment_method", "test");
    bus_sql(&door->bus, "DELETE FROM person_key");
    cr_expect_eq(ask("POST", "/api/v1/orders", token, body, NULL), 401);
}

Test(publish, a_registration_brings_its_key_and_hides_the_password)
{
    struct entry *entries;
    json_t *body =
        json_pack("{s:s,s:s,s:s}", "email", "Eva@Example.cl", "password", "Segura-123", "name", "Eva");
    cr_assert_eq(
        opened_ask(
            door,
            &(struct ask){.method = "POST", .path = "/api/v1/auth/register", .body = body, .wait_s = -1}),
        202);
    cr_assert_eq(opened_entries(door, TOPIC_USERS, &entries), 1);
    const struct envelope *e = &entries[0].envelope;
    struct user_register c;
    struct arena *arena = door->bus.arena;
    cr_expect(str_eq(e->partitionkey, e->id), "the person's id is the command's");
    cr_expect(str_is(e->client, "anon"));
    cr_expect_null(memmem(e->data.p, e->data.n, "Segura", 6));
    cr_expect_null(memmem(e->data.p, e->data.n, "Example", 7));
    cr_assert(!failed(codec_decode(&shape_user_register, CODEC_BUS, e->data, NULL, 0, arena, &c, NULL)));
    cr_expect(str_starts(c.password_hash, STR("$argon2id$v=19$m=19456,t=2,p=1$")));
    cr_expect(
        str_eq(c.email_index, seal_blind_index(&door->shop.secrets.master, STR("eva@example.cl"), arena)));
    struct uuid person;
    struct seal_key key;
    struct str wrapped, clear;
    cr_assert(!failed(uuid_parse(e->id, &person)));
    cr_assert(!failed(base64url_decode(c.person_key, arena, &wrapped)));
    cr_assert(!failed(seal_unwrap(&door->shop.secrets.master, person, wrapped, &key)));
    cr_assert(!failed(seal_open(&key, c.email, arena, &clear)));
    cr_expect(str_is(clear, "\"Eva@Example.cl\""));
}

/* The repeat of a registration seals anew, for the id of the first try. */
Test(publish, a_repeated_registration_is_sealed_for_the_same_person)
{
    struct entry *entries;
    for (int i = 0; i < 2; i++) {
        json_t *body =
            json_pack("{s:s,s:s,s:s}", "email", "eva@example.cl", "password", "Segura-123", "name", "Eva");
        cr_assert_eq(opened_ask(door, &(struct ask){.method = "POST",
                                                    .path = "/api/v1/auth/register",
                                                    .body = body,
                                                    .key = "reg",
                                                    .wait_s = -1}),
                     202);
    }
    cr_assert_eq(opened_entries(door, TOPIC_USERS, &entries), 2);
    cr_expect(str_eq(entries[0].envelope.id, entries[1].envelope.id));
    cr_expect(str_starts(entries[0].envelope.client, STR("anon:")));
    struct user_register c;
    cr_assert(!failed(codec_decode(&shape_user_register, CODEC_BUS, entries[1].envelope.data, NULL, 0,
                                   door->bus.arena, &c, NULL)));
    struct uuid sealed_for, person;
    cr_assert(!failed(seal_person(c.email, &sealed_for)));
    cr_assert(!failed(uuid_parse(entries[0].envelope.id, &person)));
    cr_expect(uuid_eq(sealed_for, person));
}

Test(publish, weak_passwords_are_refused)
{
    static const char *const weak[] = {"Short1!", "nocapitals1!", "NOSMALL111!", "NoDigits!!", "NoSymbol11"};
    for (size_t i = 0; i < sizeof(weak) / sizeof(*weak); i++) {
        json_t *body = json_pack("{s:s,s:s,s:s}", "email", "a@b.cl", "password", weak[i], "name", "Eva");
        cr_expect_eq(ask("POST", "/api/v1/auth/register", NULL, body, NULL), 422, "%s", weak[i]);
    }
}
