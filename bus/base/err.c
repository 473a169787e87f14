/*
 * The note of the last failure. An err is only a code, so that passing it on costs nothing; what happened and
 * where is kept once per thread and read by the loop that deals with it. Two kinds travel differently: a
 * REJECT is an answer and is dealt with by the nearest loop, which may forget the note; RETRY and FATAL go up
 * unchanged, and the loop at the top logs the note.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bus/base/err.h"

struct row {
    const char *name, *slug, *sentence;
    enum err_class class;
    int http;
};

static const struct row rows[ERR_COUNT] = {
    [ERR_NONE] = {"NONE", "none", "", ERR_CLASS_NONE, 200},
#define ERR(name, class, http, slug, text) [ERR_##name] = {#name, slug, text, ERR_CLASS_##class, http},
#include "bus/base/errors.def"
#undef ERR
};

static _Thread_local struct {
    enum err_code code;
    char text[512];
    char where[96];
} last;

err err_fail(enum err_code code, const char *file, int line, const char *format, ...)
{
    va_list args;
    char text[sizeof(last.text)]; /* an argument may be err_text() itself */

    assert(code > ERR_NONE && code < ERR_COUNT);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    memcpy(last.text, text, sizeof(text));
    snprintf(last.where, sizeof(last.where), "%s:%d", file, line);
    last.code = code;
    return (err){code};
}

static const struct row *row_of(enum err_code code)
{
    assert((unsigned)code < ERR_COUNT);
    return &rows[code];
}

const char *err_text(err e)
{
    return e.code == last.code ? last.text : row_of(e.code)->sentence;
}

const char *err_where(err e)
{
    return e.code == last.code ? last.where : "";
}

const char *err_name(enum err_code code)
{
    return row_of(code)->name;
}

const char *err_slug(enum err_code code)
{
    return row_of(code)->slug;
}

const char *err_sentence(enum err_code code)
{
    return row_of(code)->sentence;
}

int err_http(enum err_code code)
{
    return row_of(code)->http;
}

enum err_class err_class_of(enum err_code code)
{
    return row_of(code)->class;
}

enum err_code err_code_of(const char *name)
{
    for (enum err_code code = ERR_NONE; code < ERR_COUNT; code++)
        if (strcmp(rows[code].name, name) == 0)
            return code;
    return ERR_NONE;
}
