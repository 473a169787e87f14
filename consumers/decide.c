/*
 * Load and decide. One statement per table and column brings every row the batch concerns, without locks,
 * since this thread alone writes these aggregates; then the handlers run in order. A batch is decided anew
 * from the start, with fresh rows, when a missing fact is settled, once for each topic: nothing was written
 * yet. What a pass loads goes before the next one, and a batch whose rows are too many is refused as a whole.
 *
 * Each of these statements sees a moment of its own. Who was taken over between two of them, or whose own
 * last flush commits there after its connection was cut, has rows that never stood side by side, and a
 * handler may rely on how they fit. The fence of the flush would void what comes of it, but not a handler
 * that ends the process: so the fence rows are read last, and handlers see nothing unless they are as this
 * thread knows them. Then nobody else has written. With them comes whether the log has the events that
 * streams have shown (heal.c).
 */
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "consumers/worker.h"

enum { LOAD_ROUNDS = 4, DEADLINE_MS = 10000 };

static const struct pg_stmt read_commands = {
    "read_commands", "SELECT id, coalesce(replyto, ''), status = 'parked' FROM command"
                     " WHERE id = ANY($1::uuid[])"};

static const struct pg_stmt read_command_keys = {
    "read_command_keys", "SELECT c.client, c.idempotencykey, c.id, coalesce(c.fingerprint, '') FROM "
                         "unnest($1::text[], $2::text[]) AS x(client, key)"
                         " JOIN command c ON c.client = x.client AND c.idempotencykey = x.key"};

static const struct pg_stmt count_unchanged = {
    "count_unchanged",
    "SELECT count(*) FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])"
    " AS x(topic, part, epoch, flush) JOIN consumer_offset o ON o.grp = $1 AND o.topic = x.topic"
    " AND o.part = x.part AND o.epoch = x.epoch AND o.flush = x.flush"};

/* ---- commands that have a row already ---- */

struct known {
    struct pg_result *rows, *keys;
};

static void queue_known(struct worker *w, struct batch *b, struct known *known)
{
    struct pg_array ids = pg_array(b->arena, PG_UUID, (int)b->n);
    struct pg_array clients = pg_array(b->arena, PG_TEXT, (int)b->n),
                    keys = pg_array(b->arena, PG_TEXT, (int)b->n);
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = b->items[i];
        if (!item->message.command || uuid_is_nil(item->message.id))
            continue;
        pg_array_uuid(&ids, item->message.id);
        if (item->entry->envelope.idempotencykey.n) {
            pg_array_text(&clients, item->message.client);
            pg_array_text(&keys, item->entry->envelope.idempotencykey);
        }
    }
    struct pg_param by_id = pg_array_param(&ids);
    struct pg_param by_key[] = {pg_array_param(&clients), pg_array_param(&keys)};
    if (ids.n)
        pg_queue(w->pg, &read_commands, 1, &by_id, pg_keep, &known->rows);
    if (clients.n)
        pg_queue(w->pg, &read_command_keys, 2, by_key, pg_keep, &known->keys);
}

static struct item *item_of(struct batch *b, struct uuid id)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->message.command && uuid_eq(b->items[i]->message.id, id))
            return b->items[i];
    return NULL;
}

/* Another command of this client and key that came first, in the batch, and whose row will hold the key: a
 * known one without it (lost, refused as late) binds nobody. */
static const struct item *earlier_with_key(const struct batch *b, size_t n)
{
    const struct envelope *e = &b->items[n]->entry->envelope;
    if (!b->items[n]->message.command || !e->idempotencykey.n)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const struct envelope *other = &b->items[i]->entry->envelope;
        bool holds = b->items[i]->fate == ITEM_HANDLE || b->items[i]->fate == ITEM_PARK;
        if (b->items[i]->message.command && holds && !uuid_is_nil(b->items[i]->message.id) &&
            str_eq(other->idempotencykey, e->idempotencykey) && str_eq(other->client, e->client))
            return b->items[i];
    }
    return NULL;
}

static bool may_be_known(const struct item *item)
{
    return item->message.command &&
           (item->fate == ITEM_HANDLE || item->fate == ITEM_LATE || item->fate == ITEM_PARK);
}

static void mark_rows(struct batch *b, const struct pg_result *rows)
{
    for (int i = 0; rows && i < pg_rows(rows); i++) {
        struct item *item = item_of(b, pg_get_uuid(rows, i, 0));
        bool retried = item && item->letter && pg_get_bool(rows, i, 2);
        if (item && may_be_known(item) && !retried) {
            item->fate = ITEM_REPEAT;
            item->at->repeats++;
            counter_add(COUNTER_MESSAGES_REPEATED, 1);
        }
    }
}

