/*
 * How a request becomes a command on its lane (call.c is the way up to the decoded body):
 *
 *   admit → headers → (before) → read body → (prepare) → person's key → id, seal, encode → publish → 202 or
 * wait ^                |
 *                                                                              '- known key: the same id
 * again
 *
 * Each arrow may take a while; the functions in brackets belong to the route. A call answers its request
 * exactly once. Nothing is promised before Redis has replied: no connection is 503 and nothing happened, a
 * connection that broke in between is OUTCOME_UNKNOWN, and the same Idempotency-Key makes it safe to ask
 * again.
 */
#include <assert.h>

#include "api/admit.h"
#include "api/call.h"
#include "api/lanes.h"
#include "api/persons.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/json.h"
#include "bus/base/metrics.h"
#include "bus/lane.h"

/* The map of keys outlives the promise of seven days; behind it stands the unique index of the command table.
 */
static const int64_t key_ttl_ms = INT64_C(8) * 24 * 3600 * 1000;

/* ---- who acts ---- */

static struct str hmac_hex(struct call *call, struct str text)
{
    uint8_t digest[32];
    const struct seal_key *key = &call->door->shop->secrets.fingerprint;
    hmac256((struct str){(const char *)key->b, SEAL_KEY}, text, digest);
    return hex((struct str){(const char *)digest, sizeof(digest)}, call->req->arena);
}

/* An anonymous client is known by what he sends alone, so that nobody can use up another's keys. */
static struct str anonymous(struct call *call)
{
    struct str body = call->req->body;
    struct str digest = hmac_hex(call, arena_printf(call->req->arena, "anon\n%.*s", STR_ARG(body)));
    return arena_printf(call->req->arena, "anon:%.*s", STR_ARG(digest));
}

static struct str fingerprint_of(struct call *call)
{
    const struct request *req = call->req;
    return hmac_hex(call, arena_printf(req->arena, "%s\n%.*s\n%.*s", method_name(req->method),
                                       STR_ARG(req->path), STR_ARG(req->body)));
}

/* Who may poll: the MAC of the id is made for him. */
static struct str poller(const struct call *call)
{
    return str_starts(call->client, STR("user:")) ? call->client : STR("anon");
}

/* ---- the envelope ---- */

static const struct str *str_member(const void *message, const struct field *f)
{
    return (const struct str *)(const void *)((const char *)message + f->offset);
}

/* Does the message hold something personal? No schema has it below the first level. */
static bool is_personal(const struct call *call)
{
    const struct shape *shape = call->type->shape;
    for (size_t i = 0; i < shape->n; i++)
        if ((shape->fields[i].flags & FIELD_PERSONAL) && str_member(call->message, &shape->fields[i])->p)
            return true;
    return false;
}

/* The value of the field that is the partition key; absent for commands that make their aggregate. */
static struct str key_of(struct call *call)
{
    const struct shape *shape = call->type->shape;
    for (size_t i = 0; i < shape->n; i++) {
        const struct field *f = &shape->fields[i];
        if (strcmp(f->name, call->type->key) != 0)
            continue;
        if (f->kind != FIELD_UUID)
            return *str_member(call->message, f);
        struct uuid id;
        memcpy(&id, (const char *)call->message + f->offset, sizeof(id));
        return uuid_str(id, call->req->arena);
    }
    return STR_NONE;
}

static void take_id(struct call *call, struct uuid id)
{
    call->id = id;
    call->id_text = uuid_str(id, call->req->arena);
    bool fits = cmdid_lane(id, &call->topic, &call->part);
    assert(fits);
    if (call->person_is_self)
        call->person = id;
    if (call->on_id)
        call->on_id(call);
}

static void seal(struct call *call)
{
    const struct shape *shape = call->type->shape;
    call->sealed = arena_alloc(call->req->arena, shape->size);
    memcpy(call->sealed, call->message, shape->size);
    if (!is_personal(call))
        return;
    codec_seal(shape, call->sealed, &call->person_key, call->person, call->req->arena);
}

