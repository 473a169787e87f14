/*
 * The loop of one thread: read → load → decide → flush → acknowledge. It is the only place that knows of
 * connections, retries and parking. Whatever fails, the answer is the same: look at what PostgreSQL says is
 * committed and read on from there; commands that were committed without our knowing find their rows, events
 * their offset.
 */
#include "consumers/worker.h"

#include <assert.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

enum { HEAL_MS = 250, SKIPPED_MS = 200, UNIQUE_TRIES = 3, ARENA_CEILING = 64 << 20 };

/* ---- which partitions ---- */

static bool concerns(const struct group *group, enum topic topic)
{
    if (topics[topic].group && strcmp(topics[topic].group, group->name) == 0)
        return true;
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        if (message_types[m].topic == topic && handlers_has(&group->on, (enum message)m))
            return true;
    return false;
}

static void add_partition(struct worker *w, enum topic topic, int part)
{
    struct partition *p = &w->parts[w->n_parts++];
    p->worker = w;
    p->topic = topic;
    p->part = part;
    p->commands = strcmp(topics[topic].group, w->group->name) == 0;
    lane_name(topic, part, p->lane);
    stream_name(topic, part, p->stream);
}

/* By partition first, so that shares of members are spread over all topics. */
static void make_partitions(struct worker *w)
{
    w->parts = calloc((size_t)TOPIC_COUNT * (size_t)partitions(), sizeof(*w->parts));
    w->replays_of = calloc((size_t)TOPIC_COUNT * (size_t)partitions(), sizeof(*w->replays_of));
    if (!w->parts || !w->replays_of)
        abort();
    for (int part = 0; part < partitions(); part++)
        for (int topic = 1; topic < TOPIC_COUNT; topic++)
            if (topic_is(topic) && concerns(w->group, (enum topic)topic))
                add_partition(w, (enum topic)topic, part);
}

struct partition *worker_partition(const struct worker *w, enum topic topic, int part)
{
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].topic == topic && w->parts[i].part == part)
            return &w->parts[i];
    return NULL;
}

struct worker *worker_new(const struct group *group, const char *instance, const atomic_bool *stop)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    w->group = w->own[0] = group;
    w->build = w->own;
    w->instance = instance;
    w->stop = stop;
    w->siblings = 1;
    w->budget_ns = conf_int(SET_HANDLER_BUDGET_MS) * 1000000;
    w->arena = arena_new(ARENA_CEILING);
    w->work = arena_new(ARENA_CEILING);
    w->parked_arena = arena_new(ARENA_CEILING);
    w->count_commands = w->count_events = BATCH_MAX / 4;
    make_partitions(w);
    return w;
}

/* ---- connections ---- */

void worker_disconnect(struct worker *w)
{
    w->commands = redis_close(w->commands);
    w->events = redis_close(w->events);
    w->outward = redis_close(w->outward); /* its last replies still go to the relay */
    w->relay = relay_free(w->relay);
    w->pg = pg_close(w->pg);
    w->reading_commands = w->reading_history = w->refused = false;
}

void worker_forget(struct worker *w)
{
    arena_reset(w->arena);
    w->n_read = 0;
}

struct worker *worker_free(struct worker *w)
{
    if (!w)
        return NULL;
    worker_disconnect(w);
    arena_free(w->arena);
    arena_free(w->work);
    arena_free(w->parked_arena);
    free(w->replays_of);
    free(w->parts);
    free(w);
    return NULL;
}

static bool connected(const struct worker *w)
{
    return w->pg && pg_is_up(w->pg) && w->commands && redis_is_up(w->commands) && w->events &&
           redis_is_up(w->events) && w->outward && redis_is_up(w->outward);
}

/* Plans are made while tables are young and small; a sequential scan would stay in them for ever. All take
 * arrays of any length: what a plan for the very values could win is less than making one each time costs. */
const char worker_setup[] =
    "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off";

