/*
 * See programs.h.
 */
#include "tests/support/programs.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/template.h"

enum { STOPPED_MS = 900 }; /* how long a crash point may stop a program that was asked to end */

const char *const program_names[PROGRAMS] = {"daydream-api", "daydream-consumers", "daydream-producers"};

/* What programs may inherit; nothing else of this process's environment reaches them. */
static const char *const inherited[] = {"PATH",          "TMPDIR",       "ASAN_OPTIONS",
                                        "UBSAN_OPTIONS", "LSAN_OPTIONS", NULL};

/* The programs of the build lie beside the one that runs now, also in a copy of the build. */
static void find_bin(struct programs *programs)
{
    ssize_t n = readlink("/proc/self/exe", programs->bin, sizeof(programs->bin) - 1);
    char *slash;

    assert(n > 0);
    programs->bin[n] = 0;
    slash = strrchr(programs->bin, '/');
    assert(slash);
    slash[1] = 0;
}

void programs_init(struct programs *programs, const char *dir, const char *logs)
{
    *programs = (struct programs){.lock = PTHREAD_MUTEX_INITIALIZER};
    snprintf(programs->dir, sizeof(programs->dir), "%s", dir);
    find_bin(programs);
    snprintf(programs->logs, sizeof(programs->logs), "%s", logs);
    for (int i = 0; inherited[i]; i++)
        if (getenv(inherited[i]))
            programs_setting(programs, inherited[i], getenv(inherited[i]));
}

void programs_deinit(struct programs *programs)
{
    for (enum program p = 0; p < PROGRAMS; p++)
        for (int i = 0; i < INSTANCES_MAX; i++)
            programs_kill(programs, p, i);
    for (size_t i = 0; i < programs->environment_n; i++)
        free(programs->environment[i]);
}

void programs_setting(struct programs *programs, const char *name, const char *value)
{
    char *setting;
    size_t i = 0, n = strlen(name);

    if (asprintf(&setting, "%s=%s", name, value) < 0)
        abort();
    while (i < programs->environment_n && strncmp(programs->environment[i], setting, n + 1) != 0)
        i++;
    assert(i < ENVIRONMENT_MAX);
    if (i == programs->environment_n)
        programs->environment_n++;
    else
        free(programs->environment[i]);
    programs->environment[i] = setting;
}

/* ---- starting: between fork and exec only what is safe when other threads held locks ---- */

void programs_exec(const struct programs *programs, const char *const *more, const char *const *argv)
{
    const char *environment[ENVIRONMENT_MAX + 8];
    char path[400];
    size_t n = 0;

    for (; n < programs->environment_n; n++)
        environment[n] = programs->environment[n];
    while (more && *more)
        environment[n++] = *more++;
    environment[n] = NULL;
    snprintf(path, sizeof(path), "%s%s", programs->bin, argv[0]);
    if (chdir(programs->dir) == 0)
        execve(path, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)environment);
    _exit(127);
}

static void spawn(struct programs *programs, enum program program, int i)
{
    struct child *child = &programs->children[program][i];
    bool faulty = i == 0 && !child->launched && programs->fault[program];
    char log[300], port[20], fault[200];
    const char *more[3] = {port, faulty ? fault : NULL, NULL};
    pid_t pid;

    snprintf(log, sizeof(log), "%s/%s-%d.log", programs->logs, program_names[program], i);
    snprintf(port, sizeof(port), "PORT=%d", programs->ports[i]);
    snprintf(fault, sizeof(fault), "FAULT=%s", faulty ? programs->fault[program] : "");
    pid = fork();
    if (pid == 0) {
        support_detach(log);
        programs_exec(programs, more, (const char *const[]){program_names[program], NULL});
    }
    assert(pid > 0);
    *child = (struct child){.pid = pid, .wanted = true, .launched = true};
}

void programs_launch(struct programs *programs, enum program program, int i)
{
    pthread_mutex_lock(&programs->lock);
    assert(i < INSTANCES_MAX);
    if (programs->children[program][i].pid == 0)
        spawn(programs, program, i);
    pthread_mutex_unlock(&programs->lock);
}

/* ---- ending ---- */

void programs_kill(struct programs *programs, enum program program, int i)
{
    struct child *child = &programs->children[program][i];

    pthread_mutex_lock(&programs->lock);
    child->wanted = false;
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        child->pid = 0;
    }
    pthread_mutex_unlock(&programs->lock);
}

/* A process ended by itself. Signal 9 is a crash point; any other signal, and an abort of a sanitizer, is a
 * bug. */
static void note_end(struct programs *programs, struct child *child, int status)
{
    child->pid = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        atomic_fetch_add(&programs->self_killed, 1);
    else if (WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
        size_t program = (size_t)(child - programs->children[0]) / INSTANCES_MAX;
        atomic_fetch_add(&programs->crashed, 1);
        fprintf(stderr, "%s crashed: %s %d\n", program_names[program],
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

void programs_signal(struct programs *programs, enum program program, int i, int signal)
{
    struct child *child = &programs->children[program][i];

    pthread_mutex_lock(&programs->lock);
    if (child->pid > 0) {
        child->paused = signal == SIGSTOP;
        kill(child->pid, signal);
    }
    pthread_mutex_unlock(&programs->lock);
}

/* ---- supervising ---- */

/* Notes what a child did by itself, and lets it go on when it stopped itself long enough ago. */
static bool look_after(struct programs *programs, struct child *child, int resume_after_ms)
{
    int status = 0;
    pid_t pid = child->pid > 0 ? waitpid(child->pid, &status, WNOHANG | WUNTRACED) : 0;

    if (pid > 0 && !WIFSTOPPED(status)) {
        note_end(programs, child, status);
    } else if (pid > 0 && !child->paused) {
        child->stopped_ms = shop_now_ms();
        atomic_fetch_add(&programs->self_stopped, 1);
    }
    if (child->pid == 0 || !child->stopped_ms || shop_now_ms() - child->stopped_ms < resume_after_ms)
        return false;
    child->stopped_ms = 0;
    kill(child->pid, SIGCONT);
    return true;
}

static bool turn_child(struct programs *programs, enum program program, int i, int resume_after_ms)
{
    struct child *child = &programs->children[program][i];
    bool resumed = look_after(programs, child, resume_after_ms);

    if (child->pid != 0 || !child->wanted)
        return resumed;
    spawn(programs, program, i);
    return true;
}

int programs_turn(struct programs *programs, int resume_after_ms)
{
    int n = 0;

    pthread_mutex_lock(&programs->lock);
    for (enum program p = 0; p < PROGRAMS; p++)
        for (int i = 0; i < INSTANCES_MAX; i++)
            n += turn_child(programs, p, i, resume_after_ms);
    pthread_mutex_unlock(&programs->lock);
    return n;
}

int64_t programs_end(struct programs *programs, enum program program, int i, int64_t within_ms)
{
    struct child *child = &programs->children[program][i];
    int64_t begin = shop_now_ms();
    bool ended = false;

    pthread_mutex_lock(&programs->lock);
    child->wanted = false;
    if (child->pid > 0)
        kill(child->pid, SIGTERM);
    pthread_mutex_unlock(&programs->lock);
    while (!ended && shop_now_ms() - begin < within_ms) {
        pthread_mutex_lock(&programs->lock);
        look_after(programs, child, STOPPED_MS);
        ended = child->pid == 0;
        pthread_mutex_unlock(&programs->lock);
        if (!ended)
            poll(NULL, 0, 2);
    }
    return ended ? shop_now_ms() - begin : -1;
}
