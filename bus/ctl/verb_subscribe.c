/*
 * events subscribe: every event of some types to a command, or to standard output, built on the subscriber
 * library alone (bus/subscriber). The position moves when the command has exited 0, or has answered "ok", and
 * not before; until then it is given the same events again, at a growing distance. One batch is in hand at a
 * time, so the order of the log is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/ctl/ctl.h"
#include "bus/subscriber/daydream/bus.h"

enum {
    WAIT_MS = 500,
    BACKOFF_MS = 100,
    BACKOFF_CAP_MS = 30000,
    BATCH_MAX = 1000,
    ANSWER_MAX = 256,
    ATTRIBUTES = 16
};

enum fate { FATE_DONE, FATE_AGAIN, FATE_GONE }; /* gone: another instance has the partitions now */

struct subscription {
    struct ctl *ctl;
    struct dds *sub;
    const char *exec, *pipe; /* commands for sh, or NULL */
    bool env;                /* attributes as environment, data alone on standard input */
    int64_t batch, left;     /* left: events until the end, -1: for ever */
    struct arena *arena;     /* of the batch in hand */
    struct buf lines;        /* one JSON text each */
    int64_t n;
    char *environment[ATTRIBUTES + 1]; /* EVENT_…, of a batch of one */
    pid_t piped;                       /* the long-lived process, 0: none */
    int to, from;                      /* its standard input and output */
    struct buf answer;                 /* what it said and was not read yet */
    bool told;                         /* the failure in hand was told */
};

/* ---- the batch ---- */

static void set_environment(struct subscription *s, const struct dds_event *e)
{
    const struct {
        const char *name, *value;
    } attributes[] = {
        {"ID", e->id},
        {"TYPE", e->type},
        {"SOURCE", e->source},
        {"SUBJECT", e->subject},
        {"TIME", e->time},
        {"KEY", e->partitionkey},
        {"ACTOR", e->actor},
        {"CORRELATIONID", e->correlationid},
        {"CAUSATIONID", e->causationid},
        {"TOPIC", e->topic},
        {"TRACEPARENT", e->traceparent},
        {"DATASCHEMA", e->dataschema},
    };
    size_t n = sizeof(attributes) / sizeof(*attributes);
    for (size_t i = 0; i < n; i++) {
        struct str pair = arena_printf(s->arena, "EVENT_%s=%s", attributes[i].name, attributes[i].value);
        s->environment[i] = arena_alloc(s->arena, pair.n + 1);
        memcpy(s->environment[i], pair.p, pair.n);
    }
    s->environment[n] = NULL;
}

static void take(struct subscription *s, const struct dds_event *e)
{
    if (s->env) {
        set_environment(s, e);
        buf_put(&s->lines, e->data, e->data_len);
    } else {
        size_t n = dds_event_json(e, NULL, 0);
        dds_event_json(e, buf_room(&s->lines, n), n + 1);
        buf_took(&s->lines, n);
    }
    buf_char(&s->lines, '\n');
    s->n++;
}

/* Waits for one, then takes what else is there. */
static int collect(struct subscription *s)
{
    const struct dds_event *event;
    arena_reset(s->arena);
    s->lines = buf_new(s->arena, 4096);
    s->n = 0;
    int status = dds_next(s->sub, WAIT_MS, &event);
    while (status == DDS_OK) {
        take(s, event);
        if (s->n == s->batch || s->n == s->left)
            return DDS_OK;
        status = dds_next(s->sub, 0, &event);
    }
    return status < 0 ? status : DDS_OK;
}

/* Keeps the leases while something is waited for; false when they are gone. */
static bool keep(struct subscription *s)
{
    return dds_keep(s->sub) != DDS_FENCED;
}

/* ---- a process for each batch ---- */