static err connect_all(struct worker *w)
{
    char role[64];
    snprintf(role, sizeof(role), "dd_%s", w->group->name);
    const char *redis_url = conf_str(SET_REDIS_URL).p;
    worker_disconnect(w);
    TRY(pg_open(conf_str(SET_DATABASE_URL).p, role, worker_setup, &w->pg));
    TRY(redis_open(redis_url, &w->commands));
    TRY(redis_open(redis_url, &w->events));
    TRY(redis_open(redis_url, &w->outward));
    w->relay = relay_new(w->outward, w->pg);
    TRY(registry_tell(w));
    TRY(lease_init(w));
    TRY(lease_refresh(w));
    read_rewind(w);
    return OK;
}

/* ---- one batch ---- */

static struct batch new_batch(struct worker *w, struct item **items, size_t n)
{
    return (struct batch){.group = w->group,
                          .arena = w->work,
                          .now = clock_ms(),
                          .began_ns = trace_on ? trace_now() : 0,
                          .items = items,
                          .n = n};
}

static err process_once(struct worker *w, struct item **items, size_t n)
{
    struct batch b = new_batch(w, items, n);
    TRY(decide(w, &b));
    TRY(flush(w, &b));
    arena_reset(w->work);
    return OK;
}

/* Somebody else took a unique value between our load and our write: decide anew, with what stands there now.
 */
static err process(struct worker *w, struct item **items, size_t n)
{
    err e = process_once(w, items, n);
    for (int tries = 1; e.code == ERR_UNIQUE && tries < UNIQUE_TRIES; tries++)
        e = process_once(w, items, n);
    return e;
}

static bool offends(err e)
{
    return e.code == ERR_UNIQUE || err_class_of(e.code) == ERR_CLASS_FATAL;
}

static err park_offender(struct worker *w, struct item *item, err e)
{
    log_error("message is parked", kv("group", w->group->name), kv("type", item->entry->envelope.type),
              kv("id", item->message.id), kv("correlationid", item->message.correlation),
              kv("traceparent", item->message.traceparent), kv("why", err_text(e)));
    item->fate = ITEM_PARK;
    item->poison = true;
    item->park_reason = err_slug(e.code);
    item->park_detail = arena_str(w->arena, str_of(err_text(e)));
    return process(w, &item, 1);
}

err worker_process_one(struct worker *w, struct item *item)
{
    err e = process(w, &item, 1);
    return offends(e) ? park_offender(w, item, e) : e;
}

/* Commands that were not asked come again with the history of their lane, events from our position. */
void worker_leave(struct item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i]->message.command)
            items[i]->at->history = true;
}

/* The batch fails as a whole and for no reason of the servers: one by one, and the offender is parked. Behind
 * one that waits for a fact nothing is handled: it would overtake, and an event's offset would pass what was
 * cut. */
static err process_singly(struct worker *w, struct item **items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        TRY(worker_process_one(w, items[i]));
        if (items[i]->fate == ITEM_CUT) {
            worker_leave(items + i, n - i);
            return OK;
        }
    }
    return OK;
}

static bool any_cut(struct item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i]->fate == ITEM_CUT)
            return true;
    return false;
}

/* What does not fit into one batch is handled in halves, with nothing behind one that waits, as above. */
static err process_batch(struct worker *w, struct item **items, size_t n)
{
    size_t most = n, take;
    for (; n > 0; items += take, n -= take) {
        take = n < most ? n : most;
        err e = process(w, items, take);
        for (; e.code == ERR_TOO_LARGE && take > 1; e = process(w, items, take))
            most = take = take / 2;
        TRY(offends(e) ? process_singly(w, items, take) : e);
        if (any_cut(items, take)) {
            worker_leave(items + take, n - take);
            return OK;
        }
    }
    return OK;
}

static bool only_skips(struct item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i]->fate != ITEM_SKIP)
            return false;
    return true;
}

/* Events that concern nobody here move the position in memory; it is committed with the next flush, or soon.
 */
static void skip(struct worker *w, struct item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        items[i]->at->skipped = items[i]->entry->seq;
        items[i]->at->skipped_ms = items[i]->entry->ms;
    }
    if (n && !w->skipped_since_ms)
        w->skipped_since_ms = clock_mono_ms();
}

