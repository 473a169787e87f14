/*
 * bus tail: events as they come, one line each, from the streams of Redis. It only looks; what was trimmed
 * before is not shown.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"
#include "bus/lane.h"

enum { BLOCK_MS = 500, WORDS_HEAD = 6 };

struct position {
    char name[STREAM_NAME], last[48];
};

struct tail {
    struct ctl *ctl;
    struct position *streams;
    size_t n;
    struct str type; /* prefix; STR_NONE: all */
    int64_t left;
    struct arena *arena; /* of one read */
};

static void on_last(void *data, const struct redis_reply *reply)
{
    struct position *at = data;
    for (size_t i = 0; reply && reply->kind == REDIS_ARRAY && i + 1 < reply->n; i += 2)
        if (str_is(reply->items[i].text, "last-generated-id"))
            snprintf(at->last, sizeof(at->last), "%.*s", STR_ARG(reply->items[i + 1].text));
}

static err tail_begin(struct tail *tail, enum topic only)
{
    tail->streams = arena_array(tail->ctl->arena, struct position, TOPIC_COUNT * partitions());
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            if (only != TOPIC_NONE && (int)only != topic)
                continue;
            struct position *at = &tail->streams[tail->n++];
            stream_name((enum topic)topic, part, at->name);
            snprintf(at->last, sizeof(at->last), "0-0");
            if (!ctl_option(tail->ctl, "all"))
                redis_sendf(tail->ctl->redis, on_last, at, "XINFO STREAM %s", at->name);
        }
    return redis_wait(tail->ctl->redis, 10000);
}

static void print_entry(const struct tail *tail, const struct entry *entry)
{
    const struct envelope *e = &entry->envelope;
    if (!tail->ctl->json) {
        printf("%.*s %s.%02d %" PRId64 " %.*s %.*s from %.*s %.*s\n", STR_ARG(e->time),
               topic_name(entry->topic), entry->part, entry->seq, STR_ARG(e->type), STR_ARG(e->partitionkey),
               STR_ARG(e->source), STR_ARG(e->data));
        return;
    }
    struct buf b = buf_new(tail->arena, 1024);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "stream", str_of(topic_name(entry->topic)));
    json_kint(&j, "part", entry->part);
    json_kstr(&j, "entry", entry->entry);
#define FIELD(member, name)                                                                                  \
    if (strcmp(name, "data") != 0)                                                                           \
        json_kstr(&j, name, e->member);
    ENVELOPE_FIELDS(FIELD)
#undef FIELD
    json_kstr(&j, "data", e->data);
    json_close(&j, '}');
    ctl_print_json(&b);
}

static void take_entry(struct tail *tail, const struct entry *entry)
{
    char name[STREAM_NAME];
    stream_name(entry->topic, entry->part, name);
    for (size_t i = 0; i < tail->n; i++)
        if (strcmp(tail->streams[i].name, name) == 0)
            snprintf(tail->streams[i].last, sizeof(tail->streams[i].last), "%.*s", STR_ARG(entry->entry));
    if (entry->broken || (tail->type.p && !str_starts(entry->envelope.type, tail->type)) || tail->left == 0)
        return;
    print_entry(tail, entry);
    tail->left -= tail->left > 0;
}

static err tail_once(struct tail *tail)
{
    const struct redis_reply *reply = NULL;
    struct entry *entries;
    size_t n = 0;
    arena_reset(tail->arena);
    struct str *words = arena_array(tail->arena, struct str, WORDS_HEAD + 2 * tail->n), *w = words;
    *w++ = STR("XREAD");
    *w++ = STR("COUNT");
    *w++ = STR("100");
    *w++ = STR("BLOCK");
    *w++ = arena_printf(tail->arena, "%d", BLOCK_MS);
    *w++ = STR("STREAMS");
    for (size_t i = 0; i < tail->n; i++)
        *w++ = str_of(tail->streams[i].name);
    for (size_t i = 0; i < tail->n; i++)
        *w++ = str_of(tail->streams[i].last);
    TRY(redis_call(tail->ctl->redis, &reply, (size_t)(w - words), words));
    TRY(lane_entries(reply, tail->arena, &entries, &n));
    for (size_t i = 0; i < n; i++)
        take_entry(tail, &entries[i]);
    fflush(stdout);
    return OK;
}

enum ctl_exit run_bus_tail(struct ctl *ctl)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(64 << 20);
    struct tail tail = {.ctl = ctl, .type = str_of(ctl_option(ctl, "type")), .arena = arena};
    const char *name = ctl_option(ctl, "topic");
    enum topic only = name ? topic_find(str_of(name)) : TOPIC_NONE;
    err e = ctl_option_int(ctl, "max", 1, INT64_MAX, -1, &tail.left);
    if (failed(e) || (name && only == TOPIC_NONE))
        return ctl_usage(ctl, "%s", failed(e) ? err_text(e) : "there is no such topic");
    ctl_catch_signals();
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = tail_begin(&tail, only);
    while (!failed(e) && !ctl_stop && tail.left != 0 && !ferror(stdout))
        e = tail_once(&tail);
    return failed(e) && !ctl_stop ? ctl_fail(e) : CTL_OK;
}
