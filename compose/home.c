/* The lock, the small files and the ownership test of home.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "compose/home.h"

#define LOCK_FILE "run/supervise.lock"

struct home home = {.dir = -1};

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void nap_ms(int ms)
{
    poll(NULL, 0, ms);
}

static void speak(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static void speak(const char *format, va_list args)
{
    char line[1000], stamp[20];
    time_t t = time(NULL);
    struct tm tm;

    strftime(stamp, sizeof(stamp), "%H:%M:%S", localtime_r(&t, &tm));
    vsnprintf(line, sizeof(line), format, args);
    fprintf(stderr, "%s compose: %s\n", stamp, line);
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    speak(format, args);
    va_end(args);
}

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    speak(format, args);
    va_end(args);
    exit(1);
}

void home_open(void)
{
    home.path = getenv("DAYDREAM_HOME");
    if (!home.path || home.path[0] != '/')
        die("DAYDREAM_HOME must be an absolute path; compose/up sets it");
    home.dir = open(home.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home.dir < 0)
        die("cannot open %s: %s", home.path, strerror(errno));
}

/* The descriptor of the lock file stays open for good: closing any descriptor of it would drop our lock. */
static int lock_file(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = openat(home.dir, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die("cannot open %s/" LOCK_FILE ": %s", home.path, strerror(errno));
    return fd;
}

pid_t home_lock(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    while (fcntl(lock_file(), F_SETLK, &all) < 0) {
        pid_t holder;

        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            die("cannot lock %s: %s", home.path, strerror(errno));
        if ((holder = home_supervisor()) > 0)
            return holder;
    }
    return 0;
}

pid_t home_supervisor(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(lock_file(), F_GETLK, &all) < 0)
        die("cannot ask for the lock of %s: %s", home.path, strerror(errno));
    return all.l_type == F_UNLCK ? 0 : all.l_pid;
}

void home_write(const char *name, const char *text)
{
    int fd = openat(home.dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        say("cannot write %s/%s: %s", home.path, name, strerror(errno));
    if (fd >= 0)
        close(fd);
}

bool home_read(const char *name, char *text, size_t size)
{
    int fd = openat(home.dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return n >= 0;
}

void home_remove(const char *name)
{
    unlinkat(home.dir, name, 0);
}

void home_tail(const char *name, int lines)
{
    char text[4096], *line = text;
    int fd = openat(home.dir, name, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, from);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    for (char *p = text + strlen(text); p > text && lines >= 0; p--)
        if (p[-1] == '\n' && --lines < 0)
            line = p;
    for (char *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        fprintf(stderr, "  %s: %.*s\n", name, (int)(next - line), line);
        next += *next == '\n';
    }
}

static bool same_folder(pid_t pid, const char *cwd)
{
    char path[40];
    struct stat theirs, ours;

    snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
    return stat(path, &theirs) == 0 && fstatat(home.dir, cwd, &ours, 0) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

static bool same_environment(pid_t pid)
{
    char path[40], *word = NULL;
    size_t size = 0;
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    f = fopen(path, "re");
    while (f && !found && getdelim(&word, &size, 0, f) > 0)
        found = strncmp(word, "DAYDREAM_HOME=", 14) == 0 && strcmp(word + 14, home.path) == 0;
    free(word);
    if (f)
        fclose(f);
    return found;
}

bool home_owns(pid_t pid, const char *cwd)
{
    return pid > 0 && kill(pid, 0) == 0 && (cwd ? same_folder(pid, cwd) : same_environment(pid));
}
