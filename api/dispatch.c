/* From a complete request to its handler; what needs none (404, 405, OPTIONS) is answered here. */
#include <assert.h>

#include "api/conn.h"

static struct str method_list(struct arena *arena, unsigned methods)
{
    struct buf b = buf_new(arena, 64);

    for (enum method m = GET; m < METHODS; m++) {
        if (!(methods & 1u << m))
            continue;
        if (b.n > 0)
            buf_lit(&b, ", ");
        buf_lit(&b, method_name(m));
    }
    return buf_view(&b);
}

/* A preflight from an origin that respond_prepare did not let pass gets no Allow-Origin, hence fails in the
 * browser. */
static void answer_options(struct exchange *x, unsigned methods)
{
    struct request *req = &x->req;
    struct str list = method_list(req->arena, methods);

    respond_header(req, "Allow", list);
    if (request_header(req, "access-control-request-method").p) {
        respond_header(req, "Access-Control-Allow-Methods", list);
        respond_header(
            req, "Access-Control-Allow-Headers",
            STR("Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, "
                "Prefer, Traceparent, X-Event-Position, X-Request-Id"));
        respond_header(req, "Access-Control-Max-Age", STR("600"));
    }
    respond(req, 204, STR(""));
}

static void refuse_method(struct exchange *x, unsigned methods)
{
    respond_header(&x->req, "Allow", method_list(x->req.arena, methods));
    respond_problem(&x->req, &(struct problem){.code = ERR_METHOD_NOT_ALLOWED});
}

static void call_handler(struct exchange *x)
{
    const struct route *route = x->req.route;

    if (trace_on && !route->direct)
        span_of_request(x);
    if (route->direct)
        route->direct(&x->req);
    else if (route->query)
        x->host->query(&x->req);
    else
        x->host->command(&x->req);
}

void http_metrics_print(const struct request *req, struct buf *b, const char *labels)
{
    const struct exchange *x = (const struct exchange *)(const void *)req;

    if (x->host->metrics)
        route_metrics_print(x->host->metrics, b, labels);
}

void dispatch(struct exchange *x)
{
    unsigned methods;

    respond_prepare(x);
    methods = router_find(x->host->router, &x->req);
    if (methods == 0)
        respond_problem(&x->req, &(struct problem){.code = ERR_NOT_FOUND});
    else if (x->req.method == OPTIONS)
        answer_options(x, methods);
    else if (!x->req.route)
        refuse_method(x, methods);
    else
        call_handler(x);
}
