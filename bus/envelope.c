/*
 * Envelopes to and from the fields of a stream entry. One table gives each field's name and place in the
 * struct; its order is the order in the stream and never changes.
 */
#include "bus/envelope.h"

#include <stddef.h>

static const struct {
    struct str name;
    size_t offset;
} fields[ENVELOPE_COMMAND] = {
#define FIELD(member, text) {STR(text), offsetof(struct envelope, member)},
    ENVELOPE_FIELDS(FIELD) ENVELOPE_COMMAND_FIELDS(FIELD)
#undef FIELD
};

static struct str *member(struct envelope *e, size_t i)
{
    return (struct str *)(void *)((char *)e + fields[i].offset);
}

static const struct str *member_of(const struct envelope *e, size_t i)
{
    return (const struct str *)(const void *)((const char *)e + fields[i].offset);
}

size_t envelope_words(const struct envelope *e, bool command, struct str *ret)
{
    size_t n = command ? ENVELOPE_COMMAND : ENVELOPE_EVENT;
    for (size_t i = 0; i < n; i++) {
        struct str value = *member_of(e, i);
        ret[2 * i] = fields[i].name;
        ret[2 * i + 1] = value.p ? value : STR("");
    }
    return 2 * n;
}

/* Our own entries have the field at its place; others are looked for. */
static size_t field_find(struct str name, size_t expected)
{
    if (expected < ENVELOPE_COMMAND && str_eq(name, fields[expected].name))
        return expected;
    for (size_t i = 0; i < ENVELOPE_COMMAND; i++)
        if (str_eq(name, fields[i].name))
            return i;
    return ENVELOPE_COMMAND;
}

err envelope_read(const struct redis_reply *reply, struct envelope *ret)
{
    *ret = (struct envelope){0};
    if (!reply || reply->kind != REDIS_ARRAY || reply->n % 2 != 0)
        return FAIL(POISON, "an entry without fields");
    for (size_t i = 0; i < reply->n; i += 2) {
        const struct redis_reply *name = &reply->items[i], *value = &reply->items[i + 1];
        if (name->kind != REDIS_STRING || value->kind != REDIS_STRING)
            return FAIL(POISON, "an entry whose fields are not text");
        size_t at = field_find(name->text, i / 2);
        if (at < ENVELOPE_COMMAND)
            *member(ret, at) = value->text;
    }
    return OK;
}

struct envelope envelope_copy(const struct envelope *e, struct arena *arena)
{
    struct envelope copy = {0};
    for (size_t i = 0; i < ENVELOPE_COMMAND; i++) {
        struct str value = *member_of(e, i);
        if (value.p)
            *member(&copy, i) = arena_str(arena, value);
    }
    return copy;
}
