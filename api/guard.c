/* The guard over raw heads, targets, hosts and ids. See guard.h for what it promises. */
#include "api/guard.h"

enum class {
    PATH = 1,  /* may stand undecoded in a path: pchar and "/" of RFC 3986 */
    HOST = 2,  /* in a host name */
    TOKEN = 4, /* in a request id */
    LOWHEX = 8,
    HEX = 16,
};

#define ALNUM (PATH | HOST | TOKEN)
static const uint8_t classes[256] = {
    ['0' ... '9'] = ALNUM | LOWHEX | HEX,
    ['a' ... 'f'] = ALNUM | LOWHEX | HEX,
    ['g' ... 'z'] = ALNUM,
    ['A' ... 'F'] = ALNUM | HEX,
    ['G' ... 'Z'] = ALNUM,
    ['-'] = PATH | HOST | TOKEN,
    ['.'] = PATH | HOST | TOKEN,
    ['_'] = PATH | HOST | TOKEN,
    ['~'] = PATH,
    ['!'] = PATH,
    ['$'] = PATH,
    ['&'] = PATH,
    ['\''] = PATH,
    ['('] = PATH,
    [')'] = PATH,
    ['*'] = PATH,
    ['+'] = PATH,
    [','] = PATH,
    [';'] = PATH,
    ['='] = PATH,
    [':'] = PATH,
    ['@'] = PATH,
    ['/'] = PATH,
};

static bool is(char c, enum class class)
{
    return classes[(unsigned char)c] & class;
}

static bool all(struct str s, enum class class)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is(s.p[i], class))
            return false;
    return true;
}

/* ---- the head ---- */

/* How many of the first n bytes are surely no control characters, eight at a time. *high gets bits beyond
 * ASCII. */
static size_t plain_run(const char *p, size_t n, uint64_t *high)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
    size_t i = 0;

    for (; n - i >= 8; i += 8) {
        uint64_t w, del;

        memcpy(&w, p + i, 8);
        del = w ^ ones * 0x7f;
        if ((((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) & highs)
            break;
        *high |= w & highs;
    }
    return i;
}

static enum err_code end_of_request_line(struct guard *g)
{
    static const uint64_t http10 = UINT64_C(0x485454502f312e30), http11 = UINT64_C(0x485454502f312e31);

    if (g->line_n == 0) { /* RFC 9112 2.2: one empty line before a request is ignored */
        if (g->skipped)
            return ERR_MALFORMED;
        g->skipped = true;
        return ERR_NONE;
    }
    if (g->spaces != 2 || (g->tail != http10 && g->tail != http11))
        return ERR_MALFORMED;
    g->requested = true;
    return ERR_NONE;
}

static enum err_code end_of_line(struct guard *g)
{
    enum err_code code = ERR_NONE;

    g->cr = false;
    if (!g->requested)
        code = end_of_request_line(g);
    else if (g->line_n == 0)
        g->complete = true;
    else if (++g->fields > GUARD_FIELDS_MAX)
        code = ERR_HEADERS_TOO_LARGE;
    g->line_n = 0;
    return code;
}

static enum err_code one_byte(struct guard *g, char c)
{
    if (g->cr)
        return c == '\n' ? end_of_line(g) : ERR_MALFORMED;
    if (c == '\r') {
        g->cr = true;
        return ERR_NONE;
    }
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f)
        return ERR_MALFORMED;
    if (g->requested && g->line_n == 0 && (c == ' ' || c == '\t'))
        return ERR_MALFORMED; /* obs-fold: would continue the value above, unseen by others on the way */
    if (!g->requested) {
        if (c == '\t' || (unsigned char)c >= 0x80)
            return ERR_MALFORMED;
        g->tail = g->tail << 8 | (unsigned char)c;
        g->spaces = (uint8_t)(g->spaces + (c == ' ' && g->spaces < 3));
    }
    g->high |= (unsigned char)c >= 0x80;
    g->line_n++;
    return ERR_NONE;
}

static enum err_code within_limits(struct guard *g, size_t added)
{
    if (!g->requested)
        return g->line_n > GUARD_LINE_MAX ? ERR_URI_TOO_LONG : ERR_NONE;
    g->block_n += (uint32_t)added;
    return g->block_n > GUARD_BLOCK_MAX ? ERR_HEADERS_TOO_LARGE : ERR_NONE;
}

enum err_code guard_scan(struct guard *g, const char *p, size_t n, size_t *ret_used)
{
    size_t i = 0;
    enum err_code code = ERR_NONE;
    uint64_t high = 0;

