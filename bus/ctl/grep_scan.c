/*
 * Reading the log in the order of time across its partitions: a merge. Each partition is read in steps from
 * its own end; the filter runs in PostgreSQL, so only what matches comes here. A match may be told once no
 * partition can bring one that comes before it any more: the barrier is the place up to which all of them
 * have been read.
 */
#include <stdlib.h>

#include "bus/ctl/grep.h"

enum { STEP_FIRST = 64, STEP_MAX = 4096, SIDES_AT_ONCE = 8 };

/* One partition's way. */
struct side {
    struct span left; /* not read yet */
    int64_t step;
    bool begun;
    struct place reach; /* the last event read; what is left comes behind it */
};

struct scan {
    struct grep *grep;
    struct side *sides;
    size_t n;
    struct event *matches;
    size_t n_matches, cap;
};

static bool done(const struct side *side)
{
    return side->left.low > side->left.high;
}

/* ---- where to begin ---- */

/* The lowest time that still counts as behind the place, for a partition that is not the place's own. */
static int64_t bound_of(const struct grep *grep, const struct span *span)
{
    const struct place *p = &grep->after;
    int lane = str_cmp(str_of(topic_name(span->topic)), p->topic);
    if (lane == 0)
        lane = (span->part > p->part) - (span->part < p->part);
    return grep->oldest ? p->ms + (lane < 0) : p->ms + (lane <= 0);
}

static bool is_own(const struct grep *grep, const struct span *span)
{
    return span->part == grep->after.part && str_is(grep->after.topic, topic_name(span->topic));
}

/* Cuts what is before `from` or behind `to`. */
static err cut(struct grep *grep, struct span *spans, size_t n, int64_t *ms, bool front)
{
    int64_t *seq = arena_array(grep->arena, int64_t, n + 1);
    TRY(span_seek(grep->ctl, spans, n, ms, grep->arena, seq));
    for (size_t i = 0; i < n; i++)
        if (front)
            spans[i].low = seq[i];
        else
            spans[i].high = seq[i] - 1;
    return OK;
}

static err cut_after(struct grep *grep, struct span *spans, size_t n)
{
    int64_t *ms = arena_array(grep->arena, int64_t, n + 1), seq = grep->after.seq;
    for (size_t i = 0; i < n; i++)
        ms[i] = bound_of(grep, &spans[i]);
    TRY(cut(grep, spans, n, ms, grep->oldest));
    for (size_t i = 0; i < n; i++) {
        if (!is_own(grep, &spans[i]))
            continue;
        if (grep->oldest && spans[i].low <= seq)
            spans[i].low = seq + 1;
        if (!grep->oldest && spans[i].high >= seq)
            spans[i].high = seq - 1;
    }
    return OK;
}

static err begin(struct scan *scan)
{
    struct grep *grep = scan->grep;
    struct span *spans;
    TRY(span_whole(grep->ctl, grep->types.p ? &grep->filter : NULL, grep->arena, &spans, &scan->n));
    int64_t *ms = arena_array(grep->arena, int64_t, scan->n + 1);
    for (size_t i = 0; i < scan->n; i++)
        ms[i] = grep->from_ms;
    if (grep->from_ms > 0)
        TRY(cut(grep, spans, scan->n, ms, true));
    for (size_t i = 0; i < scan->n; i++)
        ms[i] = grep->to_ms + 1;
    if (grep->to_ms < INT64_MAX - 1)
        TRY(cut(grep, spans, scan->n, ms, false));
    if (grep->has_after)
        TRY(cut_after(grep, spans, scan->n));
    scan->sides = arena_array(grep->arena, struct side, scan->n + 1);
    for (size_t i = 0; i < scan->n; i++)
        scan->sides[i] = (struct side){.left = spans[i], .step = STEP_FIRST};
    return OK;
}

/* ---- a round ---- */

/* Who has not begun, then who has come least far: only they hold the barrier back. */
static int by_need(const void *a, const void *b, void *grep)
{
    const struct side *x = a, *y = b;
    if (done(x) != done(y))
        return done(x) ? 1 : -1;
    if (x->begun != y->begun)
        return x->begun ? 1 : -1;
    return x->begun ? place_cmp(grep, &x->reach, &y->reach) : 0;
}

/* Takes the next step off what is left. */
static struct span take_step(const struct grep *grep, struct side *side)
{
    struct span step = side->left;
    if (grep->oldest) {
        step.high = step.high - step.low < side->step ? step.high : step.low + side->step - 1;
        side->left.low = step.high + 1;
    } else {
        step.low = step.high - step.low < side->step ? step.low : step.high - side->step + 1;
        side->left.high = step.low - 1;
    }
    side->step = side->step * 2 < STEP_MAX ? side->step * 2 : STEP_MAX;
    return step;
}

static const struct pg_stmt select_matches = {
    "ctl_grep_scan",
    "SELECT " SPAN_COLUMNS " FROM unnest($9::text[], $10::bigint[], $11::bigint[], $12::bigint[])"
    " AS x(topic, part, low, high) CROSS JOIN LATERAL (SELECT * FROM event_log l WHERE l.topic = x.topic"
    "  AND l.part = x.part::int AND l.seq >= x.low AND l.seq <= x.high ORDER BY l.seq LIMIT $13::bigint) e"
    " WHERE" GREP_WHERE};