static void become(const char *command, int in, int out, char *const *environment)
{
    signal(SIGPIPE, SIG_DFL);
    for (size_t i = 0; environment && environment[i]; i++)
        putenv(environment[i]);
    if (dup2(in, STDIN_FILENO) >= 0 && (out < 0 || dup2(out, STDOUT_FILENO) >= 0))
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* What a process reads need not fit into a pipe, nor be read at all: it is a file in memory. -1: no room. */
static int file_of(const struct buf *b)
{
    int fd = memfd_create("events", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < b->n;) {
        ssize_t n = write(fd, b->p + at, b->n - at);
        if (n < 0 && errno != EINTR) {
            close(fd);
            return -1;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Until the process has ended. A signal to stop goes to it, once; how it ends still counts. */
static enum fate await(struct subscription *s, pid_t pid)
{
    int fd = pidfd_open(pid, 0), status = 0;
    bool gone = false, passed_on = false;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (fd >= 0 && poll(&p, 1, WAIT_MS) <= 0) {
        gone = gone || !keep(s);
        if (ctl_stop && !passed_on) {
            passed_on = true;
            kill(pid, SIGTERM);
        }
    }
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (gone)
        return FATE_GONE;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? FATE_DONE : FATE_AGAIN;
}

static enum fate run_exec(struct subscription *s)
{
    int in = file_of(&s->lines);
    pid_t pid = in < 0 ? -1 : fork();
    if (pid == 0)
        become(s->exec, in, -1, s->env ? s->environment : NULL);
    if (in >= 0)
        close(in);
    return pid < 0 ? FATE_AGAIN : await(s, pid);
}

/* ---- one process for all ---- */

static void end_piped(struct subscription *s)
{
    if (s->piped == 0)
        return;
    close(s->to);
    close(s->from);
    kill(s->piped, SIGTERM);
    while (waitpid(s->piped, NULL, 0) < 0 && errno == EINTR)
        continue;
    s->piped = 0;
}

static bool begin_piped(struct subscription *s)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
        return false;
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return false;
    }
    s->piped = fork();
    if (s->piped == 0)
        become(s->pipe, in[0], out[1], NULL);
    close(in[0]);
    close(out[1]);
    s->to = in[1];
    s->from = out[0];
    s->answer.n = 0;
    fcntl(s->to, F_SETFL, O_NONBLOCK);
    return s->piped > 0;
}

/* How many lines are answered so far: those that begin with "ok", up to the first other one. */
static int64_t answered(const struct subscription *s, bool *ret_refused)
{
    int64_t n = 0;
    struct str rest = buf_view(&s->answer);
    for (size_t end; (end = str_find(rest, '\n')) < rest.n; rest = str_slice(rest, end + 1, rest.n)) {
        if (!str_starts(rest, STR("ok")))
            *ret_refused = true;
        n++;
    }
    return n;
}

/* Writes what the pipe takes, reads what is said; false: the process is gone or talks too much. */
static bool converse(struct subscription *s, size_t *at)
{
    char text[4096];
    struct pollfd p[2] = {{.fd = s->from, .events = POLLIN},
                          {.fd = *at < s->lines.n ? s->to : -1, .events = POLLOUT}};
    if (poll(p, 2, WAIT_MS) <= 0)
        return true;
    if (p[1].revents) {
        ssize_t n = write(s->to, s->lines.p + *at, s->lines.n - *at);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        *at += n > 0 ? (size_t)n : 0;
    }
    if (p[0].revents) {
        ssize_t n = read(s->from, text, sizeof(text));
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        buf_put(&s->answer, text, n > 0 ? (size_t)n : 0);
    }
    return s->answer.n <= (size_t)s->n * ANSWER_MAX;
}

/* A process that refused, died or is out of step is replaced by a new one. */
static enum fate run_pipe(struct subscription *s)
{
    size_t at = 0;
    bool refused = false;
    if (s->piped == 0 && !begin_piped(s)) {
        s->piped = 0;
        return FATE_AGAIN;
    }
    s->answer = buf_new(s->arena, ANSWER_MAX);
    while (answered(s, &refused) < s->n && !refused) {
        bool there = converse(s, &at), kept = keep(s);
        if (!there || !kept || ctl_stop) {
            end_piped(s);
            return kept ? FATE_AGAIN : FATE_GONE;
        }
    }
    if (refused)
        end_piped(s);
    return refused ? FATE_AGAIN : FATE_DONE;
}

static enum fate run_print(const struct subscription *s)
{
    fwrite(s->lines.p, 1, s->lines.n, stdout);
    return fflush(stdout) == 0 ? FATE_DONE : FATE_AGAIN;
}

/* ---- the loop ---- */

static void tell(struct subscription *s, const char *what, const char *why)
{
    if (!s->told)
        fprintf(stderr, "daydreamctl: %s%s%s\n", what, *why ? ": " : "", why);
    s->told = true;
}

/* Pauses in steps that keep the leases and hear the signal to stop. */
static bool rest(struct subscription *s, int attempt)
{
    int64_t until =
        clock_mono_ms() + BACKOFF_MS + backoff_ms(attempt < 9 ? attempt : 9, BACKOFF_MS, BACKOFF_CAP_MS);
    for (int64_t now; !ctl_stop && (now = clock_mono_ms()) < until;) {
        clock_sleep_ms(until - now < WAIT_MS ? until - now : WAIT_MS);
        if (!keep(s))
            return false;
    }
    return true;
}

static enum fate hand_over(struct subscription *s)
{
    for (int attempt = 0;; attempt++) {
        enum fate fate = s->exec ? run_exec(s) : s->pipe ? run_pipe(s) : run_print(s);
        if (fate != FATE_AGAIN || ctl_stop)
            return fate;
        if (!s->exec && !s->pipe) {
            ctl_stop = true; /* nobody reads standard output any more */
            return fate;
        }
        tell(s, "the command did not take its events; it gets them again", "");
        if (!rest(s, attempt))
            return FATE_GONE;
    }
}

/* Committed, or taken over by another instance: then they may be given out twice. */
static int commit(struct subscription *s)
{
    int status = dds_commit(s->sub);
    for (int attempt = 0; status == DDS_DOWN && !ctl_stop; attempt++) {
        tell(s, "the position cannot be moved; it is tried again", dds_error(s->sub));
        clock_sleep_ms(BACKOFF_MS + backoff_ms(attempt < 6 ? attempt : 6, BACKOFF_MS, 5000));
        status = dds_commit(s->sub);
    }
    return status;
}

static int turn(struct subscription *s)
{
    int status = collect(s);
    if (status == DDS_DOWN) {
        tell(s, "waiting", dds_error(s->sub));
        clock_sleep_ms(BACKOFF_MS);
    }
    if (s->n && status == DDS_OK) {
        enum fate fate = hand_over(s);
        status = fate == FATE_DONE ? commit(s) : DDS_OK;
        if (fate == FATE_AGAIN)
            dds_rewind(s->sub);
        if (fate == FATE_DONE && s->left > 0)
            s->left -= s->n;
    } else if (s->n) {
        dds_rewind(s->sub); /* nothing of it was handed out */
    }
    s->told = s->told && status != DDS_OK;
    return status == DDS_DOWN || status == DDS_FENCED ? DDS_OK : status;
}

static enum ctl_exit subscribe(struct subscription *s, const struct dds_options *options)
{
    char why[DDS_ERROR_MAX];
    int status = dds_open(options, &s->sub, why, sizeof(why));
    if (status != DDS_OK) {
        fprintf(stderr, "daydreamctl: %s\n", why);
        return status == DDS_DOWN ? CTL_INFRASTRUCTURE : CTL_FINDINGS;
    }
    signal(SIGPIPE, SIG_IGN);
    while (status == DDS_OK && !ctl_stop && s->left != 0)
        status = turn(s);
    if (status != DDS_OK)
        fprintf(stderr, "daydreamctl: %s\n", dds_error(s->sub));
    end_piped(s);
    dds_close(s->sub);
    return status == DDS_OK ? CTL_OK : CTL_FINDINGS;
}

enum ctl_exit run_events_subscribe(struct ctl *ctl)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    const char *format = ctl_option(ctl, "format");
    struct subscription s = {.ctl = ctl,
                             .exec = ctl_option(ctl, "exec"),
                             .pipe = ctl_option(ctl, "pipe"),
                             .env = format && strcmp(format, "env") == 0,
                             .arena = arena};
    err e = ctl_option_int(ctl, "batch", 1, BATCH_MAX, 1, &s.batch);
    if (!failed(e))
        e = ctl_option_int(ctl, "max", 1, INT64_MAX, -1, &s.left);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    if (!ctl_option(ctl, "name") || (s.exec && s.pipe) || (s.env && (!s.exec || s.batch > 1)) ||
        (format && !s.env && strcmp(format, "json") != 0))
        return ctl_usage(ctl,
                         "--name is needed; --exec or --pipe, not both; --format json, or env for --exec of"
                         " single events");
    if (failed(e = conf_require(SET_DATABASE_URL)) || failed(e = conf_require(SET_REDIS_URL)))
        return ctl_fail(e);
    ctl_catch_signals();
    const struct dds_options options = {DDS_OPTIONS,
                                        .database_url = conf_str(SET_DATABASE_URL).p,
                                        .redis_url = conf_str(SET_REDIS_URL).p,
                                        .name = ctl_option(ctl, "name"),
                                        .owner = "daydreamctl events subscribe",
                                        .types = ctl_option(ctl, "types"),
                                        .start = ctl_option(ctl, "from"),
                                        .lease_ms = (int)conf_int(SET_LEASE_MS)};
    return subscribe(&s, &options);
}
