#include "bus/message.h"

/* What each newest major is written as; MESSAGE_NONE: as itself. Set before the threads start, only read
 * then. */
static enum message pinned[MESSAGE_COUNT];

/* One step up or down: the neighbour's struct, in arena. */
static const void *step(enum message to, void (*change)(const void *, void *, struct arena *),
                        const void *from, struct arena *arena)
{
    void *changed = arena_alloc(arena, message_types[to].shape->size);
    memset(changed, 0, message_types[to].shape->size);
    change(from, changed, arena);
    return changed;
}

err message_decode(enum message type, struct str data, struct arena *arena, enum message *ret_type,
                   const void **ret)
{
    const struct message_type *t = &message_types[type];
    void *read = arena_alloc(arena, t->shape->size);
    TRY(codec_decode(t->shape, CODEC_BUS, data, NULL, 0, arena, read, NULL));
    *ret = read;
    for (; t->lift; t = &message_types[t->next])
        *ret = step(t->next, t->lift, *ret, arena);
    *ret_type = t->newest;
    return OK;
}

struct str message_encode(enum message type, const void *message, struct arena *arena, enum message *ret_type)
{
    enum message as = pinned[type] ? pinned[type] : type;
    for (; type != as; type = message_types[type].previous)
        message = step(message_types[type].previous, message_types[type].lower, message, arena);
    *ret_type = as;
    return codec_encode(message_types[as].shape, message, arena);
}

err message_pin(struct str text)
{
    memset(pinned, 0, sizeof(pinned));
    while (str_trim(text).n) {
        size_t comma = str_find(text, ',');
        struct str word = str_trim(str_slice(text, 0, comma));
        enum message m = message_find(word);
        if (m == MESSAGE_NONE)
            return FAIL(CONFIG, "EMIT_PINNED names %.*s, which this build does not know",
                        (int)(word.n < 64 ? word.n : 64), word.p ? word.p : "");
        pinned[message_types[m].newest] = m;
        text = comma < text.n ? str_slice(text, comma + 1, text.n) : STR_NONE;
    }
    return OK;
}