static err read_matches(struct scan *scan, const struct span *steps, size_t n)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct grep *grep = scan->grep;
    struct pg_param params[GREP_FILTERS + 5];
    struct pg_array a[] = {pg_array(grep->arena, PG_TEXT, (int)n), pg_array(grep->arena, PG_INT8, (int)n),
                           pg_array(grep->arena, PG_INT8, (int)n), pg_array(grep->arena, PG_INT8, (int)n)};
    for (size_t i = 0; i < n; i++) {
        pg_array_text(&a[0], str_of(topic_name(steps[i].topic)));
        pg_array_int(&a[1], steps[i].part);
        pg_array_int(&a[2], steps[i].low);
        pg_array_int(&a[3], steps[i].high);
    }
    grep_filters(grep, params);
    for (int i = 0; i < 4; i++)
        params[GREP_FILTERS + i] = pg_array_param(&a[i]);
    params[GREP_FILTERS + 4] = pg_int(STEP_MAX);
    TRY(pg_call(grep->ctl->pg, &select_matches, GREP_FILTERS + 5, params, &r));
    size_t m;
    struct event *events = span_events(r, grep->arena, &m);
    if (scan->n_matches + m > scan->cap) {
        size_t from = scan->cap * sizeof(*events);
        scan->cap = 2 * (scan->n_matches + m);
        scan->matches = arena_grow(grep->arena, scan->matches, from, scan->cap * sizeof(*events));
    }
    if (m)
        memcpy(scan->matches + scan->n_matches, events, m * sizeof(*events));
    scan->n_matches += m;
    return OK;
}

static err read_round(struct scan *scan)
{
    struct grep *grep = scan->grep;
    struct span steps[SIDES_AT_ONCE];
    int64_t edges[SIDES_AT_ONCE], seq[SIDES_AT_ONCE], ms[SIDES_AT_ONCE];
    size_t n = 0;
    qsort_r(scan->sides, scan->n, sizeof(*scan->sides), by_need, grep);
    for (; n < SIDES_AT_ONCE && n < scan->n && !done(&scan->sides[n]); n++) {
        steps[n] = take_step(grep, &scan->sides[n]);
        edges[n] = grep->oldest ? steps[n].high : steps[n].low;
        grep->scanned += steps[n].high - steps[n].low + 1;
    }
    TRY(read_matches(scan, steps, n));
    TRY(span_probe(grep->ctl, steps, n, edges, grep->arena, seq, ms));
    for (size_t i = 0; i < n; i++) {
        struct side *side = &scan->sides[i];
        side->begun = true;
        side->reach = (struct place){ms[i], seq[i], str_of(topic_name(steps[i].topic)), steps[i].part};
        if (ms[i] < 0)
            side->left.high = side->left.low - 1; /* archived while we read: there is no more here */
    }
    return OK;
}

/* ---- what may be told ---- */

/* False when everything was read. */
static bool barrier(const struct scan *scan, struct place *ret)
{
    bool any = false;
    for (size_t i = 0; i < scan->n; i++) {
        const struct side *side = &scan->sides[i];
        if (done(side))
            continue;
        if (!any || place_cmp(scan->grep, &side->reach, ret) < 0)
            *ret = side->reach;
        any = true;
    }
    return any;
}

static bool all_begun(const struct scan *scan)
{
    for (size_t i = 0; i < scan->n; i++)
        if (!done(&scan->sides[i]) && !scan->sides[i].begun)
            return false;
    return true;
}

static size_t tellable(const struct scan *scan)
{
    struct place limit;
    size_t n = 0;
    if (!all_begun(scan))
        return 0;
    if (!barrier(scan, &limit))
        return scan->n_matches;
    for (size_t i = 0; i < scan->n_matches; i++) {
        struct place at = place_of(&scan->matches[i]);
        n += place_cmp(scan->grep, &at, &limit) <= 0;
    }
    return n;
}

static int by_place(const void *a, const void *b, void *grep)
{
    struct place x = place_of(a), y = place_of(b);
    return place_cmp(grep, &x, &y);
}

err grep_scan(struct grep *grep)
{
    struct scan scan = {.grep = grep};
    struct place unused;
    TRY(begin(&scan));
    while (barrier(&scan, &unused) && (!all_begun(&scan) || grep->scanned < grep->scan) &&
           tellable(&scan) < (size_t)grep->limit)
        TRY(read_round(&scan));
    size_t n = tellable(&scan), limit = (size_t)grep->limit;
    if (scan.n_matches)
        qsort_r(scan.matches, scan.n_matches, sizeof(*scan.matches), by_place, grep);
    grep->more = barrier(&scan, &grep->next) || n > limit;
    grep->found = scan.matches;
    grep->n = n < limit ? n : limit;
    if (n >= limit)
        grep->next = place_of(&grep->found[limit - 1]);
    return OK;
}
