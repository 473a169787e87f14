/*
 * Positions. A commit says from where to where each partition moves and at which epoch (subscriber_commit in
 * migration 0019): as a statement of its own, inside dds_each()'s transaction, or as text for a transaction
 * of the caller's. A commit whose reply is lost is no question: the next turn shows what the rows say.
 */
#include "bus/subscriber/internal.h"

#include "bus/base/clock.h"

static const struct pg_stmt commit_moves = {
    "dds_commit",
    "SELECT subscriber_commit($1::text, $2::text[], $3::bigint[]::int[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::bigint[])"};
static const char commit_text[] = "SELECT subscriber_commit($1::text, $2::text[], $3::int[], $4::bigint[], "
                                  "$5::bigint[], $6::bigint[], $7::bigint[])";

enum { COMMIT_MS = 30000, VALUES = 7 };

struct move *sub_moves(struct dds *sub, bool drift, size_t *ret_n)
{
    struct move *moves = arena_array(sub->scratch, struct move, sub->n_places + 1);
    *ret_n = 0;
    for (size_t i = 0; i < sub->n_places; i++) {
        struct place *place = &sub->places[i];
        if (place->owned && place->given > place->seq && !(drift && place->owing))
            moves[(*ret_n)++] = (struct move){place, place->given, place->given_ms};
    }
    return moves;
}

void sub_queue_moves(struct dds *sub, const struct move *moves, size_t n)
{
    struct pg_array topics_of = pg_array(sub->scratch, PG_TEXT, (int)n),
                    parts = pg_array(sub->scratch, PG_INT8, (int)n),
                    epochs = pg_array(sub->scratch, PG_INT8, (int)n),
                    froms = pg_array(sub->scratch, PG_INT8, (int)n),
                    tos = pg_array(sub->scratch, PG_INT8, (int)n),
                    mss = pg_array(sub->scratch, PG_INT8, (int)n);
    for (size_t i = 0; i < n; i++) {
        pg_array_text(&topics_of, str_of(topic_name(moves[i].place->topic)));
        pg_array_int(&parts, moves[i].place->part);
        pg_array_int(&epochs, moves[i].place->epoch);
        pg_array_int(&froms, moves[i].place->seq);
        pg_array_int(&tos, moves[i].to);
        pg_array_int(&mss, moves[i].to_ms);
    }
    const struct pg_param params[VALUES] = {pg_text(str_of(sub->name)), pg_array_param(&topics_of),
                                            pg_array_param(&parts),     pg_array_param(&epochs),
                                            pg_array_param(&froms),     pg_array_param(&tos),
                                            pg_array_param(&mss)};
    pg_queue(sub->pg, &commit_moves, VALUES, params, NULL, NULL);
}

void sub_moved(struct dds *sub, const struct move *moves, size_t n)
{
    (void)sub;
    for (size_t i = 0; i < n; i++) {
        moves[i].place->seq = moves[i].to;
        moves[i].place->ms = moves[i].to_ms;
        moves[i].place->owing = moves[i].place->owing && moves[i].place->given > moves[i].to;
    }
}

err sub_commit_moves(struct dds *sub, const struct move *moves, size_t n)
{
    sub_queue_moves(sub, moves, n);
    pg_sync(sub->pg, NULL, NULL);
    TRY(pg_wait(sub->pg, COMMIT_MS));
    sub_moved(sub, moves, n);
    return OK;
}

/* ---- public ---- */

static int lost(struct dds *sub)
{
    sub->lost = false;
    sub_forget(sub);
    return sub_status(sub, FAIL(FENCED, "partitions of %s went to another instance", sub->name));
}

/* What every failed call does; a fence voids all that is in hand. */
static int failed_call(struct dds *sub, err e)
{
    int status = sub_status(sub, e);
    sub_down(sub, e);
    if (e.code == ERR_FENCED) {
        sub->stats.fenced++;
        sub_forget(sub);
    }
    return status;
}

/* A caller who takes his time over what was fetched together keeps his leases. When that fails, what is in
 * the queue is as good as before. */
static void renew(struct dds *sub)
{
    arena_reset(sub->scratch);
    err e = sub_up(sub);
    if (failed(e))
        sub_down(sub, e);
}

