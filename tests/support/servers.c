/*
 * Starting, ending, killing and pausing the private servers of servers.h. Each server is a child in its own
 * process group that dies with this process (PR_SET_PDEATHSIG); the watcher, a child too, outlives it for a
 * moment to remove the folder. The cluster of PostgreSQL is a copy of the template of template.c.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/servers.h"
#include "tests/support/template.h"

#define START_TIMEOUT_MS 60000 /* a crowded machine, and a log to go through after a kill; normally 50 ms */
#define END_TIMEOUT_MS 60000

struct servers {
    char dir[80]; /* short: names of unix sockets end at 107 bytes */
    char redis_url[160];
    char database_url[240];
    pid_t pids[SERVERS]; /* 0: down */
    pid_t watcher;
};

static const char *const names[SERVERS] = {"redis", "postgres"};

/* --- small things --- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(void)
{
    poll(NULL, 0, 2);
}

static void show_log(const struct servers *s, enum servers_which which)
{
    char path[120], line[600];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.log", s->dir, names[which]);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        fprintf(stderr, "%s.log: %s", names[which], line);
    if (f)
        fclose(f);
}

static void write_file(const struct servers *s, const char *name, const char *mode, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void write_file(const struct servers *s, const char *name, const char *mode, const char *format, ...)
{
    char path[160];
    va_list args;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    f = fopen(path, mode);
    if (!f)
        support_die("cannot write %s: %s", path, strerror(errno));
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fclose(f);
}

/* --- processes --- */

/* The pid of the parent of a process, 0 when it is gone. */
static pid_t parent_of(pid_t pid)
{
    char path[40], stat[512], *end;
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    n = fread(stat, 1, sizeof(stat) - 1, f);
    fclose(f);
    stat[n] = 0;
    end = strrchr(stat, ')'); /* the name before it may hold anything */
    return end && strlen(end) > 4 ? atoi(end + 4) : 0;
}

/* Fills pids with the children of a process, at most max. */
static size_t children_of(pid_t parent, pid_t *pids, size_t max)
{
    DIR *proc = opendir("/proc");
    struct dirent *d;
    size_t n = 0;

    while (proc && n < max && (d = readdir(proc))) {
        pid_t pid = atoi(d->d_name);

        if (pid > 0 && parent_of(pid) == parent)
            pids[n++] = pid;
    }
    if (proc)
        closedir(proc);
    return n;
}

/* True when the child has ended; it is reaped then. */
static bool has_ended(pid_t pid)
{
    pid_t r = waitpid(pid, NULL, WNOHANG);

    return r == pid || (r < 0 && errno == ECHILD);
}

static void wait_for_end(struct servers *s, enum servers_which which)
{
    int64_t deadline = now_ms() + END_TIMEOUT_MS;

    while (!has_ended(s->pids[which])) {
        if (now_ms() > deadline)
            support_die("%s (pid %d) does not end", names[which], s->pids[which]);
        nap();
    }
    s->pids[which] = 0;
}

/* --- the two servers --- */

static void exec_redis(const struct servers *s)
{
    if (chdir(s->dir) == 0)
        execlp("redis-server", "redis-server", "redis.conf", (char *)NULL);
}

static void exec_postgres(const struct servers *s)
{
    char data[100], program[160];

    snprintf(data, sizeof(data), "%s/data", s->dir);
    snprintf(program, sizeof(program), "%s/postgres", template_bindir());
    template_become_postgres();
    prctl(PR_SET_PDEATHSIG, SIGQUIT);                  /* changing the user cleared it */
    execl(program, program, "-D", data, (char *)NULL); /* it finds its files by the path it is called by */
}

static void (*const exec_server[SERVERS])(const struct servers *s) = {exec_redis, exec_postgres};
static const int death_signal[SERVERS] = {SIGKILL, SIGQUIT}; /* SIGQUIT: the backends go too */

static void spawn(struct servers *s, enum servers_which which)
{
    char log[120];
    pid_t parent = getpid(), pid;

    snprintf(log, sizeof(log), "%s/%s.log", s->dir, names[which]);
    pid = fork();
    if (pid < 0)
        support_die("fork: %s", strerror(errno));
    if (pid == 0) {
        support_detach(log);
        prctl(PR_SET_PDEATHSIG, death_signal[which]);
        if (getppid() == parent)
            exec_server[which](s);
        _exit(127);
    }
    s->pids[which] = pid;
}