/* The door compares fingerprints as long as Redis knows the key; here is what stands behind it. */
static void mark_loser(struct item *item, struct uuid winner, struct str fingerprint)
{
    struct str own = item->entry->envelope.fingerprint;
    if (own.n && fingerprint.n && !str_eq(own, fingerprint)) {
        item->fate = ITEM_REUSED;
        item->http = err_http(ERR_KEY_REUSED);
        item->result = STR("{\"error\":\"KEY_REUSED\",\"detail\":\"This Idempotency-Key was used with another"
                           " request.\"}");
        return;
    }
    item->fate = ITEM_SAME;
    item->same_as = winner;
}

static void mark_keys(struct batch *b, const struct pg_result *keys)
{
    for (int r = 0; keys && r < pg_rows(keys); r++)
        for (size_t i = 0; i < b->n; i++) {
            struct item *item = b->items[i];
            bool own = uuid_eq(item->message.id, pg_get_uuid(keys, r, 2)); /* of a command that is retried */
            if (may_be_known(item) && !own && str_eq(item->message.client, pg_get_str(keys, r, 0)) &&
                str_eq(item->entry->envelope.idempotencykey, pg_get_str(keys, r, 1)))
                mark_loser(item, pg_get_uuid(keys, r, 2), pg_get_str(keys, r, 3));
        }
    for (size_t i = 0; i < b->n; i++) {
        const struct item *first = earlier_with_key(b, i);
        if (first && may_be_known(b->items[i]) && !uuid_eq(first->message.id, b->items[i]->message.id))
            mark_loser(b->items[i], first->message.id, first->entry->envelope.fingerprint);
    }
}

static void mark_known(struct batch *b, struct known *known)
{
    if (!mutant(MUTANT_COMMAND_DEDUPE)) {
        mark_rows(b, known->rows);
        mark_keys(b, known->keys);
    }
    known->rows = pg_result_free(known->rows);
    known->keys = pg_result_free(known->keys);
}

/* ---- loading ---- */

/* The watchdog looks at this from its own thread; nothing else depends on it. */
static void watch(struct worker *w, bool begins)
{
    atomic_store_explicit(&w->handling_ms, begins ? clock_mono_ms() : 0, memory_order_relaxed);
}

static void want_all(struct worker *w, struct batch *b, const struct group *group)
{
    watch(w, true);
    for (size_t i = 0; i < b->n; i++) {
        struct item *item = b->items[i];
        b->current = item;
        if (item->fate == ITEM_HANDLE)
            handlers_load(&group->on, item->message.type, b, item->message.data);
    }
    watch(w, false);
}

/* Queues the question how many of the batch's fence rows are as we know them; returns how many must be. */
static int queue_unchanged(struct worker *w, const struct batch *b, struct pg_result **ret)
{
    struct pg_array names = pg_array(b->arena, PG_TEXT, (int)w->n_parts),
                    parts = pg_array(b->arena, PG_INT8, (int)w->n_parts),
                    epochs = pg_array(b->arena, PG_INT8, (int)w->n_parts),
                    flushes = pg_array(b->arena, PG_INT8, (int)w->n_parts);
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].touched = false;
    for (size_t i = 0; i < b->n; i++) {
        struct partition *p = b->items[i]->at;
        if (p->touched)
            continue;
        p->touched = true;
        pg_array_text(&names, str_of(topic_name(p->topic)));
        pg_array_int(&parts, p->part);
        pg_array_int(&epochs, p->epoch);
        pg_array_int(&flushes, p->flush);
    }
    struct pg_param params[] = {pg_text(str_of(w->group->name)), pg_array_param(&names),
                                pg_array_param(&parts), pg_array_param(&epochs), pg_array_param(&flushes)};
    pg_queue(w->pg, &count_unchanged, 5, params, pg_keep, ret);
    return names.n;
}

static err load_round(struct worker *w, struct batch *b)
{
    _cleanup_(pg_result_freep) struct pg_result *unchanged = NULL, *had = NULL;
    rows_queue_load(b, w->pg);
    heal_ask(w, &had);
    int wanted = queue_unchanged(w, b, &unchanged);
    pg_sync(w->pg, NULL, NULL);
    err e = pg_wait(w->pg, DEADLINE_MS);
    rows_loaded(b);
    TRY(e);
    if (pg_get_int(unchanged, 0, 0) != wanted && !mutant(MUTANT_EPOCH))
        return FAIL(FENCED, "partitions were taken over, or flushed, while their rows were loaded");
    return heal_answer(w, had);
}

static err load(struct worker *w, struct batch *b)
{
    struct known known = {NULL, NULL};
    queue_known(w, b, &known);
    for (int round = 0; round < LOAD_ROUNDS; round++) {
        want_all(w, b, w->group);
        if (round > 0 && !rows_pending(b))
            break;
        err e = load_round(w, b);
        if (round == 0)
            mark_known(b, &known);
        TRY(e);
    }
    return OK;
}

