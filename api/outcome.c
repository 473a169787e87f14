/*
 * From the row of a command to an answer: a result stands at top level with its own status, a refusal becomes
 * a problem, what was lost is told as lost. Sealed values are opened for the reader, who is the one who sent
 * the command.
 */
#include "api/call.h"
#include "api/outcome.h"
#include "api/reads.h"
#include "bus/base/json.h"

/* What a refusal's row says: {"error":"CONFLICT","detail":"…", further members}. */
struct refusal {
    enum err_code code;
    struct str detail;
    struct str members; /* all others, as they stand */
};

static err read_refusal(struct str text, struct arena *arena, struct refusal *ret)
{
    struct json_in in = json_in(text, arena);
    bool first = true, more;
    struct str name, value;
    struct buf members = buf_new(arena, 256);
    TRY(json_enter(&in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(&in, &first, &more, &name));
        if (!more)
            break;
        if (str_is(name, "error")) {
            TRY(json_read_string(&in, &value));
            ret->code = err_code_of(arena_cstr(arena, value));
            continue;
        }
        if (str_is(name, "detail")) {
            TRY(json_read_string(&in, &ret->detail));
            continue;
        }
        TRY(json_skip(&in, &value));
        struct json j = {.b = &members, .comma = members.n > 0};
        json_kraw(&j, arena_cstr(arena, name), value);
    }
    ret->members = buf_view(&members);
    return OK;
}

struct problem outcome_problem(const struct outcome *o, struct arena *arena)
{
    struct refusal r = {.code = ERR_NONE};
    if (str_is(o->status, "lost"))
        return (struct problem){.code = ERR_LOST};
    if (failed(read_refusal(o->result, arena, &r)) || r.code == ERR_NONE)
        return (struct problem){.code = ERR_CONFLICT, .status = o->http >= 400 ? o->http : 0};
    return (struct problem){.code = r.code,
                            .detail = r.detail.n ? r.detail : STR_NONE,
                            .members = r.members,
                            .status = o->http >= 400 ? o->http : 0};
}

struct str outcome_problem_json(const struct problem *problem, struct arena *arena)
{
    struct buf b = buf_new(arena, 256);
    struct json j = json_on(&b);
    struct str title = str_of(err_sentence(problem->code)),
               detail = problem->detail.p ? problem->detail : title;
    json_open(&j, '{');
    json_kstr(&j, "type", arena_printf(arena, "/problems/%s", err_slug(problem->code)));
    json_kstr(&j, "title", title);
    json_kint(&j, "status", problem->status ? problem->status : err_http(problem->code));
    json_kstr(&j, "detail", detail);
    json_kstr(&j, "error", detail);
    if (problem->members.n) {
        buf_char(&b, ',');
        buf_str(&b, problem->members);
    }
    json_close(&j, '}');
    return buf_view(&b);
}

/* "orders 3 41 stock 0 7" */
static void raise_all(struct position *position, struct str events)
{
    struct str word[3];
    while (events.n) {
        int64_t part = 0, seq = 0;
        for (int i = 0; i < 3; i++) {
            size_t n = str_find(events, ' ');
            word[i] = str_slice(events, 0, n);
            events = str_slice(events, n < events.n ? n + 1 : n, events.n);
        }
        enum topic topic = topic_find(word[0]);
        if (topic != TOPIC_NONE && !failed(str_int64(word[1], &part)) && !failed(str_int64(word[2], &seq)))
            position_raise(position, topic, (int)part, seq);
    }
}

void outcome_position(struct request *req, const struct outcome *o)
{
    struct position position;
    err e = reads_wanted(req, &position);
    if (failed(e)) /* what it sent is no position: it has seen nothing */
        position = position_new(req->arena);
    raise_all(&position, o->events);
    respond_header(req, "X-Event-Position", position_text(&position, req->arena));
}

struct answering {
    struct request *req;
    struct call *call;
    int http;
};

static void set_location(struct request *req, const struct command_spec *spec, struct str result)
{
    struct str id = json_member_str(result, "id", req->arena);
    if (id.n)
        respond_header(req, "Location", arena_printf(req->arena, "%s/%.*s", spec->location, STR_ARG(id)));
}

static void on_opened(void *data, err e, struct str json)
{
    struct answering *a = data;
    if (failed(e)) {
        respond_error(a->req, e);
        return;
    }
    const struct command_spec *spec = a->call ? a->call->spec : NULL;
    if (spec && spec->finish)
        json = spec->finish(a->call, json);
    if (spec && spec->location && a->http == 201)
        set_location(a->req, spec, json);
    bool empty = a->http == 204 || !json.p;
    respond(a->req, empty && a->http == 200 ? 204 : a->http, empty ? STR("") : json);
}

void respond_outcome(struct request *req, struct call *call, const struct outcome *o)
{
    outcome_position(req, o);
    if (!str_is(o->status, "succeeded")) {
        struct problem problem = outcome_problem(o, req->arena);
        respond_problem(req, &problem);
        return;
    }
    struct answering *a = arena_new_of(req->arena, struct answering);
    *a = (struct answering){req, call, o->http >= 200 && o->http < 300 ? o->http : 200};
    open_sealed(door_of(req), arena_str(req->arena, o->result), req->arena, on_opened, a);
}