static struct envelope envelope_of(struct call *call)
{
    struct arena *arena = call->req->arena;
    struct str key = key_of(call);
    if (!key.p)
        key = call->id_text;
    return (struct envelope){
        .specversion = STR("1.0"),
        .id = call->id_text,
        .source = STR("door"),
        .type = str_of(call->type->name),
        .subject = key,
        .time = clock_text(clock_ms(), arena),
        .dataschema = str_of(call->type->schema),
        .partitionkey = key,
        .correlationid = call->id_text,
        .causationid = call->req->id,
        .actor = call->actor,
        .traceparent = request_traceparent(call->req),
        .datacontenttype = STR("application/json"),
        .data = codec_encode(call->type->shape, call->sealed, arena),
        .client = call->client,
        .idempotencykey = call->key,
        .fingerprint = call->fingerprint,
        .expectedversion = call->expected_version
                               ? arena_printf(arena, "%lld", (long long)call->expected_version)
                               : STR_NONE,
        .replyto = str_of(call->door->channel),
    };
}

/* ---- the reply, and waiting ---- */

static void answer_accepted(struct call *call)
{
    struct request *req = call->req;
    struct buf b = buf_new(req->arena, 128);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "command_id", call->id_text);
    json_kstr(&j, "status", STR("accepted"));
    json_close(&j, '}');
    respond_header(req, "Location",
                   arena_printf(req->arena, "/api/v1/commands/%.*s", STR_ARG(call->id_text)));
    respond(req, 202, buf_view(&b));
}

static void on_waited(struct wait *wait, const struct outcome *o)
{
    struct call *call = (struct call *)(void *)((char *)wait - offsetof(struct call, wait));
    call->req->on_gone = NULL;
    if (o)
        respond_outcome(call->req, call, o);
    else if (call->spec->needs_result)
        respond_error(call->req, FAIL(UNAVAILABLE, "no result in time"));
    else
        answer_accepted(call);
}

static void on_gone(struct request *req)
{
    struct call *call = ((struct visit *)req->data)->own;
    if (!call->wait.waiting)
        return; /* about to be told */
    wait_end(call->door->waiters, &call->wait);
    answer_accepted(call);
}

/* The command is on disk in its lane. */
static void accepted(struct call *call)
{
    counter_add(COUNTER_COMMANDS_ACCEPTED, 1);
    if (FAULT(DOOR_AFTER_REPLY)) {
        call_refuse(call, FAIL(OUTCOME_UNKNOWN, "crash point"));
        return;
    }
    if (call->asked_wait && call->wait_s)
        respond_header(call->req, "Preference-Applied",
                       arena_printf(call->req->arena, "wait=%d", call->wait_s));
    if (!call->wait.waiting) {
        answer_accepted(call);
        return;
    }
    call->req->on_gone = on_gone;
    wait_until(call->door->waiters, &call->wait, clock_mono_ms() + call->wait_s * INT64_C(1000),
               call->repeat);
    (void)FAULT(DOOR_WAITING);
}

static err reply_failure(const struct redis_reply *reply)
{
    if (!reply)
        return FAIL(OUTCOME_UNKNOWN, "the connection to Redis broke before its reply");
    if (reply->kind == REDIS_ERROR)
        return FAIL(UNAVAILABLE, "Redis refused: %.*s", (int)str_find(reply->text, ' '), reply->text.p);
    return FAIL(UNAVAILABLE, "an unexpected reply of Redis");
}

static void on_published(void *data, const struct redis_reply *reply)
{
    struct call *call = data;
    if (!reply || reply->kind != REDIS_STRING) {
        call_refuse(call, reply_failure(reply));
        return;
    }
    lanes_note(call->door->lanes, call->topic, call->part, reply->text);
    accepted(call);
}

static void publish_again(struct call *call, struct uuid id);
static void send_command(struct call *call);

/* A lost command, or one refused because something did not come in time, had no effect and its row holds no
 * key. */
static bool had_no_chance(const struct outcome *o)
{
    return str_is(o->status, "lost") ||
           (str_is(o->status, "rejected") && o->http == err_http(ERR_UNAVAILABLE));
}

/* The command that the key names: over without a chance, ours takes its place; anything else is published
 * again, and so it is when PostgreSQL cannot say. */
static void on_known_row(void *data, err e, const struct outcome *o)
{
    struct call *call = data;
    struct uuid id = call->known;
    if (failed(e) || !o || !had_no_chance(o)) {
        publish_again(call, id);
        return;
    }
    call->instead = uuid_str(id, call->req->arena);
    send_command(call);
}

static void look_at_known(struct call *call, struct uuid id)
{
    call->known = id;
    err e = outcome_select(call->door, id, on_known_row, call, call->req->arena);
    if (failed(e))
        publish_again(call, id);
}

