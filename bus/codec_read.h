/*
 * The inside of the decoder, shared by codec.c (objects, lists, parameters) and codec_value.c (single
 * values). Two kinds of trouble are kept apart: text that is not strict JSON ends the reading at once (err
 * MALFORMED), a value that breaks its schema is a complaint, is skipped, and reading goes on, so that a
 * client hears of all of them at once.
 */
#pragma once

#include "bus/base/json.h"
#include "bus/codec.h"

enum {
    CODEC_NAME = 64 /* bytes of a name of the client's that are repeated in an error */
};

/* Where the reader stands, as a chain on the C stack: only errors look at it. */
struct place {
    const struct place *up;
    struct str name; /* of a member; absent: an item of a list */
    size_t index;
};

struct reader {
    enum codec_mode mode;
    struct json_in in;
    struct arena *arena;
    struct field_errors *errors; /* may be NULL */
    size_t wrong;                /* complaints so far, also those beyond the list */
    struct str first;            /* the first one as a sentence, for err_text */
};

/* Notes what is wrong with the value at a place. The sentence must not hold the value. */
void codec_complain(struct reader *r, const struct place *at, const char *format, ...) _printf_(3, 4);

/* Check a text against its field and store it. What does not fit is a complaint. */
void codec_take_string(struct reader *r, const struct field *f, const struct place *at, struct str text,
                       struct str *ret);
void codec_take_uuid(struct reader *r, const struct place *at, struct str text, struct uuid *ret);
/* Also money on the bus: integer minor units. */
void codec_take_int(struct reader *r, const struct field *f, const struct place *at, struct str text,
                    int64_t *ret);
/* Money at the door: an exact decimal number of that currency; currency absent: x-decimal, four decimals. */
void codec_take_money(struct reader *r, const struct field *f, const struct place *at, struct str text,
                      struct str currency, int64_t *ret);
/* Reads the raw value at the cursor: its text, with no member twice in any object and no number beyond a
 * double. */
err codec_read_raw(struct reader *r, const struct field *f, const struct place *at,
                   struct str *ret) _must_use_;

/* A sentence saying what a text of that format must be, NULL when it is so. */
const char *codec_format_fault(enum field_format format, struct str text);
