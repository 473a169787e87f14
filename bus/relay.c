/*
 * The relay's append: one script per partition that looks at the stream's last id and appends only behind the
 * predecessor of the first event. XADD with explicit ids alone would accept 101 after 95 and then refuse 96
 * for ever; compared under Redis's single thread, no number of racing relays can leave a hole.
 */
#include "bus/relay_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/fault.h"
#include "bus/base/metrics.h"

enum { SCRATCH = 64 << 20, VALUES = 13, SCRIPT_BYTES = 1 << 20 };

/* KEYS stream. ARGV id of the predecessor, then for each event its entry id and the 12 values that vary. A
 * missing stream is made only by the very first event; else its history is the log's business. Field names
 * stand here once more, as constants, so that they do not travel with every event. */
#define COMPARE                                                                                              \
    "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"                                                 \
    "if info.err then\n"                                                                                     \
    "  if not string.find(info.err, 'no such key', 1, true) then return info end\n"                          \
    "  if ARGV[1] ~= '0-0' then return {-1} end\n"                                                           \
    "else\n"                                                                                                 \
    "  local last\n"                                                                                         \
    "  for i = 1, #info, 2 do\n"                                                                             \
    "    if info[i] == 'last-generated-id' then last = info[i + 1] break end\n"                              \
    "  end\n"                                                                                                \
    "  if last ~= ARGV[1] then return {0, last} end\n"                                                       \
    "end\n"
#define APPEND                                                                                               \
    "for i = 2, #ARGV, 13 do\n"                                                                              \
    "  redis.call('XADD', KEYS[1], ARGV[i], 'specversion', '1.0', 'id', ARGV[i + 1],\n"                      \
    "    'source', ARGV[i + 2], 'type', ARGV[i + 3], 'subject', ARGV[i + 4], 'time', ARGV[i + 5],\n"         \
    "    'dataschema', ARGV[i + 6], 'partitionkey', ARGV[i + 7], 'correlationid', ARGV[i + 8],\n"            \
    "    'causationid', ARGV[i + 9], 'actor', ARGV[i + 10], 'traceparent', ARGV[i + 11],\n"                  \
    "    'datacontenttype', 'application/json', 'data', ARGV[i + 12])\n"                                     \
    "end\n"                                                                                                  \
    "return {1}\n"

static struct redis_script append_script = {.source = COMPARE APPEND};
#ifdef DAYDREAM_FAULTS
static struct redis_script append_blindly = {.source =
                                                 APPEND}; /* for the mutant: what the comparison is worth */
#endif
_Static_assert(ENVELOPE_EVENT == VALUES + 1, "the script lists the fields of the envelope");

struct relay *relay_new(struct redis *redis, struct pg *pg)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    struct stream *streams = calloc((size_t)TOPIC_COUNT * (size_t)partitions(), sizeof(*streams));
    if (!relay || !streams)
        abort();
    *relay = (struct relay){.redis = redis, .pg = pg, .arena = arena_new(SCRATCH), .streams = streams};
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            struct stream *stream = &streams[relay->n++];
            *stream = (struct stream){.topic = (enum topic)topic, .part = part};
            stream_name(stream->topic, part, stream->name);
        }
    return relay;
}

struct relay *relay_free(struct relay *relay)
{
    if (relay) {
        arena_free(relay->arena);
        arena_free(relay->mirrored.arena);
        free(relay->streams);
        free(relay);
    }
    return NULL;
}

struct stream *relay_stream(const struct relay *relay, enum topic topic, int64_t part)
{
    for (size_t i = 0; i < relay->n; i++)
        if (relay->streams[i].topic == topic && relay->streams[i].part == part)
            return &relay->streams[i];
    return NULL;
}

/* ---- replies ---- */

bool relay_reply_ok(struct relay *relay, const struct redis_reply *reply)
{
    if (reply && reply->kind != REDIS_ERROR)
        return true;
    if (!failed(relay->failure))
        relay->failure = reply ? FAIL(REDIS_REFUSED, "%.*s", STR_ARG(reply->text))
                               : FAIL(REDIS_DOWN, "the connection broke under the relay");
    return false;
}

err relay_read_failed(struct relay *relay, err e)
{
    if (!failed(e))
        return OK;
    relay->verified_ms = 0;
    for (size_t i = 0; i < relay->n; i++)
        relay->streams[i].checked = false; /* who knows which log this is when it is back */
    return e;
}

