/* Starting, ending and clearing away the processes of child.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compose/child.h"
#include "compose/home.h"

#define LONG_LIFE_MS 2000 /* who lived that long is started again at once */
#define MAX_PAUSE_MS 1000

static const char *pid_file(const struct child *c)
{
    static char name[64];

    snprintf(name, sizeof(name), "run/%s.pid", c->name);
    return name;
}

static void open_streams(const struct child *c)
{
    char name[64];
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out;

    snprintf(name, sizeof(name), "log/%s.log", c->name);
    dup2(in, 0);
    if (c->terminal)
        return;
    out = openat(home.dir, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (out < 0)
        die("cannot open %s/%s: %s", home.path, name, strerror(errno));
    dup2(out, 1);
    dup2(out, 2);
}

/* Servers need none of the shop's secrets, and what reads their memory or environment must not find them. */
static void strip_environment(void)
{
    const char *path = getenv("PATH"), *pgbin = getenv("DAYDREAM_PGBIN");

    clearenv();
    setenv("PATH", path ? path : "/usr/bin:/bin", 1);
    setenv("DAYDREAM_HOME", home.path, 1);
    setenv("LANG", "C.UTF-8", 1);
    if (pgbin)
        setenv("DAYDREAM_PGBIN", pgbin, 1);
}

static void become_postgres(void)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return;
    user = getpwnam("postgres");
    if (!user || initgroups("postgres", user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
        setuid(user->pw_uid) < 0)
        die("cannot become the user postgres");
}

/* The path of the working directory, or, when its user may not walk down to it (a home below a private
 * folder), the kernel's name of a descriptor opened before the user changed. PostgreSQL enters its folder and
 * stays there. */
static const char *data_folder(const struct child *c)
{
    static char path[PATH_MAX];
    int fd = open(".", O_RDONLY | O_DIRECTORY); /* inherited */

    snprintf(path, sizeof(path), "%s/%s", home.path, c->cwd);
    become_postgres();
    if (access(path, X_OK) < 0)
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chdir("/") == 0 ? path : NULL; /* PostgreSQL goes back to where it began, which must be allowed */
}

static void program_path(const struct child *c, char path[PATH_MAX])
{
    const char *pgbin = getenv("DAYDREAM_PGBIN");
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[n > 0 ? n : 0] = 0;
    if (c->place == OURS)
        snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - 100, dirname(self), c->argv[0]);
    else if (c->place == POSTGRES)
        snprintf(path, PATH_MAX, "%s/%s", pgbin ? pgbin : "/usr/lib/postgresql/15/bin", c->argv[0]);
    else
        snprintf(path, PATH_MAX, "%s", c->argv[0]);
}

/* In the child; never returns. The order matters: streams and folder while still root, the death signal after
 * the user has changed, since changing the user clears it. */
static void become(const struct child *c, pid_t parent)
{
    const char *argv[8] = {NULL};
    char path[PATH_MAX];
    sigset_t none;

    memcpy(argv, c->argv, sizeof(c->argv));
    setpgid(0, 0); /* Ctrl-C goes to the supervisor alone: it stops us in order */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    open_streams(c);
    program_path(c, path);
    argv[0] = path; /* PostgreSQL finds its files by the path it is called by */
    if (c->cwd && (fchdir(home.dir) < 0 || chdir(c->cwd) < 0))
        die("cannot enter %s/%s: %s", home.path, c->cwd, strerror(errno));
    if (c->kind == SERVER)
        strip_environment();
    if (c->place == POSTGRES)
        argv[2] = data_folder(c);
    prctl(PR_SET_PDEATHSIG, c->stop_signal);
    if (getppid() != parent)
        _exit(1);
    execvp(path, (char *const *)(uintptr_t)argv);
    die("cannot run %s: %s", path, strerror(errno));
}

void child_start(struct child *c)
{
    char text[20];
    pid_t parent = getpid(), pid = fork();

    c->started = now_ms();
    c->next = c->started + MAX_PAUSE_MS;
    if (pid < 0) {
        say("cannot start %s: %s", c->name, strerror(errno));
        return;
    }
    if (pid == 0)
        become(c, parent);
    c->pid = pid;
    c->up |= c->kind == PROGRAM;
    snprintf(text, sizeof(text), "%d\n", pid);
    home_write(pid_file(c), text);
}

/* Says why it ended, but not for ever: the log has every line. */
static void tell_end(const struct child *c, int status)
{
    const char *how = WIFSIGNALED(status) ? "signal" : "status";
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);

    if (c->failures <= 5 || c->failures % 60 == 0)
        say("%s ended (%s %d), starting it again; see %s/log/%s.log", c->name, how, number, home.path,
            c->name);
}

void child_ended(struct child *c, int status)
{
    bool long_life = now_ms() - c->started >= LONG_LIFE_MS;

    c->pid = 0;
    home_remove(pid_file(c));
    if (c->kind == STEP && status == 0) {
        c->up = true;
        return;
    }
    c->failures++;
    c->pause = long_life ? 0 : c->pause;
    c->next = now_ms() + c->pause;
    c->pause = c->pause < 50 ? 50 : c->pause * 2 > MAX_PAUSE_MS ? MAX_PAUSE_MS : c->pause * 2;
    tell_end(c, status);
}

void child_stop(struct child *c)
{
    int64_t deadline = now_ms() + c->patience_ms;
    bool forced = false;

    if (c->pid == 0)
        return;
    kill(c->pid, c->stop_signal);
    kill(c->pid, SIGCONT); /* it may have been stopped by hand */
    while (waitpid(c->pid, NULL, WNOHANG) == 0) {
        if (!forced && now_ms() > deadline) {
            say("%s does not end, killing it", c->name);
            forced = kill(c->pid, SIGKILL) == 0;
        }
        nap_ms(2);
    }
    c->pid = 0;
    home_remove(pid_file(c));
}

/* The pid in run/<name>.pid, and for PostgreSQL the one it wrote itself, whichever lives and is of this home.
 */
static pid_t leftover_pid(const struct child *c)
{
    char text[20], name[64];

    home_read(pid_file(c), text, sizeof(text));
    if (home_owns(atoi(text), c->cwd))
        return atoi(text);
    snprintf(name, sizeof(name), "%s/postmaster.pid", c->cwd ? c->cwd : "");
    if (c->place != POSTGRES || !home_read(name, text, sizeof(text)))
        return 0;
    if (home_owns(atoi(text), c->cwd))
        return atoi(text);
    if (atoi(text) > 0 &&
        kill(atoi(text), 0) == 0) /* its old pid is somebody else's now: PostgreSQL would refuse to start */
        home_remove(name);
    return 0;
}

void child_clear_leftover(const struct child *c)
{
    pid_t pid = leftover_pid(c);
    int64_t deadline = now_ms() + c->patience_ms;

    if (pid > 0) {
        say("ending %s (pid %d), left by a supervisor that was killed", c->name, pid);
        kill(pid, c->stop_signal);
        kill(pid, SIGCONT);
    }
    while (pid > 0 && home_owns(pid, c->cwd)) {
        if (now_ms() > deadline)
            kill(pid, SIGKILL);
        nap_ms(5);
    }
    home_remove(pid_file(c));
}
