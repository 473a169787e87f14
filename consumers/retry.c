/*
 * Parked messages that an operator wants handled. `daydreamctl bus dlq retry` writes a request; the worker
 * that owns the key's partition finds it here and takes the key's whole sequence through its handlers in
 * order, one message and one transaction at a time, like any message: fence, load, decide, flush, events,
 * results of commands. The message is marked `handled` in that transaction, so a crash anywhere repeats
 * nothing.
 *
 * Nothing overtakes: the owner is the only one that handles the key and the only one that parks it. While it
 * works through the sequence the key stays in its set of parked keys, so what arrives is put behind, in
 * order, and is reached in its turn; with the transaction of the last one the request is done, and the key
 * leaves the set before anything else is read. A message that fails again stays, with all behind it.
 *
 * A retried message may kill the process, as it may have the first time. So each try is noted before the
 * handler is called (parked_action.trying, tries); one that is found in hand after three lives is not tried
 * again.
 */
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/json.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "consumers/flush_queue.h"

/* STEP messages per turn, so that the lanes of the worker are read in between. */
enum { LOOK_MS = 200, REQUESTS = 64, STEP = 32, TRIES = 3 };

static const struct pg_stmt read_requests = {
    "read_requests",
    "SELECT a.id, a.topic, a.part, a.key FROM parked_action a"
    " JOIN unnest($2::text[], $3::bigint[]) AS x(topic, part) ON a.topic = x.topic AND a.part = x.part"
    " WHERE a.grp = $1 AND a.action = 'retry' AND a.done_ms IS NULL ORDER BY a.id LIMIT $4::bigint"};

static const struct pg_stmt read_letters = {
    "read_letters",
    "SELECT d.n, d.lane, d.seq, d.entry, coalesce(d.envelope, '{}'), d.corrected, c.data, d.reason,"
    " d.replayed"
    " FROM dead_letter d LEFT JOIN parked_correction c ON c.grp = d.grp AND c.topic = d.topic"
    "  AND c.key = d.key AND c.n = d.n AND c.corrected = d.corrected"
    " WHERE d.grp = $1 AND d.topic = $2 AND d.key = $3 AND d.state = 'parked' ORDER BY d.n LIMIT $4::bigint"};

/* tries grows with each life of an owner that begins with this message, not with each of its attempts. The
 * note has to outlive the process, not the machine: it is not waited for on the disk. */
static const struct pg_stmt note_try = {
    "note_try",
    "UPDATE parked_action SET trying = $2::bigint,"
    " tries = CASE WHEN trying IS DISTINCT FROM $2::bigint THEN 1 ELSE tries + $3::bigint::int END"
    " WHERE id = $1::bigint AND done_ms IS NULL"
    " AND set_config('synchronous_commit', 'off', true) = 'off' RETURNING tries"};

static const struct pg_stmt end_request = {
    "end_request", "UPDATE parked_action a SET done_ms = $2::bigint, trying = NULL, remain ="
                   " (SELECT count(*) FROM dead_letter d WHERE d.grp = a.grp AND d.topic = a.topic"
                   "  AND d.key = a.key AND d.state = 'parked') WHERE id = $1::bigint AND done_ms IS NULL"};

static const struct pg_stmt handled = {
    "parked_handled", "SELECT parked_handled($1, $2, $3, $4::bigint, $5::bigint::int, $6::bigint, $7,"
                      " $8::bigint)"};

static const struct pg_stmt failed_again = {
    "parked_failed", "UPDATE dead_letter SET attempts = attempts + 1, reason = $5, detail = $6, build = $7"
                     " WHERE grp = $1 AND topic = $2 AND key = $3 AND n = $4::bigint AND state = 'parked'"};

static const struct pg_stmt end_parked_command = {
    "end_parked_command",
    "UPDATE command SET status = $2, http_status = $3::bigint::int, result = $4,"
    " same_as = $5::uuid, done_ms = $6::bigint WHERE id = $1::uuid AND status = 'parked'"};

struct request {
    int64_t id;
    struct partition *at;
    struct str key;
};

/* What became of one message. */
enum tried { TRIED_HANDLED, TRIED_STAYS, TRIED_WAITS };

/* ---- from a row back to an item ---- */

static struct envelope envelope_of(struct str json, struct str data, struct arena *arena)
{
    struct envelope e = {0};
#define FIELD(member, name) e.member = json_member_str(json, name, arena);
    ENVELOPE_FIELDS(FIELD)
    ENVELOPE_COMMAND_FIELDS(FIELD)
#undef FIELD
    if (data.p)
        e.data = data;
    return e;
}

static struct entry *entry_of_letter(struct worker *w, const struct request *request,
                                     const struct pg_result *r, int row)
{
    struct entry *entry = arena_new_of(w->arena, struct entry);
    *entry = (struct entry){
        .topic = request->at->topic,
        .part = request->at->part,
        .command = str_is(pg_get_str(r, row, 1), "command"),
        .seq = pg_get_int(r, row, 2),
        .entry = pg_get_str(r, row, 3),
        .envelope = envelope_of(pg_get_str(r, row, 4), pg_get_str(r, row, 6), w->arena),
    };
    return entry;
}

