/*
 * The span of a request: from its last byte until its answer is written or its client has gone. Its id is in
 * the traceparent of what the request causes. Direct routes (health, metrics, documents) have none.
 */
#include <stdio.h>

#include "api/conn.h"

void span_of_request(struct exchange *x)
{
    trace_begin(x->trace, &x->span);
    x->began_ns = trace_now();
    x->trace = trace_text(&x->span, x->req.arena);
}

void span_of_answer(const struct exchange *x)
{
    const struct request *req = &x->req;

    if (!x->span.sampled)
        return;
    char name[128];
    int n = snprintf(name, sizeof(name), "%s %s", method_name(req->method), req->route->path);
    size_t length = (size_t)n < sizeof(name) ? (size_t)n : sizeof(name) - 1;
    struct span *span =
        span_open(&x->span, SPAN_SERVER, (struct str){name, length}, x->began_ns, trace_now());
    span_str(span, "http.request.method", str_of(method_name(req->method)));
    span_str(span, "http.route", str_of(req->route->path));
    if (x->status)
        span_int(span, "http.response.status_code", x->status);
    span_str(span, "request_id", req->id);
    if (x->status >= 500)
        span_failed(span, "answered by a 5xx");
    if (req->gone)
        span_int(span, "client_gone", 1);
    span_close(span);
}
