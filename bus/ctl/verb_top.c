/*
 * bus top: what the bus does now. On a terminal a picture a second, the partitions with the most to do first;
 * in a pipe, with --once or --json one look at everything. Rates are differences between two looks, so the
 * first has none. A server that does not answer is said in the picture, and asked again with the next.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/ctl/screen.h"
#include "bus/ctl/standing.h"

enum { EVERY_MS = 1000, HEAD_LINES = 4, LOOKS = 2 };

/* Two looks, so that there is something to compare with; each has an arena of its own. */
struct look {
    struct arena *arena;
    struct standing standing;
    int64_t mono_ms;
    bool good;
};

struct top {
    struct ctl *ctl;
    struct look looks[LOOKS];
    int now; /* index of the newest look */
};

/* What a row looks like for the eye. */
struct shown {
    const struct standing_row *row;
    double rate; /* events passed per second (without a group: appended); -1: not known */
};

struct sums {
    int64_t lag, lag_ms, backlog, oldest_ms, parked;
    double appended, passed; /* per second; -1: not known */
};

/* ---- rates ---- */

static const struct standing_row *same_row(const struct look *look, const struct standing_row *row)
{
    for (size_t i = 0; look->good && i < look->standing.n; i++) {
        const struct standing_row *other = &look->standing.rows[i];
        if (other->part == row->part && str_eq(other->topic, row->topic) && str_eq(other->grp, row->grp))
            return other;
    }
    return NULL;
}

static double per_second(const struct look *now, const struct look *before, int64_t n)
{
    int64_t ms = now->mono_ms - before->mono_ms;
    return ms > 0 ? (double)n * 1000.0 / (double)ms : 0;
}

static struct shown shown_of(const struct top *top, const struct standing_row *row)
{
    const struct look *now = &top->looks[top->now], *before = &top->looks[(top->now + 1) % LOOKS];
    const struct standing_row *then = same_row(before, row);
    struct shown shown = {row, -1};
    if (then)
        shown.rate =
            per_second(now, before, row->grp.p ? row->offset - then->offset : row->head - then->head);
    return shown;
}

/* Several groups read one partition: its head and its commands count once, with the first of its rows. */
static struct sums sum_up(const struct top *top)
{
    const struct look *now = &top->looks[top->now], *before = &top->looks[(top->now + 1) % LOOKS];
    struct sums sums = {.appended = before->good ? 0 : -1, .passed = before->good ? 0 : -1};
    for (size_t i = 0; i < now->standing.n; i++) {
        const struct standing_row *row = &now->standing.rows[i], *then = same_row(before, row);
        bool first = i == 0 || row[-1].part != row->part || !str_eq(row[-1].topic, row->topic);
        sums.lag += row->lag;
        sums.parked += row->parked;
        sums.lag_ms = row->lag_ms > sums.lag_ms ? row->lag_ms : sums.lag_ms;
        sums.oldest_ms = row->oldest_ms > sums.oldest_ms ? row->oldest_ms : sums.oldest_ms;
        sums.backlog += first && row->backlog > 0 ? row->backlog : 0;
        if (then && first)
            sums.appended += per_second(now, before, row->head - then->head);
        if (then)
            sums.passed += per_second(now, before, row->offset - then->offset);
    }
    return sums;
}

/* ---- as text ---- */

static void put_rate(struct buf *b, double rate)
{
    if (rate < 0)
        buf_printf(b, " %8s", "-");
    else
        buf_printf(b, " %8.*f", rate < 10 ? 1 : 0, rate);
}

static void put_row(struct buf *b, const struct shown *shown)
{
    const struct standing_row *r = shown->row;
    char behind[16], lane[64];
    standing_age(r->lag_ms, behind);
    snprintf(lane, sizeof(lane), "%.*s.%02d", STR_ARG(r->topic), r->part);
    buf_printf(b, "%-13s %-10.*s %10" PRId64 " %10" PRId64 " %8" PRId64 " %8s", lane,
               STR_ARG(r->grp.p ? r->grp : STR("-")), r->head, r->offset, r->lag, behind);
    put_rate(b, shown->rate);
    buf_printf(b, " %6" PRId64 " %6" PRId64 " %6" PRId64 " %7" PRId64 " %5" PRId64 "  %-24s %.*s%s\n",
               r->backlog, r->parked, r->gap_fetches, r->repeats, r->epoch, *r->last ? r->last : "-",
               STR_ARG(r->owner.p ? r->owner : STR("-")), r->lease_over ? " (lease is over)" : "");
}

