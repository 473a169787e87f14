#include "tests/support/opened.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jwt.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/lane.h"
#include "tests/support/template.h"

static const char encryption_key[] = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

const char *uuid_text(struct uuid id)
{
    static _Thread_local char texts[4][UUID_TEXT + 1];
    static _Thread_local int turn;
    char *text = texts[turn++ % 4];
    uuid_print(id, text);
    return text;
}

static void start_server(struct opened *door, int loops)
{
    bus_must(secrets_load(&door->shop.secrets));
    struct server_options options = {.bind = "127.0.0.1",
                                     .port = 0,
                                     .loops = loops,
                                     .routes = shop_routes,
                                     .hooks = door_hooks(),
                                     .data = &door->shop};
    bus_must(server_start(&options, &door->server));
    door->browser = browser_new(server_port(door->server));
}

/* Settings of a door in this process. */
static void settings(void)
{
    setenv("LOG_LEVEL", "error", 0);
    setenv("RATE_LIMIT", "off", 0);
    bus_must(conf_load("test"));
    conf_set(SET_ENCRYPTION_KEY, encryption_key);
    conf_set(SET_JWT_SECRET_KEY, "a key of tokens that only tests know");
}

int opened_port(const struct opened *door)
{
    return server_port(door->server);
}

int opened_ask(struct opened *door, const struct ask *ask)
{
    reply_clear(&door->reply);
    browser_ask(door->browser, ask, &door->reply);
    return door->reply.status;
}

struct opened *opened_start(int loops, int partitions)
{
    struct opened *door = calloc(1, sizeof(*door));
    if (!door)
        abort();
    door->bus = bus_start(partitions);
    settings();
    door->shop.redis_url = servers_redis_url(door->bus.servers);
    door->shop.database_url = servers_database_url(door->bus.servers);
    atomic_store(&door->shop.ready, true);
    start_server(door, loops);
    for (int i = 0; atomic_load(&door->shop.open) < loops; i++) {
        if (i > 10000)
            support_die("the door does not open");
        clock_sleep_ms(2);
    }
    return door;
}

struct opened *opened_blind(const char *redis_url, const char *database_url)
{
    struct opened *door = calloc(1, sizeof(*door));
    if (!door)
        abort();
    settings();
    door->shop.redis_url = redis_url;
    door->shop.database_url = database_url;
    start_server(door, 1);
    return door;
}

struct opened *opened_stop(struct opened *door)
{
    if (!door)
        return NULL;
    reply_clear(&door->reply);
    browser_free(door->browser);
    server_stop(door->server);
    if (door->bus.servers)
        bus_stop(&door->bus);
    free(door);
    return NULL;
}

void opened_stopp(struct opened **door)
{
    *door = opened_stop(*door);
}

/* ---- people and goods ---- */

const char *opened_token(struct opened *door, struct uuid user, struct uuid session, const char *role)
{
    int64_t now_s = clock_ms() / 1000;
    struct claims claims = {.user = user,
                            .session = session,
                            .id = uuid_v7(clock_ms()),
                            .role = role_of(str_of(role)),
                            .issued = now_s,
                            .not_before = now_s,
                            .expires = now_s + JWT_LIFETIME_S};
    return jwt_sign(&door->shop.secrets, &claims, door->bus.arena).p;
}

static struct str sealed_text(struct opened *door, const struct seal_key *key, struct uuid person,
                              const char *text)
{
    return seal_value(key, person, arena_printf(door->bus.arena, "\"%s\"", text), door->bus.arena);
}

static void add_key(struct opened *door, struct uuid person, const struct seal_key *key)
{
    uint8_t wrapped[SEAL_WRAPPED];
    seal_wrap(&door->shop.secrets.master, person, key, wrapped);
    struct str text = hex((struct str){(const char *)wrapped, sizeof(wrapped)}, door->bus.arena);
    bus_sql(&door->bus, "INSERT INTO person_key VALUES ('%s', '\\x%s', 0)", uuid_text(person), text.p);
}

struct uuid opened_person(struct opened *door, const char *role, const char *name, struct uuid *ret_session,
                          const char **ret_token)
{
    struct uuid person = uuid_v7(clock_ms()), session = uuid_v7(clock_ms());
    struct seal_key key = seal_key_random();
    add_key(door, person, &key);
    struct str mail = arena_printf(door->bus.arena, "%s@example.cl", uuid_text(person));
    struct str index = seal_blind_index(&door->shop.secrets.master, mail, door->bus.arena);
    bus_sql(&door->bus,
            "INSERT INTO app_user VALUES ('%s', '%s', '%s', '%s', NULL, 'none', '%s', true, 1, %" PRId64
            ", 0)",
            uuid_text(person), sealed_text(door, &key, person, mail.p).p, index.p,
            sealed_text(door, &key, person, name).p, role, clock_ms());
    bus_sql(&door->bus, "INSERT INTO session VALUES ('%s', '%s', 1, false, 0, 0)", uuid_text(session),
            uuid_text(person));
    if (ret_session)
        *ret_session = session;
    if (ret_token)
        *ret_token = opened_token(door, person, session, role);
    return person;
}