/* The pid that answers INFO on the socket of Redis, 0 while nobody does or it is still loading. */
static pid_t redis_answers(const struct servers *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char reply[8192];
    const char *line;
    size_t n = 0;
    ssize_t r;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 1};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/redis.sock", s->dir);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        write(fd, "PING\r\nINFO server\r\nQUIT\r\n", 25) != 25) {
        close(fd);
        return 0;
    }
    while (n < sizeof(reply) - 1 && (r = read(fd, reply + n, sizeof(reply) - 1 - n)) > 0)
        n += (size_t)r;
    close(fd);
    reply[n] = 0;
    line = strstr(reply, "process_id:");
    return strncmp(reply, "+PONG", 5) == 0 && line ? atoi(line + 11) : 0;
}

/* The pid in postmaster.pid once its eighth line says "ready", else 0. */
static pid_t postgres_answers(const struct servers *s)
{
    char path[120], line[300];
    pid_t pid = 0;
    int n = 0;
    bool ready = false;
    FILE *f;

    snprintf(path, sizeof(path), "%s/data/postmaster.pid", s->dir);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (++n == 1)
            pid = atoi(line);
        ready |= n == 8 && strncmp(line, "ready", 5) == 0;
    }
    if (f)
        fclose(f);
    return ready ? pid : 0;
}

static pid_t (*const answers[SERVERS])(const struct servers *s) = {redis_answers, postgres_answers};

/* Waits until the server that was spawned answers. A child that ends is started again: after a kill -9 the
 * backends of the old postmaster hold its shared memory for a moment. */
static void await(struct servers *s, enum servers_which which)
{
    int64_t deadline = now_ms() + START_TIMEOUT_MS;
    pid_t pid;

    while ((pid = answers[which](s)) != s->pids[which] || pid == 0) {
        if (now_ms() > deadline) {
            show_log(s, which);
            support_die("%s does not start in %s (pid %d answers)", names[which], s->dir, pid);
        }
        nap();
        if (has_ended(s->pids[which])) {
            poll(NULL, 0, 50);
            spawn(s, which);
        }
    }
}

/* --- folder and watcher --- */

/* Waits for its parent to end, then removes what it left. Runs in a process of its own; never returns. */
static void watch(const struct servers *s, pid_t parent)
{
    sigset_t wake;

    support_detach("/dev/null");
    sigemptyset(&wake);
    sigaddset(&wake, SIGUSR1);
    sigprocmask(SIG_BLOCK, &wake, NULL);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    if (getppid() == parent)
        sigwaitinfo(&wake, NULL);
    /* The servers got their own signal; what was stopped (servers_pause) or is stuck goes by force. */
    for (int i = 0; i < 500 && postgres_answers(s) > 0 && kill(postgres_answers(s), 0) == 0; i++)
        nap();
    template_kill_below(s->dir);
    execlp("rm", "rm", "-rf", "--", s->dir, (char *)NULL);
    _exit(127);
}

static void make_dir(struct servers *s)
{
    int n = snprintf(s->dir, sizeof(s->dir), "%s/daydream-XXXXXX", template_base());

    if (n >= (int)sizeof(s->dir) || !mkdtemp(s->dir))
        support_die("cannot make a folder like %s: %s", s->dir, strerror(errno));
    chmod(s->dir, 0711); /* the user postgres passes through */
    snprintf(s->redis_url, sizeof(s->redis_url), "unix://%s/redis.sock", s->dir);
    snprintf(s->database_url, sizeof(s->database_url), "postgresql:///daydream?host=%s/data&user=daydream",
             s->dir);
}

const char servers_compose_redis[] = "auto-aof-rewrite-min-size 128mb";
const char servers_compose_pg[] =
    "shared_buffers = 32MB\nrandom_page_cost = 1.1\nmax_connections = 200\n"
    "min_wal_size = 80MB\nwal_compression = lz4\nbackend_flush_after = 256kB\n"
    "bgwriter_delay = 50ms\nbgwriter_lru_maxpages = 1000\nbgwriter_lru_multiplier = 4\n"
    "bgwriter_flush_after = 256kB\n";