/* ---- deciding ---- */

static void park_followers(struct worker *w, struct batch *b, struct item *item)
{
    (void)b;
    if (item->fate == ITEM_HANDLE && !item->letter && !mutant(MUTANT_PARKING) &&
        parked_has(w, item->entry->topic, item->message.key)) {
        item->fate = ITEM_PARK;
        item->park_reason = "behind-parked";
        if (item->message.replay && !w->replays)
            item->fate = ITEM_SKIP; /* it waits in dead_letter already */
    }
    if (item->fate == ITEM_PARK)
        parked_add(w, item->entry->topic, item->message.key);
}

static void cut_from(struct batch *b, size_t n)
{
    for (size_t i = n; i < b->n; i++)
        b->items[i]->fate = ITEM_CUT;
}

/* The first message of the batch that misses a fact of that topic asks for all of them: when the group has
 * passed its heads, rows are loaded once more, and who misses one then misses it for good. */
static err missing_fact(struct worker *w, struct batch *b, size_t n, bool *ret_caught_up)
{
    struct item *item = b->items[n];
    bool caught_up = b->caught_up[b->waits_for];
    item->waited = true;
    item->waits_for = b->waits_for;
    if (!caught_up)
        TRY(standstill_check(w, b->waits_for, &caught_up));
    *ret_caught_up = b->caught_up[b->waits_for] = caught_up;
    if (!caught_up) {
        standstill_begin(w, item, b->waits_for);
        cut_from(b, n);
        if (FAULT(RUNNER_NOT_YET))
            return FAIL(PG_DOWN, "fault injected at a standstill");
    }
    return OK;
}

static void poisoned(struct worker *w, struct item *item)
{
    item->fate = ITEM_PARK;
    item->poison = true;
    item->park_reason = "poison";
    parked_add(w, item->entry->topic, item->message.key);
}

/* Handlers compute and nothing else: one that takes long holds up its whole batch. */
static void watch_budget(const struct worker *w, const struct item *item, int64_t ns)
{
    if (ns < w->budget_ns)
        return;
    counter_add(COUNTER_HANDLERS_SLOW, 1);
    log_warn("a handler was slow", kv("group", w->group->name), kv("type", item->entry->envelope.type),
             kv("id", item->message.id), kv("correlationid", item->message.correlation),
             kv("traceparent", item->message.traceparent), kv("microseconds", ns / 1000));
}

static void ask(struct worker *w, struct batch *b, struct item *item, bool final)
{
    int64_t start = clock_mono_ns();
    b->current = item;
    item->message.final = final;
    watch(w, true);
    item->answer = INDIGESTIBLE(item->message.key)
                       ? ANSWER_POISON
                       : handlers_handle(&w->group->on, item->message.type, b, item->message.data);
    watch(w, false);
    watch_budget(w, item, clock_mono_ns() - start);
}

/* Who gives up has changed nothing (group.h), so the batch goes on where it is: a customer who sends many
 * such messages must not have it loaded for each of them. What one has changed all the same is never written:
 * the batch is decided anew, without it. */
static err handle(struct worker *w, struct batch *b, size_t n, bool *ret_again)
{
    struct item *item = b->items[n];
    size_t before = b->changes;
    ask(w, b, item, item->settled || (item->waited && b->caught_up[item->waits_for]));
    if (item->answer == ANSWER_NOT_YET && b->caught_up[b->waits_for] && b->changes == before)
        ask(w, b, item, true); /* the rows were loaded after the heads were passed */
    bool changed = b->changes != before, caught_up = false;
    if (item->answer == ANSWER_POISON)
        poisoned(w, item);
    else if (item->answer == ANSWER_NOT_YET)
        TRY(missing_fact(w, b, n, &caught_up));
    else
        return OK;
    *ret_again = caught_up || changed;
    return OK;
}

static err decide_once(struct worker *w, struct batch *b, bool *ret_again)
{
    arena_reset(b->arena);
    batch_restart(b);
    TRY(load(w, b));
    if (FAULT(RUNNER_AFTER_LOAD))
        return FAIL(PG_DOWN, "fault injected after the load");
    for (size_t i = 0; i < b->n && !*ret_again; i++) {
        park_followers(w, b, b->items[i]);
        if (b->items[i]->fate == ITEM_HANDLE)
            TRY(handle(w, b, i, ret_again));
    }
    return OK;
}

err decide(struct worker *w, struct batch *b)
{
    bool again;
    do {
        again = false;
        TRY(decide_once(w, b, &again));
    } while (again);
    if (b->n > 1 && arena_overflowed(b->arena))
        return FAIL(TOO_LARGE, "the rows of %zu messages are too many for one batch", b->n);
    if (FAULT(RUNNER_AFTER_DECIDE))
        return FAIL(PG_DOWN, "fault injected after deciding");
    return OK;
}
