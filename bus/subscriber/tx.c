/*
 * Exactly once: the statements of the caller's function are collected first and sent then, behind the fence,
 * as one transaction. Nothing of them is on the server while the function runs, so a function that refuses,
 * or a program that is killed in it, leaves nothing behind.
 */
#include "bus/subscriber/internal.h"

#include "bus/base/clock.h"

enum { TX_MS = 30000 };

struct statement {
    const char *sql;
    int n;
    const char *const *values;
};

struct dds_tx {
    struct dds *sub;
    struct statement *list;
    size_t n;
    bool misused;
};

int dds_exec(struct dds_tx *tx, const char *sql, int n, const char *const *values)
{
    struct arena *arena = tx->sub->scratch;
    if (tx->n == DDS_STATEMENT_MAX || n < 0 || n > DDS_PARAMS_MAX) {
        tx->misused = true;
        return sub_misuse(tx->sub, "more statements or parameters than a transaction may have");
    }
    const char **copies = arena_array(arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        copies[i] = values[i] ? arena_cstr(arena, str_of(values[i])) : NULL;
    tx->list[tx->n++] = (struct statement){arena_cstr(arena, str_of(sql)), n, copies};
    return DDS_OK;
}

/* The fence first: whoever lost a partition waits for nothing else. */
static err send(struct dds *sub, const struct dds_tx *tx)
{
    size_t n;
    struct move *moves = sub_moves(sub, false, &n);
    if (n)
        sub_queue_moves(sub, moves, n);
    for (size_t i = 0; i < tx->n; i++)
        pg_queue_text(sub->pg, tx->list[i].sql, tx->list[i].n, tx->list[i].values, NULL, NULL);
    pg_sync(sub->pg, NULL, NULL);
    TRY(pg_wait(sub->pg, TX_MS));
    sub_moved(sub, moves, n);
    return OK;
}

/* Every event of the queue, in the order in which they were fetched. */
static const struct dds_event **take_all(struct dds *sub, size_t *ret_n)
{
    const struct dds_event **events = arena_array(sub->scratch, const struct dds_event *, sub->n_queue + 1);
    for (*ret_n = 0; sub->at < sub->n_queue;)
        events[(*ret_n)++] = sub_take(sub);
    return events;
}

static bool owes(const struct dds *sub)
{
    for (size_t i = 0; i < sub->n_places; i++)
        if (sub->places[i].owing)
            return true;
    return false;
}

static int call(struct dds *sub, dds_fn *fn, void *context, err *ret)
{
    size_t n;
    arena_reset(sub->scratch);
    struct dds_tx tx = {.sub = sub, .list = arena_array(sub->scratch, struct statement, DDS_STATEMENT_MAX)};
    const struct dds_event **events = take_all(sub, &n);
    if (fn(context, &tx, events, n) != 0) {
        sub_forget(sub);
        sub_misuse(sub, "the function refused its events");
        return DDS_STOPPED;
    }
    if (tx.misused) {
        sub_forget(sub);
        return DDS_MISUSE;
    }
    *ret = send(sub, &tx);
    return DDS_OK;
}

int dds_each(struct dds *sub, int timeout_ms, dds_fn *fn, void *context)
{
    if (sub->offering || owes(sub))
        return sub_misuse(sub, "events that dds_next() returned are not committed yet");
    err e = sub->at < sub->n_queue || sub->lost ? OK : sub_fetch(sub, clock_mono_ms() + timeout_ms);
    if (!failed(e) && sub->lost) {
        sub->lost = false; /* nothing of it had been handed out */
        sub_forget(sub);
    }
    if (!failed(e) && sub->at == sub->n_queue)
        return sub_status(sub, OK) == DDS_OK ? DDS_TIMEOUT : DDS_DOWN;
    int status = failed(e) ? DDS_OK : call(sub, fn, context, &e);
    if (status != DDS_OK)
        return status;
    if (!failed(e))
        return sub_status(sub, OK);
    status = sub_status(sub, e);
    sub->stats.fenced += e.code == ERR_FENCED;
    sub_down(sub, e); /* void or not, the rows say: the next turn asks them */
    sub_forget(sub);
    return status;
}
