/*
 * Writing JSON. The writer knows one thing, whether a comma is due, and that is enough: opening and keys
 * clear it, every finished value sets it. What comes out is always well-formed UTF-8, whatever went in.
 */
#include <assert.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"

/* How a byte stands in a string: 0 as it is, 'u' as \u00XX, 'x' part of UTF-8 to be checked, else '\\' and
 * this. */
static const char escapes[256] = {
    [0x00 ... 0x07] = 'u', ['\b'] = 'b',  ['\t'] = 't',          ['\n'] = 'n',
    [0x0b] = 'u',          ['\f'] = 'f',  ['\r'] = 'r',          [0x0e ... 0x1f] = 'u',
    ['"'] = '"',           ['\\'] = '\\', [0x80 ... 0xff] = 'x',
};

/* Are all eight bytes plain? (Byte tests in one word: below 0x20, equal to '"', equal to '\\', above 0x7f.)
 */
static bool plain8(const char *p)
{
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    uint64_t word, quote, slash;

    memcpy(&word, p, sizeof(word));
    quote = word ^ ones * '"';
    slash = word ^ ones * '\\';
    return !((word | (word - ones * 0x20) | (quote - ones) | (slash - ones)) & high);
}

size_t json_plain(struct str s)
{
    size_t at = 0;

    while (s.n - at >= 8 && plain8(s.p + at))
        at += 8;
    while (at < s.n && !escapes[(unsigned char)s.p[at]])
        at++;
    return at;
}

static void lead(struct json *j)
{
    if (j->comma)
        buf_char(j->b, ',');
    j->comma = true;
}

void json_open(struct json *j, char bracket)
{
    assert(bracket == '{' || bracket == '[');
    lead(j);
    buf_char(j->b, bracket);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    assert(bracket == '}' || bracket == ']');
    buf_char(j->b, bracket);
    j->comma = true;
}

/* Writes the character at s[at], which is not plain ASCII; returns how many bytes of s it was. */
static size_t put_special(struct buf *b, struct str s, size_t at)
{
    char how = escapes[(unsigned char)s.p[at]];
    size_t n;

    if (how == 'u') {
        buf_printf(b, "\\u%04x", (unsigned)(unsigned char)s.p[at]);
        return 1;
    }
    if (how != 'x') {
        buf_put(b, (char[]){'\\', how}, 2);
        return 1;
    }
    n = utf8_sequence(str_slice(s, at, s.n));
    if (n == 0) {
        buf_put(b, "\xef\xbf\xbd", 3);
        return 1;
    }
    buf_put(b, s.p + at, n);
    return n;
}

/* The rest of a string whose front is plain. */
static void put_mixed(struct buf *b, struct str s)
{
    for (size_t at = 0; at < s.n;) {
        size_t plain = json_plain(str_slice(s, at, s.n));

        buf_put(b, s.p + at, plain);
        at += plain;
        if (at < s.n)
            at += put_special(b, s, at);
    }
}

/* A string with the comma before it and the colon after it, where they are due. */
static void put_string(struct buf *b, struct str s, bool comma, bool colon)
{
    size_t plain = json_plain(s), n = 0;
    char *to = buf_room(b, s.n + 4);

    if (comma)
        to[n++] = ',';
    to[n++] = '"';
    memcpy(to + n, s.p, plain);
    buf_took(b, n + plain);
    if (plain < s.n)
        put_mixed(b, str_slice(s, plain, s.n));
    to = buf_room(b, 2);
    to[0] = '"';
    to[1] = ':';
    buf_took(b, colon ? 2 : 1);
}

void json_key(struct json *j, const char *key)
{
    put_string(j->b, str_of(key), j->comma, true);
    j->comma = false;
}

void json_str(struct json *j, struct str s)
{
    if (!s.p) {
        json_nil(j);
        return;
    }
    put_string(j->b, s, j->comma, false);
    j->comma = true;
}

void json_int(struct json *j, int64_t v)
{
    lead(j);
    buf_int(j->b, v);
}

void json_bool(struct json *j, bool v)
{
    json_raw(j, v ? STR("true") : STR("false"));
}

void json_nil(struct json *j)
{
    json_raw(j, STR("null"));
}

void json_raw(struct json *j, struct str text)
{
    lead(j);
    buf_str(j->b, text.p ? text : STR("null"));
}

void json_decimal(struct json *j, int64_t minor, int decimals)
{
    char fraction[20];
    uint64_t whole = minor < 0 ? 0 - (uint64_t)minor : (uint64_t)minor;

    assert(decimals >= 0 && decimals < (int)sizeof(fraction));
    if (decimals == 0) {
        json_int(j, minor);
        return;
    }
    for (int i = decimals; i-- > 0; whole /= 10)
        fraction[i] = (char)('0' + whole % 10);
    lead(j);
    if (minor < 0)
        buf_char(j->b, '-');
    buf_int(j->b, (int64_t)whole);
    buf_char(j->b, '.');
    buf_put(j->b, fraction, (size_t)decimals);
}

void json_time(struct json *j, int64_t ms)
{
    char text[25];

    clock_print(ms, text);
    lead(j);
    buf_char(j->b, '"');
    buf_put(j->b, text, 24);
    buf_char(j->b, '"');
}

void json_kopen(struct json *j, const char *key, char bracket)
{
    json_key(j, key);
    json_open(j, bracket);
}

void json_kstr(struct json *j, const char *key, struct str s)
{
    json_key(j, key);
    json_str(j, s);
}

void json_kint(struct json *j, const char *key, int64_t v)
{
    json_key(j, key);
    json_int(j, v);
}

void json_kbool(struct json *j, const char *key, bool v)
{
    json_key(j, key);
    json_bool(j, v);
}

void json_ktime(struct json *j, const char *key, int64_t ms)
{
    json_key(j, key);
    json_time(j, ms);
}

void json_kraw(struct json *j, const char *key, struct str text)
{
    json_key(j, key);
    json_raw(j, text);
}

/* ---- compacting ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct str json_compact(struct str value, struct arena *arena)
{
    struct buf b = buf_new(arena, value.n + 1);
    bool in_string = false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (in_string && c == '\\') { /* the escaped character does not end the string */
            buf_put(&b, value.p + i, 2);
            i++;
            continue;
        }
        if (c == '"')
            in_string = !in_string;
        if (in_string || !is_space(c))
            buf_char(&b, c);
    }
    return b.n == value.n ? value : buf_view(&b);
}
