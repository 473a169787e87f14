/*
 * Single values of the decoder: a text is checked against its field and stored, or a complaint is noted.
 * Numbers are never turned into floating point.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/money.h"
#include "bus/codec_read.h"

enum { EXPONENT_MAX = 308, FIRST_NAMES = 8 };

/* ---- complaints ---- */

/* "items[2].quantity": the way from the outermost object. */
static void print_place(struct buf *b, const struct place *at)
{
    if (!at)
        return;
    print_place(b, at->up);
    if (!at->name.p) {
        buf_printf(b, "[%zu]", at->index);
        return;
    }
    if (b->n)
        buf_char(b, '.');
    buf_str(b, at->name);
}

void codec_complain(struct reader *r, const struct place *at, const char *format, ...)
{
    if (r->wrong++ > 0 && (!r->errors || r->errors->n == sizeof(r->errors->list) / sizeof(*r->errors->list)))
        return;
    char sentence[256];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    struct buf b = buf_new(r->arena, FIRST_NAMES * sizeof(void *));
    print_place(&b, at);
    struct field_error error = {buf_view(&b), arena_str(r->arena, str_of(sentence))};
    if (r->wrong == 1)
        r->first = arena_printf(r->arena, "%.*s %s", STR_ARG(error.field), sentence);
    if (r->errors)
        r->errors->list[r->errors->n++] = error;
}

/* "must be one of a, b" */
static void complain_values(struct reader *r, const struct place *at, const char *const *values)
{
    struct buf b = buf_new(r->arena, 128);
    for (size_t i = 0; values[i]; i++) {
        buf_lit(&b, i ? ", " : "");
        buf_lit(&b, values[i]);
    }
    codec_complain(r, at, "must be one of %.*s", STR_ARG(buf_view(&b)));
}

/* ---- strings ---- */

static bool is_value(const char *const *values, struct str text)
{
    for (size_t i = 0; values[i]; i++)
        if (str_is(text, values[i]))
            return true;
    return false;
}

/* Code points are counted only where the number of bytes leaves it open: a code point has one to four. */
static bool length_fits(struct reader *r, const struct field *f, const struct place *at, struct str text)
{
    int64_t n = (int64_t)text.n;
    if (n <= f->max && n >= 4 * f->min)
        return true;
    n = (int64_t)utf8_length(text);
    if (n < f->min && f->min == 1)
        codec_complain(r, at, "must not be empty");
    else if (n < f->min)
        codec_complain(r, at, "must have at least %" PRId64 " characters", f->min);
    else if (n > f->max)
        codec_complain(r, at, "must have at most %" PRId64 " characters", f->max);
    return n >= f->min && n <= f->max;
}

void codec_take_string(struct reader *r, const struct field *f, const struct place *at, struct str text,
                       struct str *ret)
{
    *ret = text;
    if (f->values) {
        if (!is_value(f->values, text))
            complain_values(r, at, f->values);
        return;
    }
    if (!length_fits(r, f, at, text))
        return;
    const char *fault = codec_format_fault(f->format, text);
    if (fault)
        codec_complain(r, at, "%s", fault);
}

void codec_take_uuid(struct reader *r, const struct place *at, struct str text, struct uuid *ret)
{
    if (failed(uuid_parse(text, ret)))
        codec_complain(r, at, "must be a UUID");
}

/* ---- numbers ---- */

