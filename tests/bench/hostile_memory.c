/*
 * What hostility leaves behind: sends N (10,000, or the first argument) of every row of hostile.def, then N
 * silent connections, N unfinished heads and N unfinished bodies at once, to a server in a process of its
 * own, and compares its resident memory before and after. Ends with 1 when more than 2 MB stayed, when an
 * answer was not the row's, or when a handler was called.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "tests/support/hostile.h"
#include "tests/support/little.h"

enum { ALLOWED_KB = 2048, WARM_UP = 50 };

static int port, wrong;
static pid_t child;

/* ---- the server's process ---- */

static _Noreturn void serve(int to_parent)
{
    struct server *server;

    conf_set(SET_MAX_CONNECTIONS, "100000");
    server_block_signals();
    server = little_start(2);
    port = server_port(server);
    if (write(to_parent, &port, sizeof(port)) != sizeof(port))
        _exit(2);
    server_run(server);
    _exit(little_handled() == 0 ? 0 : 3);
}

static void start(void)
{
    int ends[2];

    if (pipe(ends) < 0 || (child = fork()) < 0)
        abort();
    if (child == 0)
        serve(ends[1]);
    if (read(ends[0], &port, sizeof(port)) != sizeof(port))
        abort();
}

/* Resident memory of the server in KB. */
static long resident(void)
{
    char path[64], line[128];
    long kb = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (file)
        fclose(file);
    return kb;
}

/* ---- the rows ---- */

static void hang_up(int fd)
{
    struct linger reset = {1, 0}; /* leaves no TIME_WAIT behind */

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
}

static void send_row(const struct hostile *row, const char *bytes, size_t n)
{
    int fd = raw_connect(port);
    char answer[64] = "";
    size_t got = 0;
    ssize_t some = 1;

    raw_send(fd, bytes, n);
    while (got < 12 && some > 0) {
        some = recv(fd, answer + got, sizeof(answer) - 1 - got, 0);
        got += some > 0 ? (size_t)some : 0;
    }
    if (raw_status(answer) != row->status && wrong++ < 10)
        fprintf(stderr, "%s: %d\n", row->name, raw_status(answer));
    hang_up(fd);
}

static void send_rows(int times)
{
    for (size_t i = 0; i < hostile_count; i++) {
        size_t n;
        char *bytes = hostile_bytes(&hostile_table[i], &n);

        for (int k = 0; k < times; k++)
            send_row(&hostile_table[i], bytes, n);
        free(bytes);
    }
}

/* ---- many at once ---- */

static void expect_close(int fd)
{
    char byte;
    struct pollfd poller = {fd, POLLIN, 0};

    if ((poll(&poller, 1, 15000) != 1 || recv(fd, &byte, 1, 0) > 0) && wrong++ < 10)
        fprintf(stderr, "a slow connection is still open\n");
    hang_up(fd);
}

static void hold_open(const char *text, int n)
{
    int *fds = calloc((size_t)n, sizeof(*fds));

    if (!fds)
        abort();
    for (int i = 0; i < n; i++) {
        fds[i] = raw_connect(port);
        raw_say(fds[i], text);
    }
    for (int i = 0; i < n; i++)
        expect_close(fds[i]);
    free(fds);
}

static long report(const char *what, long before)
{
    long kb;

    clock_sleep_ms(2500); /* the server gives memory back once a second */
    kb = resident();
    printf("%-40s %7ld KB  %+6ld KB\n", what, kb, kb - before);
    fflush(stdout);
    return kb - before;
}

static bool run(int n)
{
    static const char *const slow[] = {
        "", "GET /ok HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n0123456789"};
    static const char *const names[] = {"silent connections", "unfinished heads", "unfinished bodies"};
    long before, more;

    send_rows(WARM_UP);
    before = resident();
    printf("%-40s %7ld KB\n", "after the warm-up", before);
    send_rows(n);
    more = report("every row", before);
    for (size_t i = 0; i < 3; i++) {
        hold_open(slow[i], n);
        long now = report(names[i], before);

        more = now > more ? now : more;
    }
    return more <= ALLOWED_KB;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 10000, status = 0;
    struct rlimit limit = {0};
    bool fits;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    start();
    fits = run(n);
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    if (status != 0)
        fprintf(stderr, "the server ended with %d: a handler was called?\n", status);
    printf("%zu rows, %d of each: %s\n", hostile_count, n, fits && !wrong && !status ? "fine" : "NOT FINE");
    return fits && !wrong && !status ? 0 : 1;
}
