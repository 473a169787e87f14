/*
 * Endpoints and their deliveries, for those who run webhooks. A secret is told to them again whenever they
 * ask: whoever lost the answer that made it need not rotate it.
 */
#include "api/webhooks.h"

#include "api/listing.h"
#include "api/queries.h"
#include "bus/webhook.h"

#define WEBHOOK_COLUMNS                                                                                      \
    "id, url, types, description, is_active, disabled_reason, generation, previous_until_ms, version, "      \
    "created_ms, updated_ms, failing_since_ms, last_ok_ms"
enum {
    W_ID,
    W_URL,
    W_TYPES,
    W_DESCRIPTION,
    W_ACTIVE,
    W_REASON,
    W_GENERATION,
    W_PREVIOUS,
    W_VERSION,
    W_CREATED,
    W_UPDATED,
    W_FAILING,
    W_LAST_OK
};

static void put_moment(struct json *j, const char *key, const struct pg_result *rows, int row, int column)
{
    if (pg_is_null(rows, row, column))
        json_kstr(j, key, STR_NONE);
    else
        put_time(j, key, rows, row, column);
}

static void put_types(struct json *j, struct str types)
{
    json_key(j, "types");
    json_open(j, '[');
    for (bool more = true; more;) {
        size_t comma = str_find(types, ',');
        more = comma < types.n;
        json_str(j, str_slice(types, 0, comma));
        types = more ? str_slice(types, comma + 1, types.n) : types;
    }
    json_close(j, ']');
}

static void put_webhook(struct json *j, const struct pg_result *rows, int row, int from, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, from + W_ID), arena);
    put_text(j, "url", rows, row, from + W_URL);
    put_types(j, pg_get_str(rows, row, from + W_TYPES));
    put_text(j, "description", rows, row, from + W_DESCRIPTION);
    json_kbool(j, "is_active", pg_get_bool(rows, row, from + W_ACTIVE));
    put_text(j, "disabled_reason", rows, row, from + W_REASON);
    put_int(j, "generation", rows, row, from + W_GENERATION);
    put_int(j, "version", rows, row, from + W_VERSION);
    put_moment(j, "failing_since", rows, row, from + W_FAILING);
    put_moment(j, "last_delivered_at", rows, row, from + W_LAST_OK);
    put_time(j, "created_at", rows, row, from + W_CREATED);
    put_time(j, "updated_at", rows, row, from + W_UPDATED);
    json_close(j, '}');
}

static const struct pg_stmt select_webhook = {
    "door_select_webhook", "SELECT " WEBHOOK_COLUMNS " FROM door_webhook WHERE id = $1::uuid"};

static void select_one(struct request *req, rows_fn *fn)
{
    struct uuid id;
    if (failed(uuid_parse(request_param(req, "webhook_id"), &id))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct pg_param param = pg_uuid(id);
    door_select(req, &select_webhook, 1, &param, fn, NULL);
}

static void on_webhook(struct request *req, const struct pg_result *rows, void *data)
{
    (void)data;
    if (!pg_rows(rows)) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct buf b = buf_new(req->arena, 1024);
    struct json j = json_on(&b);
    put_webhook(&j, rows, 0, 0, req->arena);
    /* For If-Match alone: how it fares changes without a version. */
    respond_header(req, "ETag",
                   arena_printf(req->arena, "\"%lld\"", (long long)pg_get_int(rows, 0, W_VERSION)));
    respond(req, 200, buf_view(&b));
}

void get_webhook(struct request *req)
{
    select_one(req, on_webhook);
}

static void on_secret(struct request *req, const struct pg_result *rows, void *data)
{
    (void)data;
    if (!pg_rows(rows)) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    int64_t generation = pg_get_int(rows, 0, W_GENERATION);
    struct webhook_secret secret =
        webhook_secret_of(&door_of(req)->shop->secrets.master, pg_get_uuid(rows, 0, W_ID), generation);
    struct buf b = buf_new(req->arena, 256);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "secret", webhook_secret_text(&secret, req->arena));
    json_kint(&j, "generation", generation);
    json_ktime(&j, "previous_signs_until", pg_get_int(rows, 0, W_PREVIOUS));
    json_close(&j, '}');
    respond_header(req, "Cache-Control", STR("no-store"));
    respond(req, 200, buf_view(&b));
}

