/*
 * Publishing on command lanes and reading entries of lanes and streams.
 */
#include "bus/lane.h"

#include <assert.h>
#include <stdio.h>

enum { COMMAND_WORDS = 2 * ENVELOPE_COMMAND };

static void lane_of(const struct envelope *command, char ret[static STREAM_NAME])
{
    struct uuid id;
    enum topic topic;
    int part;
    bool fits = !failed(uuid_parse(command->id, &id)) && cmdid_lane(id, &topic, &part);
    assert(fits); /* the id was made or checked by cmdid.c */
    lane_name(topic, part, ret);
}

void lane_publish(struct redis *redis, const struct envelope *command, redis_fn *fn, void *data)
{
    char lane[STREAM_NAME];
    lane_of(command, lane);
    struct str words[3 + COMMAND_WORDS] = {STR("XADD"), str_of(lane), STR("*")};
    redis_send(redis, fn, data, 3 + envelope_words(command, true, words + 3), words);
}

/* KEYS lane, key map. ARGV cap, ttl, "id fingerprint", the id it replaces or "", fields… The entry comes
 * before the map: a crash cannot leave a key that names a command which is nowhere. */
static struct redis_script publish_keyed = {
    .source = "local known = redis.call('GET', KEYS[2])\n"
              "if known then\n"
              "  local id, fingerprint = string.match(known, '^(%S+) (%S*)$')\n"
              "  if not id or id ~= ARGV[4] then return {'known', id or '', fingerprint or ''} end\n"
              "end\n"
              "local n = redis.call('XLEN', KEYS[1])\n"
              "if n >= tonumber(ARGV[1]) then return {'full', n} end\n"
              "local entry = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 5))\n"
              "redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])\n"
              "return {'new', entry}\n",
};

void lane_publish_keyed(struct redis *redis, const struct envelope *command, struct str instead, int64_t cap,
                        int64_t ttl_ms, redis_fn *fn, void *data)
{
    char lane[STREAM_NAME], map[1024], value[256], caps[24], ttl[24];
    lane_of(command, lane);
    /* "idem:{user:<uuid>}:<key>": a client never holds a brace, so no two pairs share a name. */
    int n = snprintf(map, sizeof(map), "idem:{%.*s}:%.*s", STR_ARG(command->client),
                     STR_ARG(command->idempotencykey));
    int m = snprintf(value, sizeof(value), "%.*s %.*s", STR_ARG(command->id), STR_ARG(command->fingerprint));
    assert(n > 0 && n < (int)sizeof(map) && m > 0 && m < (int)sizeof(value)); /* the door bounds both */
    snprintf(caps, sizeof(caps), "%lld", (long long)cap);
    snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_ms);

    struct str words[7 + COMMAND_WORDS] = {STR("2"),    str_of(lane),  str_of(map), str_of(caps),
                                           str_of(ttl), str_of(value), instead};
    redis_script_send(redis, &publish_keyed, fn, data, 7 + envelope_words(command, true, words + 7), words);
}

err entry_id_parse(struct str text, int64_t *ret_ms, int64_t *ret_seq)
{
    size_t dash = str_find(text, '-');
    if (dash == text.n || failed(str_int64(str_slice(text, 0, dash), ret_ms)) ||
        failed(str_int64(str_slice(text, dash + 1, text.n), ret_seq)) || *ret_ms < 0 || *ret_seq < 0)
        return FAIL(POISON, "not an entry id");
    return OK;
}

/* One [id, fields]; fields are nil when the entry was deleted while it was pending. Redis counts to 2^64, and
 * whoever writes such an id once makes all that follow on the lane alike: of a command nothing but the text
 * of its id is used, and an event that the log cannot have is as good as damaged. */
static err entry_read(const struct redis_reply *item, struct arena *arena, struct entry *ret)
{
    if (item->kind != REDIS_ARRAY || item->n != 2 || item->items[0].kind != REDIS_STRING)
        return FAIL(REDIS_REFUSED, "not a stream entry");
    struct envelope envelope;
    bool numbered = !failed(entry_id_parse(item->items[0].text, &ret->ms, &ret->seq));
    if (!numbered)
        ret->ms = ret->seq = 0;
    ret->entry = arena_str(arena, item->items[0].text);
    ret->broken = failed(envelope_read(&item->items[1], &envelope)) || (!numbered && !ret->command);
    if (!ret->broken)
        ret->envelope = envelope_copy(&envelope, arena);
    return OK;
}

static bool is_stream(const struct redis_reply *stream)
{
    return stream->kind == REDIS_ARRAY && stream->n == 2 && stream->items[0].kind == REDIS_STRING &&
           stream->items[1].kind == REDIS_ARRAY;
}

err lane_entries(const struct redis_reply *reply, struct arena *arena, struct entry **ret, size_t *ret_n)
{
    size_t total = 0, n = 0;
    *ret = NULL;
    *ret_n = 0;
    if (!reply)
        return FAIL(REDIS_DOWN, "no reply");
    if (reply->kind == REDIS_NIL)
        return OK;
    if (reply->kind != REDIS_ARRAY)
        return FAIL(REDIS_REFUSED, "%.*s", STR_ARG(reply->text));
    for (size_t i = 0; i < reply->n; i++) {
        if (!is_stream(&reply->items[i]))
            return FAIL(REDIS_REFUSED, "not a reply of XREAD");
        total += reply->items[i].items[1].n;
    }
    struct entry *entries = arena_array(arena, struct entry, total + 1);
    for (size_t i = 0; i < reply->n; i++) {
        const struct redis_reply *stream = reply->items[i].items;
        struct entry of = {0};
        if (!stream_parse(stream[0].text, &of.topic, &of.part, &of.command))
            return FAIL(REDIS_REFUSED, "not a stream of ours");
        for (size_t j = 0; j < stream[1].n; j++, n++) {
            entries[n] = of;
            TRY(entry_read(&stream[1].items[j], arena, &entries[n]));
        }
    }
    *ret = entries;
    *ret_n = n;
    return OK;
}
