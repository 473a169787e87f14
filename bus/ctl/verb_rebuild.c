/*
 * bus rebuild: builds a group's tables anew from the log and puts them in the place of the live ones. The
 * handlers are in daydream-consumers, which does the work as a child of this program; here is what an
 * operator sees of it, read from the rows the child leaves (migration 0012). So --status from another
 * terminal shows the same, and a rebuild that was killed goes on when the same command is given again.
 */
#include <inttypes.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/ctl/errand.h"

enum { LINE_MS = 5000 };
enum { DIFFERS = 4 }; /* how the child ends when a comparison found something (consumers/rebuild.h) */

static const struct pg_stmt select_rebuild = {
    "ctl_rebuild", "SELECT generation, purpose, state, begun_ms, coalesce(ended_ms, 0), result"
                   " FROM rebuild WHERE grp = $1"};
static const struct pg_stmt select_positions = {
    "ctl_rebuild_positions", "SELECT topic, part, seq, CASE WHEN $2 THEN live ELSE head END"
                             " FROM rebuild_positions($1)"};
static const struct pg_stmt lock_rebuild = {
    "ctl_rebuild_lock", "SELECT pg_try_advisory_lock(hashtext('daydream rebuild'), hashtext($1))"};
static const struct pg_stmt end_rebuild = {"ctl_rebuild_end",
                                           "SELECT rebuild_end($1, 'abandoned', NULL, $2::bigint)"};

struct look {
    bool known, verify;
    int64_t generation, begun_ms, ended_ms, done, total;
    struct str state, result; /* as long as the arena */
    struct pg_result *positions;
};

static err look(struct ctl *ctl, struct look *ret)
{
    struct pg_param params[] = {pg_text(str_of(ctl->args[0])), pg_bool(false)};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    *ret = (struct look){.known = false};
    TRY(pg_call(ctl->pg, &select_rebuild, 1, params, &r));
    if (pg_rows(r) == 0)
        return OK;
    *ret = (struct look){.known = true,
                         .verify = str_is(pg_get_str(r, 0, 1), "verify"),
                         .generation = pg_get_int(r, 0, 0),
                         .begun_ms = pg_get_int(r, 0, 3),
                         .ended_ms = pg_get_int(r, 0, 4),
                         .state = arena_str(ctl->arena, pg_get_str(r, 0, 2)),
                         .result = arena_str(ctl->arena, pg_get_str(r, 0, 5))};
    params[1] = pg_bool(ret->verify); /* a comparison goes as far as the live group */
    TRY(pg_call(ctl->pg, &select_positions, 2, params, &ret->positions));
    for (int i = 0; i < pg_rows(ret->positions); i++) {
        ret->done += pg_get_int(ret->positions, i, 2);
        ret->total += pg_get_int(ret->positions, i, 3);
    }
    return OK;
}

/* ---- how far it is ---- */

struct progress {
    int64_t first_done, first_ms, line_ms; /* at the first look; when the last line was printed */
    bool terminal;
};

/* One line that is overwritten on a terminal, a line every few seconds in a pipe. */
static void show_progress(struct progress *p, const struct look *l)
{
    int64_t now = clock_mono_ms(), spent = now - p->first_ms;
    int64_t rate = spent > 0 ? (l->done - p->first_done) * 1000 / spent : 0;
    int64_t left = l->total > l->done ? l->total - l->done : 0;
    if (!p->terminal && now - p->line_ms < LINE_MS)
        return;
    p->line_ms = now;
    fprintf(stderr, "%s%" PRId64 " of %" PRId64 " events (%d %%), %" PRId64 " events/s, ",
            p->terminal ? "\r" : "", l->done, l->total, (int)(l->total ? l->done * 100 / l->total : 100),
            rate);
    if (left && rate)
        fprintf(stderr, "%" PRId64 " s left", left / rate);
    else
        fputs(left ? "counting" : "at the end", stderr);
    fputs(p->terminal ? "\033[K" : "\n", stderr);
}

static err look_on(struct ctl *ctl, void *data)
{
    struct progress *p = data;
    struct look l;
    TRY(look(ctl, &l));
    if (l.known && str_is(l.state, "filling")) {
        if (!p->first_ms) {
            p->first_ms = clock_mono_ms();
            p->first_done = l.done;
            p->line_ms = p->first_ms - LINE_MS;
        }
        show_progress(p, &l);
    }
    pg_result_free(l.positions);
    return OK;
}

/* ---- the child ---- */

static err run_child(struct ctl *ctl, int *ret)
{
    struct progress p = {.terminal = isatty(STDERR_FILENO)};
    const char *words[ERRAND_WORDS] = {"--rebuild", ctl->args[0]};
    size_t n = 2;
    if (ctl_option(ctl, "verify"))
        words[n++] = "--verify";
    if (ctl_option(ctl, "force"))
        words[n++] = "--force";
    if (ctl_option(ctl, "rate")) {
        words[n++] = "--rate";
        words[n++] = ctl_option(ctl, "rate");
    }
    err e = errand_run(ctl, words, look_on, &p, ret);
    if (p.first_ms && p.terminal)
        fputs("\n", stderr);
    return e;
}

/* ---- what came of it ---- */

