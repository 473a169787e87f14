/*
 * What verbs share: connections, failures, progress, signals.
 */
#include <signal.h>
#include <unistd.h>

#include "bus/base/conf.h"
#include "bus/ctl/ctl.h"
#include "bus/meta.h"

volatile bool ctl_stop;

static void on_signal(int number)
{
    (void)number;
    ctl_stop = true;
}

void ctl_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

enum ctl_exit ctl_fail(err e)
{
    fprintf(stderr, "daydreamctl: %s\n", err_text(e));
    return err_class_of(e.code) == ERR_CLASS_RETRY ? CTL_INFRASTRUCTURE : CTL_FINDINGS;
}

err ctl_connect(struct ctl *ctl, enum ctl_need need)
{
    TRY(conf_require(SET_DATABASE_URL));
    TRY(pg_open_within(conf_str(SET_DATABASE_URL).p, NULL, NULL, PG_PATIENT_MS, &ctl->pg));
    if (need == CTL_PG)
        return OK;
    TRY(conf_require(SET_REDIS_URL));
    TRY(redis_open_within(conf_str(SET_REDIS_URL).p, REDIS_PATIENT_MS, &ctl->redis));
    return meta_check(ctl->pg, ctl->redis);
}

void ctl_progress(const char *what, int64_t done, int64_t total)
{
    static int shown = -1;
    if (!isatty(STDERR_FILENO))
        return;
    int percent = total > 0 ? (int)(done * 100 / total) : 100;
    if (percent != shown || done == total)
        fprintf(stderr, "\r%s %3d %% (%lld of %lld)%s", what, percent, (long long)done, (long long)total,
                done == total ? "\n" : "");
    shown = done == total ? -1 : percent;
}

void ctl_print_json(const struct buf *b)
{
    fwrite(b->p, 1, b->n, stdout);
    fputc('\n', stdout);
}
