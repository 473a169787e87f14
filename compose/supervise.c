/*
 * daydream-supervise: runs one home. It starts what the table lists, level by level, and starts again
 * whatever ends, at once and for ever, until SIGINT, SIGTERM or SIGHUP; then it stops everything in the
 * reverse order of the table. It decides nothing else: compose/up makes the home, daydreamctl migrates and
 * seeds it.
 *
 *   run [--detach] [--redis PORT] [--postgres]   supervise; --detach returns once the shop is ready
 *   wait                                         until the running shop is ready, at most a minute
 *   stop                                         end the running supervisor, and what a killed one has left
 *
 * A crash of any child is healed by the loop. A kill -9 of the supervisor takes the children along
 * (PR_SET_PDEATHSIG); the next run ends what resisted. The lock on the home dies with the process that holds
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compose/child.h"
#include "compose/home.h"
#include "compose/probe.h"

#define READY_TIMEOUT_MS 60000
#define STOP_TIMEOUT_MS 120000 /* more than all the patience of the table one after the other */
#define PG_DATA "postgres/data"

static int redis_port;

static bool redis_ready(void)
{
    return probe_redis(redis_port);
}

static bool postgres_ready(void)
{
    return probe_postgres(PG_DATA);
}

/* In the order of starting; stopping goes backwards. SIGINT is PostgreSQL's fast shutdown. The programs run
 * before the superuser and the catalogue are made, since these may be commands like any other. */
/* clang-format off */
static struct child children[] = {
    {"postgres",  SERVER,  0, POSTGRES, {"postgres", "-D", "."},            SIGINT,  30000,
     .cwd = PG_DATA, .ready = postgres_ready, .off = true},
    {"redis",     SERVER,  0, SYSTEM,   {"redis-server", "redis.conf"},     SIGTERM, 30000,
     .cwd = "redis", .ready = redis_ready, .off = true},
    {"migrate",   STEP,    1, OURS,     {"daydreamctl", "migrate", "up"},   SIGTERM, 5000,  .cwd = NULL},
    {"consumers", PROGRAM, 2, OURS,     {"daydream-consumers"},             SIGTERM, 10000, .cwd = NULL},
    {"producers", PROGRAM, 2, OURS,     {"daydream-producers"},             SIGTERM, 10000, .cwd = NULL},
    {"api",       PROGRAM, 2, OURS,     {"daydream-api"},                   SIGTERM, 10000, .cwd = NULL},
    {"superuser", STEP,    2, OURS,     {"daydreamctl", "superuser"},       SIGTERM, 5000,  .cwd = NULL},
    {"seed",      STEP,    3, OURS,     {"daydreamctl", "seed"},            SIGTERM, 5000,  .cwd = NULL},
    {"announce",  STEP,    4, OURS,     {"daydream-supervise", "announce"}, SIGTERM, 5000,  .terminal = true},
};
/* clang-format on */
#define CHILDREN (sizeof(children) / sizeof(*children))
#define rows_each(c) for (struct child *c = children; c < children + CHILDREN; c++)

/* --- the loop --- */

/* The lowest level that is not wholly up: children above it have to wait. */
static int open_level(void)
{
    int level = 100;

    rows_each (c)
        if (!c->off && !c->up && c->level < level)
            level = c->level;
    return level;
}

/* Starts what may run and does not, asks servers that are not up yet. Returns for how many ms nothing will be
 * due. */
static int tend(void)
{
    int64_t now = now_ms(), wait = 1000;
    int level = open_level();

    rows_each (c) {
        if (c->off || c->level > level || (c->kind == STEP && c->up))
            continue;
        if (c->pid == 0 && c->next <= now)
            child_start(c);
        else if (c->pid == 0 && c->next - now < wait)
            wait = c->next - now;
        if (c->kind == SERVER && c->pid != 0 && !c->up) {
            c->up = c->ready();
            wait = 5;
        }
    }
    return open_level() > level ? 0 : (int)wait;
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        rows_each (c)
            if (c->pid == pid)
                child_ended(c, status);
}

static void stop_all(void)
{
    for (struct child *c = children + CHILDREN; c-- > children;)
        child_stop(c);
}

static void supervise(const sigset_t *signals)
{
    for (;;) {
        int wait = tend();
        struct timespec patience = {.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000L};
        int signal = sigtimedwait(signals, NULL, &patience);

        if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) {
            say("stopping");
            stop_all();
            return;
        }
        reap();
    }
}

/* --- ready? --- */

static void print_ready(void)
{
    printf("DaydreamShop listens on %s (home %s)\n", probe_url(), home.path);
    printf("  try:   curl '%s/api/v1/products?limit=3'\n", probe_url());
    printf("  admin: SUPERUSER_EMAIL and SUPERUSER_PASSWORD in %s/env\n", home.path);
    fflush(stdout);
}

/* The front door of a running home is where its supervisor said, whatever PORT says here. */
static void learn_address(void)
{
    char text[100], *bind;

    if (!home_read("run/address", text, sizeof(text)) || !(bind = strchr(text, ' ')))
        return;
    *bind++ = 0;
    setenv("PORT", text, 1);
    setenv("BIND", bind, 1);
}

/* Waits until the announcement has been made and /health/detailed says 200. supervisor: the child just
 * started, or 0 for one that runs already. Returns the exit status. */