/* ["known", id, fingerprint]: the same request again, or another one under the same key. */
static void publish_known(struct call *call, struct str id_text, struct str fingerprint)
{
    struct uuid id;
    if (failed(uuid_parse(id_text, &id)) ||
        failed(cmdid_check(&call->door->shop->secrets.command_id, id, poller(call))))
        call_refuse(call, FAIL(UNAVAILABLE, "the map of keys holds no command id"));
    else if (!str_eq(fingerprint, call->fingerprint))
        call_refuse(call, FAIL(KEY_REUSED, "This Idempotency-Key was used with another request."));
    else
        look_at_known(call, id);
}

static void on_keyed(void *data, const struct redis_reply *reply)
{
    struct call *call = data;
    if (!reply || reply->kind != REDIS_ARRAY || reply->n < 2) {
        call_refuse(call, reply_failure(reply));
        return;
    }
    struct str word = reply->items[0].text;
    if (str_is(word, "new")) {
        lanes_note(call->door->lanes, call->topic, call->part, reply->items[1].text);
        accepted(call);
    } else if (str_is(word, "known") && reply->n == 3) {
        publish_known(call, reply->items[1].text, reply->items[2].text);
    } else {
        call_refuse(call, FAIL(OVERLOADED, "the lane is at its cap"));
    }
}

/* ---- publishing ---- */

static void begin_wait(struct call *call)
{
    wait_end(call->door->waiters, &call->wait);
    call->wait.id = call->id;
    call->wait.fn = on_waited;
    if (call->wait_s)
        wait_begin(call->door->waiters, &call->wait);
}

static void send_command(struct call *call)
{
    struct redis *redis = redis_poll_up(call->door->redis);
    bool full = lanes_full(call->door->lanes, call->topic, call->part);
    if (!redis || full) {
        call_refuse(call, redis ? FAIL(OVERLOADED, "the lane is at its cap")
                                : FAIL(UNAVAILABLE, "no connection to Redis"));
        return;
    }
    seal(call);
    struct envelope envelope = envelope_of(call);
    begin_wait(call);
    if (call->key.p && !call->repeat)
        lane_publish_keyed(redis, &envelope, call->instead, conf_int(SET_LANE_CAP), key_ttl_ms, on_keyed,
                           call);
    else
        lane_publish(redis, &envelope, on_published, call);
#ifdef DAYDREAM_FAULTS
    redis_pump(redis,
               0); /* a crash point behind a write that has not left would be no other than the one before */
    (void)FAULT(DOOR_AFTER_SEND);
#endif
}

/* The same command once more, on its own lane: whoever handles it knows its id, so it has one effect and one
 * answer. A result that is there already is told by the first look. */
static void publish_again(struct call *call, struct uuid id)
{
    call->repeat = true;
    take_id(call, id);
    send_command(call);
}

static void publish(struct call *call)
{
    struct str key = key_of(call);
    if (!redis_poll_up(call->door->redis) || !call->door->ready) {
        call_refuse(call, FAIL(UNAVAILABLE, "no connection to Redis"));
        return;
    }
    int part = key.p ? partition_of(key) : CMDID_SELF;
    int64_t ms = lanes_now(call->door->lanes, call->type->topic, part);
    take_id(call,
            cmdid_new(&call->door->shop->secrets.command_id, ms, call->type->topic, part, poller(call)));
    send_command(call);
}

static void on_person(void *data, err e)
{
    struct call *call = data;
    const struct who *who = who_of(call->req);
    const struct seal_key *key = person_key(call->door->persons, call->person);
    if (key)
        call->person_key = *key;
    if (failed(e))
        call_refuse(call, e);
    else if (key)
        publish(call);
    else if (who->known && uuid_eq(who->user, call->person))
        call_refuse(call, FAIL(UNAUTHENTICATED, "This account is not there any more."));
    else
        call_refuse(call, FAIL(CONFLICT, "This person's data was erased."));
}

void call_publish(struct call *call)
{
    if (call->key.p) {
        call->fingerprint = fingerprint_of(call);
        if (!call->client.n)
            call->client = anonymous(call);
    } else if (!call->client.n) {
        call->client = STR("anon");
    }
    if (uuid_is_nil(call->person) && !call->person_is_self)
        call->person = who_of(call->req)->user;
    if (is_personal(call) && !call->person_is_self)
        persons_load(call->door->persons, &call->person, 1, call->req->arena, on_person, call);
    else
        publish(call);
}