int dds_next(struct dds *sub, int timeout_ms, const struct dds_event **ret)
{
    *ret = NULL;
    if (sub->offering)
        return sub_misuse(sub, "dds_settle() must come first");
    sub->error[0] = 0;
    if (!sub->lost && sub->at == sub->n_queue) {
        err e = sub_fetch(sub, clock_mono_ms() + timeout_ms);
        if (failed(e))
            return failed_call(sub, e);
    } else if (!sub->lost && clock_mono_ms() >= sub->next_turn_ms) {
        renew(sub);
    }
    if (sub->lost)
        return lost(sub);
    if (sub->at == sub->n_queue)
        return DDS_TIMEOUT;
    *ret = sub_take(sub);
    return DDS_OK;
}

static err commit_all(struct dds *sub)
{
    size_t n;
    arena_reset(sub->scratch);
    TRY(sub_up(sub));
    struct move *moves = sub_moves(sub, false, &n);
    return n && !sub->lost ? sub_commit_moves(sub, moves, n) : OK;
}

int dds_commit(struct dds *sub)
{
    if (sub->offering)
        return sub_misuse(sub, "dds_settle() must come first");
    err e = commit_all(sub);
    if (failed(e))
        return failed_call(sub, e);
    return sub->lost ? lost(sub) : sub_status(sub, OK);
}

int dds_keep(struct dds *sub)
{
    if (sub->offering)
        return sub_misuse(sub, "dds_settle() must come first");
    arena_reset(sub->scratch);
    err e = sub_up(sub);
    if (failed(e))
        return failed_call(sub, e);
    return sub->lost ? lost(sub) : sub_status(sub, OK);
}

void dds_rewind(struct dds *sub)
{
    sub->offering = false;
    sub_forget(sub);
}

/* ---- in a transaction of the caller's ---- */

/* "{1,2,3}": names of topics need no quotes. */
static struct buf array_text(struct dds *sub, const struct move *moves, size_t n, int which)
{
    struct buf b = buf_new(sub->scratch, 16 * n + 2);
    for (size_t i = 0; i < n; i++) {
        const struct move *m = &moves[i];
        const int64_t numbers[] = {m->place->part, m->place->epoch, m->place->seq, m->to, m->to_ms};
        buf_char(&b, i ? ',' : '{');
        if (which == 0)
            buf_lit(&b, topic_name(m->place->topic));
        else
            buf_int(&b, numbers[which - 1]);
    }
    buf_char(&b, '}');
    return b;
}

int dds_offset(struct dds *sub, struct dds_statement *ret)
{
    size_t n;
    *ret = (struct dds_statement){.sql = "SELECT"};
    if (sub->offering)
        return sub_misuse(sub, "dds_settle() must come first");
    if (sub->lost)
        return lost(sub);
    arena_reset(sub->scratch);
    struct move *moves = sub_moves(sub, false, &n);
    sub->offering = true;
    if (n) {
        const char **values = arena_array(sub->scratch, const char *, VALUES);
        values[0] = sub->name;
        for (int i = 1; i < VALUES; i++)
            values[i] = array_text(sub, moves, n, i - 1).p;
        *ret = (struct dds_statement){.sql = commit_text, .n = VALUES, .values = values};
    }
    return sub_status(sub, OK);
}

int dds_settle(struct dds *sub, enum dds_outcome outcome)
{
    if (!sub->offering)
        return sub_misuse(sub, "dds_offset() must come first");
    sub->offering = false;
    arena_reset(sub->scratch);
    if (outcome == DDS_COMMITTED) {
        size_t n;
        struct move *moves = sub_moves(sub, false, &n);
        sub_moved(sub, moves, n);
        return sub_status(sub, OK);
    }
    /* Before PostgreSQL is asked, since it may not answer, and what was given would pass for done at the next
     * dds_offset(). Then the rows decide, and the epoch too: rolled back may mean that somebody else owns a
     * partition now. */
    sub_forget(sub);
    sub->next_turn_ms = 0;
    err e = sub_up(sub);
    return failed(e) ? failed_call(sub, e) : sub_status(sub, OK);
}
