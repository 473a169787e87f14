/*
 * Writing JSON (RFC 8259) into a buffer, and reading it token by token. The writer places commas itself;
 * numbers are integers or exact decimals, never floats. The reader is strict: UTF-8 only, no lone surrogates,
 * no \u0000 (which PostgreSQL cannot store), no duplicate judgement (the codec does that), no NaN, no leading
 * zeros, no trailing garbage, depth bounded by JSON_DEPTH. Whatever is not so is MALFORMED. Some names are
 * jansson's too, so no file includes both headers; no function is, so one program may link both.
 */
#pragma once

#include "bus/base/arena.h"

enum { JSON_DEPTH = 16 };

/* ---- writing ---- */
struct json {
    struct buf *b;
    bool comma; /* the next value at this level needs a comma first */
};

static inline struct json json_on(struct buf *b)
{
    return (struct json){.b = b};
}
void json_open(struct json *j, char bracket);  /* '{' or '[' */
void json_close(struct json *j, char bracket); /* '}' or ']' */
void json_key(struct json *j, const char *key);
void json_str(struct json *j, struct str s); /* null when absent; invalid UTF-8 is replaced by U+FFFD */
void json_int(struct json *j, int64_t v);
void json_bool(struct json *j, bool v);
void json_nil(struct json *j);
void json_raw(struct json *j, struct str text); /* text is one JSON value already; null when absent */
/* Exact decimal of minor units: 59999 with 2 decimals prints 599.99, 12990 with 0 prints 12990. */
void json_decimal(struct json *j, int64_t minor, int decimals);
/* How many bytes at the front of s stand for themselves in a JSON string: plain ASCII. */
size_t json_plain(struct str s);
/* RFC 3339 UTC with milliseconds: "2026-11-22T20:30:00.123Z". */
void json_time(struct json *j, int64_t ms);
/* key and value in one */
void json_kopen(struct json *j, const char *key, char bracket);
void json_kstr(struct json *j, const char *key, struct str s);
void json_kint(struct json *j, const char *key, int64_t v);
void json_kbool(struct json *j, const char *key, bool v);
void json_ktime(struct json *j, const char *key, int64_t ms);
void json_kraw(struct json *j, const char *key, struct str text);

/* ---- reading ---- */
enum json_kind { JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_NUMBER, JSON_STRING, JSON_OBJECT, JSON_ARRAY };

/* A cursor over a text; borrows it. */
struct json_in {
    struct str text;
    size_t at;
    int depth;
    uint32_t objects;    /* bit d: the container at depth d is an object */
    struct arena *arena; /* decoded strings with escapes are copied here */
};

struct json_in json_in(struct str text, struct arena *arena);
/* The kind of the value at the cursor, after white space; does not consume. MALFORMED at the end or on
 * garbage. */
err json_peek(struct json_in *in, enum json_kind *ret) _must_use_;
/* Consume a scalar. A number is returned as its text, checked against the grammar. */
err json_read_string(struct json_in *in, struct str *ret) _must_use_;
err json_read_number(struct json_in *in, struct str *ret) _must_use_;
err json_read_literal(struct json_in *in, enum json_kind kind) _must_use_;
/* Enter a container (consumes '{' or '['). Then call json_next until it says false, which consumes the
 * closer. In an object json_next also reads the member's name and colon. */
/* first: a flag of the caller's, true before the first call. ret_name may be NULL; in an array it is left
 * alone. */
err json_enter(struct json_in *in, enum json_kind kind) _must_use_;
err json_next(struct json_in *in, bool *first, bool *ret_more, struct str *ret_name) _must_use_;
/* Consumes any value, checking it; ret (may be NULL) gets its exact text. */
err json_skip(struct json_in *in, struct str *ret) _must_use_;
/* Only white space may follow. */
err json_end(struct json_in *in) _must_use_;
/* A checked value without white space between its tokens, so that it stays on one line; the same text when
 * there is none. */
struct str json_compact(struct str value, struct arena *arena);
/* Is the whole text one strict JSON value? */
err json_check(struct str text, struct arena *arena) _must_use_;
/* The value of a top-level member of an object as raw text, STR_NONE when absent or not an object. For small
 * reads of trusted JSON (our own); O(n). */
struct str json_member(struct str object, const char *name, struct arena *arena);
/* The same, a decoded string / an integer; absent gives STR_NONE / fallback. */
struct str json_member_str(struct str object, const char *name, struct arena *arena);
int64_t json_member_int(struct str object, const char *name, int64_t fallback, struct arena *arena);
