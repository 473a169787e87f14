/*
 * Replies of any shape, as a broken or hostile Redis might give them, against the readers of entries and
 * envelopes; and any text against the readers of entry ids.
 */
#include <assert.h>
#include <stdlib.h>

#include "bus/lane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { DEPTH = 6, ITEMS = 48 };

static struct arena *arena;

struct bytes {
    const uint8_t *p;
    size_t n;
};

static uint8_t take(struct bytes *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

/* Words a reply is likely to hold, and now and then bytes of the input itself. */
static struct str take_text(struct bytes *in)
{
    static const char *const words[] = {
        "1-1",
        "0-0",
        "18446744073709551615-18446744073709551615",
        "1700000000000-42",
        "id",
        "type",
        "data",
        "specversion",
        "partitionkey",
        "replyto",
        "cmd:{orders.03}",
        "evt:{carts.00}",
        "evt:{users.126}",
        "cmd:{nothing.1}",
        "evt:{",
        "",
    };
    uint8_t pick = take(in);
    if (pick < sizeof(words) / sizeof(*words))
        return str_of(words[pick]);
    size_t n = pick % 32 < in->n ? pick % 32 : in->n;
    struct str text = arena_str(arena, (struct str){(const char *)in->p, n});
    in->p += n;
    in->n -= n;
    return text;
}

static struct redis_reply take_reply(struct bytes *in, int depth)
{
    uint8_t first = take(in);
    struct redis_reply reply = {.kind = (enum redis_kind)(first % (REDIS_ARRAY + 1))};
    switch (reply.kind) {
    case REDIS_INTEGER:
        reply.integer = (int8_t)take(in);
        break;
    case REDIS_STRING:
    case REDIS_STATUS:
    case REDIS_ERROR:
        reply.text = take_text(in);
        break;
    case REDIS_ARRAY:
        reply.n = depth < DEPTH && in->n > 0 ? take(in) % ITEMS : 0;
        reply.items = arena_array(arena, struct redis_reply, reply.n + 1);
        for (size_t i = 0; i < reply.n; i++)
            reply.items[i] = take_reply(in, depth + 1);
        break;
    case REDIS_NIL:
        break;
    }
    return reply;
}

static bool same(const struct envelope *a, const struct envelope *b)
{
    struct str x[2 * ENVELOPE_COMMAND], y[2 * ENVELOPE_COMMAND];
    size_t n = envelope_words(a, true, x);
    assert(n == 2 * ENVELOPE_COMMAND && n == envelope_words(b, true, y));
    for (size_t i = 0; i < n; i++)
        if (!str_eq(x[i], y[i]))
            return false;
    return true;
}

/* An envelope that was read is written and read as itself. */
static void check_envelope(const struct redis_reply *reply)
{
    struct envelope e, again;
    struct str words[2 * ENVELOPE_COMMAND];
    struct redis_reply items[2 * ENVELOPE_COMMAND];
    if (failed(envelope_read(reply, &e)))
        return;
    size_t n = envelope_words(&e, true, words);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct redis_reply){.kind = REDIS_STRING, .text = words[i]};
    err failure = envelope_read(&(struct redis_reply){.kind = REDIS_ARRAY, .n = n, .items = items}, &again);
    assert(!failed(failure) && same(&e, &again));
    again = envelope_copy(&e, arena);
    assert(same(&e, &again));
}

static void check_entries(const struct redis_reply *reply)
{
    struct entry *entries = NULL;
    size_t n = 0;
    if (failed(lane_entries(reply, arena, &entries, &n)))
        return;
    for (size_t i = 0; i < n; i++)
        assert(entries[i].topic > TOPIC_NONE && entries[i].topic < TOPIC_COUNT && entries[i].part >= 0 &&
               entries[i].part < PARTITIONS_MAX && entries[i].ms >= 0 && entries[i].seq >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!arena)
        arena = arena_new(1 << 24);
    struct bytes in = {data, n};
    struct redis_reply reply = take_reply(&in, 0);
    int64_t ms, seq;
    check_entries(&reply);
    check_envelope(&reply);
    struct str text = {(const char *)data, n};
    if (!failed(entry_id_parse(text, &ms, &seq)))
        assert(ms >= 0 && seq >= 0);
    arena_reset(arena);
    return 0;
}
