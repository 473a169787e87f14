/*
 * See load.h. Answers are read as far as needed: status, Content-Length, and as many bytes as that says.
 */
#include "tests/bench/support/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"

enum { HEAD_MAX = 16384, EVENTS = 128 };

struct connection {
    int fd;
    bool busy;
    int64_t begun; /* when the request was due */
    struct str unsent;
    char head[HEAD_MAX]; /* what came of the answer's head */
    size_t head_n;
    int64_t body_left; /* -1: the head is not complete */
    int status;
};

struct generator {
    const struct load *load;
    struct load_result *result;
    struct connection *connections;
    int poller;
    int64_t start, issued, ended;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_connection(struct generator *g, struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g->load->port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (epoll_ctl(g->poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl");
    c->busy = false;
}

static void broken(struct generator *g, struct connection *c)
{
    g->result->broken++;
    g->ended += c->busy;
    close(c->fd);
    open_connection(g, c);
}

/* ---- sending ---- */

static void watch(struct generator *g, struct connection *c, bool writing)
{
    struct epoll_event event = {.events = writing ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(g->poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void push(struct generator *g, struct connection *c, bool was_waiting)
{
    ssize_t n = send(c->fd, c->unsent.p, c->unsent.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) {
        broken(g, c);
        return;
    }
    if (n > 0)
        c->unsent = (struct str){c->unsent.p + n, c->unsent.n - (size_t)n};
    if (c->unsent.n > 0 || was_waiting)
        watch(g, c, c->unsent.n > 0);
}

static void issue(struct generator *g, struct connection *c, int64_t due)
{
    c->busy = true;
    c->begun = due;
    c->head_n = 0;
    c->body_left = -1;
    c->unsent = g->load->requests[(size_t)g->issued++ % g->load->n_requests];
    push(g, c, false);
}

/* When the next request is due; later than for ever when none is. */
static int64_t next_due(const struct generator *g)
{
    if (g->issued >= g->load->total)
        return INT64_MAX;
    if (g->load->per_second <= 0)
        return 0;
    return g->start + (int64_t)((double)g->issued * 1e9 / g->load->per_second);
}

static void issue_due(struct generator *g)
{
    int64_t now = clock_mono_ns();
    for (int i = 0; i < g->load->connections; i++) {
        int64_t due = next_due(g);
        if (due > now)
            return;
        if (!g->connections[i].busy)
            issue(g, &g->connections[i], due ? due : now);
    }
}

/* ---- receiving ---- */

static void done(struct generator *g, struct connection *c)
{
    int64_t now = clock_mono_ns(), due = next_due(g);
    latency_add(&g->result->latencies, now - c->begun);
    if (c->status == g->load->expected) {
        g->result->good++;
    } else {
        g->result->other++;
        g->result->other_status = c->status;
    }
    g->ended++;
    c->busy = false;
    if (due <= now)
        issue(g, c, due ? due : now);
}

/* Bytes of the head are kept until it is whole; false when it is not an answer. */
static bool take_head(struct connection *c, const char *bytes, size_t n)
{
    size_t room = HEAD_MAX - 1 - c->head_n, before = c->head_n;
    if (n > room)
        n = room;
    memcpy(c->head + before, bytes, n);
    c->head_n += n;
    c->head[c->head_n] = 0;
    const char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\r\nContent-Length:");
    if (!end)
        return c->head_n < HEAD_MAX - 1;
    if (strncmp(c->head, "HTTP/1.1 ", 9) != 0)
        return false;
    c->status = atoi(c->head + 9);
    c->body_left = length && length < end ? atoll(length + 17) : 0;
    c->body_left -= (int64_t)(c->head_n - (size_t)(end + 4 - c->head));
    return c->body_left >= 0;
}

static void receive(struct generator *g, struct connection *c)
{
    char bytes[65536];
    ssize_t n = recv(c->fd, bytes, c->body_left < 0 ? HEAD_MAX / 2 : sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !c->busy) {
        broken(g, c);
        return;
    }
    if (c->body_left >= 0)
        c->body_left -= n;
    else if (!take_head(c, bytes, (size_t)n)) {
        broken(g, c);
        return;
    }
    if (c->body_left == 0)
        done(g, c);
}

/* How long to wait for answers: until the next request is due. With all connections busy what is due cannot
 * be sent before an answer comes: then there is nothing to wake up for, and to look again and again would
 * take a core from the shop just when it is behind. */
static struct timespec time_to_wait(const struct generator *g)
{
    int64_t due = next_due(g), busy = g->issued - g->ended;
    if (g->load->per_second <= 0 || due == INT64_MAX || busy >= g->load->connections)
        return (struct timespec){.tv_sec = 1};
    int64_t left = due - clock_mono_ns();
    if (left >= 1000000000)
        return (struct timespec){.tv_sec = 1};
    return (struct timespec){.tv_nsec = left > 0 ? left : 0};
}

static void turn(struct generator *g)
{
    struct epoll_event events[EVENTS];
    struct timespec wait = time_to_wait(g);
    int n = epoll_pwait2(g->poller, events, EVENTS, &wait, NULL);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            push(g, c, true);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive(g, c);
    }
    issue_due(g);
}

void load_run(const struct load *load, struct load_result *ret)
{
    memset(ret, 0, sizeof(*ret));
    struct generator g = {.load = load, .result = ret, .poller = epoll_create1(EPOLL_CLOEXEC)};
    g.connections = calloc((size_t)load->connections, sizeof(*g.connections));
    if (!g.connections || g.poller < 0)
        fail("start");
    for (int i = 0; i < load->connections; i++)
        open_connection(&g, &g.connections[i]);
    g.start = clock_mono_ns();
    issue_due(&g);
    while (g.ended < load->total)
        turn(&g);
    ret->seconds = (double)(clock_mono_ns() - g.start) / 1e9;
    for (int i = 0; i < load->connections; i++)
        close(g.connections[i].fd);
    close(g.poller);
    free(g.connections);
}
