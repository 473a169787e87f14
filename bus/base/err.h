/*
 * Errors. A function that can fail returns `err`, a newtype that cannot be mistaken for a number and cannot
 * be ignored. FAIL creates one and notes place and text in thread-local storage; TRY forwards it. The rows of
 * errors.def say who deals with it: REJECT is an answer and stops at the nearest loop, RETRY and FATAL travel
 * to the loop unchanged. Programming errors are assert, also in release builds.
 */
#pragma once

#include <stdbool.h>

enum err_code {
    ERR_NONE,
#define ERR(name, class, http, slug, text) ERR_##name,
#include "bus/base/errors.def"
#undef ERR
    ERR_COUNT
};

enum err_class { ERR_CLASS_NONE, ERR_CLASS_REJECT, ERR_CLASS_RETRY, ERR_CLASS_FATAL };

typedef struct {
    enum err_code code;
} err;

#define OK ((err){ERR_NONE})
#define _must_use_ __attribute__((warn_unused_result))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _cleanup_(fn) __attribute__((cleanup(fn)))
/* Hands ownership over: the value of p, leaving p NULL. */
#define STEAL(p)                                                                                             \
    ({                                                                                                       \
        __typeof__(p) stolen_ = (p);                                                                         \
        (p) = NULL;                                                                                          \
        stolen_;                                                                                             \
    })

static inline bool failed(err e)
{
    return e.code != ERR_NONE;
}

/* Forwards a failure to the caller. */
#define TRY(expression)                                                                                      \
    do {                                                                                                     \
        err try_ = (expression);                                                                             \
        if (failed(try_))                                                                                    \
            return try_;                                                                                     \
    } while (0)

/* Creates a failure: return FAIL(INVALID, "quantity %" PRId64 " above %d", n, max); the text must hold no
 * secret and no personal data, since loops log it. */
#define FAIL(code, ...) err_fail(ERR_##code, __FILE__, __LINE__, __VA_ARGS__)
err err_fail(enum err_code code, const char *file, int line, const char *format, ...) _printf_(4, 5);

/* The text noted by the last FAIL of this thread; when that was another code, the sentence of e. Valid until
 * the next FAIL of the thread. */
const char *err_text(err e);
/* "file:line" of the last FAIL of this thread, "" when that was another code. */
const char *err_where(err e);

const char *err_name(enum err_code code);     /* "CONFLICT" */
const char *err_slug(enum err_code code);     /* "conflict" */
const char *err_sentence(enum err_code code); /* for the `title` of a problem */
int err_http(enum err_code code);             /* HTTP status, 200 for ERR_NONE */
enum err_class err_class_of(enum err_code code);
/* The code with that name ("CONFLICT"), ERR_NONE when there is none. */
enum err_code err_code_of(const char *name);
