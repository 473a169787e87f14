/*
 * GET /commands/{id}: what became of a command.
 *
 *   row? --yes--> its end: 200; running, parked: 202 or wait
 *     |no
 *   oldest entry of its lane, then the row again
 *     |no row, and the lane is empty or begins later than the command can have been published
 *   command_lost(): `lost` becomes a row before it is told, so an entry that still comes is a repeat
 *
 * An error of Redis is not an empty lane: then nobody knows, and the answer is 503.
 */
#include "api/admit.h"
#include "api/commands.h"
#include "api/door.h"
#include "api/outcome.h"
#include "api/wait.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/metrics.h"
#include "bus/cmdid.h"
#include "bus/lane.h"

enum { PUBLISH_DEADLINE_MS = 5000, DAY_MS = 24 * 3600 * 1000 };

struct poll {
    struct request *req;
    struct door *door;
    struct uuid id;
    struct str status; /* told when there is no end yet */
    struct wait wait;
    bool opens; /* what is sealed in its result is for the asker */
    bool lane_empty;
    int64_t oldest_ms; /* of the lane's oldest entry */
};

/* ---- answers ---- */

static struct json begin_status(struct buf *b, const struct poll *poll, struct str status)
{
    struct json j = json_on(b);
    json_open(&j, '{');
    json_kstr(&j, "command_id", uuid_str(poll->id, poll->req->arena));
    json_kstr(&j, "status", status);
    return j;
}

static void answer_pending(struct poll *poll)
{
    struct buf b = buf_new(poll->req->arena, 128);
    struct json j = begin_status(&b, poll, poll->status);
    json_close(&j, '}');
    respond_header(poll->req, "Retry-After", STR("1"));
    respond(poll->req, 202, buf_view(&b));
}

static void answer_end(struct poll *poll, const struct outcome *o)
{
    struct arena *arena = poll->req->arena;
    struct buf b = buf_new(arena, 256 + o->result.n);
    struct json j = begin_status(&b, poll, o->status);
    bool succeeded = str_is(o->status, "succeeded");
    struct problem problem = succeeded ? (struct problem){0} : outcome_problem(o, arena);
    json_kint(&j, "http_status",
              succeeded        ? o->http
              : problem.status ? problem.status
                               : err_http(problem.code));
    if (succeeded)
        json_kraw(&j, "result", o->result.n ? o->result : STR("null")); /* a 204 has nothing to show */
    else
        json_kraw(&j, "problem", outcome_problem_json(&problem, arena));
    json_close(&j, '}');
    outcome_position(poll->req, o);
    if (poll->opens)
        respond_opened(poll->req, 200, buf_view(&b));
    else
        respond(poll->req, 200, without_sealed(buf_view(&b), arena));
}

/* ---- waiting ---- */

static void on_waited(struct wait *wait, const struct outcome *o)
{
    struct poll *poll = (struct poll *)(void *)((char *)wait - offsetof(struct poll, wait));
    poll->req->on_gone = NULL;
    if (o)
        answer_end(poll, o);
    else
        answer_pending(poll);
}

static void on_gone(struct request *req)
{
    struct poll *poll = ((struct visit *)req->data)->own;
    if (!poll->wait.waiting)
        return; /* about to be told */
    wait_end(poll->door->waiters, &poll->wait);
    answer_pending(poll);
}

static void not_yet(struct poll *poll, struct str status)
{
    int wait_s = request_prefer_wait(poll->req);
    poll->status = arena_str(poll->req->arena, status);
    if (wait_s <= 0 || poll->req->gone) {
        answer_pending(poll);
        return;
    }
    respond_header(poll->req, "Preference-Applied", arena_printf(poll->req->arena, "wait=%d", wait_s));
    poll->wait.id = poll->id;
    poll->wait.fn = on_waited;
    poll->req->on_gone = on_gone;
    wait_begin(poll->door->waiters, &poll->wait);
    wait_until(poll->door->waiters, &poll->wait, clock_mono_ms() + wait_s * INT64_C(1000), true);
}

/* ---- finding out ---- */

static void tell(struct poll *poll, const struct outcome *o)
{
    if (outcome_is_final(o))
        answer_end(poll, o);
    else
        not_yet(poll, o->status);
}

static const struct pg_stmt declare_lost = {
    "door_command_lost",
    "SELECT " OUTCOME_COLUMNS
    " FROM command_lost($1::uuid) c LEFT JOIN command w ON w.id = c.same_as" OUTCOME_EVENTS};

