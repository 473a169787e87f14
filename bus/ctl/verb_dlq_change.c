/*
 * bus dlq discard, bus dlq edit: what an operator decides about a parked message. Each is one statement: the
 * message, the answer of its command and the record of who did it and why are one transaction, and a retry
 * that has the message in hand at that moment is void (parked_handled() finds it changed). Nothing is
 * deleted.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/codec.h"
#include "bus/ctl/dlq.h"

enum { DATA_MAX = 4 * CODEC_MAX };

/* ---- discard ---- */

/* $5 NULL: all that wait. The rows: what, its number or id. */
static const struct pg_stmt discard = {
    "ctl_dlq_discard",
    "WITH gone AS (UPDATE dead_letter SET state = 'discarded', done_ms = $4::bigint WHERE grp = $1"
    "  AND topic = $2 AND key = $3 AND state = 'parked' AND ($5::bigint IS NULL OR n = $5::bigint)"
    "  RETURNING n, lane, command_id, correlationid AS correlation),"
    " concerned AS (SELECT c.id, c.status FROM command c JOIN gone g ON c.id = g.command_id"
    "   WHERE c.status = 'parked' UNION SELECT c.id, c.status FROM command c JOIN gone g"
    "   ON g.lane = 'event' AND c.id::text = g.correlation WHERE c.status = 'running'),"
    " ended AS (UPDATE command c SET status = 'rejected', http_status = $6::bigint::int, result = $7,"
    "   done_ms = $4::bigint FROM concerned x WHERE c.id = x.id AND (x.status = 'parked' OR $8::boolean)"
    "   RETURNING c.id),"
    " noted AS (INSERT INTO parked_action (action, grp, topic, part, key, n, actor, reason, asked_ms, "
    "done_ms,"
    "   handled, remain) SELECT 'discard', $1, $2, $9::bigint::int, $3, $5::bigint, $10, $11, $4::bigint,"
    "   $4::bigint, x.n, (SELECT count(*) FROM dead_letter WHERE grp = $1 AND topic = $2 AND key = $3"
    "    AND state = 'parked') - x.n FROM (SELECT count(*) AS n FROM gone) x WHERE x.n > 0 RETURNING remain)"
    " SELECT 'message', n::text FROM gone UNION ALL SELECT 'ended', id::text FROM ended"
    " UNION ALL SELECT 'running', id::text FROM concerned WHERE status = 'running' AND NOT $8::boolean"
    " UNION ALL SELECT 'remain', remain::text FROM noted"};

static struct str discarded_result(struct arena *arena)
{
    struct buf b = buf_new(arena, 256);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "error", str_of(err_name(ERR_DISCARDED)));
    json_kstr(&j, "detail", str_of(err_sentence(ERR_DISCARDED)));
    json_close(&j, '}');
    return buf_view(&b);
}

static err discard_messages(struct ctl *ctl, const struct dlq_key *key, struct pg_result **ret)
{
    struct dlq_message message;
    TRY(dlq_message(ctl, key, &message));
    struct pg_param params[] = {
        pg_text(key->grp),
        pg_text(key->topic),
        pg_text(key->key),
        pg_int(clock_ms()),
        ctl_option(ctl, "whole") ? pg_null() : pg_int(message.n),
        pg_int(err_http(ERR_DISCARDED)),
        pg_text(discarded_result(ctl->arena)),
        pg_bool(ctl_option(ctl, "end-command")),
        pg_int(partition_of(key->key)),
        pg_text(dlq_actor(ctl)),
        pg_text(dlq_text(ctl, "reason")),
    };
    return pg_call(ctl->pg, &discard, 11, params, ret);
}

static int64_t count_of(const struct pg_result *r, const char *what)
{
    int64_t n = 0;
    for (int i = 0; i < pg_rows(r); i++)
        n += str_is(pg_get_str(r, i, 0), what);
    return n;
}

static void put_list(struct json *j, const struct pg_result *r, const char *what, const char *name)
{
    json_key(j, name);
    json_open(j, '[');
    for (int i = 0; i < pg_rows(r); i++)
        if (str_is(pg_get_str(r, i, 0), what))
            json_str(j, pg_get_str(r, i, 1));
    json_close(j, ']');
}

static void tell_discarded(struct ctl *ctl, const struct pg_result *r)
{
    struct buf b = buf_new(ctl->arena, 1024);
    struct json j = json_on(&b);
    int64_t remain = 0;
    for (int i = 0; i < pg_rows(r); i++) {
        struct str what = pg_get_str(r, i, 0), value = pg_get_str(r, i, 1);
        if (str_is(what, "remain") && failed(str_int64(value, &remain)))
            remain = 0;
        if (str_is(what, "running") && !ctl->json)
            printf("command %.*s is still running and may never end now; --end-command would have ended it\n",
                   STR_ARG(value));
    }
    if (!ctl->json) {
        printf("%" PRId64 " discarded, %" PRId64 " commands answered, %" PRId64 " still wait%s\n",
               count_of(r, "message"), count_of(r, "ended"), remain, remain ? ": bus dlq retry" : "");
        return;
    }
    json_open(&j, '{');
    put_list(&j, r, "message", "discarded");
    put_list(&j, r, "ended", "commands");
    put_list(&j, r, "running", "running");
    json_kint(&j, "remain", remain);
    json_close(&j, '}');
    ctl_print_json(&b);
}