err relay_wait(struct relay *relay)
{
    err e = redis_wait(relay->redis, RELAY_TIMEOUT_MS);
    if (!failed(e))
        e = relay->failure;
    relay->failure = OK;
    return relay_read_failed(relay, e);
}

/* ---- append ---- */

void relay_append_send(struct relay *relay, const char *name, const struct event *events, size_t n,
                       redis_fn *fn, void *data, struct arena *arena)
{
    struct str *words = arena_array(arena, struct str, 3 + n * VALUES), *w = words;
    *w++ = STR("1");
    *w++ = str_of(name);
    *w++ = arena_printf(arena, "%" PRId64 "-%" PRId64, events[0].before_ms, events[0].seq - 1);
    for (size_t i = 0; i < n; i++) {
        const struct envelope *e = &events[i].envelope;
        assert(events[i].seq == events[0].seq + (int64_t)i);
        const struct str values[VALUES] = {
            arena_printf(arena, "%" PRId64 "-%" PRId64, events[i].ms, events[i].seq),
            e->id,
            e->source,
            e->type,
            e->subject,
            e->time,
            e->dataschema,
            e->partitionkey,
            e->correlationid,
            e->causationid,
            e->actor,
            e->traceparent,
            e->data,
        };
        for (int v = 0; v < VALUES; v++)
            *w++ = values[v].p ? values[v] : STR("");
    }
    struct redis_script *script = &append_script;
#ifdef DAYDREAM_FAULTS
    if (mutant(MUTANT_APPEND))
        script = &append_blindly;
#endif
    redis_script_send(relay->redis, script, fn, data, (size_t)(w - words), words);
}

enum append_answer relay_append_answer(struct relay *relay, const struct redis_reply *reply, int64_t *ret_ms,
                                       int64_t *ret_seq)
{
    if (!relay_reply_ok(relay, reply))
        return APPEND_FAILED;
    int64_t word = reply->kind == REDIS_ARRAY && reply->n ? redis_integer(&reply->items[0], -9) : -9;
    if (word == 1)
        return APPEND_DONE;
    counter_add(COUNTER_RELAY_CONFLICTS, 1);
    if (word == -1)
        return APPEND_MISSING;
    if (word == 0 && reply->n == 2 && !failed(entry_id_parse(reply->items[1].text, ret_ms, ret_seq)))
        return APPEND_CONFLICT;
    relay->failure = FAIL(REDIS_REFUSED, "an answer of the append script that cannot be read");
    return APPEND_FAILED;
}

/* ---- the runner's own events ---- */

struct own_append {
    struct relay *relay;
    size_t n;
};

/* Whatever is refused here is found by the next sweep. The reply may come long after the batch's arena is
 * gone, hence a block of its own; every reply comes, as NULL when the connection breaks. */
static void on_own_append(void *data, const struct redis_reply *reply)
{
    struct own_append *own = data;
    int64_t ms, seq;
    if (relay_append_answer(own->relay, reply, &ms, &seq) == APPEND_DONE)
        counter_add(COUNTER_RELAY_APPENDED, (int64_t)own->n);
    own->relay->failure = OK;
    free(own);
}

/* The events of one partition, in order, that are at most one script's worth; taken ones are marked. */
static size_t take_partition(const struct event *events, size_t n, size_t from, bool *taken,
                             struct event *ret)
{
    size_t count = 0, bytes = 0;
    for (size_t i = from; i < n; i++) {
        if (taken[i] || events[i].topic != events[from].topic || events[i].part != events[from].part)
            continue;
        bytes += events[i].envelope.data.n;
        if (count == RELAY_BATCH || (count && bytes > SCRIPT_BYTES))
            break;
        taken[i] = true;
        ret[count++] = events[i];
    }
    return count;
}

void relay_append(struct relay *relay, const struct event *events, size_t n, struct arena *arena)
{
    char name[STREAM_NAME];
    bool *taken = arena_array(arena, bool, n + 1);
    struct event *some = arena_array(arena, struct event, RELAY_BATCH);
    for (size_t i = 0; i < n; i++) {
        if (taken[i])
            continue;
        struct own_append *own = malloc(sizeof(*own));
        if (!own)
            abort();
        *own = (struct own_append){relay, take_partition(events, n, i, taken, some)};
        stream_name(events[i].topic, events[i].part, name);
        relay_append_send(relay, name, some, own->n, on_own_append, own, arena);
    }
}
