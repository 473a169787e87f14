/*
 * The worker's side of a replay (docs/replay.md). The rows of `replay` say which events of which partitions
 * are handled again. The group's offset was sent back by whoever asked; here everything goes its usual way,
 * but an event with seq ≤ reset_seq was handled before: what its handler emits or asks for is dropped
 * (consumers/batch.c), and what lies outside of the range or the types asked for is passed over.
 */
#include "bus/base/clock.h"
#include "consumers/worker.h"

static const struct pg_stmt read_replays = {
    "read_replays", "SELECT topic, part, to_seq, reset_seq, types, rate FROM replays($1)"};

/* A pattern of another version of the program is none of ours: nothing is handled again for it, rather than
 * everything. */
static void set_replay(struct replay *replay, const struct pg_result *r, int row)
{
    replay->to_seq = pg_get_int(r, row, 2);
    replay->reset_seq = pg_get_int(r, row, 3);
    replay->rate = pg_get_int(r, row, 5);
    if (failed(type_filter_parse(pg_get_str(r, row, 4), &replay->types)))
        memset(&replay->types, 0, sizeof(replay->types));
}

err replay_load(struct worker *w)
{
    struct pg_param name = pg_text(str_of(w->group->name));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &read_replays, 1, &name, &r));
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].replay = NULL;
    for (int i = 0; i < pg_rows(r); i++) {
        struct partition *p = worker_partition(w, topic_find(pg_get_str(r, i, 0)), (int)pg_get_int(r, i, 1));
        if (!p)
            continue;
        p->replay = &w->replays_of[p - w->parts];
        set_replay(p->replay, r, i);
    }
    return OK;
}

void replay_mark(const struct worker *w, struct item *item)
{
    const struct replay *replay = item->at->replay;
    int64_t seq = item->entry->seq;
    if (item->entry->command)
        return;
    item->message.replay = w->replays || (replay && seq <= replay->reset_seq);
    if (!w->replays && item->message.replay &&
        (seq > replay->to_seq || !type_filter_wants(&replay->types, item->entry->envelope.type)))
        item->fate = ITEM_SKIP;
}

bool replay_may_read(const struct partition *p)
{
    return !p->replay || clock_mono_ms() >= p->replay->next_ms;
}

/* How many events of the partition were handled again in that batch. */
static int64_t replayed(const struct partition *p, struct item *const *items, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += items[i]->at == p && items[i]->message.replay && items[i]->fate == ITEM_HANDLE;
    return count;
}

void replay_pace(struct worker *w, struct item *const *items, size_t n)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct replay *replay = w->parts[i].replay;
        if (replay && replay->rate)
            replay->next_ms = clock_mono_ms() + replayed(&w->parts[i], items, n) * 1000 / replay->rate;
    }
}
