/*
 * Topics and partitions. A topic is a family of aggregates with one handling group (schemas/topics.json,
 * generated into messages.h). The partition of a key is crc32c(key) mod P; P is fixed when the database is
 * made.
 */
#pragma once

#include "bus/base/arena.h"
#include "messages.h"

enum { PARTITIONS_MAX = 126 };

/* P of this shop, read once at start from bus_meta (see bus/meta.h). */
int partitions(void);
void partitions_set(int p);
int partition_of(struct str key);

enum topic topic_find(struct str name); /* TOPIC_NONE when unknown */
const char *topic_name(enum topic topic);
bool topic_is(int number); /* does that topic exist? Numbers have gaps */

/* "cmd:{orders.03}", "evt:{orders.03}", printed with at least two digits; ret has room for STREAM_NAME bytes.
 */
enum { STREAM_NAME = 48 };
void lane_name(enum topic topic, int part, char ret[static STREAM_NAME]);
void stream_name(enum topic topic, int part, char ret[static STREAM_NAME]);
/* The reverse of both: false when the name is neither. */
bool stream_parse(struct str name, enum topic *ret_topic, int *ret_part, bool *ret_command);
