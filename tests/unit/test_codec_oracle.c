/*
 * Jansson as the oracle: over random texts, right and slightly wrong, our reader takes exactly what jansson
 * takes, and reads the same strings out of it. Kept out by construction is where the two differ on purpose:
 * nesting beyond JSON_DEPTH, exponents beyond a double, duplicates inside members we skip, and a NUL byte
 * behind a number (jansson overlooks it). RANDOM_SEED in the environment repeats a run.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/uuid.h"
#include "bus/codec.h"

enum { ROUNDS = 200000, DEPTH = 8 };

struct note {
    struct str any;
    const struct str *words;
    size_t words_n;
};

static const struct field word = {.name = "", .kind = FIELD_STRING, .max = INT64_MAX};
static const struct field note_fields[] = {
    {.name = "any",
     .kind = FIELD_RAW,
     .offset = offsetof(struct note, any),
     .has_offset = SIZE_MAX,
     .max = CODEC_MAX},
    {.name = "words",
     .kind = FIELD_LIST,
     .offset = offsetof(struct note, words),
     .has_offset = offsetof(struct note, words_n),
     .max = 100,
     .item = &word},
};
static const struct shape note_shape = {"note", sizeof(struct note), note_fields, 2};

/* ---- random texts ---- */

static uint64_t state;

/* splitmix64: the same seed gives the same texts everywhere. */
static uint64_t draw(uint64_t below)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

#define ANY_OF(list) (list)[draw(sizeof(list) / sizeof(*(list)))]

static void put_string(struct buf *b)
{
    static const char *const parts[] = {
        "a",
        "b",
        "name",
        "Av. Ñuble",
        "\xf0\x9f\x9a\x9a",
        "\\n",
        "\\\"",
        "\\/",
        "\\u00f1",
        "\\ud83d\\ude9a",
        "\\u0041",
        "0123456789abcdef",
        "\x7f",
        "\xef\xbf\xbf",
        "\xc2\x80",
        "\\\\",
        "\\t\\b\\f\\r",
        "\\uD7FF",
        "",
    };
    static const char *const wrong[] = {
        "\\u12",    "\\x",      "\xff",    "\xc0\x80",       "\xed\xa0\x80",
        "\n",       "\\ud83d",  "\\ude9a", "\\u0000",        "\xf4\x90\x80\x80",
        "\\ud83dx", "\xe2\x82", "\x1f",    "\\ud83d\\u0041",
    };
    buf_char(b, '"');
    for (uint64_t n = draw(4); n > 0; n--)
        buf_lit(b, draw(150) == 0 ? ANY_OF(wrong) : ANY_OF(parts));
    buf_char(b, '"');
}

static void put_scalar(struct buf *b)
{
    static const char *const right[] = {
        "0",    "-0",    "1",    "-17", "3.25", "1e5", "-2.5E-10", "1E+2", "9223372036854775807",
        "true", "false", "null", "0.0",
    };
    static const char *const wrong[] = {"01",  "+1",  ".5",   "1.",  "1e",  "-",  "tru",
                                        "nul", "NaN", "True", "1e+", "0x1", "--1"};
    buf_lit(b, draw(100) == 0 ? ANY_OF(wrong) : ANY_OF(right));
}

static void put_space(struct buf *b)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n", "\t", "\r\n"};
    buf_lit(b, draw(500) == 0 ? "\v" : ANY_OF(spaces));
}

static void put_value(struct buf *b, int depth);

static void put_container(struct buf *b, int depth, bool object)
{
    static const char *const commas[] = {",", ",,", "", ";"};
    buf_char(b, object ? '{' : '[');
    for (uint64_t n = draw(5), i = 0; i < n; i++) {
        if (i > 0)
            buf_lit(b, draw(200) == 0 ? ANY_OF(commas) : ",");
        put_space(b);
        if (object) {
            put_string(b);
            put_space(b);
            buf_char(b, draw(300) == 0 ? '=' : ':');
        }
        put_value(b, depth + 1);
    }
    put_space(b);
    if (draw(300) == 0)
        buf_char(b, ',');
    buf_char(b, object == (draw(400) != 0) ? '}' : ']');
}

static void put_value(struct buf *b, int depth)
{
    uint64_t kind = draw(depth < DEPTH ? 5 : 3);
    put_space(b);
    if (kind == 0)
        put_string(b);
    else if (kind < 3)
        put_scalar(b);
    else
        put_container(b, depth, kind == 3);
    put_space(b);
}

/* {"any": …, "words": ["…"]}, now and then cut, or with a byte changed behind the first name. */
static struct str random_text(struct arena *arena)
{
    struct buf b = buf_new(arena, 256);
    buf_lit(&b, "{\"any\":");
    put_value(&b, 1);
    buf_lit(&b, ",\"words\":[");
    for (uint64_t n = draw(4), i = 0; i < n; i++) {
        buf_lit(&b, i ? "," : "");
        put_string(&b);
    }
    buf_lit(&b, "]}");
    struct str whole = buf_view(&b);
    uint64_t at = 8 + draw(whole.n - 8);
    switch (draw(8)) {
    case 0:
        b.p[at] = (char)("{}[]\",:\\ 01eE.-\xff\x01"[draw(17)]);
        return buf_view(&b);
    case 1:
        return str_slice(whole, 0, at);
    default:
        return whole;
    }
}

/* ---- both readers ---- */

static void compare_words(const struct note *note, const json_t *words)
{
    cr_assert_eq(json_array_size(words), note->words_n);
    for (size_t i = 0; i < note->words_n; i++) {
        const json_t *w = json_array_get(words, i);
        cr_assert(str_eq(note->words[i], (struct str){json_string_value(w), json_string_length(w)}));
    }
}

/* True when both take it. */
static bool compare(struct str text, struct arena *arena)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY;
    struct note note;
    json_error_t why;
    json_t *root = json_loadb(text.p, text.n, flags, &why);
    if (!root && json_error_code(&why) == json_error_numeric_overflow)
        return false; /* a changed byte made an exponent large */
    err e = codec_decode(&note_shape, CODEC_BUS, text, NULL, 0, arena, &note, NULL);
    cr_assert((root == NULL) == (e.code == ERR_MALFORMED), "jansson: %s, we: %s\n%.*s",
              root ? "taken" : why.text, failed(e) ? err_text(e) : "taken", STR_ARG(text));
    if (!failed(e))
        compare_words(&note, json_object_get(root, "words"));
    json_decref(root);
    return !failed(e);
}

Test(codec_oracle, jansson_and_we_take_the_same_texts)
{
    const char *seed = getenv("RANDOM_SEED");
    struct arena *arena = arena_new(1 << 24);
    state = seed ? strtoull(seed, NULL, 10) : random_u64();
    fprintf(stderr, "RANDOM_SEED=%" PRIu64 "\n", state);
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++) {
        arena_reset(arena);
        taken += compare(random_text(arena), arena);
    }
    cr_expect(taken > ROUNDS / 4 && taken < ROUNDS * 3 / 4, "a lopsided sample: %d taken", taken);
    arena_free(arena);
}
