/*
 * Command ids. Bits of a UUIDv7: ms 48 | version 4 | topic 5, partition 7 | variant 2 | random 32 | MAC 30.
 * The MAC is over the id without it and the client. Two ids meet only for the same client, millisecond, lane
 * and 32 random bits: the client is in the MAC, so others' ids differ.
 */
#include "bus/cmdid.h"

#include <assert.h>

enum { MAC_BYTES = 4, MAC_TOP_BITS = 0x3f }; /* 30 bits: the low six of byte 12, and bytes 13 to 15 */

static void mac_compute(const struct seal_key *key, struct uuid id, struct str client,
                        uint8_t ret[static MAC_BYTES])
{
    uint8_t text[16 + 256], digest[32];
    assert(client.n <= sizeof(text) - 16);
    memcpy(text, id.b, 16);
    text[12] &= (uint8_t)~MAC_TOP_BITS;
    memset(text + 13, 0, 3);
    if (client.n)
        memcpy(text + 16, client.p, client.n);
    hmac256((struct str){(const char *)key->b, SEAL_KEY}, (struct str){(const char *)text, 16 + client.n},
            digest);
    memcpy(ret, digest, MAC_BYTES);
    ret[0] &= MAC_TOP_BITS;
}

struct uuid cmdid_new(const struct seal_key *key, int64_t ms, enum topic topic, int part, struct str client)
{
    assert(topic_is((int)topic) && topic < 32);
    assert(part == CMDID_SELF || (part >= 0 && part < partitions()));
    struct uuid id = uuid_v7(ms);
    unsigned lane = (unsigned)topic << 7 | (unsigned)part;
    id.b[6] = (uint8_t)(0x70 | lane >> 8);
    id.b[7] = (uint8_t)lane;

    uint8_t mac[MAC_BYTES];
    mac_compute(key, id, client, mac);
    id.b[12] = (uint8_t)((id.b[12] & ~MAC_TOP_BITS) | mac[0]);
    memcpy(id.b + 13, mac + 1, 3);
    return id;
}

err cmdid_check(const struct seal_key *key, struct uuid id, struct str client)
{
    enum topic topic;
    int part;
    uint8_t mac[MAC_BYTES],
        own[MAC_BYTES] = {(uint8_t)(id.b[12] & MAC_TOP_BITS), id.b[13], id.b[14], id.b[15]};
    if (!cmdid_lane(id, &topic, &part) || client.n > 256)
        return FAIL(NOT_FOUND, "not a command id");
    mac_compute(key, id, client, mac);
    if (!bytes_eq(mac, own, MAC_BYTES))
        return FAIL(NOT_FOUND, "not this client's command id");
    return OK;
}

bool cmdid_lane(struct uuid id, enum topic *ret_topic, int *ret_part)
{
    int topic = (id.b[6] & 0x0f) << 1 | id.b[7] >> 7, part = id.b[7] & 0x7f;
    if (id.b[6] >> 4 != 7 || id.b[8] >> 6 != 2 || !topic_is(topic))
        return false;
    if (part == CMDID_SELF) {
        char text[UUID_TEXT + 1];
        uuid_print(id, text);
        part = partition_of(str_of(text));
    } else if (part >= partitions()) {
        return false;
    }
    *ret_topic = (enum topic)topic;
    *ret_part = part;
    return true;
}
