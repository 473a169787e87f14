/*
 * The guard: what must be refused before or beside the parser, because the parser tolerates it or cannot know
 * it. Pure functions over bytes; every answer is a code of errors.def, ERR_NONE when the bytes may pass.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/base/err.h"

enum {
    GUARD_LINE_MAX = 8192,   /* bytes of a request line */
    GUARD_BLOCK_MAX = 16384, /* bytes of all header lines */
    GUARD_FIELDS_MAX = 100,  /* header lines */
};

/* Runs over the raw head of a message as it arrives, in pieces of any size. Zeroed memory is the start. */
struct guard {
    uint64_t tail;    /* the last eight bytes of the request line */
    uint32_t line_n;  /* bytes of the line so far */
    uint32_t block_n; /* bytes after the request line */
    uint16_t fields;  /* complete header lines */
    uint8_t spaces;   /* in the request line */
    bool high;        /* a byte beyond ASCII was there */
    bool cr;          /* the last byte was a CR */
    bool requested;   /* the request line is complete */
    bool skipped;     /* the one empty line allowed before a request was there */
    bool complete;    /* the empty line after the fields was there */
};

/* Has anything of a message arrived? */
static inline bool guard_started(const struct guard *g)
{
    return g->line_n > 0 || g->cr || g->requested;
}

/* Takes bytes up to the end of the head (then g->complete) or all n. Refuses at the first offending byte:
 * MALFORMED (control bytes, bare CR or LF, a folded line, a request line that is not `X SP Y SP
 * HTTP/1.[01]`), URI_TOO_LONG, HEADERS_TOO_LARGE. *ret_used counts what was taken. */
enum err_code guard_scan(struct guard *g, const char *p, size_t n, size_t *ret_used);

/* Decodes the path of an origin-form target: %XX, strict UTF-8, no NUL or other control character, no encoded
 * slash, no `.` or `..` segment in any spelling, no empty first byte. Only the characters of RFC 3986 may
 * stand undecoded. */
enum err_code guard_path(struct str raw, struct arena *arena, struct str *ret);
/* Decodes one name or value of a query: %XX and '+'; strict UTF-8, no NUL. */
enum err_code guard_query(struct str raw, struct arena *arena, struct str *ret);
/* Splits a Host value; refuses what is no host[:port]. *ret_name excludes the port. */
enum err_code guard_host(struct str value, struct str *ret_name);
/* 1-64 characters of [A-Za-z0-9._-] */
bool guard_request_id(struct str value);
/* version 00 of W3C trace context with non-zero ids, lower case */
bool guard_traceparent(struct str value);
