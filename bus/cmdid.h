/*
 * Command ids: UUIDv7 whose rand_a is topic number (5 bits) ‖ partition (7 bits; 127 = crc32c of this very
 * id's text, for commands that create their aggregate) and whose last 30 bits are a MAC over the rest and the
 * client. So the id alone tells the lane, and a guessed or foreign id is 404 without any look-up.
 */
#pragma once

#include "bus/base/seal.h"
#include "bus/topics.h"

enum { CMDID_SELF = 127 };

/* key: 32 bytes derived from ENCRYPTION_KEY for this purpose. client: who may poll ("user:<uuid>", "anon").
 * part is a partition or CMDID_SELF. ms: max(own clock, ms of the lane's last reply). */
struct uuid cmdid_new(const struct seal_key *key, int64_t ms, enum topic topic, int part, struct str client);
/* NOT_FOUND when the MAC does not fit the client or the topic is unknown. */
err cmdid_check(const struct seal_key *key, struct uuid id, struct str client) _must_use_;
/* The lane in an id; false when topic or part make no sense. */
bool cmdid_lane(struct uuid id, enum topic *ret_topic, int *ret_part);
