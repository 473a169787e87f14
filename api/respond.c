/*
 * Answers. The head of an answer is put together from prebuilt pieces into one allocation of the request's
 * arena; the body is borrowed, never copied. Both leave as two pieces of one writev.
 */
#include <assert.h>
#include <stdio.h>

#include "api/conn.h"
#include "bus/base/uuid.h"
#include "bus/base/clock.h"

/* clang-format off */
#define REASONS(R) \
    R(200, "OK") R(201, "Created") R(202, "Accepted") R(204, "No Content") \
    R(304, "Not Modified") R(400, "Bad Request") R(401, "Unauthorized") R(403, "Forbidden") \
    R(404, "Not Found") R(405, "Method Not Allowed") R(409, "Conflict") R(412, "Precondition Failed") \
    R(413, "Content Too Large") R(414, "URI Too Long") R(415, "Unsupported Media Type") R(422, "Unprocessable Content") \
    R(429, "Too Many Requests") R(431, "Request Header Fields Too Large") R(500, "Internal Server Error") R(503, "Service Unavailable") \
    R(504, "Gateway Timeout")
/* clang-format on */

static const struct str status_lines[600] = {
#define R(status, reason)                                                                                    \
    [status] = {"HTTP/1.1 " #status " " reason "\r\n", sizeof("HTTP/1.1 " #status " " reason "\r\n") - 1},
    REASONS(R)
#undef R
};

static const char always[] = "X-Content-Type-Options: nosniff\r\n"
                             "X-Frame-Options: DENY\r\n"
                             "Referrer-Policy: no-referrer\r\n";

enum {
    HEAD_ROOM = 512
}; /* all but the content type and the handler's lines: status, date, always, id, length */

/* ---- the head ---- */

static char *put(char *to, struct str s)
{
    if (s.n > 0) /* an absent string has no bytes to point to */
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static char *put_lit(char *to, const char *literal)
{
    return put(to, str_of(literal));
}

static char *put_int(char *to, int64_t v)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return put(to, (struct str){digits + i, sizeof(digits) - i});
}

static char *put_status(char *to, int status)
{
    if (status_lines[status].p)
        return put(to, status_lines[status]);
    return to + sprintf(to, "HTTP/1.1 %d Status\r\n", status);
}

static char *put_length(char *to, const struct exchange *x, int64_t length)
{
    if (length >= 0) {
        if (x->status == 204 || x->status == 304)
            return to;
        to = put_lit(to, "Content-Length: ");
        return put_lit(put_int(to, length), "\r\n");
    }
    return x->http10 ? to : put_lit(to, "Transfer-Encoding: chunked\r\n");
}

static char *put_connection(char *to, struct exchange *x)
{
    if (conn_ends_with(x))
        return put_lit(to, "Connection: close\r\n");
    return x->http10 ? put_lit(to, "Connection: keep-alive\r\n") : to;
}

struct str respond_head(struct exchange *x, int status, const char *content_type, int64_t length)
{
    size_t room = HEAD_ROOM + strlen(content_type) + x->extra.n + x->parts[0].n;
    char *head = arena_grow(x->req.arena, NULL, 0, room);
    char *to = put(head, x->parts[0]); /* an interim answer not yet written goes first */

    x->status = status;
    to = put_status(to, status);
    to = put_lit(to, x->host->date);
    to = put(to, (struct str){always, sizeof(always) - 1});
    to = put_lit(to, "X-Request-Id: ");
    to = put_lit(put(to, x->req.id), "\r\n");
    if (status != 204 && status != 304) {
        to = put_lit(to, "Content-Type: ");
        to = put_lit(put_lit(to, content_type), "\r\n");
    }
    to = put_length(to, x, length);
    to = put(to, buf_view(&x->extra));
    to = put_lit(put_connection(to, x), "\r\n");
    assert((size_t)(to - head) <= room);
    return (struct str){head, (size_t)(to - head)};
}

/* ---- what every answer gets ---- */

static bool lists_origin(const struct str *origins, struct str origin)
{
    for (; origins->p; origins++)
        if (str_eq(*origins, origin))
            return true;
    return false;
}

static void allow_origin(struct exchange *x)
{
    struct str origin = request_header(&x->req, "origin");

    if (!x->host->origins || !x->host->origins->p)
        return;
    respond_header(&x->req, "Vary", STR("Origin"));
    if (!origin.p || !lists_origin(x->host->origins, origin))
        return;
    respond_header(&x->req, "Access-Control-Allow-Origin", origin);
    respond_header(&x->req, "Access-Control-Expose-Headers",
                   STR("ETag, Location, Preference-Applied, Retry-After, X-Event-Position, X-Request-Id"));
}

void respond_prepare(struct exchange *x)
{
    if (!x->req.id.p)
        x->req.id = uuid_str(uuid_v7(x->host->wall_ms), x->req.arena);
    allow_origin(x);
}

void respond_header(struct request *req, const char *name, struct str value)
{
    struct buf *b = &exchange_of(req)->extra;

    if (!b->arena)
        *b = buf_new(req->arena, 256);
    buf_lit(b, name);
    buf_lit(b, ": ");
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        buf_char(b, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
    buf_lit(b, "\r\n");
}

/* ---- answers ---- */

void respond_as(struct request *req, int status, const char *content_type, struct str body)
{
    struct exchange *x = exchange_of(req);
    bool bodyless = req->method == HEAD || status == 204 || status == 304;

    assert(x->state == EXCHANGE_ASKED || (x->state == EXCHANGE_RECEIVING && x->refused)); /* answered once */
    assert(status >= 200 && status < 600);
    x->state = EXCHANGE_ANSWERED;
    x->status = status;
    if (x->conn) {
        x->expects = false;
        size_t interim = x->parts[0].n;

        x->parts[0] = respond_head(x, status, content_type, (int64_t)body.n);
        x->parts[1] = bodyless ? STR("") : body;
        conn_answered(x, x->parts[0].n - interim + x->parts[1].n);
    } else {
        conn_answered(x, 0);
    }
}

void respond(struct request *req, int status, struct str body)
{
    respond_as(req, status, "application/json", body);
}

void respond_blob(struct request *req, struct blob *blob)
{
    if (blob->etag.p && respond_unchanged(req, blob->etag))
        return;
    exchange_of(req)->blob = blob_hold(blob);
    respond(req, 200, blob->bytes);
}

/* ---- entity tags ---- */

static struct str strong(struct str tag)
{
    return str_starts(tag, STR("W/")) ? str_slice(tag, 2, tag.n) : tag;
}

static bool lists_tag(struct str line, struct str etag)
{
    for (size_t from = 0; from < line.n;) {
        struct str rest = str_slice(line, from, line.n);
        struct str item = str_trim(str_slice(rest, 0, str_find(rest, ',')));

        if (str_is(item, "*") || str_eq(strong(item), strong(etag)))
            return true;
        from += str_find(rest, ',') + 1;
    }
    return false;
}

bool respond_unchanged(struct request *req, struct str etag)
{
    struct str line = request_header(req, "if-none-match");

    respond_header(req, "ETag", etag);
    if (!line.p || !lists_tag(line, etag) || (req->method != GET && req->method != HEAD))
        return false;
    respond(req, 304, STR(""));
    return true;
}
