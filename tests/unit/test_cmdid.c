/*
 * Command ids: the lane is in them, and nobody can make or change one.
 */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "bus/cmdid.h"

static struct seal_key key;
static struct str ana;

static void start(void)
{
    partitions_set(8);
    key = seal_key_random();
    ana = STR("user:01900000-0000-7000-8000-00000000000a");
}

TestSuite(cmdid, .init = start);

Test(cmdid, the_id_tells_topic_partition_and_time)
{
    enum topic topic;
    int part;
    for (int i = 0; i < 8; i++) {
        struct uuid id = cmdid_new(&key, 1763764800123, TOPIC_ORDERS, i, ana);
        cr_assert(cmdid_lane(id, &topic, &part));
        cr_assert_eq(topic, TOPIC_ORDERS);
        cr_assert_eq(part, i);
        cr_assert_eq(uuid_ms(id), 1763764800123);
        cr_assert(!failed(cmdid_check(&key, id, ana)));
    }
}

Test(cmdid, an_id_that_is_its_own_key_goes_where_its_text_goes)
{
    for (int i = 0; i < 50; i++) {
        enum topic topic;
        int part;
        char text[UUID_TEXT + 1];
        struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CATALOG, CMDID_SELF, ana);
        uuid_print(id, text);
        cr_assert(cmdid_lane(id, &topic, &part));
        cr_assert_eq(part, partition_of(str_of(text)));
    }
}

Test(cmdid, every_changed_bit_is_noticed)
{
    for (int bit = 0; bit < 128; bit++) {
        struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CARTS, 3, ana);
        id.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(cmdid_check(&key, id, ana).code, ERR_NOT_FOUND, "bit %d", bit);
    }
}

Test(cmdid, it_belongs_to_one_client_and_one_key)
{
    struct seal_key other = seal_key_random();
    struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CARTS, 3, ana);
    cr_assert_eq(cmdid_check(&key, id, STR("user:01900000-0000-7000-8000-00000000000b")).code, ERR_NOT_FOUND);
    cr_assert_eq(cmdid_check(&key, id, STR("")).code, ERR_NOT_FOUND);
    cr_assert_eq(cmdid_check(&other, id, ana).code, ERR_NOT_FOUND);
    char long_client[300] = {0};
    cr_assert_eq(cmdid_check(&key, id, (struct str){long_client, sizeof(long_client)}).code, ERR_NOT_FOUND);
}

Test(cmdid, an_ordinary_uuid_is_no_lane)
{
    enum topic topic;
    int part, lanes = 0;
    for (int i = 0; i < 1000; i++) {
        struct uuid id;
        random_bytes(&id, sizeof(id));
        lanes += cmdid_lane(id, &topic, &part);
    }
    cr_assert_lt(lanes, 30);
    cr_assert(!cmdid_lane((struct uuid){{0}}, &topic, &part));
}

Test(cmdid, names_of_streams_are_read_back_and_nothing_else_is)
{
    static const char *const wrong[] = {"evt:{orders.3}",
                                        "evt:{orders.03",
                                        "evt:{nobody.03}",
                                        "evt:{orders.-1}",
                                        "evt:{orders.03}:x",
                                        "cmd:orders.03",
                                        "",
                                        "evt:{orders.999}",
                                        "cmd:{orders.127}",
                                        "evt:{.03}",
                                        "xvt:{orders.03}",
                                        "evt:{orders.003}"};
    enum topic topic;
    int part;
    bool command;
    char name[STREAM_NAME];
    for (int i = 0; i < PARTITIONS_MAX; i++) {
        lane_name(TOPIC_STOCK, i, name);
        cr_assert(stream_parse(str_of(name), &topic, &part, &command) && command);
        stream_name(TOPIC_STOCK, i, name);
        cr_assert(stream_parse(str_of(name), &topic, &part, &command) && !command);
        cr_assert(topic == TOPIC_STOCK && part == i);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert(!stream_parse(str_of(wrong[i]), &topic, &part, &command), "%s", wrong[i]);
}