    while (i < n && !g->complete && code == ERR_NONE) {
        size_t run = g->requested && g->line_n > 0 && !g->cr ? plain_run(p + i, n - i, &high) : 0;

        if (run > 0) {
            g->line_n += (uint32_t)(run < GUARD_BLOCK_MAX ? run : GUARD_BLOCK_MAX);
        } else {
            run = 1;
            code = one_byte(g, p[i]);
        }
        i += run;
        if (code == ERR_NONE)
            code = within_limits(g, run);
    }
    g->high |= high != 0;
    *ret_used = i;
    return code;
}

/* ---- targets ---- */

static int hex_value(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* The byte behind %XX at raw[i]; -1 when it is not one. */
static int percent(struct str raw, size_t i)
{
    if (raw.n - i < 3 || !is(raw.p[i + 1], HEX) || !is(raw.p[i + 2], HEX))
        return -1;
    return hex_value(raw.p[i + 1]) << 4 | hex_value(raw.p[i + 2]);
}

static bool dots_only(struct str segment)
{
    return str_is(segment, ".") || str_is(segment, "..");
}

/* Decoding happened before, so %2e%2e is seen here as "..". */
static bool has_dot_segment(struct str path)
{
    for (size_t from = 0; from <= path.n;) {
        struct str rest = str_slice(path, from, path.n);
        size_t n = str_find(rest, '/');

        if (dots_only((struct str){rest.p, n}))
            return true;
        from += n + 1;
    }
    return false;
}

enum err_code guard_path(struct str raw, struct arena *arena, struct str *ret)
{
    char *out = arena_grow(arena, NULL, 0, raw.n + 1);
    size_t n = 0;

    if (raw.n == 0 || raw.p[0] != '/')
        return ERR_MALFORMED;
    for (size_t i = 0; i < raw.n; i++) {
        int c = (unsigned char)raw.p[i];

        if (c == '%') {
            c = percent(raw, i);
            if (c < 0x20 || c == 0x7f || c == '/' || c == '\\')
                return ERR_MALFORMED;
            i += 2;
        } else if (!is((char)c, PATH)) {
            return ERR_MALFORMED;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    *ret = (struct str){out, n};
    if (has_dot_segment(*ret) || utf8_length(*ret) == SIZE_MAX)
        return ERR_MALFORMED;
    return ERR_NONE;
}

enum err_code guard_query(struct str raw, struct arena *arena, struct str *ret)
{
    char *out = arena_grow(arena, NULL, 0, raw.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < raw.n; i++) {
        int c = (unsigned char)raw.p[i];

        if (c == '%') {
            c = percent(raw, i);
            if (c <= 0)
                return ERR_MALFORMED;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        } else if (c == '#') {
            return ERR_MALFORMED; /* a fragment never travels */
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    *ret = (struct str){out, n};
    return utf8_length(*ret) == SIZE_MAX ? ERR_MALFORMED : ERR_NONE;
}

/* ---- header values ---- */

static bool is_port(struct str s)
{
    int64_t port;

    return s.n > 0 && s.n <= 5 && !failed(str_int64(s, &port)) && port >= 0 && port <= 65535;
}

static bool is_address6(struct str s)
{
    for (size_t i = 1; i + 1 < s.n; i++)
        if (!is(s.p[i], HEX) && s.p[i] != ':' && s.p[i] != '.')
            return false;
    return s.n > 3;
}

enum err_code guard_host(struct str value, struct str *ret_name)
{
    bool six = value.n > 0 && value.p[0] == '[';
    size_t n = six ? str_find(value, ']') + 1 : str_find(value, ':');
    struct str name;

    if (n > value.n || n == 0 || n > 255)
        return ERR_MALFORMED;
    name = str_slice(value, 0, n);
    if (six ? !is_address6(name) : !all(name, HOST))
        return ERR_MALFORMED;
    if (n < value.n && (value.p[n] != ':' || !is_port(str_slice(value, n + 1, value.n))))
        return ERR_MALFORMED;
    *ret_name = name;
    return ERR_NONE;
}

bool guard_request_id(struct str value)
{
    return value.n >= 1 && value.n <= 64 && all(value, TOKEN);
}

static bool zeros(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

bool guard_traceparent(struct str v)
{
    if (v.n != 55 || !str_starts(v, STR("00-")) || v.p[35] != '-' || v.p[52] != '-')
        return false;
    return all(str_slice(v, 3, 35), LOWHEX) && all(str_slice(v, 36, 52), LOWHEX) &&
           all(str_slice(v, 53, 55), LOWHEX) && !zeros(str_slice(v, 3, 35)) && !zeros(str_slice(v, 36, 52));
}