static void write_settings(const struct servers *s, const struct servers_options *o)
{
    if (!o->no_redis)
        write_file(s, "redis.conf", "we",
                   "port 0\nunixsocket redis.sock\ndir .\nsave \"\"\nmaxmemory-policy noeviction\n"
                   "appendonly yes\nappendfsync %s\nno-appendfsync-on-rewrite no\n%s\n",
                   o->appendfsync ? o->appendfsync : "always", o->redis_extra ? o->redis_extra : "");
    if (!o->no_postgres) {
        template_copy(s->dir, o->from);
        if (o->wal_segment_mb && !o->from)
            template_set_wal(s->dir, o->wal_segment_mb);
        write_file(s, "data/postgresql.conf", "ae", "unix_socket_directories = '.'\n%s%s\n",
                   o->pg_fsync ? "" : "fsync = off\nfull_page_writes = off\n",
                   o->pg_extra ? o->pg_extra : "");
    }
}

/* --- what tests call --- */

struct servers *servers_start(const struct servers_options *options)
{
    static const struct servers_options both = {.no_redis = false};
    const struct servers_options *o = options ? options : &both;
    const bool wanted[SERVERS] = {!o->no_redis, !o->no_postgres};
    struct servers *s = calloc(1, sizeof(*s));
    pid_t self = getpid();

    assert(s);
    make_dir(s);
    s->watcher = fork();
    if (s->watcher < 0)
        support_die("fork: %s", strerror(errno));
    if (s->watcher == 0)
        watch(s, self);
    write_settings(s, o);
    if (wanted[SERVER_REDIS] && o->from)
        template_copy_folder(o->from, s->dir, "appendonlydir");
    for (enum servers_which i = 0; i < SERVERS; i++) {
        if (wanted[i])
            spawn(s, i);
    }
    for (enum servers_which i = 0; i < SERVERS; i++) {
        if (wanted[i])
            await(s, i);
    }
    return s;
}

struct servers *servers_stop(struct servers *s)
{
    if (!s)
        return NULL;
    for (enum servers_which i = 0; i < SERVERS; i++) {
        if (s->pids[i] == 0)
            continue;
        servers_resume(s, i);
        kill(s->pids[i], death_signal[i]);
        wait_for_end(s, i);
    }
    kill(s->watcher, SIGUSR1);
    while (waitpid(s->watcher, NULL, 0) < 0 && errno == EINTR)
        ;
    free(s);
    return NULL;
}

void servers_stopp(struct servers **s)
{
    *s = servers_stop(*s);
}

const char *servers_redis_url(const struct servers *s)
{
    return s->redis_url;
}

const char *servers_database_url(const struct servers *s)
{
    return s->database_url;
}

const char *servers_dir(const struct servers *s)
{
    return s->dir;
}

pid_t servers_pid(const struct servers *s, enum servers_which which)
{
    return s->pids[which];
}

void servers_kill(struct servers *s, enum servers_which which)
{
    pid_t backends[256];
    size_t n;
    int64_t deadline = now_ms() + END_TIMEOUT_MS;

    if (s->pids[which] == 0)
        return;
    n = children_of(s->pids[which], backends, 256);
    kill(s->pids[which], SIGKILL);
    wait_for_end(s, which);
    /* Backends see the death of the postmaster by themselves; only then is the shared memory free. */
    for (size_t i = 0; i < n; i++) {
        kill(backends[i], SIGCONT);
        while (parent_of(backends[i]) != 0 && now_ms() < deadline)
            nap();
    }
}

void servers_end(struct servers *s, enum servers_which which)
{
    if (s->pids[which] == 0)
        return;
    servers_resume(s, which);
    kill(s->pids[which], which == SERVER_POSTGRES ? SIGINT : SIGTERM);
    wait_for_end(s, which);
}

void servers_keep(struct servers *s, const char *folder)
{
    servers_end(s, SERVER_REDIS);
    servers_end(s, SERVER_POSTGRES);
    template_copy_folder(s->dir, folder, "appendonlydir");
    template_copy_folder(s->dir, folder, "data");
}

void servers_restart(struct servers *s, enum servers_which which)
{
    assert(s->pids[which] == 0);
    spawn(s, which);
    await(s, which);
}

static void signal_tree(const struct servers *s, enum servers_which which, int signal)
{
    pid_t backends[256];
    size_t n;

    if (s->pids[which] == 0)
        return;
    kill(s->pids[which], signal);
    n = children_of(s->pids[which], backends, 256);
    for (size_t i = 0; i < n; i++)
        kill(backends[i], signal);
}

void servers_pause(struct servers *s, enum servers_which which)
{
    signal_tree(s, which, SIGSTOP);
}

void servers_resume(struct servers *s, enum servers_which which)
{
    signal_tree(s, which, SIGCONT);
}