static void put_head(struct buf *b, const struct top *top)
{
    struct sums sums = sum_up(top);
    char at[25], behind[16], oldest[16];
    clock_print(top->looks[top->now].standing.at_ms, at);
    standing_age(sums.lag_ms, behind);
    standing_age(sums.oldest_ms, oldest);
    buf_printf(b, "%s   events/s appended", at);
    put_rate(b, sums.appended);
    buf_lit(b, "   passed");
    put_rate(b, sums.passed);
    buf_printf(b,
               "\nlag %" PRId64 " events, oldest %s   commands waiting %" PRId64
               ", oldest %s   parked keys %" PRId64 "\n\n",
               sums.lag, behind, sums.backlog, oldest, sums.parked);
    buf_printf(b, "%-13s %-10s %10s %10s %8s %8s %8s %6s %6s %6s %7s %5s  %-24s %s\n", "partition", "group",
               "head", "offset", "lag", "behind", "events/s", "cmds", "parked", "gaps", "repeats", "epoch",
               "last id in Redis", "owner");
}

static int urgency(const void *a, const void *b)
{
    const struct shown *x = a, *y = b;
    int64_t n = y->row->lag + y->row->backlog + y->row->parked,
            m = x->row->lag + x->row->backlog + x->row->parked;
    if (n != m)
        return n > m ? 1 : -1;
    if (x->rate != y->rate)
        return y->rate > x->rate ? 1 : -1;
    return x->row < y->row ? -1 : 1;
}

/* lines: as many rows as fit, the most urgent; 0: all, in order. */
static void put_picture(struct buf *b, const struct top *top, size_t lines)
{
    const struct standing *s = &top->looks[top->now].standing;
    struct shown *rows = arena_array(b->arena, struct shown, s->n + 1);
    size_t most = lines > HEAD_LINES + 1 ? lines - HEAD_LINES - 1 : 1, n = lines && most < s->n ? most : s->n;
    for (size_t i = 0; i < s->n; i++)
        rows[i] = shown_of(top, &s->rows[i]);
    if (lines)
        qsort(rows, s->n, sizeof(*rows), urgency);
    put_head(b, top);
    for (size_t i = 0; i < n; i++)
        put_row(b, &rows[i]);
    if (n < s->n)
        buf_printf(b, "and %zu rows with less to do; q ends", s->n - n);
}

static void print_json(struct top *top)
{
    const struct standing *s = &top->looks[top->now].standing;
    struct buf b = buf_new(top->ctl->arena, 4096);
    struct json j = json_on(&b);
    struct sums sums = sum_up(top);
    json_open(&j, '{');
    json_ktime(&j, "at", s->at_ms);
    json_kint(&j, "lag", sums.lag);
    json_kint(&j, "commands", sums.backlog);
    json_kint(&j, "parked_keys", sums.parked);
    json_key(&j, "rows");
    json_open(&j, '[');
    for (size_t i = 0; i < s->n; i++) {
        json_open(&j, '{');
        standing_json(&j, &s->rows[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    ctl_print_json(&b);
}

/* ---- looking ---- */

static err look(struct top *top)
{
    struct ctl *ctl = top->ctl;
    struct look *next = &top->looks[(top->now + 1) % LOOKS];
    next->good = false;
    if (!pg_is_up(ctl->pg))
        TRY(pg_reopen(ctl->pg));
    if (!redis_is_up(ctl->redis))
        TRY(redis_reopen(ctl->redis));
    arena_reset(next->arena);
    TRY(standing_read(ctl, next->arena, &next->standing));
    next->mono_ms = clock_mono_ms();
    next->good = true;
    top->now = (top->now + 1) % LOOKS;
    return OK;
}

static void show(struct top *top, struct arena *arena)
{
    int lines, columns;
    err e = look(top);
    arena_reset(arena);
    struct buf b = buf_new(arena, 1 << 14);
    screen_size(&lines, &columns);
    if (failed(e))
        buf_printf(&b, "%s\nasked again every second; q ends", err_text(e));
    else
        put_picture(&b, top, (size_t)lines);
    screen_show(buf_view(&b));
}

static void watch(struct top *top)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    int key = 0;
    ctl_catch_signals();
    screen_begin();
    while (!ctl_stop && key != 'q' && key != 'Q') {
        show(top, arena);
        key = screen_key(EVERY_MS);
    }
    screen_end();
}

static err once(struct top *top)
{
    struct buf b = buf_new(top->ctl->arena, 1 << 14);
    TRY(look(top));
    if (top->ctl->json) {
        print_json(top);
        return OK;
    }
    put_picture(&b, top, 0);
    fwrite(b.p, 1, b.n, stdout);
    return OK;
}

enum ctl_exit run_bus_top(struct ctl *ctl)
{
    _cleanup_(arena_freep) struct arena *one = arena_new(SIZE_MAX), *two = arena_new(SIZE_MAX);
    struct top top = {.ctl = ctl, .looks = {{.arena = one}, {.arena = two}}};
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e) && !ctl->json && !ctl_option(ctl, "once") && screen_is_there())
        watch(&top);
    else if (!failed(e))
        e = once(&top);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}
