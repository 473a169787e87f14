/*
 * Borrowed strings: a pointer and a length into memory somebody else owns (a request's arena, a literal).
 * p == NULL means "absent"; an empty string has p != NULL and n == 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bus/base/err.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *c)
{
    return c ? (struct str){c, strlen(c)} : STR_NONE;
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_is(struct str a, const char *b)
{
    return str_eq(a, str_of(b));
}
static inline bool str_empty(struct str s)
{
    return s.n == 0;
}
static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
static inline struct str str_slice(struct str s, size_t from, size_t to)
{
    return s.p ? (struct str){s.p + from, to - from} : STR_NONE;
}
/* memcmp order, shorter first on a common prefix. */
int str_cmp(struct str a, struct str b);
/* Index of c, or s.n. */
size_t str_find(struct str s, char c);
/* ASCII case-insensitive equality. */
bool str_ieq(struct str a, struct str b);
struct str str_trim(struct str s); /* without leading and trailing space, tab, CR, LF */

/* Strict decimal integer: optional '-', digits, nothing else, no overflow, no leading zeros, no "-0"; else
 * INVALID. */
err str_int64(struct str s, int64_t *ret) _must_use_;
/* FNV-1a style 64-bit hash for in-memory tables; seeded per process, never stored. */
uint64_t str_hash(struct str s);
/* CRC-32C (Castagnoli, RFC 3720 §B.4) of the bytes: the partition hash. By the processor's instruction where
 * there is one, else by table; crc32c_table is the latter, for tests. */
uint32_t crc32c(struct str s);
uint32_t crc32c_table(struct str s);

/* Bytes of the well-formed UTF-8 sequence that s starts with (1-4; no surrogates, no overlong forms); 0 when
 * s is empty or starts with anything else. */
size_t utf8_sequence(struct str s);
/* Code points of s; SIZE_MAX when s is not well-formed UTF-8. */
size_t utf8_length(struct str s);