static void print_comparison(struct ctl *ctl, struct str result)
{
    struct json_in in = json_in(result, ctl->arena);
    bool first = true, more;
    if (failed(json_enter(&in, JSON_ARRAY)))
        return;
    while (!failed(json_next(&in, &first, &more, NULL)) && more) {
        struct str table;
        if (failed(json_skip(&in, &table)))
            return;
        struct arena *a = ctl->arena;
        bool same = str_is(json_member(table, "same", a), "true");
        printf("%-24.*s %-7s live %" PRId64 " rows %.*s, rebuilt %" PRId64 " rows %.*s\n",
               STR_ARG(json_member_str(table, "table", a)), same ? "same" : "DIFFERS",
               json_member_int(table, "rows", 0, a), STR_ARG(json_member_str(table, "hash", a)),
               json_member_int(table, "rebuilt_rows", 0, a),
               STR_ARG(json_member_str(table, "rebuilt_hash", a)));
    }
}

static void print_json(struct ctl *ctl, const struct look *l)
{
    struct buf b = buf_new(ctl->arena, 1024);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "group", str_of(ctl->args[0]));
    json_kint(&j, "generation", l->generation);
    json_kstr(&j, "purpose", l->verify ? STR("verify") : STR("swap"));
    json_kstr(&j, "state", l->state);
    json_ktime(&j, "begun", l->begun_ms);
    if (l->ended_ms)
        json_ktime(&j, "ended", l->ended_ms);
    if (pg_rows(l->positions)) {
        json_kint(&j, "events", l->done);
        json_kint(&j, "total", l->total);
    }
    if (l->result.n)
        json_kraw(&j, "tables", l->result);
    json_close(&j, '}');
    ctl_print_json(&b);
}

static void print_look(struct ctl *ctl, const struct look *l)
{
    static const struct {
        const char *state, *sentence;
    } sentences[] = {
        {"filling", "is being filled, or waits for the same command to go on"},
        {"swapped", "is live; the old tables wait to be dropped by the same command"},
        {"done", "is done"},
        {"abandoned", "was abandoned"},
    };
    const char *sentence = "";
    for (size_t i = 0; i < sizeof(sentences) / sizeof(*sentences); i++)
        if (str_is(l->state, sentences[i].state))
            sentence = sentences[i].sentence;
    printf("%s of %s, generation %" PRId64 ", %s", l->verify ? "comparison" : "rebuild", ctl->args[0],
           l->generation, sentence);
    if (l->ended_ms)
        printf(" (%" PRId64 " ms)", l->ended_ms - l->begun_ms);
    putchar('\n');
    for (int i = 0; i < pg_rows(l->positions); i++)
        printf("  %.*s.%02d %10" PRId64 " of %10" PRId64 "\n", STR_ARG(pg_get_str(l->positions, i, 0)),
               (int)pg_get_int(l->positions, i, 1), pg_get_int(l->positions, i, 2),
               pg_get_int(l->positions, i, 3));
    if (l->verify && l->result.n)
        print_comparison(ctl, l->result);
}

static err show(struct ctl *ctl, enum ctl_exit *ret)
{
    struct look l;
    TRY(look(ctl, &l));
    if (!l.known) {
        fprintf(stderr, "daydreamctl: %s was never rebuilt\n", ctl->args[0]);
        *ret = CTL_FINDINGS;
    } else if (ctl->json) {
        print_json(ctl, &l);
    } else {
        print_look(ctl, &l);
    }
    pg_result_free(l.positions);
    return OK;
}

/* ---- the verb ---- */

/* Whoever fills holds the lock: abandoning is for what nobody works at. */
static err abandon(struct ctl *ctl, enum ctl_exit *ret)
{
    struct pg_param params[] = {pg_text(str_of(ctl->args[0])), pg_int(clock_ms())};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct look l;
    TRY(pg_call(ctl->pg, &lock_rebuild, 1, params, &r));
    if (!pg_get_bool(r, 0, 0))
        return FAIL(CONFLICT, "%s is being rebuilt; end that command first (Ctrl-C)", ctl->args[0]);
    TRY(look(ctl, &l));
    pg_result_free(l.positions);
    if (l.known && str_is(l.state, "filling"))
        return pg_call(ctl->pg, &end_rebuild, 2, params, NULL);
    fprintf(stderr, "daydreamctl: there is no rebuild of %s to abandon\n", ctl->args[0]);
    *ret = CTL_FINDINGS;
    return OK;
}

static err rebuild(struct ctl *ctl, enum ctl_exit *ret)
{
    int64_t rate;
    TRY(ctl_option_int(ctl, "rate", 1, 1000000000, 0, &rate));
    TRY(ctl_connect(ctl, CTL_PG));
    if (ctl_option(ctl, "abandon"))
        return abandon(ctl, ret);
    if (ctl_option(ctl, "status"))
        return show(ctl, ret);
    int status;
    TRY(run_child(ctl, &status));
    *ret = status == DIFFERS ? CTL_FINDINGS : (enum ctl_exit)status;
    enum ctl_exit shown;
    return status == CTL_OK || status == DIFFERS ? show(ctl, &shown) : OK;
}

enum ctl_exit run_bus_rebuild(struct ctl *ctl)
{
    enum ctl_exit status = CTL_OK;
    err e = rebuild(ctl, &status);
    return failed(e) ? ctl_fail(e) : status;
}
