/*
 * Reading JSON token by token, without a tree. The cursor only moves forward; after a failure it is of no
 * use. Strings without escapes are views into the text, so most of a message is read without copying. Every
 * byte is judged: a text that was read to json_end() without a failure is strict JSON.
 */
#include <assert.h>

#include "bus/base/json.h"

struct json_in json_in(struct str text, struct arena *arena)
{
    return (struct json_in){.text = text, .arena = arena};
}

/* The byte at the cursor, 0 at the end (a NUL is nowhere allowed in JSON). */
static unsigned char here(const struct json_in *in)
{
    return in->at < in->text.n ? (unsigned char)in->text.p[in->at] : 0;
}

static unsigned char skip_space(struct json_in *in)
{
    for (;;) {
        unsigned char c = here(in);

        if (c > ' ' || (c != ' ' && c != '\t' && c != '\n' && c != '\r'))
            return c;
        in->at++;
    }
}

/* One place for all refusals; the text tells where, never what, since bodies hold personal data. */
static err malformed(const struct json_in *in, const char *what)
{
    return FAIL(MALFORMED, "%s at byte %zu", what, in->at);
}

/* The kind of value that a byte begins, plus one. */
static const uint8_t kinds[256] = {
    ['{'] = JSON_OBJECT + 1, ['['] = JSON_ARRAY + 1, ['"'] = JSON_STRING + 1,         ['t'] = JSON_TRUE + 1,
    ['f'] = JSON_FALSE + 1,  ['n'] = JSON_NULL + 1,  ['0' ... '9'] = JSON_NUMBER + 1, ['-'] = JSON_NUMBER + 1,
};