static void on_lost(struct request *req, const struct pg_result *rows, void *data)
{
    (void)req;
    struct poll *poll = data;
    struct outcome o = outcome_of(rows, 0);
    counter_add(COUNTER_COMMANDS_LOST, str_is(o.status, "lost"));
    tell(poll, &o);
}

/* Its entry would have to be there by now, before everything that is there. */
static bool is_lost(const struct poll *poll)
{
    int64_t latest = uuid_ms(poll->id) + PUBLISH_DEADLINE_MS;
    return clock_ms() > latest && (poll->lane_empty || poll->oldest_ms > latest);
}

static void on_second_look(void *data, err e, const struct outcome *o)
{
    struct poll *poll = data;
    struct pg_param id = pg_uuid(poll->id);
    if (failed(e))
        respond_error(poll->req, e);
    else if (o)
        tell(poll, o);
    else if (is_lost(poll))
        door_select(poll->req, &declare_lost, 1, &id, on_lost, poll);
    else
        not_yet(poll, STR("accepted"));
}

static void look(struct poll *poll, outcome_fn *fn)
{
    err e = outcome_select(poll->door, poll->id, fn, poll, poll->req->arena);
    if (failed(e))
        respond_error(poll->req, e);
}

/* [] or [[id, fields]]. An id beyond 2^63 is no time, so nothing can be called late beside it. */
static void on_oldest(void *data, const struct redis_reply *reply)
{
    struct poll *poll = data;
    int64_t seq;
    bool array = reply && reply->kind == REDIS_ARRAY;
    poll->lane_empty = array && reply->n == 0;
    if (array && !poll->lane_empty) {
        array = reply->items[0].n > 0;
        if (array && failed(entry_id_parse(reply->items[0].items[0].text, &poll->oldest_ms, &seq)))
            poll->oldest_ms = 0;
    }
    if (!array)
        respond_error(poll->req, FAIL(UNAVAILABLE, "the lane cannot be read"));
    else
        look(poll, on_second_look);
}

static void on_first_look(void *data, err e, const struct outcome *o)
{
    struct poll *poll = data;
    if (failed(e) || o) {
        if (failed(e))
            respond_error(poll->req, e);
        else
            tell(poll, o);
        return;
    }
    struct redis *redis = redis_poll_up(poll->door->redis);
    enum topic topic;
    int part;
    char lane[STREAM_NAME];
    if (!redis || !cmdid_lane(poll->id, &topic, &part)) {
        respond_error(poll->req, FAIL(UNAVAILABLE, "no connection to Redis"));
        return;
    }
    lane_name(topic, part, lane);
    redis_sendf(redis, on_oldest, poll, "XRANGE %s - + COUNT 1", lane);
}

static bool is_sent_by(const struct poll *poll, struct str client)
{
    return !failed(cmdid_check(&poll->door->shop->secrets.command_id, poll->id, client));
}

/* The asker's own, or one that was sent without a token. The id of such a one is not known to its sender
 * alone: who registers has it as his own id from then on, which stands in his orders and their events. So
 * what is personal in it is for that person. */
static bool is_his(struct poll *poll)
{
    const struct who *who = who_of(poll->req);
    bool own = who->known && is_sent_by(poll, client_of(who->user, poll->req->arena));
    poll->opens = own || (who->known && uuid_eq(who->user, poll->id));
    return own || is_sent_by(poll, STR("anon"));
}

/* Whose token does not count is not told that his command does not exist: he would send it again. */
static enum err_code unknown(const struct request *req)
{
    enum err_code refused = ((const struct visit *)req->data)->refused;
    return refused == ERR_NONE ? ERR_NOT_FOUND : refused;
}

void get_command(struct request *req)
{
    struct poll *poll = arena_new_of(req->arena, struct poll);
    int64_t kept_ms = conf_int(SET_COMMAND_RETENTION_DAYS) * DAY_MS;
    *poll = (struct poll){.req = req, .door = door_of(req)};
    ((struct visit *)req->data)->own = poll;
    if (failed(uuid_parse(request_param(req, "command_id"), &poll->id)) ||
        uuid_ms(poll->id) + kept_ms < clock_ms())
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
    else if (!is_his(poll))
        respond_problem(req, &(struct problem){.code = unknown(req)});
    else
        look(poll, on_first_look);
}
