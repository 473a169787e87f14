/*
 * Topics by name and number, the partition of a key, and the names of lanes and streams. The partition count
 * is the only state: set once at start, before threads.
 */
#include "bus/topics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static int partition_count;

int partitions(void)
{
    assert(partition_count > 0); /* meta_check comes first */
    return partition_count;
}

void partitions_set(int p)
{
    assert(p > 0 && p <= PARTITIONS_MAX);
    partition_count = p;
}

int partition_of(struct str key)
{
    return (int)(crc32c(key) % (uint32_t)partitions());
}

bool topic_is(int number)
{
    return number > TOPIC_NONE && number < TOPIC_COUNT && topics[number].name;
}

enum topic topic_find(struct str name)
{
    for (int i = TOPIC_NONE + 1; i < TOPIC_COUNT; i++)
        if (topic_is(i) && str_is(name, topics[i].name))
            return (enum topic)i;
    return TOPIC_NONE;
}

const char *topic_name(enum topic topic)
{
    assert(topic_is((int)topic));
    return topics[topic].name;
}

static void name_print(const char *prefix, enum topic topic, int part, char ret[static STREAM_NAME])
{
    int n = snprintf(ret, STREAM_NAME, "%s:{%s.%02d}", prefix, topic_name(topic), part);
    assert(n > 0 && n < STREAM_NAME);
}

void lane_name(enum topic topic, int part, char ret[static STREAM_NAME])
{
    name_print("cmd", topic, part, ret);
}

void stream_name(enum topic topic, int part, char ret[static STREAM_NAME])
{
    name_print("evt", topic, part, ret);
}

/* Only the canonical text counts, so the name is printed again and compared. */
bool stream_parse(struct str name, enum topic *ret_topic, int *ret_part, bool *ret_command)
{
    char text[STREAM_NAME], word[STREAM_NAME];
    if (name.n >= sizeof(text))
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = 0;

    bool command = str_starts(name, STR("cmd:{"));
    int part = -1;
    if ((!command && !str_starts(name, STR("evt:{"))) || sscanf(text + 5, "%31[a-z].%3d}", word, &part) != 2)
        return false;
    enum topic topic = topic_find(str_of(word));
    if (topic == TOPIC_NONE || part < 0 || part >= PARTITIONS_MAX)
        return false;
    name_print(command ? "cmd" : "evt", topic, part, word);
    if (strcmp(word, text) != 0)
        return false;
    *ret_topic = topic;
    *ret_part = part;
    *ret_command = command;
    return true;
}
