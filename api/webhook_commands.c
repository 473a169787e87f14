/*
 * Commands about webhooks. A URL is checked twice here: by its form, then by what its name resolves to, on
 * the thread pool since resolving blocks. The sender checks the address again at each connect: what a name
 * meant when it was taken proves nothing. Answers to create and rotate carry the secret, which no result ever
 * holds.
 */
#include "api/webhooks.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/event_rights.h"
#include "bus/target.h"
#include "bus/webhook.h"

/* ---- the URL ---- */

struct look {
    struct call *call;
    struct str host;
    bool is_public;
};

static void look_up(void *data)
{
    struct look *look = data;
    look->is_public = !failed(target_check(look->host));
}

static void looked_up(void *data)
{
    struct look *look = data;
    if (look->is_public)
        call_publish(look->call);
    else
        call_refuse_field(look->call, "url", "must not lead into a private network");
}

static void check_url(struct call *call, struct str url)
{
    struct target target;
    bool allow_private = conf_on(SET_WEBHOOK_ALLOW_PRIVATE);
    err e = target_read(url, allow_private, &target);
    if (failed(e)) {
        call_refuse_field(call, "url", arena_cstr(call->req->arena, str_of(err_text(e))));
        return;
    }
    if (allow_private) {
        call_publish(call);
        return;
    }
    struct look *look = arena_new_of(call->req->arena, struct look);
    *look = (struct look){.call = call, .host = target.host};
    e = work_submit(call->door->loop, look_up, looked_up, look);
    if (failed(e))
        call_refuse(call, e);
}

/* Each event is looked at once per endpoint, so there is an end to them. Two at once may pass it by one. */
enum { WEBHOOKS_MAX = 1000 };
static const struct pg_stmt count_webhooks = {"door_count_webhooks", "SELECT count(*) FROM door_webhook"};

static void on_count(struct call *call, const struct pg_result *rows)
{
    const struct webhook_create *c = call->message;
    if (pg_get_int(rows, 0, 0) < WEBHOOKS_MAX)
        check_url(call, c->url);
    else
        call_refuse(call, FAIL(CONFLICT, "There are %d webhooks, and no more are kept.", WEBHOOKS_MAX));
}

/* ---- what it may be told ---- */

/* The rights of who asks go with the command: the endpoint is told what he may see, and nothing as his own.
 */
static void take_rights(struct call *call)
{
    unsigned rights = role_event_rights(who_of(call->req)->role);
    call_param(call, "rights", arena_printf(call->req->arena, "%u", rights));
    call_read(call);
}

/* False: refused. Patterns that match nothing, or nothing he may ever see, must not look like silence. */
static bool check_types(struct call *call, const struct str *types, size_t n, int64_t rights)
{
    struct event_reader reader = {.rights = (unsigned)rights};
    for (size_t i = 0; i < n; i++) {
        struct type_filter filter;
        bool one = str_trim(types[i]).n && str_find(types[i], ',') == types[i].n;
        if (one && !failed(type_filter_parse(types[i], &filter)) && event_rights_narrow(&reader, &filter))
            continue;
        call_refuse_field(call, "types",
                          "must match an event that you may see, e.g. order.* or cart.item-added");
        return false;
    }
    return true;
}

static void prepare_create(struct call *call)
{
    const struct webhook_create *c = call->message;
    if (check_types(call, c->types, c->types_n, c->rights))
        call_select(call, &count_webhooks, 0, NULL, on_count);
}

static void prepare_update(struct call *call)
{
    const struct webhook_update *c = call->message;
    if (!check_types(call, c->types, c->types_n, c->rights))
        return;
    if (c->url.p)
        check_url(call, c->url);
    else
        call_publish(call);
}

/* ---- the secret ---- */

static struct str with_secret(struct call *call, struct str result)
{
    struct arena *arena = call->req->arena;
    struct uuid id;
    int64_t generation = json_member_int(result, "generation", 0, arena);
    if (generation < 1 || failed(uuid_parse(json_member_str(result, "id", arena), &id)))
        return result;
    struct webhook_secret secret = webhook_secret_of(&call->door->shop->secrets.master, id, generation);
    struct str text = webhook_secret_text(&secret, arena);
    return arena_printf(arena, "%.*s,\"secret\":\"%.*s\"}", (int)(result.n - 1), result.p, STR_ARG(text));
}

const struct command_spec create_webhook_spec = {
    .location = "/api/v1/webhooks", .before = take_rights, .prepare = prepare_create, .finish = with_secret};
const struct command_spec update_webhook_spec = {.before = take_rights, .prepare = prepare_update};
const struct command_spec rotate_webhook_spec = {.finish = with_secret};

/* ---- sending once more ---- */

static const struct pg_stmt select_delivery = {
    "door_webhook_delivery",
    "SELECT 1 FROM door_webhook_delivery WHERE id = $1::uuid AND webhook_id = $2::uuid"};

static void on_delivery(struct call *call, const struct pg_result *rows)
{
    if (pg_rows(rows))
        call_publish(call);
    else
        call_refuse(call, FAIL(NOT_FOUND, "There is no such delivery."));
}

static void prepare_redeliver(struct call *call)
{
    const struct webhook_redeliver *c = call->message;
    struct pg_param params[] = {pg_uuid(c->delivery_id), pg_uuid(c->webhook_id)};
    call_select(call, &select_delivery, 2, params, on_delivery);
}

const struct command_spec redeliver_webhook_spec = {.prepare = prepare_redeliver};
