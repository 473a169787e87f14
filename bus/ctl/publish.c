/*
 * Commands of the operator. The way of a keyed command is the door's: the key is mapped to an id and the
 * command appended in one script; when the key is known, the same id is published again and the command table
 * dedupes it.
 */
#include "bus/ctl/publish.h"

#include <assert.h>
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/codec.h"
#include "bus/lane.h"

static const int64_t key_ttl_ms = INT64_C(8) * 24 * 3600 * 1000;
enum { PUBLISH_TIMEOUT_MS = 10000, POLL_MS = 100 };

#define CLIENT STR("ctl")

err ctl_master_key(struct seal_key *ret)
{
    TRY(conf_require(SET_ENCRYPTION_KEY));
    return seal_key_parse(conf_str(SET_ENCRYPTION_KEY), ret);
}

/* ---- the envelope ---- */

/* A key of ctl names what is asked, so the fingerprint is over it alone. */
static struct str fingerprint(const struct seal_key *master, const struct outgoing *o, struct arena *arena)
{
    struct seal_key key = seal_derive(master, "fingerprint");
    uint8_t digest[32];
    struct str text =
        arena_printf(arena, "ctl\n%s\n%.*s", message_types[o->message].name, STR_ARG(o->idempotencykey));
    hmac256((struct str){(const char *)key.b, SEAL_KEY}, text, digest);
    return hex((struct str){(const char *)digest, sizeof(digest)}, arena);
}

/* What would park the key over there is refused here. */
static err check_data(const struct message_type *type, struct str data, struct arena *arena)
{
    struct field_errors errors = {.n = 0};
    void *message = arena_alloc(arena, type->shape->size);
    err e = codec_decode(type->shape, CODEC_BUS, data, NULL, 0, arena, message, &errors);
    if (e.code == ERR_INVALID && errors.n)
        return FAIL(INVALID, "%.*s %.*s", STR_ARG(errors.list[0].field), STR_ARG(errors.list[0].message));
    return e;
}

static err envelope_make(struct ctl *ctl, const struct seal_key *master, const struct outgoing *o,
                         struct arena *arena, struct envelope *ret)
{
    const struct message_type *type = &message_types[o->message];
    struct str id = uuid_str(o->id, arena), key = o->key.p ? o->key : id;
    *ret = (struct envelope){
        .specversion = STR("1.0"),
        .id = id,
        .source = CLIENT,
        .type = str_of(type->name),
        .subject = key,
        .time = clock_text(clock_ms(), arena),
        .dataschema = str_of(type->schema),
        .partitionkey = key,
        .correlationid = id,
        .actor = CLIENT,
        .datacontenttype = STR("application/json"),
        .data = codec_encode(type->shape, o->make(ctl, o->id, o->what, arena), arena),
        .client = CLIENT,
        .idempotencykey = o->idempotencykey,
        .fingerprint = o->idempotencykey.p ? fingerprint(master, o, arena) : STR_NONE,
        .expectedversion =
            o->expected_version ? arena_printf(arena, "%" PRId64, o->expected_version) : STR_NONE,
    };
    return check_data(type, ret->data, arena);
}

/* ---- publishing ---- */

struct sending {
    struct outgoing *outgoing;
    struct uuid known; /* the id that the key stands for, nil otherwise */
    err failure;
};

static void on_published(void *data, const struct redis_reply *reply)
{
    struct sending *s = data;
    struct str word = reply && reply->kind == REDIS_ARRAY && reply->n >= 2 ? reply->items[0].text : STR_NONE;
    if (!reply)
        s->failure = FAIL(OUTCOME_UNKNOWN, "the connection to Redis broke; run the verb again");
    else if (reply->kind == REDIS_ERROR)
        s->failure = FAIL(REDIS_REFUSED, "%.*s", STR_ARG(reply->text));
    else if (str_is(word, "full"))
        s->failure = FAIL(OVERLOADED, "too many commands are waiting; run the verb again later");
    else if (str_is(word, "known") && failed(uuid_parse(reply->items[1].text, &s->known)))
        s->failure = FAIL(REDIS_REFUSED, "the map of keys holds no id");
}

