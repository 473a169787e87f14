/*
 * Makes and copies the template cluster of template.h. Many test processes may ask at once: the first makes
 * it under a file lock, and it appears by a rename, so a maker that dies leaves nothing half done.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/template.h"

/* Kept small (1 MB segments) because every test copies it; the rest is what compose/up runs with. */
static const char make_template[] =
    "set -e\n"
    "rm -rf \"$1.new\"\n"
    "\"$2/initdb\" -D \"$1.new\" -U daydream -A trust --no-sync --wal-segsize=1 --encoding=UTF8 "
    "--locale=C.UTF-8 --lc-collate=C\n"
    "cat >>\"$1.new/postgresql.conf\" <<'END'\n"
    "listen_addresses = ''\n"
    "max_connections = 100\n"
    "shared_buffers = 32MB\n"
    "dynamic_shared_memory_type = mmap\n"
    "max_wal_size = 256MB\n"
    "checkpoint_timeout = 1min\n"
    "jit = off\n"
    "timezone = 'UTC'\n"
    "END\n"
    "echo 'CREATE DATABASE daydream' | \"$2/postgres\" --single -D \"$1.new\" -F postgres\n"
    "mv -T \"$1.new\" \"$1\"\n";

void support_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("tests/support: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void support_detach(const char *log)
{
    sigset_t none;
    int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_APPEND | O_CREAT, 0644);

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    close_range(3, ~0U, 0); /* a pipe of the test runner kept open here would make it wait for us */
}

#define ROOM (1UL << 30) /* bytes; a test takes about 40 MB, several run at once */

const char *template_base(void)
{
    const char *tmp = getenv("TMPDIR");
    struct statvfs shm;

    if (tmp && *tmp)
        return tmp;
    if (access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &shm) == 0 && shm.f_bavail > ROOM / shm.f_frsize)
        return "/dev/shm";
    return "/tmp";
}

const char *template_bindir(void)
{
    static char bindir[120];
    glob_t found;
    int best = 0;

    if (bindir[0])
        return bindir;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            int version = atoi(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"));

            best = version > best ? version : best;
        }
        globfree(&found);
    }
    if (best == 0)
        support_die("no PostgreSQL below /usr/lib/postgresql: compose/install brings it");
    snprintf(bindir, sizeof(bindir), "/usr/lib/postgresql/%d/bin", best);
    return bindir;
}

void template_become_postgres(void)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return;
    user = getpwnam("postgres");
    if (!user || initgroups("postgres", user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
        setuid(user->pw_uid) < 0)
        support_die("cannot become the user postgres");
}

/* Runs a program to its end, as postgres or as ourselves; ends the process with its output when it fails. */
static void run(bool as_postgres, const char *const *argv)
{
    char log[] = "/tmp/daydream-log-XXXXXX", line[400];
    int status = 0, fd = mkstemp(log);
    pid_t pid = fork();

    if (pid == 0) {
        support_detach(log);
        if (as_postgres)
            template_become_postgres();
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0) {
        FILE *f = fdopen(fd, "r");

        while (f && fgets(line, sizeof(line), f))
            fputs(line, stderr);
        unlink(log);
        support_die("%s failed (status %d)", argv[0], status);
    }
    close(fd);
    unlink(log);
}

/* Path of the template, a folder of the user who runs PostgreSQL. Its parent is made here and holds the lock.
 */
static void template_path(char *path, size_t size)
{
    char parent[100];
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : getpwuid(geteuid());

    if (!user)
        support_die("no user to run PostgreSQL as");
    snprintf(parent, sizeof(parent), "%s/daydream-template-%u", template_base(), (unsigned)user->pw_uid);
    if (mkdir(parent, 0700) == 0 && chown(parent, user->pw_uid, user->pw_gid) < 0)
        support_die("cannot give %s to %s", parent, user->pw_name);
    snprintf(path, size, "%s/%s", parent, strstr(template_bindir(), "postgresql/") + strlen("postgresql/"));
    *strrchr(path, '/') = 0; /* …/15 */
}

void template_copy_folder(const char *from, const char *to, const char *name)
{
    char source[300];

    snprintf(source, sizeof(source), "%s/%s", from, name);
    run(false, (const char *const[]){"cp", "-a", "--reflink=auto", "-t", to, source, NULL});
}

void template_set_wal(const char *dir, int segment_mb)
{
    char program[160], size[40], data[100];

    snprintf(program, sizeof(program), "%s/pg_resetwal", template_bindir());
    snprintf(size, sizeof(size), "--wal-segsize=%d", segment_mb);
    snprintf(data, sizeof(data), "%s/data", dir);
    run(true, (const char *const[]){program, size, "-D", data, NULL});
}

void template_copy(const char *dir, const char *from)
{
    char template[140], lock_path[160], initialised[180], target[100];
    int lock;

    if (from) {
        template_copy_folder(from, dir, "data");
        return;
    }
    template_path(template, sizeof(template));
    snprintf(lock_path, sizeof(lock_path), "%s.lock", template);
    snprintf(initialised, sizeof(initialised), "%s/PG_VERSION", template);
    snprintf(target, sizeof(target), "%s/data", dir);
    lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        support_die("cannot lock %s: %s", lock_path, strerror(errno));
    if (access(initialised, F_OK) < 0)
        run(true, (const char *const[]){"sh", "-c", make_template, "sh", template, template_bindir(), NULL});
    close(lock);
    run(false, (const char *const[]){"cp", "-a", "--reflink=auto", template, target, NULL});
}

void template_kill_below(const char *dir)
{
    char link[300], target[300];
    size_t length = strlen(dir);
    DIR *proc = opendir("/proc");
    struct dirent *d;

    while (proc && (d = readdir(proc))) {
        pid_t pid = atoi(d->d_name);
        ssize_t n;

        if (pid <= 0 || pid == getpid())
            continue;
        snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
        n = readlink(link, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = 0;
        if (strncmp(target, dir, length) == 0 && target[length] != 0)
            kill(pid, SIGKILL);
    }
    if (proc)
        closedir(proc);
}
