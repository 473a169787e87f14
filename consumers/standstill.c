/*
 * Waiting for a fact. A command that misses a fact of another aggregate (a product its group has not heard of
 * yet) is not refused on a guess: when this group has not passed the heads of that topic, the batch is cut
 * before the command and its command lanes stand still, while the event lanes go on, so no cycle can form.
 * Once the heads are passed the command is asked again and must decide; after two seconds it is refused with
 * 503.
 */
#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "consumers/worker.h"

enum { STANDSTILL_MS = 2000, LOOK_MS = 5, FORGET_MS = 5000 };

static const struct pg_stmt read_positions = {
    "read_positions", "SELECT h.part, h.seq, coalesce(o.seq, 0) FROM stream_head h"
                      " LEFT JOIN consumer_offset o ON o.grp = $1 AND o.topic = h.topic AND o.part = h.part"
                      " WHERE h.topic = $2"};

static err positions(struct worker *w, enum topic topic, struct pg_result **ret)
{
    struct pg_param params[] = {pg_text(str_of(w->group->name)), pg_text(str_of(topic_name(topic)))};
    return pg_call(w->pg, &read_positions, 2, params, ret);
}

/* Where the group is: for partitions of this worker events that were passed over count, though not committed
 * yet. */
static int64_t position(const struct worker *w, enum topic topic, int part, int64_t committed)
{
    const struct partition *p = worker_partition(w, topic, part);
    return p && p->owned && p->skipped > committed ? p->skipped : committed;
}

err standstill_check(struct worker *w, enum topic topic, bool *ret_caught_up)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(positions(w, topic, &r));
    *ret_caught_up = true;
    memset(w->standstill.seqs, 0, sizeof(w->standstill.seqs));
    for (int i = 0; i < pg_rows(r); i++) {
        int part = (int)pg_get_int(r, i, 0);
        w->standstill.seqs[part] = pg_get_int(r, i, 1);
        if (position(w, topic, part, pg_get_int(r, i, 2)) < pg_get_int(r, i, 1))
            *ret_caught_up = false;
    }
    return OK;
}

void standstill_begin(struct worker *w, const struct item *item, enum topic topic)
{
    struct standstill *s = &w->standstill;
    s->active = true;
    s->passed = s->late = s->met = false;
    s->id = item->message.id;
    s->at = item->message.command || item->letter ? NULL : item->at;
    s->topic = topic;
    s->deadline_ms = clock_mono_ms() + STANDSTILL_MS;
    s->next_look_ms = clock_mono_ms();
}

/* The message that waited is read again: it decides now, or is refused when its fact did not come in time. */
void standstill_meet(struct worker *w, struct item *item)
{
    struct standstill *s = &w->standstill;
    if (!s->active || (!s->passed && !s->late) || !uuid_eq(s->id, item->message.id))
        return;
    item->settled = true;
    if (!s->passed && item->message.command && item->fate == ITEM_HANDLE)
        item->fate = ITEM_LATE;
    s->met = true;
}

/* Over when a batch with the message has been decided, or when the message does not come back (its lane was
 * lost). */
void standstill_end(struct worker *w)
{
    struct standstill *s = &w->standstill;
    if (s->active && (s->met || clock_mono_ms() > s->deadline_ms + FORGET_MS))
        s->active = false;
}

err standstill_look(struct worker *w)
{
    struct standstill *s = &w->standstill;
    if (!stands_still(s) || clock_mono_ms() < s->next_look_ms)
        return OK;
    s->next_look_ms = clock_mono_ms() + LOOK_MS;
    s->late = clock_mono_ms() >= s->deadline_ms;
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(positions(w, s->topic, &r));
    for (int i = 0; i < pg_rows(r); i++) {
        int part = (int)pg_get_int(r, i, 0);
        if (position(w, s->topic, part, pg_get_int(r, i, 2)) < s->seqs[part])
            return OK;
    }
    s->passed = true;
    return OK;
}
