/*
 * From raw bytes to a request: llhttp (strict) over a head that the guard has let pass, then our own
 * judgement of what it read. A head is one contiguous block, so every span of the parser is whole. What is
 * refused here ends the connection, since where the next message begins can no longer be trusted.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/conn.h"
#include "bus/base/clock.h"

static int stop(struct conn *conn, enum err_code code, const char *why)
{
    conn->refusal = why;
    conn->refusal_code = code;
    return HPE_USER;
}

/* ---- what the parser calls ---- */

static struct conn *conn_of(llhttp_t *parser)
{
    return parser->data;
}

static int read_target(llhttp_t *parser, const char *p, size_t n)
{
    conn_of(parser)->last->req.target = (struct str){p, n};
    return 0;
}

static void lower(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] | 0x20);
}

static int read_name(llhttp_t *parser, const char *p, size_t n)
{
    struct conn *conn = conn_of(parser);
    struct exchange *x = conn->last;

    if (conn->phase == CONN_BODY)
        return stop(conn, ERR_MALFORMED, "Trailers are not taken.");
    if (n == 0 || x->req.headers_n == conn->guard.fields)
        return stop(conn, ERR_MALFORMED, "The header lines cannot be told apart.");
    lower(x->head + (p - x->head), n);
    x->fields[x->req.headers_n++] = (struct param){{p, n}, STR("")};
    return 0;
}

static int read_value(llhttp_t *parser, const char *p, size_t n)
{
    struct exchange *x = conn_of(parser)->last;

    if (x->req.headers_n == 0)
        return stop(conn_of(parser), ERR_MALFORMED, "A header line has no name.");
    x->fields[x->req.headers_n - 1].value = str_trim((struct str){p, n});
    return 0;
}

static int read_body(llhttp_t *parser, const char *p, size_t n)
{
    struct conn *conn = conn_of(parser);
    struct exchange *x = conn->last;
    size_t need = x->body_n + n;

    if (need > conn->host->body_limit)
        return stop(conn, ERR_TOO_LARGE, "The body is larger than allowed.");
    if (need > x->body_cap) {
        size_t cap = x->body_cap ? 2 * need : need; /* most bodies come in one piece */

        x->body = realloc(x->body, cap);
        if (!x->body)
            abort();
        conn->host->held += cap - x->body_cap;
        x->body_cap = cap;
    }
    memcpy(x->body + x->body_n, p, n);
    x->body_n = need;
    return 0;
}

static int refuse_extension(llhttp_t *parser, const char *p, size_t n)
{
    (void)p, (void)n;
    return stop(conn_of(parser), ERR_MALFORMED, "Chunk extensions are not taken.");
}

static int end_message(llhttp_t *parser)
{
    conn_of(parser)->complete = true;
    return HPE_PAUSED; /* the next message begins with the guard */
}

static const llhttp_settings_t settings = {
    .on_url = read_target,
    .on_header_field = read_name,
    .on_header_value = read_value,
    .on_chunk_extension_name = refuse_extension,
    .on_chunk_extension_value = refuse_extension,
    .on_body = read_body,
    .on_message_complete = end_message,
};

/* ---- our own judgement of the fields ---- */

typedef enum err_code check_fn(struct conn *conn, struct exchange *x, struct str value);

static enum err_code refuse(struct conn *conn, enum err_code code, const char *why)
{
    stop(conn, code, why);
    return code;
}

/* An entry ".example.org" takes every name below it, "*" everything. */
static bool names_host(struct str entry, struct str name)
{
    if (str_is(entry, "*"))
        return true;
    if (entry.n > 0 && entry.p[0] == '.' && name.n > entry.n)
        name = str_slice(name, name.n - entry.n, name.n);
    return str_ieq(entry, name);
}

static enum err_code check_host(struct conn *conn, struct exchange *x, struct str value)
{
    struct str name;

    (void)x;
    if (guard_host(value, &name) != ERR_NONE)
        return refuse(conn, ERR_MALFORMED, "The Host header is not a host.");
    for (const struct str *entry = conn->host->names; entry->p; entry++)
        if (names_host(*entry, name))
            return ERR_NONE;
    return refuse(conn, ERR_MALFORMED, "This server does not answer to that Host.");
}

static enum err_code check_transfer_encoding(struct conn *conn, struct exchange *x, struct str value)
{
    if (x->http10 || !str_ieq(value, STR("chunked")))
        return refuse(conn, ERR_MALFORMED, "The only Transfer-Encoding taken is chunked, over HTTP/1.1.");
    x->chunked = true;
    return ERR_NONE;
}

