/*
 * Messages that end the process. This is C: a handler can die of a message, and whoever takes the partition
 * next would die of it again, with all groups of the process. What is known is only who owned which
 * partition. So the statement that takes a lease counts how often, each time within five minutes of the last,
 * owners went without giving it back (consumer_offset.crashes, taken). From the second time on, what the
 * former owner may have had in hand is suspect: the history of the command lane, and as many events as a
 * batch takes. It is handled one by one, and that a message is in hand is committed before its handler is
 * called; a message that was in hand in three lives and is still here is what they died of, and is parked
 * with its key.
 *
 * One suspect message at a time in the whole process: when it dies, no other can be blamed for it. Groups
 * wait for each other then, so nobody works on his, or waits for his turn, for longer than a fifth of a
 * lease: he goes back to the loop, which renews it, and finds the rest there again. A life is an epoch, so
 * servers that go away and come back make no message guilty; nor is it guilty of a life whose handler came
 * back and whose lease ran out, which happens on a machine that has too much to do. What never fails never
 * pays: there is no write that was not there before.
 */
#include <pthread.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "consumers/worker.h"

enum { CRASHES_SUSPECT = 2, LIVES_MAX = 3 };

static pthread_mutex_t in_hand = PTHREAD_MUTEX_INITIALIZER;

/* It has to outlive the process, not the machine: it is not waited for on the disk. */
static const struct pg_stmt note_attempt = {
    "note_attempt",
    "INSERT INTO handler_attempt AS a (grp, topic, part, id, lives, epoch)"
    " SELECT $1, $2, $3::bigint::int, $4::uuid, 1, $5::bigint"
    " WHERE set_config('synchronous_commit', 'off', true) = 'off'"
    " ON CONFLICT (grp, topic, part, id) DO UPDATE SET epoch = greatest(a.epoch, excluded.epoch),"
    "  lives = a.lives + (a.epoch < excluded.epoch)::int RETURNING lives"};

static const struct pg_stmt forget_attempt = {
    "forget_attempt", "DELETE FROM handler_attempt WHERE grp = $1 AND topic = $2 AND part = $3::bigint::int"
                      " AND id = $4::uuid"};

/* Of a life that is still there. The same life may try again, and is counted again then. */
static const struct pg_stmt forgive_attempt = {
    "forgive_attempt", "UPDATE handler_attempt SET lives = lives - 1, epoch = CASE epoch WHEN $5::bigint "
                       "THEN epoch - 1 ELSE epoch END"
                       " WHERE grp = $1 AND topic = $2 AND part = $3::bigint::int AND id = $4::uuid"
                       " AND set_config('synchronous_commit', 'off', true) = 'off'"};

void suspect_begin(struct partition *p, int64_t crashes, int64_t head)
{
    bool suspect = crashes >= CRASHES_SUSPECT && !mutant(MUTANT_SUSPECT);
    int64_t last = head < p->seq + BATCH_MAX ? head : p->seq + BATCH_MAX;
    p->suspect_commands = suspect && p->commands;
    p->suspect_seq = suspect ? last : 0;
}

static bool is_suspect(const struct item *item)
{
    const struct partition *p = item->at;
    return item->entry->command ? p->suspect_commands : p->skipped < p->suspect_seq;
}

/* A lane is suspect as a whole, also what this read brought behind the suspect part of it: events must not be
 * flushed before those that stand before them. */
size_t suspect_apart(struct worker *w, struct item **items, size_t n)
{
    struct item **suspects = NULL;
    size_t kept = 0, moved = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_suspect(items[i])) {
            items[kept++] = items[i];
            continue;
        }
        if (!suspects)
            suspects = arena_array(w->arena, struct item *, n);
        suspects[moved++] = items[i];
    }
    if (moved)
        memcpy(items + kept, suspects, moved * sizeof(*suspects));
    return kept;
}

static err write_attempt(struct worker *w, const struct item *item, const struct pg_stmt *stmt,
                         struct pg_result **ret)
{
    struct pg_param params[] = {pg_text(str_of(w->group->name)), pg_text(str_of(topic_name(item->at->topic))),
                                pg_int(item->at->part), pg_uuid(item->message.id), pg_int(item->at->epoch)};
    return pg_call(w->pg, stmt, 5, params, ret);
}

static err note(struct worker *w, struct item *item)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(write_attempt(w, item, &note_attempt, &r));
    item->attempted = true;
    if (FAULT(RUNNER_SUSPECT))
        return FAIL(PG_DOWN, "fault injected before a suspect message");
    if (pg_get_int(r, 0, 0) <= LIVES_MAX)
        return OK;
    log_error("a message ended its handlers and is parked", kv("group", w->group->name),
              kv("type", item->entry->envelope.type), kv("id", item->message.id));
    item->fate = ITEM_PARK;
    item->poison = true;
    item->park_reason = "crash";
    item->park_detail = arena_printf(w->arena, "it was in hand when its handler ended, %d times", LIVES_MAX);
    return OK;
}

/* The handler came back, so it is not what its message ends: the flush failed, since the lease ran out on a
 * machine that is too busy, or the servers went away. When this cannot be written either, the life counts. */
static void forgive(struct worker *w, const struct item *item)
{
    err e = write_attempt(w, item, &forgive_attempt, NULL);
    if (failed(e))
        log_info("an attempt stays noted", kv("group", w->group->name), kv("why", err_text(e)));
}

static err process_suspect(struct worker *w, struct item *item)
{
    err e = item->fate == ITEM_HANDLE ? note(w, item) : OK;
    if (!failed(e))
        e = worker_process_one(w, item);
    if (failed(e) && item->attempted && pg_is_up(w->pg))
        forgive(w, item);
    return e;
}

/* Waits for its turn, but not for ever: false at until_ms of the monotonic clock. */
static bool take_turn(int64_t until_ms)
{
    const struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
    return pthread_mutex_clocklock(&in_hand, CLOCK_MONOTONIC, &until) == 0;
}

err suspect_process(struct worker *w, struct item **items, size_t n)
{
    int64_t until_ms = clock_mono_ms() + lease_period_ms();
    for (size_t i = 0; i < n; i++) {
        bool late = i > 0 && clock_mono_ms() >= until_ms;
        if (stands_still(&w->standstill) || late || !take_turn(until_ms)) {
            worker_leave(items + i, n - i);
            return OK;
        }
        err e = process_suspect(w, items[i]);
        pthread_mutex_unlock(&in_hand);
        TRY(e);
    }
    return OK;
}

void suspect_queue(struct worker *w, struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct item *item = b->items[i];
        struct pg_param params[] = {pg_text(str_of(w->group->name)),
                                    pg_text(str_of(topic_name(item->at->topic))), pg_int(item->at->part),
                                    pg_uuid(item->message.id)};
        if (item->attempted)
            pg_queue(w->pg, &forget_attempt, 4, params, NULL, NULL);
    }
}

void suspect_end(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++)
        if (!w->parts[i].history)
            w->parts[i].suspect_commands = false;
}
