/*
 * Webhooks: who wants to be told of which events, and where. This group keeps the endpoints; what is sent to
 * them is the business of daydream-producers, which reads this table. An event never names the URL, which may
 * be a secret itself. Where an endpoint begins is stored by the trigger webhook_begin() in the transaction
 * that makes its row.
 */
#include <inttypes.h>

#include "bus/base/json.h"
#include "bus/type_filter.h"
#include "consumers/group.h"

enum { OVERLAP_S = 24 * 3600 }; /* how long the secret before the present one still signs */

struct webhook {
    struct row row;
    struct uuid id;
    struct str url, types, description;
    bool is_active;
    struct str disabled_reason;
    int64_t rights; /* enum event_right of who said so last: what the endpoint may be told */
    int64_t generation, previous_until_ms, version, created_ms, updated_ms;
};

static const struct table webhook_table = {
    .name = "webhook",
    .size = sizeof(struct webhook),
    .keys = 1,
    .columns = {COLUMN(UUID, webhook, id), COLUMN(TEXT, webhook, url), COLUMN(TEXT, webhook, types),
                COLUMN(TEXT, webhook, description), COLUMN(BOOL, webhook, is_active),
                COLUMN(TEXT, webhook, disabled_reason), COLUMN(INT, webhook, rights),
                COLUMN(INT, webhook, generation), COLUMN(INT, webhook, previous_until_ms),
                COLUMN(INT, webhook, version), COLUMN(INT, webhook, created_ms),
                COLUMN(INT, webhook, updated_ms)},
};

static struct webhook *webhook_of(struct batch *b, struct uuid id)
{
    return row_find(b, &webhook_table, "id", VALUE_UUID(id));
}

static struct str id_text(struct batch *b, const struct webhook *hook)
{
    return uuid_str(hook->id, batch_arena(b));
}

static void put_types(struct json *j, struct str types)
{
    json_key(j, "types");
    json_open(j, '[');
    for (;;) {
        size_t comma = str_find(types, ',');
        json_str(j, str_slice(types, 0, comma));
        if (comma == types.n)
            break;
        types = str_slice(types, comma + 1, types.n);
    }
    json_close(j, ']');
}

/* A result holds no secret: the door adds it for whoever may see it. */
static struct str webhook_json(struct batch *b, const struct webhook *hook)
{
    struct buf text = buf_new(batch_arena(b), 512);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "id", id_text(b, hook));
    json_kstr(&j, "url", hook->url);
    put_types(&j, hook->types);
    json_kstr(&j, "description", hook->description);
    json_kbool(&j, "is_active", hook->is_active);
    json_kint(&j, "generation", hook->generation);
    json_kint(&j, "version", hook->version);
    json_ktime(&j, "created_at", hook->created_ms);
    json_ktime(&j, "updated_at", hook->updated_ms);
    json_close(&j, '}');
    return buf_view(&text);
}

static struct str joined(struct batch *b, const struct str *types, size_t n)
{
    struct buf text = buf_new(batch_arena(b), 64 * n);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(&text, ',');
        buf_str(&text, str_trim(types[i]));
    }
    return buf_view(&text);
}

/* Patterns of a list; a comma inside one would make two of it. */
static bool are_types(struct batch *b, const struct str *types, size_t n, struct str *ret)
{
    struct type_filter filter;
    *ret = joined(b, types, n);
    for (size_t i = 0; i < n; i++)
        if (str_trim(types[i]).n == 0 || str_find(types[i], ',') < types[i].n)
            return false;
    return !failed(type_filter_parse(*ret, &filter));
}

/* ---- subscribing ---- */

static enum answer create_webhook(struct batch *b, const struct webhook_create *c)
{
    struct str types;
    if (!are_types(b, c->types, c->types_n, &types))
        return reject_field(b, "types", "Each must match an event, e.g. order.* or cart.item-added.");
    struct webhook *hook = row_new(b, &webhook_table);
    hook->id = batch_message(b)->id;
    hook->url = c->url;
    hook->types = types;
    hook->description = c->description;
    hook->is_active = true;
    hook->rights = c->rights;
    hook->generation = hook->version = 1;
    hook->created_ms = hook->updated_ms = batch_now(b);
    row_save(b, hook);
    emit_webhook_created(b, id_text(b, hook),
                         &(struct webhook_created){.webhook_id = hook->id, .version = 1});
    return succeed(b, 201, webhook_json(b, hook));
}

/* ---- changing ---- */

/* NULL: refused, with the answer in *ret. */
static struct webhook *expected_webhook(struct batch *b, struct uuid id, enum answer *ret)
{
    struct webhook *hook = webhook_of(b, id);
    int64_t expected = batch_message(b)->expected_version;
    if (!hook) {
        *ret = reject(b, ERR_NOT_FOUND, "There is no such webhook.");
        return NULL;
    }
    if (expected && expected != hook->version) {
        *ret = reject(b, ERR_STALE, "The webhook was changed meanwhile; the version is %" PRId64 " now.",
                      hook->version);
        return NULL;
    }
    return hook;
}

static void touch(struct batch *b, struct webhook *hook)
{
    hook->version++;
    hook->updated_ms = batch_now(b);
    row_save(b, hook);
}

static void want_update(struct batch *b, const struct webhook_update *c)
{
    want(b, &webhook_table, "id", VALUE_UUID(c->webhook_id));
}

