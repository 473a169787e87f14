/*
 * Which partitions are ours. One statement says that we live, renews, gives back and takes (subscriber_turn
 * in migration 0019); its answer is the only thing believed. Safety does not rest on the lease but on the
 * epoch in every commit: an instance that was only slow finds its next commit void.
 */
#include "bus/subscriber/internal.h"

#include "bus/base/clock.h"

static const struct pg_stmt take_turn = {
    "dds_turn",
    "SELECT topic, part, epoch, seq, ms FROM subscriber_turn($1::text, $2::text, $3::bigint, $4::boolean,"
    " $5::text[], $6::bigint[], $7::bigint[], $8::text[])"};
static const struct pg_stmt leave = {"dds_leave", "SELECT subscriber_leave($1::text, $2::text)"};

struct place *sub_place(const struct dds *sub, enum topic topic, int part)
{
    for (size_t i = 0; i < sub->n_places; i++)
        if (sub->places[i].topic == topic && sub->places[i].part == part)
            return &sub->places[i];
    return NULL;
}

void sub_forget(struct dds *sub)
{
    sub->at = sub->n_queue = 0;
    for (size_t i = 0; i < sub->n_places; i++) {
        struct place *place = &sub->places[i];
        place->given = place->seen = place->seq;
        place->given_ms = place->seen_ms = place->ms;
        place->queued = 0;
        place->owing = false;
    }
}

static bool in_hand(const struct place *place)
{
    return place->owing || place->queued > 0;
}

static bool idle(const struct dds *sub)
{
    for (size_t i = 0; i < sub->n_places; i++)
        if (in_hand(&sub->places[i]))
            return false;
    return true;
}

/* As the row says it. Renewed at our epoch: what is in hand stays in hand, and a commit whose reply was lost
 * shows here. Taken anew, or by a database that came back without its last moments: reading starts behind
 * what is committed. */
static void adopt(struct dds *sub, struct place *place, int64_t epoch, int64_t seq, int64_t ms)
{
    place->returned = true;
    if (place->owned && place->epoch == epoch && seq == place->seq)
        return;
    if (place->owned && place->epoch == epoch && seq > place->seq && seq <= place->given) {
        place->owing = place->owing && seq < place->given;
        place->seq = seq;
        place->ms = ms;
        return;
    }
    sub->lost |= in_hand(place);
    place->owned = true;
    place->epoch = epoch;
    place->seq = place->given = place->seen = seq;
    place->ms = place->given_ms = place->seen_ms = ms;
    place->behind = false;
}

static void drop_lost(struct dds *sub)
{
    for (size_t i = 0; i < sub->n_places; i++) {
        struct place *place = &sub->places[i];
        if (!place->returned && place->owned) {
            sub->lost |= in_hand(place);
            place->owned = false;
        }
    }
    if (sub->lost) {
        sub->stats.fenced++;
        sub_forget(sub);
    }
}

err sub_turn(struct dds *sub)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array topics_of = pg_array(sub->scratch, PG_TEXT, (int)sub->n_places),
                    parts = pg_array(sub->scratch, PG_INT8, (int)sub->n_places),
                    epochs = pg_array(sub->scratch, PG_INT8, (int)sub->n_places),
                    wants = pg_array(sub->scratch, PG_TEXT, TOPIC_COUNT);
    for (size_t i = 0; i < sub->n_places; i++) {
        struct place *place = &sub->places[i];
        if (place->part == 0)
            pg_array_text(&wants, str_of(topic_name(place->topic)));
        place->returned = false;
        if (!place->owned)
            continue;
        pg_array_text(&topics_of, str_of(topic_name(place->topic)));
        pg_array_int(&parts, place->part);
        pg_array_int(&epochs, place->epoch);
    }
    const struct pg_param params[] = {pg_text(str_of(sub->name)), pg_text(str_of(sub->instance)),
                                      pg_int(sub->lease_ms),      pg_bool(idle(sub)),
                                      pg_array_param(&topics_of), pg_array_param(&parts),
                                      pg_array_param(&epochs),    pg_array_param(&wants)};
    TRY(pg_call(sub->pg, &take_turn, 8, params, &result));
    for (int i = 0; i < pg_rows(result); i++) {
        struct place *place =
            sub_place(sub, topic_find(pg_get_str(result, i, 0)), (int)pg_get_int(result, i, 1));
        if (place)
            adopt(sub, place, pg_get_int(result, i, 2), pg_get_int(result, i, 3), pg_get_int(result, i, 4));
    }
    drop_lost(sub);
    sub->next_turn_ms = clock_mono_ms() + sub->lease_ms / TURN_SHARE;
    return OK;
}

/* Best effort: what is not given back runs out. */
void sub_give_back(struct dds *sub)
{
    const struct pg_param params[] = {pg_text(str_of(sub->name)), pg_text(str_of(sub->instance))};
    if (sub->pg && pg_is_up(sub->pg) && sub->n_places) {
        err e = pg_call(sub->pg, &leave, 2, params, NULL);
        (void)e;
    }
}
