/*
 * The other direction: a struct becomes the bus form of its message, in the order of its schema, so that
 * equal messages are equal bytes. Personal values are sealed before; a value in clear never gets past
 * codec_encode.
 */
#include <assert.h>

#include "bus/base/json.h"
#include "bus/codec.h"

/* The value of a member whose type is known by its kind; memcpy keeps it legal whatever the struct's own type
 * is. */
#define VALUE_AT(type, at)                                                                                   \
    ({                                                                                                       \
        type value_;                                                                                         \
        memcpy(&value_, (at), sizeof(value_));                                                               \
        value_;                                                                                              \
    })

static void write_object(struct json *j, const struct shape *shape, const char *from);

static bool is_text(const struct field *f)
{
    return (f->flags & FIELD_PERSONAL) || f->kind == FIELD_STRING || f->kind == FIELD_RAW;
}

static bool is_present(const struct field *f, const char *from)
{
    if (is_text(f))
        return VALUE_AT(struct str, from + f->offset).p != NULL;
    if (f->kind == FIELD_LIST)
        return (f->flags & FIELD_REQUIRED) || VALUE_AT(const char *, from + f->offset) != NULL;
    return f->has_offset == SIZE_MAX || VALUE_AT(bool, from + f->has_offset);
}

/* at: where the value is, not the struct around it. */
static void write_value(struct json *j, const struct field *f, const char *at)
{
    switch (f->kind) {
    case FIELD_STRING:
        json_str(j, VALUE_AT(struct str, at));
        break;
    case FIELD_INT:
    case FIELD_MONEY:
        json_int(j, VALUE_AT(int64_t, at));
        break;
    case FIELD_BOOL:
        json_bool(j, VALUE_AT(bool, at));
        break;
    case FIELD_UUID: {
        char text[UUID_TEXT + 3] = "\"";
        uuid_print(VALUE_AT(struct uuid, at), text + 1);
        text[UUID_TEXT + 1] = '"';
        json_raw(j, (struct str){text, UUID_TEXT + 2});
        break;
    }
    case FIELD_RAW:
        json_raw(j, VALUE_AT(struct str, at));
        break;
    case FIELD_OBJECT:
        write_object(j, f->shape, at);
        break;
    case FIELD_LIST:
        assert(f->kind != FIELD_LIST); /* its object writes it */
    }
}

static void write_list(struct json *j, const struct field *f, const char *from)
{
    const char *item = VALUE_AT(const char *, from + f->offset);
    size_t n = item ? VALUE_AT(size_t, from + f->has_offset) : 0, step = codec_item_size(f->item);
    json_open(j, '[');
    for (size_t i = 0; i < n; i++)
        write_value(j, f->item, item + i * step);
    json_close(j, ']');
}

static void write_object(struct json *j, const struct shape *shape, const char *from)
{
    json_open(j, '{');
    for (const struct field *f = shape->fields; f < shape->fields + shape->n; f++) {
        if (f->flags & FIELD_SECRET)
            continue;
        if (!is_present(f, from)) {
            assert(!(f->flags & FIELD_REQUIRED));
            continue;
        }
        json_key(j, f->name);
        if (f->flags & FIELD_PERSONAL) {
            struct str sealed = VALUE_AT(struct str, from + f->offset);
            assert(seal_is(sealed));
            json_str(j, sealed);
        } else if (f->kind == FIELD_LIST) {
            write_list(j, f, from);
        } else {
            write_value(j, f, from + f->offset);
        }
    }
    json_close(j, '}');
}

struct str codec_encode(const struct shape *shape, const void *message, struct arena *arena)
{
    struct buf b = buf_new(arena, 512);
    struct json j = json_on(&b);
    write_object(&j, shape, message);
    return buf_view(&b);
}

/* ---- personal values ---- */

static void seal_list(const struct field *f, char *from, const struct seal_key *key, struct uuid person,
                      struct arena *arena)
{
    char *item = VALUE_AT(char *, from + f->offset);
    size_t n = item ? VALUE_AT(size_t, from + f->has_offset) : 0;
    for (size_t i = 0; i < n; i++)
        codec_seal(f->item->shape, item + i * codec_item_size(f->item), key, person, arena);
}

void codec_seal(const struct shape *shape, void *message, const struct seal_key *key, struct uuid person,
                struct arena *arena)
{
    char *from = message;
    for (const struct field *f = shape->fields; f < shape->fields + shape->n; f++) {
        if (f->flags & FIELD_PERSONAL) {
            struct str value = VALUE_AT(struct str, from + f->offset);
            if (!value.p || seal_is(value))
                continue;
            value = seal_value(key, person, value, arena);
            memcpy(from + f->offset, &value, sizeof(value));
        } else if (f->kind == FIELD_OBJECT && is_present(f, from)) {
            codec_seal(f->shape, from + f->offset, key, person, arena);
        } else if (f->kind == FIELD_LIST && f->item->kind == FIELD_OBJECT) {
            seal_list(f, from, key, person, arena);
        }
    }
}

struct str codec_clear_string(struct str json_value, struct arena *arena)
{
    struct json_in in = json_in(json_value, arena);
    enum json_kind kind;
    struct str text;
    bool is_string = json_value.p && !failed(json_peek(&in, &kind)) && kind == JSON_STRING &&
                     !failed(json_read_string(&in, &text)) && !failed(json_end(&in));
    return is_string ? text : STR_NONE;
}