static void stays(struct item *item, const char *reason, struct str detail)
{
    item->fate = ITEM_PARK;
    item->poison = true;
    item->park_reason = reason;
    item->park_detail = detail;
}

/* When an event was written stands in the log only, and read models keep it. UNAVAILABLE: nobody can tell. */
static err look_up_time(struct worker *w, struct entry *entry)
{
    struct event *events;
    size_t n;
    TRY(eventlog_read(w->pg, entry->topic, entry->part, entry->seq - 1, 1, w->arena, &events, &n));
    if (n == 0 || events[0].seq != entry->seq)
        return FAIL(UNAVAILABLE, "the log does not have event %lld", (long long)entry->seq);
    entry->ms = events[0].ms;
    return OK;
}

static err set_time(struct worker *w, struct item *item)
{
    err e = look_up_time(w, item->entry);
    if (e.code != ERR_UNAVAILABLE)
        return e;
    stays(item, "log-unreadable", arena_str(w->arena, str_of(err_text(e))));
    return OK;
}

/* What could not be stored as it came was changed on the way into dead_letter, and nobody may act upon it;
 * data can be corrected, an envelope cannot. An event that this build has no handler for is read by another
 * build of the group, which parked it. A fact that does not come in time is no answer here: the message waits
 * on. */
static err check_letter(struct worker *w, struct item *item, struct str reason)
{
    if (item->fate == ITEM_SKIP)
        stays(item, "unknown-type", item->entry->envelope.type);
    if (item->fate == ITEM_LATE)
        stays(item, "fact-late", STR("a fact of another aggregate did not arrive in time"));
    if (str_is(reason, "unreadable-envelope"))
        stays(item, "unreadable-envelope", STR("the envelope could not be stored as it came"));
    if (str_is(reason, "unreadable-bytes") && !item->letter->corrected)
        stays(item, "unreadable-bytes", STR("the data could not be stored as it came"));
    return item->fate == ITEM_HANDLE && !item->entry->command ? set_time(w, item) : OK;
}

static err item_of_letter(struct worker *w, const struct request *request, const struct pg_result *r, int row,
                          struct item **ret)
{
    struct item *item = *ret = arena_new_of(w->arena, struct item);
    struct letter *letter = arena_new_of(w->arena, struct letter);
    *letter =
        (struct letter){pg_get_int(r, row, 0), (int)pg_get_int(r, row, 5), request->id, request->key, false};
    gather_item(w, entry_of_letter(w, request, r, row), request->at, item);
    item->letter = letter;
    item->message.replay = pg_get_bool(r, row, 8);
    return check_letter(w, item, pg_get_str(r, row, 7));
}

/* ---- one message ---- */

static bool in_hand(const struct worker *w, const struct letter *letter)
{
    return w->trying.action == letter->action && w->trying.n == letter->n;
}

/* false: the request was ended by somebody else. */
static err begin_try(struct worker *w, struct item *item, bool *ret_open)
{
    const struct letter *letter = item->letter;
    struct pg_param params[] = {pg_int(letter->action), pg_int(letter->n),
                                pg_int(in_hand(w, letter) ? 0 : 1)};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &note_try, 3, params, &r));
    w->trying = *letter;
    *ret_open = pg_rows(r) > 0;
    if (*ret_open && item->fate != ITEM_PARK && pg_get_int(r, 0, 0) > TRIES)
        stays(item, "crash",
              arena_printf(w->arena, "its handler ended %d times while it was tried again", TRIES));
    if (FAULT(RETRY_NOTED))
        return FAIL(PG_DOWN, "fault injected before a parked message is tried");
    return OK;
}

static err try_letter(struct worker *w, struct item *item, enum tried *ret)
{
    bool open;
    *ret = TRIED_STAYS;
    TRY(begin_try(w, item, &open));
    if (!open)
        return OK;
    TRY(worker_process_one(w, item));
    if (item->fate != ITEM_PARK)
        *ret = item->fate == ITEM_CUT ? TRIED_WAITS : TRIED_HANDLED;
    if (*ret == TRIED_HANDLED && FAULT(RETRY_HANDLED))
        return FAIL(PG_DOWN, "fault injected after a parked message");
    return OK;
}

/* ---- in the flush ---- */

static void queue_command(struct worker *w, const struct batch *b, const struct item *item)
{
    struct pg_param params[] = {
        pg_uuid(item->message.id),
        pg_text(str_of(flush_queue_status(item))),
        item->http ? pg_int(item->http) : pg_null(),
        pg_text(item->result),
        item->fate == ITEM_SAME ? pg_uuid(item->same_as) : pg_null(),
        item->answer == ANSWER_RUNNING ? pg_null() : pg_int(b->now),
    };
    pg_queue(w->pg, &end_parked_command, 6, params, NULL, NULL);
}