static err send_all(struct ctl *ctl, const struct seal_key *master, struct sending *list, size_t n,
                    struct arena *arena)
{
    for (size_t i = 0; i < n; i++) {
        struct envelope envelope;
        bool again = !uuid_is_nil(list[i].known);
        TRY(envelope_make(ctl, master, list[i].outgoing, arena, &envelope));
        if (envelope.idempotencykey.p && !again)
            lane_publish_keyed(ctl->redis, &envelope, STR_NONE, conf_int(SET_LANE_CAP), key_ttl_ms,
                               on_published, &list[i]);
        else
            lane_publish(ctl->redis, &envelope, on_published, &list[i]);
    }
    TRY(redis_wait(ctl->redis, PUBLISH_TIMEOUT_MS));
    for (size_t i = 0; i < n; i++)
        TRY(list[i].failure);
    return OK;
}

static struct uuid new_id(const struct seal_key *key, const struct outgoing *o)
{
    int part = o->key.p ? partition_of(o->key) : CMDID_SELF;
    return cmdid_new(key, clock_ms(), message_types[o->message].topic, part, CLIENT);
}

err ctl_publish(struct ctl *ctl, struct outgoing *list, size_t n, struct arena *arena)
{
    struct seal_key master;
    TRY(ctl_master_key(&master));
    struct seal_key key = seal_derive(&master, "command-id");
    struct sending *sending = arena_array(arena, struct sending, n + 1),
                   *again = arena_array(arena, struct sending, n + 1);
    size_t n_again = 0;
    for (size_t i = 0; i < n; i++) {
        struct envelope checked;
        list[i].id = new_id(&key, &list[i]);
        sending[i].outgoing = &list[i];
        TRY(envelope_make(ctl, &master, &list[i], arena, &checked));
    }
    TRY(send_all(ctl, &master, sending, n, arena));
    for (size_t i = 0; i < n; i++)
        if (!uuid_is_nil(sending[i].known)) {
            list[i].id = sending[i].known;
            again[n_again++] = sending[i];
        }
    return send_all(ctl, &master, again, n_again, arena);
}

/* ---- results ---- */

/* A repeat whose key Redis forgot has a row without key that points to the first one. */
static const struct pg_stmt select_results = {
    "ctl_results", "SELECT c.id, coalesce(w.status, c.status), coalesce(w.result, c.result) FROM command c"
                   " LEFT JOIN command w ON w.id = c.same_as"
                   " WHERE c.id = ANY($1::uuid[]) AND coalesce(w.status, c.status) <> 'running'"};

static void take_result(struct outcome_of *list, size_t n, const struct pg_result *result, int row,
                        struct arena *arena)
{
    struct uuid id = pg_get_uuid(result, row, 0);
    struct str status = pg_get_str(result, row, 1), body = pg_get_str(result, row, 2);
    for (size_t i = 0; i < n; i++) {
        if (!uuid_eq(list[i].id, id))
            continue;
        list[i].done = true;
        list[i].succeeded = str_is(status, "succeeded");
        list[i].detail = body.p ? json_member_str(body, "detail", arena) : STR_NONE;
        if (!list[i].detail.p)
            list[i].detail = arena_str(arena, status);
    }
}

/* One look; ret: how many are still open. */
static err look(struct ctl *ctl, struct outcome_of *list, size_t n, size_t *ret, struct arena *arena)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array ids = pg_array(arena, PG_UUID, (int)n);
    for (size_t i = 0; i < n; i++)
        if (!list[i].done)
            pg_array_uuid(&ids, list[i].id);
    const struct pg_param params[] = {pg_array_param(&ids)};
    TRY(pg_call(ctl->pg, &select_results, 1, params, &result));
    for (int row = 0; row < pg_rows(result); row++)
        take_result(list, n, result, row, arena);
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret += !list[i].done;
    return OK;
}

err ctl_wait_results(struct ctl *ctl, struct outcome_of *list, size_t n, int64_t timeout_ms,
                     struct arena *arena)
{
    int64_t until = clock_mono_ms() + timeout_ms;
    for (size_t open = n, before = n;; before = open) {
        TRY(look(ctl, list, n, &open, arena));
        if (open == 0)
            return OK;
        if (open < before)
            until = clock_mono_ms() + timeout_ms;
        if (clock_mono_ms() >= until)
            return FAIL(UNAVAILABLE, "%zu commands have no result yet; are the consumers running?", open);
        clock_sleep_ms(POLL_MS);
    }
}