struct uuid opened_product(struct opened *door, const char *name, const char *sku, const char *category,
                           int64_t price, int64_t stock)
{
    static int64_t last_ms; /* later products have greater ids, however fast they are made */
    last_ms = clock_ms() > last_ms ? clock_ms() : last_ms + 1;
    struct uuid id = uuid_v7(last_ms);
    bus_sql(&door->bus, "INSERT INTO category VALUES ('%s', initcap('%s'), NULL, 0) ON CONFLICT DO NOTHING",
            category, category);
    bus_sql(&door->bus,
            "INSERT INTO product (id, name, slug, sku, price, currency, category, is_active, is_featured, "
            "is_deleted, "
            "version, created_ms, updated_ms) VALUES ('%s', '%s', '%s', '%s', %" PRId64
            ", 'CLP', '%s', true, false, false, 1, %" PRId64 ", 0)",
            uuid_text(id), name, sku, sku, price, category, clock_ms());
    bus_sql(&door->bus,
            "INSERT INTO stock VALUES ('%s', '00000000-0000-7000-8000-000000000001', %" PRId64 ", 0, 1, 0)",
            uuid_text(id), stock);
    return id;
}

const char *command_of(const struct reply *reply)
{
    const char *slash = strrchr(reply->location, '/');
    return slash ? slash + 1 : "";
}

/* ---- behind the door ---- */

size_t opened_entries(struct opened *door, enum topic topic, struct entry **ret)
{
    size_t total = 0, n;
    *ret = arena_array(door->bus.arena, struct entry, 1000);
    for (int part = 0; part < partitions(); part++) {
        char lane[STREAM_NAME];
        struct entry *entries;
        lane_name(topic, part, lane);
        bus_must(lane_entries(bus_redis_do(&door->bus, "XREAD COUNT 1000 STREAMS %s 0", lane),
                              door->bus.arena, &entries, &n));
        for (size_t i = 0; i < n && total < 1000; i++)
            (*ret)[total++] = entries[i];
    }
    return total;
}

const char *opened_member(struct opened *door, const struct envelope *command, const char *name)
{
    json_t *data = json_loadb(command->data.p, command->data.n, 0, NULL),
           *value = json_object_get(data, name);
    const char *text = "";
    if (json_is_string(value))
        text = arena_str(door->bus.arena, str_of(json_string_value(value))).p;
    else if (json_is_integer(value))
        text = arena_printf(door->bus.arena, "%lld", (long long)json_integer_value(value)).p;
    json_decref(data);
    return text;
}

void opened_result(struct opened *door, const struct envelope *command, const char *status, int http,
                   const char *result)
{
    static const struct pg_stmt insert = {
        "test_result",
        "INSERT INTO command (id, client, status, http_status, result, created_ms) VALUES ($1::uuid, $2, $3, "
        "$4::bigint, $5, 0) "
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, http_status = excluded.http_status, "
        "result = excluded.result"};
    struct uuid id;
    bus_must(uuid_parse(command->id, &id));
    struct pg_param params[] = {pg_uuid(id), pg_text(command->client), pg_text(str_of(status)), pg_int(http),
                                pg_text(str_of(result))};
    bus_must(pg_call(door->bus.pg, &insert, 5, params, NULL));
}

void opened_hint(struct opened *door, const struct envelope *command)
{
    const struct redis_reply *reply;
    bus_must(redis_callf(door->bus.redis, &reply, "PUBLISH %b %b", command->replyto, command->id));
}

void opened_event(struct opened *door, enum message type, struct uuid key, const char *data, bool relayed)
{
    struct event event =
        event_new(&message_types[type], STR("test"), str_of(uuid_text(key)), str_of(data), door->bus.arena);
    eventlog_queue(door->bus.pg, &event, 1, door->bus.arena);
    pg_sync(door->bus.pg, NULL, NULL);
    bus_must(pg_wait(door->bus.pg, 5000));
    if (!relayed)
        return;
    struct relay *relay = relay_new(door->bus.redis, door->bus.pg);
    relay_append(relay, &event, 1, door->bus.arena);
    bus_must(redis_wait(door->bus.redis, 5000));
    relay_free(relay);
}