static enum err_code check_expect(struct conn *conn, struct exchange *x, struct str value)
{
    if (!str_ieq(value, STR("100-continue")))
        return refuse(conn, ERR_MALFORMED, "The only expectation met is 100-continue.");
    x->expects = !x->http10;
    return ERR_NONE;
}

static enum err_code check_upgrade(struct conn *conn, struct exchange *x, struct str value)
{
    (void)x, (void)value;
    return refuse(conn, ERR_MALFORMED, "There is no other protocol to upgrade to.");
}

static enum err_code check_content_encoding(struct conn *conn, struct exchange *x, struct str value)
{
    (void)x;
    if (!str_ieq(value, STR("identity")))
        return refuse(conn, ERR_MEDIA_TYPE, "Encoded bodies are not taken.");
    return ERR_NONE;
}

static enum err_code take_request_id(struct conn *conn, struct exchange *x, struct str value)
{
    (void)conn;
    if (guard_request_id(value))
        x->req.id = value;
    return ERR_NONE;
}

static enum err_code take_traceparent(struct conn *conn, struct exchange *x, struct str value)
{
    (void)conn;
    if (guard_traceparent(value))
        x->trace = value;
    return ERR_NONE;
}

/* Fields with a meaning for the core, and those where a second line could be read differently by two readers.
 */
static const struct special {
    struct str name;
    bool once;
    check_fn *check;
} specials[] = {
    {{"host", 4}, true, check_host},
    {{"content-length", 14}, true, NULL},
    {{"transfer-encoding", 17}, true, check_transfer_encoding},
    {{"expect", 6}, true, check_expect},
    {{"upgrade", 7}, true, check_upgrade},
    {{"content-encoding", 16}, true, check_content_encoding},
    {{"content-type", 12}, true, NULL},
    {{"authorization", 13}, true, NULL},
    {{"idempotency-key", 15}, true, NULL},
    {{"origin", 6}, true, NULL},
    {{"x-request-id", 12}, false, take_request_id},
    {{"traceparent", 11}, false, take_traceparent},
};
enum { SPECIALS = sizeof(specials) / sizeof(*specials), SPECIAL_HOST = 0, SPECIAL_CL = 1, SPECIAL_TE = 2 };

static enum err_code check_field(struct conn *conn, struct exchange *x, const struct param *field,
                                 unsigned *seen)
{
    if (conn->guard.high && utf8_length(field->value) == SIZE_MAX)
        return refuse(conn, ERR_MALFORMED, "A header value is not UTF-8.");
    for (unsigned i = 0; i < SPECIALS; i++) {
        if (!str_eq(field->name, specials[i].name))
            continue;
        if (specials[i].once && (*seen & 1u << i))
            return refuse(conn, ERR_MALFORMED, "A header that may stand once stands twice.");
        *seen |= 1u << i;
        return specials[i].check ? specials[i].check(conn, x, field->value) : ERR_NONE;
    }
    return ERR_NONE;
}

static enum err_code check_fields(struct conn *conn, struct exchange *x)
{
    unsigned seen = 0;
    enum err_code code = ERR_NONE;

    for (size_t i = 0; i < x->req.headers_n && code == ERR_NONE; i++)
        code = check_field(conn, x, &x->req.headers[i], &seen);
    if (code != ERR_NONE)
        return code;
    if (!(seen & 1u << SPECIAL_HOST))
        return refuse(conn, ERR_MALFORMED, "The Host header is missing.");
    if (seen & 1u << SPECIAL_CL && seen & 1u << SPECIAL_TE)
        return refuse(conn, ERR_MALFORMED, "Content-Length and Transfer-Encoding exclude each other.");
    return ERR_NONE;
}

/* ---- the target ---- */

static enum err_code read_pair(struct exchange *x, struct str text, struct param *ret)
{
    size_t equals = str_find(text, '=');
    enum err_code code = guard_query(str_slice(text, 0, equals), x->req.arena, &ret->name);

    if (code != ERR_NONE)
        return code;
    if (equals == text.n) {
        ret->value = STR("");
        return ERR_NONE;
    }
    return guard_query(str_slice(text, equals + 1, text.n), x->req.arena, &ret->value);
}

static enum err_code read_query(struct conn *conn, struct exchange *x, struct str text)
{
    struct param *pairs = arena_array(x->req.arena, struct param, REQUEST_QUERY);