void get_webhook_secret(struct request *req)
{
    select_one(req, on_secret);
}

/* ---- lists ---- */

static void put_listed_webhook(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    put_webhook(j, rows, row, 1, arena);
}

static const struct pg_stmt select_webhooks = {
    "door_list_webhooks", PAGE_OF("door_webhook", WEBHOOK_COLUMNS, "door_webhook", "created_ms DESC, id DESC",
                                  "$1::bigint", "$2::bigint")};

void list_webhooks(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_webhooks, 0, NULL, put_listed_webhook);
}

static const char *const state_words[] = {"held", "waiting", "running", "delivered", "failed", NULL};

struct delivery_query {
    struct paging paging;
    struct str state;
};
static const struct field delivery_fields[] = {QUERY_PAGING(delivery_query),
                                               QUERY_TEXT(delivery_query, state, 20, state_words)};
const struct shape delivery_params = {"deliveries", sizeof(struct delivery_query), delivery_fields, 3};

#define DELIVERY_COLUMNS                                                                                     \
    "id, event_id, type, topic, part, seq, partitionkey, state, manual, attempts, statuses, error, "         \
    "latency_ms, due_ms, created_ms, done_ms"
#define DELIVERIES "door_webhook_delivery WHERE webhook_id = $1::uuid AND ($2::text IS NULL OR state = $2)"
/* There may be millions: the total stops counting at ten thousand. */
static const struct pg_stmt select_deliveries = {
    "door_list_deliveries", PAGE_OF("(SELECT 1 FROM " DELIVERIES " LIMIT 10000) c", DELIVERY_COLUMNS,
                                    DELIVERIES, "created_ms DESC, id DESC", "$3::bigint", "$4::bigint")};

static void put_number(struct json *j, const char *key, const struct pg_result *rows, int row, int column)
{
    if (pg_is_null(rows, row, column))
        json_kstr(j, key, STR_NONE);
    else
        put_int(j, key, rows, row, column);
}

static void put_delivery(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    struct str state = pg_get_str(rows, row, 8);
    bool open = str_is(state, "waiting") || str_is(state, "running");
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, 1), arena);
    put_uuid(j, "event_id", pg_get_uuid(rows, row, 2), arena);
    put_text(j, "type", rows, row, 3);
    put_text(j, "topic", rows, row, 4);
    put_int(j, "part", rows, row, 5);
    put_int(j, "seq", rows, row, 6);
    put_text(j, "partitionkey", rows, row, 7);
    json_kstr(j, "state", state);
    json_kbool(j, "manual", pg_get_bool(rows, row, 9));
    put_int(j, "attempts", rows, row, 10);
    json_kraw(j, "statuses", pg_get_str(rows, row, 11));
    put_text(j, "error", rows, row, 12);
    put_number(j, "latency_ms", rows, row, 13);
    if (open)
        put_time(j, "next_attempt_at", rows, row, 14);
    put_time(j, "created_at", rows, row, 15);
    put_moment(j, "done_at", rows, row, 16);
    json_close(j, '}');
}

void list_deliveries(struct request *req)
{
    struct delivery_query q;
    struct uuid id;
    if (failed(uuid_parse(request_param(req, "webhook_id"), &id))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    if (!query_read(req, &delivery_params, &q))
        return;
    struct pg_param params[] = {pg_uuid(id), pg_text(q.state)};
    select_list(req, &q.paging, &select_deliveries, 2, params, put_delivery);
}
