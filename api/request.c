/* Reading a request: headers, parameters, preferences, trace context. */
#include <stdlib.h>

#include "api/conn.h"

const char *method_name(enum method method)
{
    static const char *const names[METHODS] = {"OTHER", "GET",   "HEAD",   "POST",
                                               "PUT",   "PATCH", "DELETE", "OPTIONS"};

    return names[method];
}

static struct str find(const struct param *params, size_t n, const char *name)
{
    struct str wanted = str_of(name);

    for (size_t i = 0; i < n; i++)
        if (str_eq(params[i].name, wanted))
            return params[i].value;
    return STR_NONE;
}

struct str request_header(const struct request *req, const char *name)
{
    return find(req->headers, req->headers_n, name);
}

struct str request_query(const struct request *req, const char *name)
{
    return find(req->query, req->query_n, name);
}

struct str request_param(const struct request *req, const char *name)
{
    return find(req->params, req->params_n, name);
}

bool request_is_json(const struct request *req)
{
    struct str type = request_header(req, "content-type");

    if (!req->body.p || !type.p)
        return false;
    type = str_trim(str_slice(type, 0, str_find(type, ';')));
    if (str_ieq(type, STR("application/json")))
        return true;
    return type.n > 5 && str_ieq(str_slice(type, type.n - 5, type.n), STR("+json"));
}

struct str request_traceparent(struct request *req)
{
    struct exchange *x = exchange_of(req);
    uint8_t ids[24];

    if (x->trace.p)
        return x->trace;
    random_bytes(ids, sizeof(ids));
    ids[0] |= 1; /* neither id may be all zeros */
    ids[16] |= 1;
    x->trace = arena_printf(req->arena, "00-%s-%s-01", hex((struct str){(char *)ids, 16}, req->arena).p,
                            hex((struct str){(char *)ids + 16, 8}, req->arena).p);
    return x->trace;
}

/* "wait=N" among the preferences of one header line: N cut to 30, or -1. */
static int wait_in(struct str line)
{
    for (size_t from = 0; from < line.n;) {
        struct str rest = str_slice(line, from, line.n);
        struct str item = str_trim(str_slice(rest, 0, str_find(rest, ',')));
        int wait = 0;

        from += str_find(rest, ',') + 1;
        if (item.n < 6 || !str_ieq(str_slice(item, 0, 5), STR("wait=")))
            continue;
        for (size_t i = 5; i < item.n; i++) {
            if (item.p[i] < '0' || item.p[i] > '9')
                return -1;
            wait = wait > 30 ? wait : wait * 10 + (item.p[i] - '0');
        }
        return wait > 30 ? 30 : wait;
    }
    return -1;
}

int request_prefer_wait(const struct request *req)
{
    for (size_t i = 0; i < req->headers_n; i++) {
        if (!str_is(req->headers[i].name, "prefer"))
            continue;
        int wait = wait_in(req->headers[i].value);

        if (wait >= 0)
            return wait;
    }
    return -1;
}

/* ---- blobs ---- */

struct blob *blob_new(struct str bytes, struct str etag)
{
    struct blob *blob = malloc(sizeof(*blob) + bytes.n + etag.n);
    char *p = (char *)(blob + 1);

    if (!blob)
        abort();
    *blob = (struct blob){.refs = 1, .bytes = {p, bytes.n}};
    memcpy(p, bytes.p, bytes.n);
    if (etag.p) {
        memcpy(p + bytes.n, etag.p, etag.n);
        blob->etag = (struct str){p + bytes.n, etag.n};
    }
    return blob;
}

struct blob *blob_hold(struct blob *blob)
{
    blob->refs++;
    return blob;
}

struct blob *blob_drop(struct blob *blob)
{
    if (blob && --blob->refs == 0)
        free(blob);
    return NULL;
}