    x->req.query = pairs;
    for (size_t from = 0; from < text.n;) {
        struct str rest = str_slice(text, from, text.n);
        size_t n = str_find(rest, '&');

        from += n + 1;
        if (n == 0)
            continue;
        if (x->req.query_n == REQUEST_QUERY)
            return refuse(conn, ERR_MALFORMED, "There are too many query parameters.");
        if (read_pair(x, str_slice(rest, 0, n), &pairs[x->req.query_n++]) != ERR_NONE)
            return refuse(conn, ERR_MALFORMED, "The query is not well-formed.");
    }
    return ERR_NONE;
}

static enum err_code check_target(struct conn *conn, struct exchange *x)
{
    struct str target = x->req.target;
    size_t n = str_find(target, '?');

    if (guard_path(str_slice(target, 0, n), x->req.arena, &x->req.path) != ERR_NONE)
        return refuse(conn, ERR_MALFORMED, "The path is not well-formed.");
    return n < target.n ? read_query(conn, x, str_slice(target, n + 1, target.n)) : ERR_NONE;
}

/* ---- the whole ---- */

static enum method method_of(uint8_t parsed)
{
    static const uint8_t methods[] = {
        [HTTP_GET] = GET,     [HTTP_HEAD] = HEAD,     [HTTP_POST] = POST,      [HTTP_PUT] = PUT,
        [HTTP_PATCH] = PATCH, [HTTP_DELETE] = DELETE, [HTTP_OPTIONS] = OPTIONS};

    return parsed < sizeof(methods) ? (enum method)methods[parsed] : METHOD_OTHER;
}

static enum err_code check_body(struct conn *conn, struct exchange *x)
{
    if (conn->complete)
        return ERR_NONE;
    if (!x->chunked && conn->parser.content_length > conn->host->body_limit)
        return refuse(conn, ERR_TOO_LARGE, "The body is larger than allowed.");
    if (conn->host->held > conn->host->held_limit)
        return refuse(conn, ERR_OVERLOADED, "Too many requests are being received.");
    return ERR_NONE;
}

static void fill_in(struct conn *conn, struct exchange *x, const char *p, size_t n)
{
    x->head = arena_grow(x->req.arena, NULL, 0, n + 1);
    memcpy(x->head, p, n);
    x->head[n] = '\0';
    x->req.headers = x->fields = arena_grow(x->req.arena, NULL, 0, sizeof(struct param) * conn->guard.fields);
    conn->complete = false;
    llhttp_init(&conn->parser, HTTP_REQUEST, &settings);
    conn->parser.data = conn;
}

enum err_code head_read(struct conn *conn, struct exchange *x, const char *p, size_t n)
{
    enum llhttp_errno parsed;
    enum err_code code;

    fill_in(conn, x, p, n);
    parsed = llhttp_execute(&conn->parser, x->head, n);
    x->req.method = method_of(conn->parser.method);
    x->http10 = conn->parser.http_minor == 0;
    if (parsed == HPE_USER)
        return conn->refusal_code;
    if (parsed != HPE_OK && parsed != HPE_PAUSED)
        return refuse(conn, ERR_MALFORMED, "The head of the request is not well-formed.");
    if (x->req.headers_n != conn->guard.fields) /* the parser passes over a line without a name */
        return refuse(conn, ERR_MALFORMED, "The header lines cannot be told apart.");
    x->keep_alive = llhttp_should_keep_alive(&conn->parser);
    code = check_fields(conn, x);
    if (code == ERR_NONE)
        code = check_target(conn, x);
    if (code == ERR_NONE)
        code = check_body(conn, x);
    return code;
}

/* A chunk may be one byte, with five of framing; more framing than that is an attack on patience. */
static bool too_much_framing(struct conn *conn, struct exchange *x, size_t n)
{
    x->raw_n += (uint32_t)n;
    return x->chunked && x->raw_n > 8 * conn->host->body_limit + 64;
}

enum err_code body_read(struct conn *conn, struct exchange *x, const char *p, size_t n, size_t *ret_used)
{
    enum llhttp_errno parsed = llhttp_execute(&conn->parser, p, n);

    *ret_used = parsed == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(&conn->parser) - p) : n;
    if (parsed == HPE_USER)
        return conn->refusal_code;
    if (parsed != HPE_OK && parsed != HPE_PAUSED)
        return refuse(conn, ERR_MALFORMED, "The body is not well-formed.");
    if (too_much_framing(conn, x, *ret_used))
        return refuse(conn, ERR_TOO_LARGE, "The body is larger than allowed.");
    if (conn->host->held > conn->host->held_limit)
        return refuse(conn, ERR_OVERLOADED, "Too many requests are being received.");
    return ERR_NONE;
}
