/* The load generator: what it measures is the server, also when that stands still. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/bench/support/load.h"

enum { CONNECTIONS = 2, REQUESTS = 200, STANDS_STILL_MS = 500 };

/* Answers nothing for STANDS_STILL_MS, then whatever comes, until all connections have ended. */
static void *serve(void *listener)
{
    static const char answer[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    struct pollfd open[CONNECTIONS];
    int n_open = CONNECTIONS;
    for (int i = 0; i < CONNECTIONS; i++)
        open[i] = (struct pollfd){.fd = accept(*(int *)listener, NULL, NULL), .events = POLLIN};
    clock_sleep_ms(STANDS_STILL_MS);
    while (n_open && poll(open, CONNECTIONS, -1) > 0)
        for (int i = 0; i < CONNECTIONS; i++) {
            char request[200]; /* one at a time on each connection */
            if (!open[i].revents)
                continue;
            if (read(open[i].fd, request, sizeof(request)) > 0 &&
                write(open[i].fd, answer, sizeof(answer) - 1) == sizeof(answer) - 1)
                continue;
            close(open[i].fd);
            open[i].fd = -1; /* poll() passes over it */
            n_open--;
        }
    return NULL;
}

static int listen_anywhere(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(fd, CONNECTIONS), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* It looked all the time whether it could send what was due, and took a core from the shop just when that was
 * behind. */
Test(load, waits_while_all_connections_are_busy)
{
    const struct str request = STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct load_result r;
    int port, fd = listen_anywhere(&port);
    pthread_t server;
    cr_assert_eq(pthread_create(&server, NULL, serve, &fd), 0);
    double cpu = cpu_seconds();
    load_run(&(struct load){.port = port,
                            .connections = CONNECTIONS,
                            .requests = &request,
                            .n_requests = 1,
                            .total = REQUESTS,
                            .per_second = 1000,
                            .expected = 202},
             &r);
    cpu = cpu_seconds() - cpu;
    pthread_join(server, NULL);
    close(fd);
    cr_assert_eq(r.good, REQUESTS);
    cr_assert_geq(latency_quantile(&r.latencies, 0.5) / 1000000, STANDS_STILL_MS / 2,
                  "latency counts from when a request was due");
    cr_assert_lt(cpu, r.seconds / 2);
}
