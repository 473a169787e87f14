/* See position.h for the format. Reading is strict: one position has one text. */
#include "bus/position.h"

#include <assert.h>

#include "bus/base/seal.h"

enum { VERSION = 1, CHECK = 4, VARINT = 10, PART_BITS = 7 };

static int code_of(enum topic topic, int part)
{
    return (int)topic << PART_BITS | part;
}

static int place_code(const struct position_place *place)
{
    return code_of(place->topic, place->part);
}

struct position position_new(struct arena *arena)
{
    return (struct position){.arena = arena};
}

/* Index of the first place not below the code. */
static size_t lower(const struct position *position, int code)
{
    size_t low = 0, high = position->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (place_code(&position->places[middle]) < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t position_seq(const struct position *position, enum topic topic, int part)
{
    size_t i = lower(position, code_of(topic, part));
    bool there = i < position->n && position->places[i].topic == topic && position->places[i].part == part;
    return there ? position->places[i].seq : -1;
}

static void insert(struct position *position, size_t at, struct position_place place)
{
    if (position->n == position->cap) {
        size_t cap = position->cap ? position->cap * 2 : 8;
        position->places =
            arena_grow(position->arena, position->places, position->cap * sizeof(place), cap * sizeof(place));
        position->cap = cap;
    }
    struct position_place *to = position->places + at;
    if (at < position->n)
        memmove(to + 1, to, (position->n - at) * sizeof(place));
    *to = place;
    position->n++;
}

void position_raise(struct position *position, enum topic topic, int part, int64_t seq)
{
    assert(topic_is((int)topic) && part >= 0 && part < PARTITIONS_MAX && seq >= 0);
    size_t i = lower(position, code_of(topic, part));
    struct position_place *place = i < position->n ? &position->places[i] : NULL;
    if (!place || place->topic != topic || place->part != part)
        insert(position, i, (struct position_place){topic, part, seq});
    else if (place->seq < seq)
        place->seq = seq;
}

void position_merge(struct position *into, const struct position *from)
{
    for (size_t i = 0; i < from->n; i++)
        position_raise(into, from->places[i].topic, from->places[i].part, from->places[i].seq);
}

bool position_covers(const struct position *a, const struct position *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (position_seq(a, b->places[i].topic, b->places[i].part) < b->places[i].seq)
            return false;
    return true;
}

/* ---- text ---- */

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_char(b, (char)(v | 0x80));
    buf_char(b, (char)v);
}

static void put_check(struct buf *b)
{
    uint32_t check = crc32c(buf_view(b));
    for (int i = 0; i < CHECK; i++)
        buf_char(b, (char)(check >> (8 * i)));
}

struct str position_text(const struct position *position, struct arena *arena)
{
    struct buf b = buf_new(arena, 1 + position->n * 5 + CHECK);
    int before = -1;
    buf_char(&b, VERSION);
    for (size_t i = 0; i < position->n; i++) {
        int code = place_code(&position->places[i]);
        put_varint(&b, (uint64_t)(code - before));
        put_varint(&b, (uint64_t)position->places[i].seq);
        before = code;
    }
    put_check(&b);
    return base64url(buf_view(&b), arena);
}

/* The shortest form only, so that nothing has two texts. */
static bool take_varint(struct str *in, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < in->n && i < VARINT; i++) {
        unsigned char byte = (unsigned char)in->p[i];
        if (i == VARINT - 1 && byte > 1)
            return false;
        *ret |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        *in = str_slice(*in, i + 1, in->n);
        return byte > 0 || i == 0;
    }
    return false;
}

static bool take_place(struct str *in, int64_t *code, struct position_place *ret)
{
    uint64_t step, seq;
    if (!take_varint(in, &step) || !take_varint(in, &seq) || seq > INT64_MAX)
        return false;
    if (step < 1 || step > TOPIC_COUNT << PART_BITS)
        return false;
    *code += (int64_t)step;
    int topic = (int)(*code >> PART_BITS), part = (int)(*code & ((1 << PART_BITS) - 1));
    *ret = (struct position_place){(enum topic)topic, part, (int64_t)seq};
    return topic_is(topic) && part < PARTITIONS_MAX;
}

/* The bytes between version and checksum. */
static bool take_frame(struct str bytes, struct arena *arena, struct str *ret)
{
    if (bytes.n < 1 + CHECK || bytes.p[0] != VERSION)
        return false;
    struct buf again = buf_new(arena, bytes.n);
    buf_str(&again, str_slice(bytes, 0, bytes.n - CHECK));
    put_check(&again);
    *ret = str_slice(bytes, 1, bytes.n - CHECK);
    return str_eq(buf_view(&again), bytes);
}

err position_parse(struct str text, struct arena *arena, struct position *ret)
{
    struct str bytes, in;
    struct position_place place;
    int64_t code = -1;
    *ret = position_new(arena);
    if (!text.n || text.n > POSITION_TEXT_MAX || failed(base64url_decode(text, arena, &bytes)) ||
        !take_frame(bytes, arena, &in) || !str_eq(base64url(bytes, arena), text))
        return FAIL(MALFORMED, "This is no event position.");
    while (in.n) {
        if (!take_place(&in, &code, &place)) {
            *ret = position_new(arena);
            return FAIL(MALFORMED, "This is no event position.");
        }
        insert(ret, ret->n, place);
    }
    return OK;
}
