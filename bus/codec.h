/*
 * The schema-driven JSON codec: one interpreter for the field tables that gen.py makes from schemas/. It
 * validates while it reads and never builds a tree. Two modes: at the door (CODEC_DOOR) the text comes from a
 * client: unknown members, internal fields and values out of range are reported field by field, personal
 * fields are in clear, money is an exact decimal number; on the bus (CODEC_BUS) the text is ours: unknown
 * members are skipped (a newer minor version may add them), personal fields are sealed text, money is integer
 * minor units.
 *
 * In C, a message is a struct of the generated header: strings, personal fields and raw JSON are `struct str`
 * (p == NULL: absent), uuid is `struct uuid`, integer, money are int64_t, boolean is bool; an optional scalar
 * `x` has `bool has_x` beside it; a list `x` is `const struct <message>_<x> *x` (scalars: their own type)
 * with `size_t x_n`; a nested object that is not personal is an embedded struct with `has_x` when optional.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/base/seal.h"

enum field_kind {
    FIELD_STRING,
    FIELD_INT,
    FIELD_BOOL,
    FIELD_UUID,
    FIELD_MONEY,
    FIELD_OBJECT,
    FIELD_LIST,
    FIELD_RAW
};
enum field_format {
    FORMAT_NONE,
    FORMAT_EMAIL,
    FORMAT_DATE,
    FORMAT_DATE_TIME,
    FORMAT_SLUG,
    FORMAT_CURRENCY,
    FORMAT_URI
};
enum field_flag {
    FIELD_REQUIRED = 1, /* must be present */
    FIELD_PERSONAL =
        2, /* x-personal: sealed on the bus; the str holds the JSON value of any kind, see shape */
    FIELD_INTERNAL = 4, /* x-internal: set by the door or from the path, refused in a body */
    FIELD_SECRET = 8,   /* x-secret: taken from a body, never written to the bus */
};

struct shape;

struct field {
    const char *name;
    enum field_kind kind;
    enum field_format format;
    unsigned flags;
    size_t offset;     /* of the value in the struct */
    size_t has_offset; /* of has_x or x_n; SIZE_MAX when there is none */
    int64_t min,
        max; /* integer and money: value; string: characters (code points); list: items; raw: bytes */
    const char *const *values; /* enum: NULL-terminated, or NULL */
    const struct shape *shape; /* object, also the clear form of a personal one */
    const struct field *item;  /* list: what each item must be; its name is "", its offset 0 */
    const struct field
        *currency; /* money: the field of the same shape that names its currency; NULL: fixed four
                      decimals (x-decimal: 4), for amounts whose currency the client does not name */
};

struct shape {
    const char *name;
    size_t size;
    const struct field *fields;
    size_t n;
};

/* Bytes from one item of a list to the next. */
size_t codec_item_size(const struct field *item);

enum codec_mode { CODEC_DOOR, CODEC_BUS };

struct field_error {
    struct str field;   /* path: "items[2].quantity" */
    struct str message; /* a sentence; never the value itself */
};

/* What decode collects; the first 32 are kept. */
struct field_errors {
    struct field_error list[32];
    size_t n;
};

/* A path or query parameter to be merged: a string that is converted to the field's kind. */
struct codec_param {
    struct str name, value;
};

enum { CODEC_MAX = 65536 }; /* bytes of a body; on the bus, sealed, four times as many */

/* Reads text (one JSON object; absent counts as {}) into *ret, shape->size bytes, which it zeroes first.
 * Strings borrow from text or arena. A null is as if the member were not there, except in a raw field.
 * Currency fields that are absent count as DEFAULT_CURRENCY for money beside them. Limits hold in both modes.
 * MALFORMED: not strict JSON (duplicate members, bad UTF-8, lone surrogates, NUL, depth above JSON_DEPTH,
 * trailing bytes). TOO_LARGE: above CODEC_MAX. INVALID: errors (may be NULL on the bus) lists what is wrong;
 * on the bus err_text names the first. params (may be NULL; those without a value are skipped) are merged and
 * must not also be in the body. */
err codec_decode(const struct shape *shape, enum codec_mode mode, struct str text,
                 const struct codec_param *params, size_t n_params, struct arena *arena, void *ret,
                 struct field_errors *errors) _must_use_;

/* Seals every personal field that is still in clear, in place, also inside lists (which must not be const
 * storage). Needs the person's key. Absent fields stay absent. */
void codec_seal(const struct shape *shape, void *message, const struct seal_key *key, struct uuid person,
                struct arena *arena);

/* Writes the bus form. Absent fields and secrets are left out. Assert: personal fields are sealed, required
 * ones are there (a required list that is NULL is empty). */
struct str codec_encode(const struct shape *shape, const void *message, struct arena *arena);

/* The text of a personal string field in clear (decode keeps its JSON text, quotes and escapes included);
 * STR_NONE when absent or no JSON string. */
struct str codec_clear_string(struct str json_value, struct arena *arena);
