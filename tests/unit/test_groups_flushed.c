/*
 * Identity and the catalogue with their runner, against a private Redis and PostgreSQL: what the tests of the
 * handlers alone cannot see: keys as bytes, references between tables, a refusal whose effects are committed,
 * labels that come round by the bus.
 */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "tests/support/runner.h"

extern const struct group identity_group, catalog_group;
static const struct seal_key key = {{7}};

static struct uuid new_id(enum topic topic, struct str partition_key)
{
    int part = partition_key.p ? partition_of(partition_key) : CMDID_SELF;
    return cmdid_new(&key, clock_ms(), topic, part, STR("test"));
}

/* partition_key absent: the command makes its aggregate. */
static void publish(struct bus *bus, enum message type, struct uuid id, struct str partition_key,
                    const void *data)
{
    const struct message_type *t = &message_types[type];
    struct str text = uuid_str(id, bus->arena), at = partition_key.p ? partition_key : text;
    runner_publish(bus, (struct envelope){
                            .specversion = STR("1.0"),
                            .id = text,
                            .source = STR("test"),
                            .type = str_of(t->name),
                            .subject = at,
                            .time = clock_text(clock_ms(), bus->arena),
                            .partitionkey = at,
                            .correlationid = text,
                            .data = codec_encode(t->shape, data, bus->arena),
                            .client = STR("test"),
                        });
}

/* Publishes and waits for the result's HTTP status. */
static void expect_http(struct bus *bus, enum message type, struct uuid id, struct str partition_key,
                        const void *data, int http)
{
    publish(bus, type, id, partition_key, data);
    const char *sql =
        arena_printf(bus->arena, "SELECT coalesce(max(http_status), 0)::bigint FROM command WHERE id = '%s'",
                     uuid_str(id, bus->arena).p)
            .p;
    runner_expect(bus, sql, http);
}

static struct str sealed_for(struct bus *bus, struct uuid person, const char *json)
{
    struct seal_key own = seal_key_random();
    return seal_value(&own, person, str_of(json), bus->arena);
}

static struct uuid registered(struct bus *bus)
{
    static const uint8_t wrapped[SEAL_WRAPPED] = {0, 255, 7};
    struct uuid id = new_id(TOPIC_USERS, STR_NONE);
    struct user_register c = {
        .email = sealed_for(bus, id, "\"ana@example.org\""),
        .name = sealed_for(bus, id, "\"Ana\""),
        .email_index = STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        .password_hash = STR("$argon2id$x"),
        .person_key = base64url((struct str){(const char *)wrapped, sizeof(wrapped)}, bus->arena),
    };
    expect_http(bus, USER_REGISTER, id, STR_NONE, &c, 201);
    cr_assert_eq(bus_query(bus, "SELECT octet_length(wrapped) FROM person_key"), SEAL_WRAPPED);
    cr_assert_eq(bus_query(bus, "SELECT get_byte(wrapped, 1) FROM person_key"), 255);
    return id;
}

Test(groups_flushed, a_session_from_log_in_to_reuse)
{
    struct bus bus = runner_bus(3);
    struct runner *runner = runner_start(&identity_group, "one");
    struct uuid user = registered(&bus);
    struct str at = uuid_str(user, bus.arena);
    struct user_log_in log_in = {
        .user_id = user, .session_id = uuid_v7(clock_ms()), .rehashed = STR("$argon2id$y")};
    struct user_refresh refresh = {.user_id = user, .session_id = log_in.session_id, .generation = 1};
    struct user_update off = {.user_id = user, .has_is_active = true};

    expect_http(&bus, USER_LOG_IN, new_id(TOPIC_USERS, at), at, &log_in, 200);
    expect_http(&bus, USER_REFRESH, new_id(TOPIC_USERS, at), at, &refresh, 200);
    expect_http(&bus, USER_REFRESH, new_id(TOPIC_USERS, at), at, &refresh, 401);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM session WHERE is_revoked AND generation = 2"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE type = 'user.session-revoked.v1'"), 1);

    log_in.session_id = uuid_v7(clock_ms());
    expect_http(&bus, USER_LOG_IN, new_id(TOPIC_USERS, at), at, &log_in, 200);
    expect_http(&bus, USER_UPDATE, new_id(TOPIC_USERS, at), at, &off, 200);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM session WHERE NOT is_revoked"), 0);
    expect_http(&bus, USER_LOG_IN, new_id(TOPIC_USERS, at), at, &log_in, 401);
    runner_stop(runner);
    bus_stop(&bus);
}

Test(groups_flushed, a_product_its_labels_and_its_successor)
{
    struct bus bus = runner_bus(3);
    struct runner *runner = runner_start(&catalog_group, "one");
    struct product_create c = {.name = STR("Lámpara"), .sku = STR("LAMP-1"), .price = 12990};
    c.category = STR("Iluminación");
    c.brand = STR("Lúmen");
    struct uuid id = new_id(TOPIC_CATALOG, STR_NONE);
    struct str at = uuid_str(id, bus.arena);
    struct product_update change = {.product_id = id, .has_price = true, .price = 9990};
    struct product_delete gone = {.product_id = id};

    expect_http(&bus, PRODUCT_CREATE, id, STR_NONE, &c, 201);
    runner_expect(&bus, "SELECT count(*) FROM category WHERE slug = 'iluminacion' AND name = 'Iluminación'",
                  1);
    runner_expect(&bus, "SELECT count(*) FROM brand WHERE slug = 'lumen'", 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log WHERE type = 'stock.opened.v1'"), 1);
    expect_http(&bus, PRODUCT_CREATE, new_id(TOPIC_CATALOG, STR_NONE), STR_NONE, &c, 409);
    expect_http(&bus, PRODUCT_UPDATE, new_id(TOPIC_CATALOG, at), at, &change, 200);
    cr_assert_eq(bus_query(&bus, "SELECT price FROM product WHERE version = 2"), 9990);
    expect_http(&bus, PRODUCT_DELETE, new_id(TOPIC_CATALOG, at), at, &gone, 204);
    expect_http(&bus, PRODUCT_UPDATE, new_id(TOPIC_CATALOG, at), at, &change, 404);
    expect_http(&bus, PRODUCT_CREATE, new_id(TOPIC_CATALOG, STR_NONE), STR_NONE, &c, 201);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM product WHERE slug = 'lampara'"), 2);
    runner_stop(runner);
    bus_stop(&bus);
}

/* Two members write different partitions: what one cannot see the unique index decides, and the loser is
 * answered. */
Test(groups_flushed, of_many_creations_with_one_sku_one_wins)
{
    enum { TRIES = 40 };
    struct bus bus = runner_bus(4);
    struct runner *runners[] = {runner_start(&catalog_group, "one"), runner_start(&catalog_group, "two")};
    struct product_create c = {.name = STR("Lámpara"), .sku = STR("LAMP-1"), .price = 12990};

    for (int i = 0; i < TRIES; i++)
        publish(&bus, PRODUCT_CREATE, new_id(TOPIC_CATALOG, STR_NONE), STR_NONE, &c);
    runner_expect(&bus, "SELECT count(*) FROM command WHERE http_status IN (201, 409)", TRIES);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM command WHERE http_status = 201"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM product"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM dead_letter"), 0);
    runner_stop(runners[0]);
    runner_stop(runners[1]);
    bus_stop(&bus);
}
