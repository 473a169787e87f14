/*
 * The first half of a command's way: from a request to a decoded, checked message. Headers first, since they
 * are cheap to refuse; then what the route wants to know before the body is read; then the body.
 */
#include "api/call.h"

#include <assert.h>

#include "api/admit.h"
#include "bus/base/fault.h"
#include "bus/base/metrics.h"

static const struct command_spec plain = {0};

/* ---- refusing ---- */

void call_refuse(struct call *call, err e)
{
    counter_add(COUNTER_COMMANDS_REFUSED, err_class_of(e.code) == ERR_CLASS_RETRY);
    wait_end(call->door->waiters, &call->wait);
    respond_error(call->req, e);
}

void call_refuse_field(struct call *call, const char *field, const char *sentence)
{
    struct field_error error = {str_of(field), str_of(sentence)};
    respond_problem(call->req, &(struct problem){.code = ERR_INVALID, .errors = &error, .errors_n = 1});
}

/* ---- headers ---- */

static err read_key(struct call *call)
{
    struct str key = request_header(call->req, "idempotency-key");
    if (!key.p)
        return OK;
    if (key.n < 1 || key.n > CALL_KEY_MAX)
        return FAIL(MALFORMED, "Idempotency-Key must have 1 to %d characters.", CALL_KEY_MAX);
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < 0x21 || key.p[i] > 0x7e)
            return FAIL(MALFORMED, "Idempotency-Key must be visible ASCII.");
    call->key = key;
    return OK;
}

/* "7", or "7-12": the first number is the version of the row that the owner compares. */
static err read_if_match(struct call *call)
{
    struct str tag = request_header(call->req, "if-match");
    if (!tag.p || str_is(tag, "*"))
        return OK;
    if (str_starts(tag, STR("W/")))
        return FAIL(STALE, "If-Match needs a strong entity tag.");
    if (tag.n < 3 || tag.p[0] != '"' || tag.p[tag.n - 1] != '"')
        return FAIL(MALFORMED, "If-Match must be one entity tag of this resource.");
    struct str inside = str_slice(tag, 1, tag.n - 1);
    struct str number = str_slice(inside, 0, str_find(inside, '-'));
    if (failed(str_int64(number, &call->expected_version)) || call->expected_version < 1)
        return FAIL(MALFORMED, "If-Match must be one entity tag of this resource.");
    return OK;
}

static void read_prefer(struct call *call)
{
    int wait = request_prefer_wait(call->req);
    call->asked_wait = wait >= 0;
    call->wait_s = wait >= 0 ? wait : (call->req->route->flags & ROUTE_WAITS) ? CALL_WAIT_S : 0;
}

static err read_headers(struct call *call)
{
    if (call->req->body.p && call->req->body.n && !request_is_json(call->req))
        return FAIL(MEDIA_TYPE, "The body must be application/json.");
    TRY(read_key(call));
    TRY(read_if_match(call));
    read_prefer(call);
    return OK;
}

/* ---- who acts ---- */

struct str client_of(struct uuid user, struct arena *arena)
{
    return arena_printf(arena, "user:%.*s", STR_ARG(uuid_str(user, arena)));
}

void call_act_as(struct call *call, struct uuid user)
{
    call->client = call->actor = client_of(user, call->req->arena);
}

/* ---- the body ---- */

void call_param(struct call *call, const char *name, struct str value)
{
    assert(call->params_n < CALL_PARAMS);
    call->params[call->params_n++] = (struct codec_param){str_of(name), value};
}

static void refuse_body(struct call *call, err e, const struct field_errors *errors)
{
    if (e.code != ERR_INVALID) {
        call_refuse(call, e);
        return;
    }
    size_t n = errors->n < sizeof(errors->list) / sizeof(*errors->list)
                   ? errors->n
                   : sizeof(errors->list) / sizeof(*errors->list);
    respond_problem(call->req, &(struct problem){.code = ERR_INVALID, .errors = errors->list, .errors_n = n});
}

void call_read(struct call *call)
{
    struct arena *arena = call->req->arena;
    const struct shape *shape = call->spec->body ? call->spec->body : call->type->shape;
    struct field_errors *errors = arena_new_of(arena, struct field_errors);
    struct str body = call->req->body.n ? call->req->body : STR_NONE;
    call->body = arena_alloc(arena, shape->size);
    call->message = call->spec->body ? arena_alloc(arena, call->type->shape->size) : call->body;
    err e = codec_decode(shape, CODEC_DOOR, body, call->params, call->params_n, arena, call->body, errors);
    if (failed(e))
        refuse_body(call, e, errors);
    else if (FAULT(DOOR_AFTER_PARSE))
        call_refuse(call, FAIL(UNAVAILABLE, "crash point"));
    else if (call->spec->prepare)
        call->spec->prepare(call);
    else
        call_publish(call);
}

/* ---- a request comes in ---- */

static struct call *call_new(struct request *req)
{
    struct call *call = arena_new_of(req->arena, struct call);
    const struct who *who = who_of(req);
    *call = (struct call){.req = req,
                          .door = door_of(req),
                          .spec = req->route->more ? req->route->more : &plain,
                          .actor = STR("anonymous")};
    ((struct visit *)req->data)->own = call;
    if (who->known)
        call_act_as(call, who->user);
    enum message message = call->spec->choose ? call->spec->choose(req) : req->route->command;
    call->type = &message_types[message];
    for (size_t i = 0; i < req->params_n; i++)
        call->params[call->params_n++] = (struct codec_param){req->params[i].name, req->params[i].value};
    if (call->spec->own)
        call_param(call, "user_id", uuid_str(who->user, req->arena));
    return call;
}

void run_command(struct request *req)
{
    struct call *call = call_new(req);
    err e = read_headers(call);
    if (failed(e))
        call_refuse(call, e);
    else if (call->spec->before)
        call->spec->before(call);
    else
        call_read(call);
}

/* ---- reading PostgreSQL for a call ---- */

struct call_select {
    struct call *call;
    call_rows_fn *fn;
};

static void on_rows(void *data, err e, struct pg_result *rows)
{
    struct call_select *s = data;
    if (failed(e))
        call_refuse(s->call, e);
    else
        s->fn(s->call, rows);
}

void call_select(struct call *call, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                 call_rows_fn *fn)
{
    struct call_select *s = arena_new_of(call->req->arena, struct call_select);
    *s = (struct call_select){call, fn};
    err e = pg_poll_query(call->door->pg, stmt, n, params, on_rows, s);
    if (failed(e))
        call_refuse(call, e);
}
