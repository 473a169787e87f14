#include "tests/support/ctl.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"

enum { LOOK_MS = 10, PATIENCE_MS = 30000 };

_printf_(2, 0) static struct ctl_run *run(struct bus *bus, const char *words, va_list list)
{
    struct ctl_run *run = arena_new_of(bus->arena, struct ctl_run);
    char line[8192];
    int n = snprintf(line, sizeof(line), "%s/daydreamctl ", DAYDREAM_BIN_DIR);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, words, list);
    snprintf(line + n, sizeof(line) - (size_t)n, " 2>&1");
    FILE *pipe = popen(line, "r");
    if (!pipe)
        abort();
    run->text[fread(run->text, 1, sizeof(run->text) - 1, pipe)] = 0;
    int status = pclose(pipe);
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return run;
}

struct ctl_run *ctl_run(struct bus *bus, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    struct ctl_run *r = run(bus, words, list);
    va_end(list);
    return r;
}

struct ctl_run *ctl_expect(struct bus *bus, int status, const char *text, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    struct ctl_run *r = run(bus, words, list);
    va_end(list);
    if (r->status == status && strstr(r->text, text))
        return r;
    fprintf(stderr, "daydreamctl %s: exit %d, expected %d and '%s':\n%s\n", words, r->status, status, text,
            r->text);
    abort();
}

/* ---- ended by a signal ---- */

struct child {
    pid_t pid;
    int out;
};

_printf_(2, 0) static struct child begin(struct bus *bus, const char *words, va_list list)
{
    char line[8192];
    int ends[2], n = snprintf(line, sizeof(line), "exec %s/daydreamctl ", DAYDREAM_BIN_DIR);
    (void)bus;
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, words, list);
    snprintf(line + n, sizeof(line) - (size_t)n, " 2>&1");
    if (pipe(ends) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return (struct child){pid, ends[0]};
}

static void send(struct bus *bus, const struct child *child, int signal_number,
                 bool (*there)(struct bus *bus))
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!there(bus)) {
        if (clock_mono_ms() > until) {
            fprintf(stderr, "daydreamctl does not come to where the signal is for it\n");
            abort();
        }
        clock_sleep_ms(LOOK_MS);
    }
    kill(child->pid, signal_number);
}

static struct ctl_run *end(struct bus *bus, const struct child *child)
{
    struct ctl_run *run = arena_new_of(bus->arena, struct ctl_run);
    size_t n = 0;
    int status;
    for (ssize_t m; (m = read(child->out, run->text + n, sizeof(run->text) - 1 - n)) > 0; n += (size_t)m)
        ;
    close(child->out);
    if (waitpid(child->pid, &status, 0) != child->pid)
        abort();
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return run;
}

struct ctl_run *ctl_signalled(struct bus *bus, int signal_number, bool (*there)(struct bus *bus),
                              const char *words, ...)
{
    va_list list;
    va_start(list, words);
    struct child child = begin(bus, words, list);
    va_end(list);
    send(bus, &child, signal_number, there);
    return end(bus, &child);
}

static bool somebody_waits(struct bus *bus)
{
    return bus_query(bus, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0;
}

struct ctl_run *ctl_signalled_at(struct bus *bus, int signal_number, const char *table, const char *words,
                                 ...)
{
    struct pg *locker = bus_pg(bus);
    struct str lock = arena_printf(bus->arena, "DO $$ BEGIN LOCK TABLE %s; END $$", table);
    va_list list;
    pg_queue_text(locker, lock.p, 0, NULL, NULL, NULL); /* without a Sync: its transaction stays open */
    bus_must(pg_wait(locker, PATIENCE_MS));
    va_start(list, words);
    struct child child = begin(bus, words, list);
    va_end(list);
    send(bus, &child, signal_number, somebody_waits);
    pg_sync(locker, NULL, NULL);
    bus_must(pg_wait(locker, PATIENCE_MS));
    return end(bus, &child);
}