enum ctl_exit run_dlq_discard(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct dlq_key key;
    if (!ctl_option(ctl, "reason") || (ctl_option(ctl, "whole") && ctl_option(ctl, "n")))
        return ctl_usage(ctl, "--reason TEXT is needed, and not both --whole and --n");
    err e = dlq_key(ctl, &key);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = discard_messages(ctl, &key, &r);
    if (!failed(e) && count_of(r, "message") == 0)
        e = FAIL(INVALID, "it was handled or discarded a moment ago");
    if (failed(e))
        return ctl_fail(e);
    tell_discarded(ctl, r);
    return CTL_OK;
}

/* ---- edit ---- */

static const struct pg_stmt correct = {
    "ctl_dlq_edit",
    "WITH hit AS (UPDATE dead_letter SET corrected = corrected + 1 WHERE grp = $1 AND topic = $2 AND key = $3"
    "  AND n = $4::bigint AND state = 'parked' AND corrected = $5::bigint RETURNING corrected),"
    " noted AS (INSERT INTO parked_action (action, grp, topic, part, key, n, actor, reason, asked_ms, "
    "done_ms,"
    "   remain) SELECT 'edit', $1, $2, $6::bigint::int, $3, $4::bigint, $7, $8, $9::bigint, $9::bigint,"
    "   (SELECT count(*) FROM dead_letter WHERE grp = $1 AND topic = $2 AND key = $3 AND state = 'parked')"
    "  FROM hit RETURNING id)"
    " INSERT INTO parked_correction (grp, topic, key, n, corrected, data, action)"
    " SELECT $1, $2, $3, $4::bigint, hit.corrected, $10, noted.id FROM hit, noted RETURNING corrected"};

/* The value of --set data=…: JSON, or @ and the name of a file that holds it. */
static err read_data(struct ctl *ctl, struct str *ret)
{
    struct str set = dlq_text(ctl, "set");
    if (!str_starts(set, STR("data=")))
        return FAIL(INVALID, "--set takes data=JSON or data=@FILE");
    struct str value = str_slice(set, 5, set.n);
    if (!str_starts(value, STR("@"))) {
        *ret = value;
        return OK;
    }
    FILE *file = fopen(value.p + 1, "re");
    if (!file)
        return FAIL(INVALID, "%s cannot be read", value.p + 1);
    char *text = arena_alloc(ctl->arena, DATA_MAX + 1);
    *ret = (struct str){text, fread(text, 1, DATA_MAX + 1, file)};
    fclose(file);
    if (ret->n > DATA_MAX)
        return FAIL(TOO_LARGE, "%s is larger than a message may be", value.p + 1);
    return OK;
}

/* As the runner will read it: by the schema of the message's type, in the form it has on the bus. */
static err check_data(struct ctl *ctl, const struct dlq_message *message, struct str data)
{
    enum message type = message_find(message->type);
    if (type == MESSAGE_NONE)
        return FAIL(INVALID, "this program does not know %.*s", STR_ARG(message->type));
    const struct shape *shape = message_types[type].shape;
    return codec_decode(shape, CODEC_BUS, data, NULL, 0, ctl->arena, arena_alloc(ctl->arena, shape->size),
                        NULL);
}

static err edit(struct ctl *ctl, const struct dlq_key *key, struct dlq_message *message, int64_t *ret)
{
    struct str data;
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(read_data(ctl, &data));
    TRY(dlq_message(ctl, key, message));
    data = json_compact(str_trim(data), ctl->arena);
    TRY(check_data(ctl, message, data));
    struct pg_param params[] = {
        pg_text(key->grp),          pg_text(key->topic),
        pg_text(key->key),          pg_int(message->n),
        pg_int(message->corrected), pg_int(partition_of(key->key)),
        pg_text(dlq_actor(ctl)),    pg_text(dlq_text(ctl, "reason")),
        pg_int(clock_ms()),         pg_text(data),
    };
    TRY(pg_call(ctl->pg, &correct, 10, params, &r));
    if (pg_rows(r) == 0)
        return FAIL(INVALID, "it was handled, discarded or corrected a moment ago");
    *ret = pg_get_int(r, 0, 0);
    return OK;
}

enum ctl_exit run_dlq_edit(struct ctl *ctl)
{
    struct dlq_key key;
    struct dlq_message message;
    int64_t corrected = 0;
    if (!ctl_option(ctl, "reason") || !ctl_option(ctl, "set"))
        return ctl_usage(ctl, "--set data=… and --reason TEXT are needed");
    err e = dlq_key(ctl, &key);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = edit(ctl, &key, &message, &corrected);
    if (failed(e))
        return ctl_fail(e);
    if (ctl->json)
        printf("{\"n\":%" PRId64 ",\"corrected\":%" PRId64 "}\n", message.n, corrected);
    else
        printf("message %" PRId64 " has correction %" PRId64 "; bus dlq retry handles it\n", message.n,
               corrected);
    return CTL_OK;
}
