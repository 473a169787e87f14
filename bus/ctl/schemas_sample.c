#include "bus/ctl/schemas_sample.h"

#include "bus/base/uuid.h"

enum { TEXT = 12, ITEMS = 2 };

struct sampler {
    struct arena *arena;
    bool full;
    uint8_t ids; /* how many ids were made up: each is another */
};

static void fill(struct sampler *s, const struct shape *shape, char *into);

/* As long as it must be, or a word's length when it may. */
static struct str text_of(const struct sampler *s, const struct field *f)
{
    static const char *const of_format[] = {
        [FORMAT_EMAIL] = "ana@example.cl",
        [FORMAT_DATE] = "2026-11-25",
        [FORMAT_DATE_TIME] = "2026-11-25T12:30:00Z",
        [FORMAT_SLUG] = "blue-hat",
        [FORMAT_CURRENCY] = "CLP",
        [FORMAT_URI] = "https://example.cl/hat",
    };
    size_t last = 0;
    while (s->full && f->values && f->values[last + 1])
        last++;
    if (f->values)
        return str_of(f->values[last]);
    if (f->format != FORMAT_NONE)
        return str_of(of_format[f->format]);
    int64_t n = s->full && f->min < TEXT ? (f->max < TEXT ? f->max : TEXT) : f->min;
    char *text = arena_alloc(s->arena, (size_t)n + 1);
    for (int64_t i = 0; i < n; i++)
        text[i] = (char)('a' + i % 26);
    return (struct str){text, (size_t)n};
}

static struct uuid id_of(struct sampler *s)
{
    struct uuid id;
    memset(&id, 0, sizeof(id));
    id.b[0] = 1;
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[15] = ++s->ids;
    return id;
}

static void put_value(struct sampler *s, const struct field *f, char *at)
{
    switch (f->kind) {
    case FIELD_STRING:
        *(struct str *)(void *)at = text_of(s, f);
        break;
    case FIELD_RAW:
        *(struct str *)(void *)at = STR("{\"a\":[1,null]}");
        break;
    case FIELD_INT:
    case FIELD_MONEY:
        *(int64_t *)(void *)at = s->full ? f->max : f->min;
        break;
    case FIELD_BOOL:
        *(bool *)at = s->full;
        break;
    case FIELD_UUID:
        *(struct uuid *)(void *)at = id_of(s);
        break;
    case FIELD_OBJECT:
        fill(s, f->shape, at);
        break;
    case FIELD_LIST:
        break; /* its object puts it: put_list() */
    }
}

static void put_list(struct sampler *s, const struct field *f, char *into)
{
    int64_t n = s->full && f->min < ITEMS ? (f->max < ITEMS ? f->max : ITEMS) : f->min;
    size_t size = codec_item_size(f->item);
    char *items = arena_alloc(s->arena, (size_t)n * size + 1);
    for (int64_t i = 0; i < n; i++)
        put_value(s, f->item, items + (size_t)i * size);
    memcpy(into + f->offset, &items, sizeof(items));
    *(size_t *)(void *)(into + f->has_offset) = (size_t)n;
}

static void fill(struct sampler *s, const struct shape *shape, char *into)
{
    for (const struct field *f = shape->fields; f < shape->fields + shape->n; f++) {
        if (!s->full && !(f->flags & FIELD_REQUIRED))
            continue;
        if (f->flags & FIELD_PERSONAL)
            *(struct str *)(void *)(into + f->offset) = STR("\"Ana\"");
        else if (f->kind == FIELD_LIST)
            put_list(s, f, into);
        else
            put_value(s, f, into + f->offset);
        if (f->has_offset != SIZE_MAX && f->kind != FIELD_LIST)
            *(bool *)(into + f->has_offset) = true;
    }
}

struct str schema_sample(enum message message, bool full, struct arena *arena)
{
    const struct shape *shape = message_types[message].shape;
    struct sampler s = {arena, full, 0};
    struct seal_key key = seal_key_random();
    char *into = arena_alloc(arena, shape->size);
    memset(into, 0, shape->size);
    fill(&s, shape, into);
    codec_seal(shape, into, &key, id_of(&s), arena);
    return codec_encode(shape, into, arena);
}
