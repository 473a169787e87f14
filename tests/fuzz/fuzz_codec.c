/*
 * Any text against any message: the first byte picks the mode, the second the shape, the rest is the text.
 * What is taken from the bus must be written and read back as itself.
 */
#include <assert.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "messages.h"
#include "tests/support/thing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct arena *arena;
static struct seal_key key;

static void check_errors(const struct field_errors *errors)
{
    assert(errors->n <= sizeof(errors->list) / sizeof(*errors->list));
    for (size_t i = 0; i < errors->n; i++) {
        assert(utf8_length(errors->list[i].field) != SIZE_MAX);
        assert(errors->list[i].message.n > 0);
    }
}

static bool has_all(const struct shape *shape, const char *message);

static bool has(const struct field *f, const char *message)
{
    if ((f->flags & FIELD_PERSONAL) || f->kind == FIELD_STRING || f->kind == FIELD_RAW)
        return ((const struct str *)(const void *)(message + f->offset))->p != NULL;
    if (f->kind == FIELD_OBJECT)
        return has_all(f->shape, message + f->offset);
    return true;
}

/* What the door leaves open, internal fields, somebody behind it sets before it is written. */
static bool has_all(const struct shape *shape, const char *message)
{
    for (const struct field *f = shape->fields; f < shape->fields + shape->n; f++)
        if ((f->flags & FIELD_REQUIRED) && !(f->flags & FIELD_SECRET) && !has(f, message))
            return false;
    return true;
}

static void write_and_read(const struct shape *shape, void *message)
{
    codec_seal(shape, message, &key, (struct uuid){{7}}, arena);
    struct str bus = codec_encode(shape, message, arena);
    void *again = arena_alloc(arena, shape->size);
    err e = codec_decode(shape, CODEC_BUS, bus, NULL, 0, arena, again, NULL);
    /* uuids and numbers set behind the door are still 0 here, which may be below their least */
    assert(e.code == ERR_NONE || e.code == ERR_INVALID);
    if (!failed(e))
        assert(str_eq(codec_encode(shape, again, arena), bus));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!arena) {
        arena = arena_new(1 << 24);
        conf_set(SET_DEFAULT_CURRENCY, "CLP");
    }
    if (n < 2)
        return 0;
    enum codec_mode mode = data[0] & 1 ? CODEC_DOOR : CODEC_BUS;
    size_t pick = data[1] % MESSAGE_COUNT;
    const struct shape *shape = pick == 0 ? &thing_shape : message_types[pick].shape;
    char *text = malloc(n - 2 ? n - 2 : 1); /* of its own, so that one byte too many is seen */
    memcpy(text, data + 2, n - 2);
    struct field_errors errors;
    struct codec_param param = {STR("id"), {text, n - 2 < 40 ? n - 2 : 40}};
    void *message = arena_alloc(arena, shape->size);
    err e = codec_decode(shape, mode, (struct str){text, n - 2}, &param, data[0] >> 1 & 1, arena, message,
                         &errors);
    check_errors(&errors);
    assert((e.code == ERR_INVALID) == (errors.n > 0) || e.code == ERR_MALFORMED);
    if (!failed(e)) {
        assert(!failed(json_check((struct str){text, n - 2}, arena)));
        if (has_all(shape, message))
            write_and_read(shape, message);
    }
    free(text);
    arena_reset(arena);
    return 0;
}