/* Does the text consist of digits, after a minus at most? */
static bool is_whole(struct str text)
{
    size_t i = text.n > 0 && text.p[0] == '-';
    if (i == text.n)
        return false;
    for (; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return true;
}

void codec_take_int(struct reader *r, const struct field *f, const struct place *at, struct str text,
                    int64_t *ret)
{
    bool fits = !failed(str_int64(text, ret));
    bool beyond = !fits && is_whole(text) && text.n > 18; /* more than 64 bits hold */
    if (!fits && !beyond)
        codec_complain(r, at, "must be a whole number");
    else if (beyond ? text.p[0] == '-' : *ret < f->min)
        codec_complain(r, at, "must be at least %" PRId64, f->min);
    else if (beyond || *ret > f->max)
        codec_complain(r, at, "must be at most %" PRId64, f->max);
}

/* Why money_parse refused the digits: only for the sentence. */
static void complain_money(struct reader *r, const struct place *at, struct str digits, struct str currency,
                           int decimals)
{
    size_t dot = str_find(digits, '.');
    if (str_find(digits, 'e') < digits.n || str_find(digits, 'E') < digits.n)
        codec_complain(r, at, "must be written without an exponent");
    else if (dot > 15 - (size_t)decimals)
        codec_complain(r, at, "is too large");
    else if (dot == digits.n || dot + 1 + (size_t)decimals >= digits.n)
        codec_complain(r, at, "must be a decimal number");
    else if (currency.p)
        codec_complain(r, at, "has more decimals than %.*s allows", STR_ARG(currency));
    else
        codec_complain(r, at, "must have at most %d decimals", decimals);
}

void codec_take_money(struct reader *r, const struct field *f, const struct place *at, struct str text,
                      struct str currency, int64_t *ret)
{
    int decimals = currency.p ? money_decimals(currency) : MONEY_MAX_DECIMALS;
    if (decimals < 0)
        return; /* the currency has its own complaint */
    bool minus = text.n > 0 && text.p[0] == '-';
    struct str digits = str_slice(text, minus, text.n);
    if (failed(money_parse(digits, decimals, ret))) {
        complain_money(r, at, digits, currency, decimals);
        return;
    }
    *ret = minus ? -*ret : *ret;
    struct buf limit = buf_new(r->arena, 32);
    struct json number = json_on(&limit);
    json_decimal(&number, *ret < f->min ? f->min : f->max, decimals);
    if (*ret < f->min && f->min == 1)
        codec_complain(r, at, "must be more than 0");
    else if (*ret < f->min)
        codec_complain(r, at, "must be at least %.*s", STR_ARG(buf_view(&limit)));
    else if (*ret > f->max)
        codec_complain(r, at, "must be at most %.*s", STR_ARG(buf_view(&limit)));
}

/* ---- raw values ---- */

/* Numbers that no double holds would fail later, where a table keeps them as jsonb: 1e400 parks a whole key.
 */
static bool exponent_fits(struct str number)
{
    size_t e = str_find(number, 'e');
    if (e == number.n)
        e = str_find(number, 'E');
    if (e == number.n)
        return true;
    int exponent = 0;
    for (size_t i = e + 1; i < number.n; i++)
        if (number.p[i] >= '0' && number.p[i] <= '9' && exponent <= EXPONENT_MAX)
            exponent = exponent * 10 + (number.p[i] - '0');
    return exponent <= EXPONENT_MAX;
}

static int compare_names(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Sorted, not compared pair by pair: an object of thousands of members must not cost millions of comparisons.
 */
static err check_names(struct str *names, size_t n)
{
    if (n > 1)
        qsort(names, n, sizeof(*names), compare_names);
    for (size_t i = 1; i < n; i++)
        if (str_eq(names[i - 1], names[i]))
            return FAIL(MALFORMED, "a member stands twice in one object");
    return OK;
}

static err check_raw(struct json_in *in, bool *fits);

static err check_raw_container(struct json_in *in, enum json_kind kind, bool *fits)
{
    bool first = true, more;
    struct str name, *names = NULL;
    size_t n = 0, room = 0;
    TRY(json_enter(in, kind));
    for (;;) {
        TRY(json_next(in, &first, &more, &name));
        if (!more)
            return check_names(names, n);
        if (kind == JSON_OBJECT) {
            if (n == room) {
                names = arena_grow(in->arena, names, room * sizeof(name), (2 * room + 8) * sizeof(name));
                room = 2 * room + 8;
            }
            names[n++] = name;
        }
        TRY(check_raw(in, fits));
    }
}

/* Recursion ends at JSON_DEPTH: the text has been read once already. */
static err check_raw(struct json_in *in, bool *fits)
{
    enum json_kind kind;
    TRY(json_peek(in, &kind));
    if (kind == JSON_OBJECT || kind == JSON_ARRAY)
        return check_raw_container(in, kind, fits);
    if (kind != JSON_NUMBER)
        return json_skip(in, NULL);
    struct str number;
    TRY(json_read_number(in, &number));
    *fits &= exponent_fits(number);
    return OK;
}

err codec_read_raw(struct reader *r, const struct field *f, const struct place *at, struct str *ret)
{
    TRY(json_skip(&r->in, ret));
    if ((int64_t)ret->n > f->max) {
        codec_complain(r, at, "must have at most %" PRId64 " bytes", f->max);
        return OK;
    }
    bool fits = true;
    struct json_in again = json_in(*ret, r->arena);
    TRY(check_raw(&again, &fits));
    if (!fits)
        codec_complain(r, at, "has a number that is too large or too small");
    if (r->mode == CODEC_DOOR)
        *ret =
            json_compact(*ret, r->arena); /* what was formatted for a person would break lines further on */
    return OK;
}