static int wait_ready(pid_t supervisor)
{
    char body[2000] = "", up[10];
    int64_t deadline = now_ms() + READY_TIMEOUT_MS;
    bool alive = true;

    while (now_ms() < deadline) {
        if (supervisor > 0 && waitpid(supervisor, NULL, WNOHANG) == supervisor)
            supervisor = 0;
        if (supervisor == 0 && home_supervisor() == 0) {
            alive = false;
            break;
        }
        learn_address();
        if (home_read("run/up", up, sizeof(up)) && probe_health(body, sizeof(body)) == 200) {
            print_ready();
            return 0;
        }
        nap_ms(20);
    }
    rows_each (c) {
        char log[64];

        snprintf(log, sizeof(log), "log/%s.log", c->name);
        home_tail(log, 3);
    }
    home_tail("log/supervise.log", 8);
    if (alive)
        say("not ready after 60 s: %s; it keeps trying, compose/down stops it",
            *body ? body : "nobody answers");
    else
        say("the supervisor has ended");
    return 1;
}

/* The last step of the table: says it once, and leaves the mark wait_ready looks for. */
static int announce(void)
{
    char body[2000] = "";

    for (int64_t deadline = now_ms() + READY_TIMEOUT_MS; now_ms() < deadline; nap_ms(10)) {
        if (probe_health(body, sizeof(body)) == 200) {
            home_write("run/up", "1\n");
            print_ready();
            return 0;
        }
    }
    say("not ready after 60 s, waiting on: %s", *body ? body : "nobody answers at the front door");
    return 1;
}

/* --- verbs --- */

static void prepare_process(sigset_t *signals)
{
    struct rlimit files;

    umask(077);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &files); /* one descriptor per client */
    }
    sigemptyset(signals);
    sigaddset(signals, SIGCHLD);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    sigprocmask(SIG_BLOCK, signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER,
          1); /* the backends of a killed PostgreSQL come to us, not to whoever is pid 1 */
}

static int run_here(void)
{
    char text[100];
    sigset_t signals;
    pid_t other = home_lock();

    if (other > 0) {
        learn_address();
        die("%s is running already (supervisor %d) at %s; compose/down stops it", home.path, other,
            probe_url());
    }
    prepare_process(&signals);
    home_remove("run/up");
    for (struct child *c = children + CHILDREN; c-- > children;)
        child_clear_leftover(c);
    if (!probe_port_is_free())
        die("port %s is taken by another process: PORT=8001 compose/up takes another one", getenv("PORT"));
    snprintf(text, sizeof(text), "%s %s", getenv("PORT"), getenv("BIND") ? getenv("BIND") : "127.0.0.1");
    home_write("run/address", text);
    snprintf(text, sizeof(text), "%d\n", getpid());
    home_write("run/supervise.pid", text);
    supervise(&signals);
    home_remove("run/up");
    home_remove("run/supervise.pid");
    return 0;
}

static int run_detached(void)
{
    pid_t pid;
    int log;

    if (home_supervisor() > 0)
        return wait_ready(0);
    home_remove("run/up"); /* a supervisor that was killed has left it */
    pid = fork();
    if (pid < 0)
        die("cannot fork: %s", strerror(errno));
    if (pid > 0)
        return wait_ready(pid);
    setsid();
    log = openat(home.dir, "log/supervise.log", O_WRONLY | O_APPEND | O_CREAT, 0640);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(log, 1);
    dup2(log, 2);
    exit(run_here());
}

static void switch_on(const char *name)
{
    rows_each (c)
        if (strcmp(c->name, name) == 0)
            c->off = false;
}

static int run(int n, char **words)
{
    bool detach = false;

    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], "--detach") == 0)
            detach = true;
        else if (strcmp(words[i], "--postgres") == 0)
            switch_on("postgres");
        else if (strcmp(words[i], "--redis") == 0 && i + 1 < n && (redis_port = atoi(words[++i])) > 0)
            switch_on("redis");
        else
            die("unknown word %s", words[i]);
    }
    if (!getenv("PORT"))
        setenv("PORT", "8000", 1);
    return detach ? run_detached() : run_here();
}

static int stop(void)
{
    pid_t pid = home_supervisor();
    int64_t deadline = now_ms() + STOP_TIMEOUT_MS;

    if (pid > 0)
        kill(pid, SIGTERM);
    while (home_supervisor() > 0 && now_ms() < deadline)
        nap_ms(10);
    if (home_supervisor() > 0) {
        say("the supervisor (pid %d) does not end, killing it", pid);
        kill(pid, SIGKILL);
    }
    for (struct child *c = children + CHILDREN; c-- > children;)
        child_clear_leftover(c);
    printf("%s %s\n", home.path, pid > 0 ? "is stopped" : "was not running");
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    home_open();
    if (strcmp(verb, "run") == 0)
        return run(argc - 2, argv + 2);
    if (strcmp(verb, "wait") == 0)
        return wait_ready(0);
    if (strcmp(verb, "stop") == 0)
        return stop();
    if (strcmp(verb, "announce") == 0)
        return announce();
    die("usage: daydream-supervise run [--detach] [--redis PORT] [--postgres] | wait | stop");
}