static void on_handled(void *data, err e, struct pg_result *r)
{
    struct letter *letter = data;
    letter->last = !failed(e) && pg_get_bool(r, 0, 0);
}

static void queue_letter(struct worker *w, const struct batch *b, const struct item *item)
{
    struct letter *letter = item->letter;
    struct pg_param params[8] = {pg_text(str_of(w->group->name)),
                                 pg_text(str_of(topic_name(item->entry->topic))), pg_text(letter->key),
                                 pg_int(letter->n)};
    if (item->fate == ITEM_PARK) {
        params[4] = pg_text(str_of(item->park_reason));
        params[5] = pg_text(item->park_detail);
        params[6] = pg_text(STR(DAYDREAM_BUILD));
        pg_queue(w->pg, &failed_again, 7, params, NULL, NULL);
        return;
    }
    params[4] = pg_int(letter->corrected);
    params[5] = pg_int(letter->action);
    params[6] = pg_text(STR(DAYDREAM_BUILD));
    params[7] = pg_int(b->now);
    pg_queue(w->pg, &handled, 8, params, on_handled, letter);
    if (item->message.command && item->fate != ITEM_REPEAT)
        queue_command(w, b, item);
}

void retry_queue(struct worker *w, struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->letter && b->items[i]->fate != ITEM_CUT)
            queue_letter(w, b, b->items[i]);
}

/* ---- one request ---- */

static err end(struct worker *w, const struct request *request)
{
    struct pg_param params[] = {pg_int(request->id), pg_int(clock_ms())};
    return pg_call(w->pg, &end_request, 2, params, NULL);
}

/* Nothing of the key waits: from here on it is handled as it arrives. */
static err unpark(struct worker *w, const struct request *request)
{
    if (FAULT(RETRY_EMPTY))
        return FAIL(PG_DOWN, "fault injected before a key is free");
    parked_remove(w, request->at->topic, request->key);
    log_info("a parked key is free again", kv("group", w->group->name),
             kv("topic", topic_name(request->at->topic)), kv("part", (int64_t)request->at->part));
    return OK;
}

/* All that waited was discarded. */
static err close_empty(struct worker *w, const struct request *request)
{
    TRY(end(w, request));
    return unpark(w, request);
}

static err work_on(struct worker *w, const struct request *request, int *left)
{
    struct pg_param params[] = {pg_text(str_of(w->group->name)),
                                pg_text(str_of(topic_name(request->at->topic))), pg_text(request->key),
                                pg_int(*left)};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &read_letters, 4, params, &r));
    if (pg_rows(r) == 0)
        return close_empty(w, request);
    if (mutant(MUTANT_RETRY_ORDER))
        parked_remove(w, request->at->topic, request->key);
    for (int i = 0; i < pg_rows(r); i++, --*left) {
        enum tried tried;
        struct item *item;
        TRY(item_of_letter(w, request, r, i, &item));
        TRY(try_letter(w, item, &tried));
        standstill_end(w);
        if (tried == TRIED_STAYS)
            return end(w, request);
        if (item->letter->last)
            return unpark(w, request);
        if (tried == TRIED_WAITS)
            return OK;
    }
    return OK;
}

/* ---- looking ---- */

static err open_requests(struct worker *w, struct pg_result **ret)
{
    struct pg_array owned = pg_array(w->arena, PG_TEXT, (int)w->n_parts),
                    parts = pg_array(w->arena, PG_INT8, (int)w->n_parts);
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].owned) {
            pg_array_text(&owned, str_of(topic_name(w->parts[i].topic)));
            pg_array_int(&parts, w->parts[i].part);
        }
    struct pg_param params[] = {pg_text(str_of(w->group->name)), pg_array_param(&owned),
                                pg_array_param(&parts), pg_int(REQUESTS)};
    return pg_call(w->pg, &read_requests, 4, params, ret);
}

static bool worth_a_look(const struct worker *w)
{
    return w->n_parked > 0 && !stands_still(&w->standstill) && clock_mono_ms() >= w->next_retry_ms;
}

err retry_look(struct worker *w)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    int left = STEP;
    if (!worth_a_look(w))
        return OK;
    w->next_retry_ms = clock_mono_ms() + LOOK_MS;
    TRY(open_requests(w, &r));
    for (int i = 0; i < pg_rows(r) && left > 0 && !stands_still(&w->standstill); i++) {
        struct request request = {
            pg_get_int(r, i, 0),
            worker_partition(w, topic_find(pg_get_str(r, i, 1)), (int)pg_get_int(r, i, 2)),
            pg_get_str(r, i, 3)};
        if (request.at)
            TRY(work_on(w, &request, &left));
    }
    if (pg_rows(r) > 0)
        w->next_retry_ms = 0; /* there may be more; the lanes are read first */
    return OK;
}
