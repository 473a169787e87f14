/*
 * One HTTP request and its answer, as handlers see them. The core has already refused everything hostile:
 * what stands here is decoded, bounded and well-formed UTF-8 without NUL. A request lives in an arena of its
 * own, from its last byte until its answer is written. Every request is answered exactly once, at once or
 * later (another callback of the same loop); answers leave in the order of the requests however late they
 * come. After the answer the pointer is not the caller's any more. All functions only from the thread of the
 * request's loop.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/codec.h"

enum method { METHOD_OTHER, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, METHODS };

const char *method_name(enum method method); /* "GET"; "OTHER" */

enum { REQUEST_PARAMS = 8, REQUEST_QUERY = 64, REQUEST_HEADERS = 100 };

struct route;
struct loop;

struct param {
    struct str name, value;
};

struct request {
    enum method method;
    struct str target;         /* as sent, for logs and `instance`: "/api/v1/products?page=2" */
    struct str path;           /* decoded: "/api/v1/products" */
    const struct param *query; /* decoded, in order, duplicates kept */
    size_t query_n;
    const struct param *headers; /* names in lower case */
    size_t headers_n;
    struct param params[REQUEST_PARAMS]; /* what the {name} segments of the route took */
    size_t params_n;
    struct str body; /* absent when there was none; at most BODY_LIMIT bytes */
    struct str id;   /* the X-Request-Id */
    struct str peer; /* "192.0.2.1" */
    const struct route *route;
    struct loop *loop;
    struct arena *arena; /* for the handler's use, lives as long as the request */
    int64_t arrived_ns;  /* clock_mono_ns() when its last byte was read */
    bool gone;           /* nobody reads the answer any more; it must still be given */
    void (*on_gone)(
        struct request *req); /* may be set: called once, at the moment gone becomes true. It may answer */
    void (*on_drain)(struct request *req); /* streams: may be set, see stream_write */
    void *data;                            /* the handler's own; NULL at first */
};

/* ---- reading ---- */
/* Value of the first such header, name in lower case; STR_NONE when there is none. */
struct str request_header(const struct request *req, const char *name);
/* Value of the first such query parameter or path parameter; STR_NONE when there is none. */
struct str request_query(const struct request *req, const char *name);
struct str request_param(const struct request *req, const char *name);
/* Is the media type of the body application/json (or …+json), whatever its parameters? False without a body.
 */
bool request_is_json(const struct request *req);
/* The W3C traceparent: the client's when it is valid, else a new one, made at the first call. 55 characters.
 */
struct str request_traceparent(struct request *req);
/* The decimal N of `Prefer: wait=N`, cut to 30; -1 when the client did not ask or asked nonsense. */
int request_prefer_wait(const struct request *req);

/* ---- answering: exactly one of respond…(), or stream_begin … stream_end ---- */
/* A refcounted body that many answers borrow, for caches. Belongs to one loop. */
struct blob {
    unsigned refs;
    struct str etag; /* absent, or quoted: "\"3-1f\""; part of the blob */
    struct str bytes;
};
/* A copy of both, with one reference for the caller. etag may be STR_NONE. */
struct blob *blob_new(struct str bytes, struct str etag);
struct blob *blob_hold(struct blob *blob);
struct blob *blob_drop(struct blob *blob); /* takes NULL, returns NULL */

/* Adds a header to the answer to come; name is a literal in its usual spelling. Bytes that must not stand in
 * a header become '?'. Not Content-Length, Connection, Date, X-Request-Id, Transfer-Encoding: those are the
 * core's. */
void respond_header(struct request *req, const char *name, struct str value);
/* JSON. body lives in req->arena or for ever; it is not copied. Empty for 204 and 304. */
void respond(struct request *req, int status, struct str body);
void respond_as(struct request *req, int status, const char *content_type, struct str body);
/* JSON from a cache: ETag from the blob, 304 when the client has it. Takes a reference of its own. */
void respond_blob(struct request *req, struct blob *blob);
/* Sets ETag. True: If-None-Match named it (weak comparison, lists, *) and the 304 is given; the request is
 * answered. */
bool respond_unchanged(struct request *req, struct str etag);

/* A problem (RFC 9457). Members left out are filled from the code's row in errors.def. 401 gets
 * WWW-Authenticate, 429 and 503 get Retry-After. */
struct problem {
    enum err_code code;
    struct str detail;                /* for a person; never secrets */
    const struct field_error *errors; /* 422 */
    size_t errors_n;
    int retry_after_s; /* 0: 1 second */
    const char *slug;  /* instead of the code's, e.g. "price-changed"; NULL: the code's */
    int status;        /* instead of the code's; 0: the code's */
    struct str
        members; /* further members, the inside of a JSON object: "\"differences\":[…]"; absent: none */
};
void respond_problem(struct request *req, const struct problem *problem);
/* A failure: the text of a REJECT is its detail; others are logged and answered without detail. */
void respond_error(struct request *req, err e);

/* http_requests_total and http_request_duration_seconds of this server, as Prometheus text. labels: of the
 * process, e.g. "program=\"daydream-api\"". */
void http_metrics_print(const struct request *req, struct buf *b, const char *labels);

/* ---- streaming (chunked; HTTP/1.0: until close) ---- */
enum { STREAM_HIGH = 64 << 10, STREAM_MAX = 1 << 20 };
void stream_begin(struct request *req, int status, const char *content_type);
/* Copies. False: more than STREAM_HIGH bytes wait; write no more until req->on_drain is called. Above
 * STREAM_MAX the reader is cut off (gone). After gone the bytes are dropped. */
bool stream_write(struct request *req, struct str bytes);
/* The stream is complete, also after gone; the request is not the caller's any more. */
void stream_end(struct request *req);