err worker_flush_skipped(struct worker *w, bool now)
{
    if (!w->skipped_since_ms || (!now && clock_mono_ms() - w->skipped_since_ms < SKIPPED_MS))
        return OK;
    return process_once(w, NULL, 0);
}

err worker_take(struct worker *w)
{
    struct item **items;
    size_t n;
    TRY(gather_items(w, &items, &n));
    if (n == 0)
        return OK;
    if (FAULT(RUNNER_AFTER_READ))
        return FAIL(PG_DOWN, "fault injected after a read");
    if (only_skips(items, n)) {
        skip(w, items, n);
        return OK;
    }
    size_t trusted = suspect_apart(w, items, n);
    err e = process_batch(w, items, trusted);
    if (!failed(e) && trusted < n)
        e = suspect_process(w, items + trusted, n - trusted);
    if (!failed(e))
        suspect_end(w);
    replay_pace(w, items, n);
    standstill_end(w);
    return e;
}

/* ---- the loop ---- */

static err chores(struct worker *w)
{
    int64_t now = clock_mono_ms();
    if (now >= w->next_lease_ms) {
        w->next_lease_ms = now + lease_period_ms();
        TRY(lease_turn(w));
    }
    if (now >= w->next_heal_ms) {
        w->next_heal_ms = now + HEAL_MS;
        TRY(read_heal(w));
    }
    TRY(standstill_look(w));
    TRY(retry_look(w));
    return worker_flush_skipped(w, false);
}

static int64_t next_chore(const struct worker *w)
{
    int64_t next = w->next_lease_ms < w->next_heal_ms ? w->next_lease_ms : w->next_heal_ms;
    const struct standstill *s = &w->standstill;
    if (stands_still(s) && s->next_look_ms < next)
        next = s->next_look_ms;
    if (w->n_parked && !stands_still(s) && w->next_retry_ms < next)
        next = w->next_retry_ms;
    if (w->skipped_since_ms && w->skipped_since_ms + SKIPPED_MS < next)
        next = w->skipped_since_ms + SKIPPED_MS;
    return next;
}

static err turn(struct worker *w)
{
    if (!connected(w))
        TRY(connect_all(w));
    worker_forget(w);
    TRY(chores(w));
    if (w->n_read == 0)
        TRY(read_entries(w, next_chore(w)));
    if (w->n_read)
        TRY(worker_take(w));
    return OK;
}

/* Nothing in memory is believed after a failure. A fenced flush or a busy database keeps the connections. */
static void recover(struct worker *w, err e)
{
    if (e.code == ERR_FENCED)
        counter_add(COUNTER_FENCED, 1);
    log_warn("a turn failed and is repeated", kv("group", w->group->name), kv("error", err_name(e.code)),
             kv("why", err_text(e)), kv("where", err_where(e)));
    if (w->failures++ > 0)
        clock_sleep_ms(backoff_ms(w->failures < 8 ? w->failures : 8, 5, 500));
    bool keep = (e.code == ERR_FENCED || e.code == ERR_PG_RETRY) && connected(w) && pg_waiting(w->pg) == 0;
    if (!keep)
        worker_disconnect(w); /* who waits for a reply may keep it in the batch */
    worker_forget(w);
    w->standstill.active = false;
    if (keep && !failed(lease_refresh(w)))
        read_rewind(w);
    else
        worker_disconnect(w);
}

static void drain(struct worker *w)
{
    if (FAULT(RUNNER_DRAIN))
        return;
    if (connected(w)) {
        worker_forget(w);
        if (failed(worker_flush_skipped(w, true)) || failed(lease_release(w)))
            log_warn("leases were not released and will run out", kv("group", w->group->name));
        if (failed(redis_wait(w->outward, 500)))
            log_warn("the last hints may be lost", kv("group", w->group->name));
    }
    log_info("group drained", kv("group", w->group->name));
}

void worker_run(struct worker *w)
{
    while (!atomic_load(w->stop)) {
        err e = turn(w);
        if (e.code == ERR_OUTDATED)
            registry_stand_down(w, e);
        else if (failed(e))
            recover(w, e);
        else
            w->failures = 0;
    }
    drain(w);
}