/* Whoever changes an endpoint answers for it: it is told no more than he may see. */
static void apply(struct webhook *hook, const struct webhook_update *c, struct str types)
{
    hook->rights = c->rights;
    if (c->url.p)
        hook->url = c->url;
    if (c->types)
        hook->types = types;
    if (c->description.p)
        hook->description = c->description;
    if (c->has_is_active) {
        hook->is_active = c->is_active;
        hook->disabled_reason = STR_NONE;
    }
}

static enum answer update_webhook(struct batch *b, const struct webhook_update *c)
{
    struct str types = STR_NONE;
    enum answer refused;
    if (c->types && !are_types(b, c->types, c->types_n, &types))
        return reject_field(b, "types", "Each must match an event, e.g. order.* or cart.item-added.");
    struct webhook *hook = expected_webhook(b, c->webhook_id, &refused);
    if (!hook)
        return refused;
    apply(hook, c, types);
    touch(b, hook);
    emit_webhook_updated(b, id_text(b, hook),
                         &(struct webhook_updated){
                             .webhook_id = hook->id, .is_active = hook->is_active, .version = hook->version});
    return succeed(b, 200, webhook_json(b, hook));
}

static void want_delete(struct batch *b, const struct webhook_delete *c)
{
    want(b, &webhook_table, "id", VALUE_UUID(c->webhook_id));
}

/* Its deliveries are no longer sent; daydream-producers clears them away. */
static enum answer delete_webhook(struct batch *b, const struct webhook_delete *c)
{
    enum answer refused;
    struct webhook *hook = expected_webhook(b, c->webhook_id, &refused);
    if (!hook)
        return refused;
    emit_webhook_deleted(b, id_text(b, hook), &(struct webhook_deleted){.webhook_id = hook->id});
    row_delete(b, hook);
    return succeed(b, 204, STR_NONE);
}

static void want_rotate(struct batch *b, const struct webhook_rotate *c)
{
    want(b, &webhook_table, "id", VALUE_UUID(c->webhook_id));
}

static enum answer rotate_webhook(struct batch *b, const struct webhook_rotate *c)
{
    enum answer refused;
    struct webhook *hook = expected_webhook(b, c->webhook_id, &refused);
    if (!hook)
        return refused;
    hook->generation++;
    hook->previous_until_ms = batch_now(b) + (c->has_overlap_s ? c->overlap_s : OVERLAP_S) * INT64_C(1000);
    touch(b, hook);
    emit_webhook_rotated(b, id_text(b, hook),
                         &(struct webhook_rotated){.webhook_id = hook->id, .generation = hook->generation});
    return succeed(b, 200, webhook_json(b, hook));
}

/* ---- asking for a delivery ---- */

static void want_test(struct batch *b, const struct webhook_test *c)
{
    want(b, &webhook_table, "id", VALUE_UUID(c->webhook_id));
}

static enum answer test_webhook(struct batch *b, const struct webhook_test *c)
{
    enum answer refused;
    struct webhook *hook = expected_webhook(b, c->webhook_id, &refused);
    if (!hook)
        return refused;
    if (!hook->is_active)
        return reject(b, ERR_CONFLICT, "The webhook is switched off.");
    emit_webhook_pinged(b, id_text(b, hook), &(struct webhook_pinged){.webhook_id = hook->id});
    return succeed(b, 200, STR("{\"status\":\"queued\"}"));
}

static void want_redeliver(struct batch *b, const struct webhook_redeliver *c)
{
    want(b, &webhook_table, "id", VALUE_UUID(c->webhook_id));
}

static enum answer redeliver_webhook(struct batch *b, const struct webhook_redeliver *c)
{
    enum answer refused;
    struct webhook *hook = expected_webhook(b, c->webhook_id, &refused);
    if (!hook)
        return refused;
    if (!hook->is_active)
        return reject(b, ERR_CONFLICT, "The webhook is switched off.");
    emit_webhook_redelivery_requested(
        b, id_text(b, hook),
        &(struct webhook_redelivery_requested){.webhook_id = hook->id, .delivery_id = c->delivery_id});
    return succeed(b, 200, STR("{\"status\":\"queued\"}"));
}

/* ---- switching off ---- */

static void want_disable(struct batch *b, const struct webhook_disable_requested *e)
{
    want(b, &webhook_table, "id", VALUE_UUID(e->webhook_id));
}

/* Asked for by each delivery that meets the reason, so it may come several times, and late: what was written
 * before somebody changed the endpoint says nothing of it as it is now. If it still is as bad, or a clock was
 * behind, the next delivery asks again. */
static enum answer disable_webhook(struct batch *b, const struct webhook_disable_requested *e)
{
    struct webhook *hook = webhook_of(b, e->webhook_id);
    if (!hook || !hook->is_active || batch_time(b) <= hook->updated_ms)
        return ANSWER_DONE;
    hook->is_active = false;
    hook->disabled_reason = e->reason;
    touch(b, hook);
    emit_webhook_disabled(
        b, id_text(b, hook),
        &(struct webhook_disabled){.webhook_id = hook->id, .reason = e->reason, .version = hook->version});
    return ANSWER_DONE;
}

static const struct table *const webhooks_tables[] = {&webhook_table, NULL};

extern const struct group webhooks_group;
const struct group webhooks_group = {
    .name = "webhooks",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = webhooks_tables,
    .on =
        {
            .webhook_create = {NULL, create_webhook},
            .webhook_update = {want_update, update_webhook},
            .webhook_delete = {want_delete, delete_webhook},
            .webhook_rotate = {want_rotate, rotate_webhook},
            .webhook_test = {want_test, test_webhook},
            .webhook_redeliver = {want_redeliver, redeliver_webhook},
            .webhook_disable_requested = {want_disable, disable_webhook},
        },
};
