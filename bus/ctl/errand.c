#include "bus/ctl/errand.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 200 };

/* daydream-consumers lies beside this program. */
static void become_consumers(const char *const *words)
{
    static const char name[] = "daydream-consumers";
    const char *argv[ERRAND_WORDS + 2] = {name};
    char path[4200];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name));
    for (size_t i = 0; words[i] && i < ERRAND_WORDS; i++)
        argv[i + 1] = words[i];
    while (length > 0 && path[length - 1] != '/')
        length--;
    memcpy(path + (length > 0 ? length : 0), name, sizeof(name));
    setenv("LOG_LEVEL", "error", 1); /* its log is not what the operator asked for */
    execv(path, (char **)(uintptr_t)argv);
    fprintf(stderr, "daydreamctl: %s cannot be run\n", path);
    _exit(CTL_INFRASTRUCTURE);
}

/* The child holds the other end of the pipe as long as it lives. */
static err watch(struct ctl *ctl, pid_t pid, int alive, err (*look)(struct ctl *ctl, void *data), void *data)
{
    struct pollfd end = {.fd = alive, .events = POLLIN};
    bool told = false;
    while (poll(&end, 1, LOOK_MS) <= 0 || !end.revents) {
        if (ctl_stop && !told)
            kill(pid, SIGTERM);
        told = ctl_stop;
        if (look)
            TRY(look(ctl, data));
    }
    return OK;
}

err errand_run(struct ctl *ctl, const char *const *words, err (*look)(struct ctl *ctl, void *data),
               void *data, int *ret)
{
    int ends[2], status = 0;
    ctl_catch_signals();
    fflush(stdout);
    if (pipe(ends) != 0)
        return FAIL(INTERNAL, "no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        become_consumers(words);
    }
    close(ends[1]);
    err e = pid < 0 ? FAIL(INTERNAL, "no child process") : watch(ctl, pid, ends[0], look, data);
    close(ends[0]);
    if (pid > 0) {
        if (failed(e))
            kill(pid, SIGTERM);
        waitpid(pid, &status, 0);
    }
    TRY(e);
    if (!WIFEXITED(status))
        return FAIL(UNAVAILABLE, "it ended by signal %d; the same command goes on where it was",
                    WTERMSIG(status));
    *ret = WEXITSTATUS(status);
    return OK;
}