err json_peek(struct json_in *in, enum json_kind *ret)
{
    unsigned kind = kinds[skip_space(in)];

    *ret = kind ? (enum json_kind)(kind - 1) : JSON_NULL;
    return kind ? OK : malformed(in, "a value is missing");
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at `at`, or -1. */
static int hex4(struct str s, size_t at)
{
    int v = 0;

    if (s.n - at < 4)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        int digit = hex_digit(s.p[i]);

        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* The code point of the \u escape whose backslash stands at s[at]: *ret_n bytes of text. -1 when it is none,
 * is U+0000 or half a surrogate pair. */
static int32_t unicode_escape(struct str s, size_t at, size_t *ret_n)
{
    int high = hex4(s, at + 2), low;

    *ret_n = 6;
    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff))
        return -1;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (s.n - at < 12 || s.p[at + 6] != '\\' || s.p[at + 7] != 'u')
        return -1;
    low = hex4(s, at + 8);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    *ret_n = 12;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* What the short escapes stand for. */
static const char short_escapes[128] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* Length of the valid escape at s[at], 0 when it is not valid. */
static size_t escape_length(struct str s, size_t at)
{
    unsigned char c;
    size_t n;

    if (s.n - at < 2)
        return 0;
    c = (unsigned char)s.p[at + 1];
    if (c == 'u')
        return unicode_escape(s, at, &n) < 0 ? 0 : n;
    return c < 128 && short_escapes[c] ? 2 : 0;
}

/* Consumes a string; ret gets what is between the quotes, checked, escapes still in it. */
static err scan_string(struct json_in *in, struct str *ret, bool *ret_escaped)
{
    struct str s = in->text;
    size_t at = in->at + 1, from = at;
    bool escaped = false;

    for (;;) {
        size_t n = 1;

        at += json_plain(str_slice(s, at, s.n));
        if (at >= s.n || (unsigned char)s.p[at] < ' ')
            return malformed(in, "a string does not end, or holds a control character,");
        if (s.p[at] == '"')
            break;
        if (s.p[at] == '\\') {
            escaped = true;
            n = escape_length(s, at);
        } else if ((unsigned char)s.p[at] >= 0x80) {
            n = utf8_sequence(str_slice(s, at, s.n));
        }
        if (n == 0)
            return malformed(in, "a string holds a wrong escape or wrong UTF-8");
        at += n;
    }
    in->at = at + 1;
    *ret = str_slice(s, from, at);
    *ret_escaped = escaped;
    return OK;
}

static size_t put_utf8(char *to, int32_t point)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        to[0] = (char)(0xc0 | point >> 6);
        to[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        to[0] = (char)(0xe0 | point >> 12);
        to[1] = (char)(0x80 | (point >> 6 & 0x3f));
        to[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | point >> 18);
    to[1] = (char)(0x80 | (point >> 12 & 0x3f));
    to[2] = (char)(0x80 | (point >> 6 & 0x3f));
    to[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* Decodes a checked string. No escape is shorter than what it stands for, so s.n bytes are enough. */
static struct str unescape(struct str s, struct arena *arena)
{
    struct buf b = buf_new(arena, s.n);

    for (size_t at = 0, n; at < s.n; at += n) {
        if (s.p[at] != '\\') {
            n = str_find(str_slice(s, at, s.n), '\\');
            buf_put(&b, s.p + at, n);
        } else if (s.p[at + 1] == 'u') {
            int32_t point = unicode_escape(s, at, &n);

            buf_took(&b, put_utf8(buf_room(&b, 4), point));
        } else {
            n = 2;
            buf_char(&b, short_escapes[(unsigned char)s.p[at + 1]]);
        }
    }
    return buf_view(&b);
}

err json_read_string(struct json_in *in, struct str *ret)
{
    bool escaped;

    if (skip_space(in) != '"')
        return malformed(in, "a string is missing");
    TRY(scan_string(in, ret, &escaped));
    if (escaped)
        *ret = unescape(*ret, in->arena);
    return OK;
}

/* Moves over digits; false when there is none. */
static bool digits(struct json_in *in)
{
    size_t from = in->at;

    while (here(in) >= '0' && here(in) <= '9')
        in->at++;
    return in->at > from;
}

static bool fraction_and_exponent(struct json_in *in)
{
    if (here(in) == '.') {
        in->at++;
        if (!digits(in))
            return false;
    }
    if (here(in) == 'e' || here(in) == 'E') {
        in->at++;
        if (here(in) == '+' || here(in) == '-')
            in->at++;
        return digits(in);
    }
    return true;
}

err json_read_number(struct json_in *in, struct str *ret)
{
    size_t from;

    skip_space(in);
    from = in->at;
    if (here(in) == '-')
        in->at++;
    if (here(in) == '0')
        in->at++;
    else if (!digits(in))
        return malformed(in, "a number is missing");
    if (!fraction_and_exponent(in))
        return malformed(in, "a number lacks digits");
    if (here(in) >= '0' && here(in) <= '9')
        return malformed(in, "a number has a leading zero");
    *ret = str_slice(in->text, from, in->at);
    return OK;
}

err json_read_literal(struct json_in *in, enum json_kind kind)
{
    static const struct str words[] = {
        [JSON_NULL] = {"null", 4}, [JSON_TRUE] = {"true", 4}, [JSON_FALSE] = {"false", 5}};

    assert(kind <= JSON_FALSE);
    skip_space(in);
    if (!str_starts(str_slice(in->text, in->at, in->text.n), words[kind]))
        return malformed(in, "a literal is missing");
    in->at += words[kind].n;
    return OK;
}

err json_enter(struct json_in *in, enum json_kind kind)
{
    assert(kind == JSON_OBJECT || kind == JSON_ARRAY);
    if (skip_space(in) != (kind == JSON_OBJECT ? '{' : '['))
        return malformed(in, kind == JSON_OBJECT ? "an object is missing" : "a list is missing");
    if (in->depth == JSON_DEPTH)
        return malformed(in, "too deeply nested");
    in->depth++;
    in->objects &= ~(UINT32_C(1) << in->depth);
    in->objects |= (uint32_t)(kind == JSON_OBJECT) << in->depth;
    in->at++;
    return OK;
}

static bool in_object(const struct json_in *in)
{
    return in->objects >> in->depth & 1;
}

/* Closer, or comma (not before the first), in front of the next member. */
static err step(struct json_in *in, bool *first, bool *ret_more)
{
    unsigned char c = skip_space(in);

    assert(in->depth > 0);
    *ret_more = c != (in_object(in) ? '}' : ']');
    if (!*ret_more) {
        in->at++;
        in->depth--;
        return OK;
    }
    if (!*first) {
        if (c != ',') {
            *ret_more = false;
            return malformed(in, "a comma or the end of an object or list is missing");
        }
        in->at++;
    }
    *first = false;
    return OK;
}

/* A member's name, escapes still in it, and its colon. */
static err member_name(struct json_in *in, struct str *ret, bool *ret_escaped)
{
    if (skip_space(in) != '"')
        return malformed(in, "a member's name is missing");
    TRY(scan_string(in, ret, ret_escaped));
    if (skip_space(in) != ':')
        return malformed(in, "a colon is missing");
    in->at++;
    return OK;
}

err json_next(struct json_in *in, bool *first, bool *ret_more, struct str *ret_name)
{
    struct str name;
    bool escaped;

    TRY(step(in, first, ret_more));
    if (!*ret_more || !in_object(in))
        return OK;
    *ret_more = false;
    TRY(member_name(in, &name, &escaped));
    if (ret_name)
        *ret_name = escaped ? unescape(name, in->arena) : name;
    *ret_more = true;
    return OK;
}

static err skip_value(struct json_in *in);

static err skip_container(struct json_in *in, enum json_kind kind)
{
    bool first = true, more, escaped;
    struct str name;

    TRY(json_enter(in, kind));
    for (;;) {
        TRY(step(in, &first, &more));
        if (!more)
            return OK;
        if (kind == JSON_OBJECT)
            TRY(member_name(in, &name, &escaped));
        TRY(skip_value(in));
    }
}

/* Recursion ends at JSON_DEPTH. */
static err skip_value(struct json_in *in)
{
    enum json_kind kind;
    struct str text;
    bool escaped;

    TRY(json_peek(in, &kind));
    switch (kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return skip_container(in, kind);
    case JSON_STRING:
        return scan_string(in, &text, &escaped);
    case JSON_NUMBER:
        return json_read_number(in, &text);
    default:
        return json_read_literal(in, kind);
    }
}

err json_skip(struct json_in *in, struct str *ret)
{
    size_t from;

    skip_space(in);
    from = in->at;
    TRY(skip_value(in));
    if (ret)
        *ret = str_slice(in->text, from, in->at);
    return OK;
}

err json_end(struct json_in *in)
{
    skip_space(in);
    if (in->at != in->text.n || in->depth != 0)
        return malformed(in, "something follows the value");
    return OK;
}

err json_check(struct str text, struct arena *arena)
{
    struct json_in in = json_in(text, arena);

    TRY(json_skip(&in, NULL));
    return json_end(&in);
}
