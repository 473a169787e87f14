/* Problems (RFC 9457): how every refusal looks, whoever refuses. */
#include <assert.h>

#include "api/conn.h"
#include "bus/base/json.h"
#include "bus/base/log.h"

static void put_errors(struct json *j, const struct problem *problem)
{
    json_key(j, "errors");
    json_open(j, '[');
    for (size_t i = 0; i < problem->errors_n; i++) {
        json_open(j, '{');
        json_kstr(j, "field", problem->errors[i].field);
        json_kstr(j, "message", problem->errors[i].message);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static struct str problem_text(const struct request *req, const struct problem *problem, int status)
{
    struct buf b = buf_new(req->arena, 512);
    struct json j = json_on(&b);
    struct str title = str_of(err_sentence(problem->code));
    struct str detail = problem->detail.p ? problem->detail : title;
    const char *slug = problem->slug ? problem->slug : err_slug(problem->code);

    json_open(&j, '{');
    json_kstr(&j, "type", arena_printf(req->arena, "/problems/%s", slug));
    json_kstr(&j, "title", title);
    json_kint(&j, "status", status);
    json_kstr(&j, "detail", detail);
    if (req->path.p)
        json_kstr(&j, "instance", str_slice(req->target, 0, str_find(req->target, '?')));
    json_kstr(&j, "error", detail);
    json_kstr(&j, "request_id", req->id);
    if (problem->errors_n > 0)
        put_errors(&j, problem);
    if (problem->members.n > 0) {
        buf_char(&b, ',');
        buf_str(&b, problem->members);
    }
    json_close(&j, '}');
    return buf_view(&b);
}

void respond_problem(struct request *req, const struct problem *problem)
{
    int status = problem->status ? problem->status : err_http(problem->code);

    assert(status >= 400);
    if (req->gone) {
        respond(req, status, STR(""));
        return;
    }
    if (status == 401)
        respond_header(req, "WWW-Authenticate", STR("Bearer realm=\"shop\""));
    if (status == 429 || status == 503)
        respond_header(req, "Retry-After",
                       arena_printf(req->arena, "%d", problem->retry_after_s ? problem->retry_after_s : 1));
    respond_as(req, status, "application/problem+json", problem_text(req, problem, status));
}

/* Under attack or overload failures come by the thousand; each second shows the first few and how many there
 * were. */
static void log_failure(struct request *req, err e)
{
    enum { SHOWN = 10 };
    struct conn_host *host = exchange_of(req)->host;
    int64_t now_s = host->wall_ms / 1000;

    if (host->logged_s != now_s) {
        if (host->logged > SHOWN)
            log_warn("requests failed", kv("more", host->logged - SHOWN));
        host->logged_s = now_s;
        host->logged = 0;
    }
    if (host->logged++ < SHOWN)
        log_warn("request failed", kv("request_id", req->id), kv("error", err_name(e.code)),
                 kv("why", err_text(e)), kv("where", err_where(e)));
}

void respond_error(struct request *req, err e)
{
    struct problem problem = {.code = e.code};

    assert(failed(e));
    if (err_class_of(e.code) == ERR_CLASS_REJECT && err_http(e.code) < 500)
        problem.detail = arena_str(req->arena, str_of(err_text(e)));
    else
        log_failure(req, e);
    respond_problem(req, &problem);
}

void respond_refusal(struct exchange *x, enum err_code code, const char *detail)
{
    x->refused = true;
    x->keep_alive = false;
    respond_prepare(x);
    respond_problem(&x->req, &(struct problem){.code = code, .detail = str_of(detail)});
}
