/*
 * bus replay: sends a group back in the log, so that it handles a range of its events again on top of its
 * rows. daydream-consumers knows the groups: as a child of this program it says what would be handled again,
 * refuses, or writes down what is asked for (consumers/replay_ask.c). The group's own workers do it; here one
 * only looks on, and may stop looking.
 */
#include <inttypes.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/ctl/errand.h"

enum { LOOK_MS = 200, LINE_MS = 5000 };

static const struct pg_stmt select_replay = {
    "ctl_replay",
    "SELECT coalesce(sum(o.seq - r.from_seq + 1), 0)::bigint,"
    " coalesce(sum(r.reset_seq - r.from_seq + 1), 0)::bigint FROM replay r JOIN consumer_offset o"
    " USING (grp, topic, part) WHERE r.grp = $1 AND o.seq < r.reset_seq"};

/* ---- asking ---- */

static err ask(struct ctl *ctl, int *ret)
{
    static const char *const passed_on[] = {"from", "to", "types", "rate"};
    const char *words[ERRAND_WORDS] = {"--replay", ctl->args[0]};
    size_t n = 2;
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
        if (ctl_option(ctl, passed_on[i])) {
            words[n++] = arena_printf(ctl->arena, "--%s", passed_on[i]).p;
            words[n++] = ctl_option(ctl, passed_on[i]);
        }
    if (ctl_option(ctl, "dry-run"))
        words[n++] = "--dry-run";
    if (ctl_option(ctl, "allow-effects"))
        words[n++] = "--force";
    if (ctl->json)
        words[n++] = "--json";
    return errand_run(ctl, words, NULL, NULL, ret);
}

/* ---- looking on ---- */

static err look(struct ctl *ctl, int64_t *ret_done, int64_t *ret_total)
{
    struct pg_param name = pg_text(str_of(ctl->args[0]));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(ctl->pg, &select_replay, 1, &name, &r));
    *ret_done = pg_get_int(r, 0, 0);
    *ret_total = pg_get_int(r, 0, 1);
    return OK;
}

/* Until every partition has passed where it was; Ctrl-C ends the looking, not the replay. */
static err look_on(struct ctl *ctl)
{
    int64_t done, total, first = 0, line_ms = 0;
    TRY(look(ctl, &done, &total));
    for (first = total; total > 0 && !ctl_stop;) {
        int64_t passed = first - (total - done); /* partitions that are through are not counted any more */
        if (isatty(STDERR_FILENO))
            ctl_progress("replaying", passed, first);
        else if (clock_mono_ms() - line_ms >= LINE_MS) {
            fprintf(stderr, "replaying: %" PRId64 " of %" PRId64 " events\n", passed, first);
            line_ms = clock_mono_ms();
        }
        clock_sleep_ms(LOOK_MS);
        TRY(look(ctl, &done, &total));
    }
    if (total > 0)
        return FAIL(UNAVAILABLE, "stopped before its end; the replay of %s goes on by itself", ctl->args[0]);
    if (isatty(STDERR_FILENO) && first)
        ctl_progress("replaying", first, first);
    return OK;
}

static err replay(struct ctl *ctl, enum ctl_exit *ret)
{
    int64_t rate;
    int status;
    TRY(ctl_option_int(ctl, "rate", 1, 1000000000, 0, &rate));
    TRY(ctl_connect(ctl, CTL_PG));
    TRY(ask(ctl, &status));
    *ret = (enum ctl_exit)status;
    if (status != CTL_OK || ctl_option(ctl, "dry-run"))
        return OK;
    return look_on(ctl);
}

enum ctl_exit run_bus_replay(struct ctl *ctl)
{
    enum ctl_exit status = CTL_OK;
    if (!ctl_option(ctl, "from"))
        return ctl_usage(ctl, "bus replay needs --from");
    err e = replay(ctl, &status);
    return failed(e) ? ctl_fail(e) : status;
}
