/* The server as a whole, over real sockets: loops, slow and half-open clients, bounds, work, drain. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/metrics.h"
#include "tests/support/little.h"

#define ASK(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct server *server;
static int port;

static void start(void)
{
    server = little_start(2);
    port = server_port(server);
}

static void stop(void)
{
    server = server_stop(server);
    cr_expect_eq(counter_get(COUNTER_HTTP_CONNECTIONS), 0, "no connection is left");
}

/* Waits until the server has as many connections. */
static void expect_connections(int64_t n)
{
    for (int i = 0; i < 4000 && counter_get(COUNTER_HTTP_CONNECTIONS) != n; i++)
        clock_sleep_ms(1);
    cr_assert_eq(counter_get(COUNTER_HTTP_CONNECTIONS), n);
}

TestSuite(http, .init = start, .fini = stop, .timeout = 60);

Test(http, rows_of_each_kind_are_reached)
{
    cr_assert_eq(raw_status(raw_ask(port, ASK("/ok"))), 200);
    cr_assert_eq(raw_status(raw_ask(port, ASK("/ask"))), 200);
    cr_assert_eq(
        raw_count(raw_ask(port, ASK("/items/caf%C3%A9?q=a+b")), "{\"id\":\"caf\xc3\xa9\",\"q\":\"a b\"}"), 1);
    cr_assert_eq(
        raw_status(raw_ask(port, "POST /cart/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 66\r\n\r\n"
                                 "{\"product_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\",\"quantity\":1}")),
        202);
}

Test(http, failures_tell_nothing_of_the_inside)
{
    const char *answer = raw_ask(port, ASK("/fail"));

    cr_assert_eq(raw_status(answer), 500);
    cr_assert_eq(raw_count(answer, "inside"), 0);
    cr_assert_eq(raw_count(answer, "\"request_id\":\""), 1);
}

Test(http, a_thousand_pipelined_requests_are_all_answered)
{
    int fd = raw_connect(port);
    bool closed;
    const char *answer;

    for (int i = 0; i < 1000; i++)
        raw_say(fd, i % 50 == 7 ? ASK("/later?ms=1") : ASK("/ok"));
    shutdown(fd, SHUT_WR);
    answer = raw_read(fd, SIZE_MAX, 5000, &closed);
    cr_assert_eq(raw_count(answer, "HTTP/1.1 200"), 1000);
    cr_assert_eq(raw_count(answer, "{\"late\":true}"), 20);
    cr_assert(closed);
    close(fd);
}

Test(http, more_late_requests_than_the_queue_holds)
{
    int fd = raw_connect(port);

    for (int i = 0; i < 200; i++)
        raw_say(fd, ASK("/later?ms=30"));
    for (int i = 0; i < 1000 && little_handled() < 64; i++)
        clock_sleep_ms(1);
    cr_assert_eq(little_handled(), 64);
    shutdown(fd, SHUT_WR);
    cr_assert_eq(raw_count(raw_read(fd, SIZE_MAX, 5000, NULL), "HTTP/1.1 200"), 200);
    close(fd);
}

Test(http, a_large_answer_waits_for_its_reader)
{
    int fd = raw_connect(port), small = 65536;
    const char *answer;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    raw_say(fd, "GET /big?n=900000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    clock_sleep_ms(50);
    answer = raw_read(fd, SIZE_MAX, 5000, NULL);
    cr_assert_eq(raw_status(answer), 200);
    cr_assert_eq(strlen(strstr(answer, "\r\n\r\n") + 4), 900000);
    close(fd);
}

Test(http, a_stream_is_as_long_as_it_is_read)
{
    const char *answer = raw_ask(port, "GET /stream?n=20000 HTTP/1.0\r\nHost: localhost\r\n\r\n");

    cr_assert_eq(raw_count(answer, "one more line of a long story\n"), 20000);
}

Test(http, a_stream_ends_when_its_reader_leaves)
{
    int fd = raw_connect(port);

    raw_say(fd, ASK("/stream?n=2000000"));
    raw_read(fd, 1000, 1000, NULL);
    close(fd);
    expect_connections(0);
    cr_assert_eq(little_gone(), 1);
}

Test(http, who_resets_is_gone_and_the_answer_has_nowhere_to_go)
{
    int fd = raw_connect(port);
    struct linger reset = {1, 0};

    raw_say(fd, ASK("/later?ms=300"));
    for (int i = 0; i < 1000 && little_handled() < 1; i++)
        clock_sleep_ms(1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    expect_connections(0);
    cr_assert_eq(little_gone(), 1);
}

Test(http, a_half_closed_client_is_answered)
{
    cr_assert_eq(raw_count(raw_ask(port, ASK("/later?ms=100")), "{\"late\":true}"), 1);
}

/* Real time: heads that drip, a body that stands still, a connection that says nothing. All at once: 11 s. */
Test(http, slow_and_half_open_clients_are_cut_off)
{
    enum { HEAD_DRIPS, BODY_STANDS, CHUNK_STANDS, SILENT, GOOD, CLIENTS };
    int fds[CLIENTS];
    bool closed;
    int64_t began = clock_mono_ms();

    for (int i = 0; i < CLIENTS; i++)
        fds[i] = raw_connect(port);
    raw_say(fds[HEAD_DRIPS], "GET /ok HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    raw_say(fds[BODY_STANDS], "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    raw_say(fds[CHUNK_STANDS],
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    raw_say(fds[GOOD], ASK("/ok"));
    cr_assert_eq(raw_status(raw_read(fds[GOOD], 100, 1000, NULL)), 200);
    for (int i = 0; i < 22; i++) {
        raw_say(fds[HEAD_DRIPS], "x");
        clock_sleep_ms(500);
    }
    for (int i = 0; i < GOOD; i++) {
        cr_expect_str_empty(raw_read(fds[i], SIZE_MAX, 50, &closed));
        cr_expect(closed, "client %d", i);
    }
    cr_assert_lt(clock_mono_ms() - began, 14000);
    raw_read(fds[GOOD], 100000, 100, &closed);
    cr_assert_not(closed, "an idle connection stays");
    cr_assert_eq(little_handled(), 1);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

Test(http, more_work_than_the_pool_takes_is_refused)
{
    int fds[80], done = 0, refused = 0;

    for (int i = 0; i < 80; i++) {
        fds[i] = raw_connect(port);
        raw_say(fds[i], "GET /work HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
    for (int i = 0; i < 80; i++) {
        const char *answer = raw_read(fds[i], SIZE_MAX, 10000, NULL);

        done += raw_count(answer, "{\"burnt\":true}");
        refused += raw_count(answer, "/problems/overloaded");
        close(fds[i]);
    }
    cr_assert_eq(done + refused, 80);
    cr_assert_geq(done, WORK_LIMIT);
    cr_assert_gt(refused, 0);
}

Test(http, a_drain_answers_what_was_asked_and_ends_within_2_s)
{
    int idle = raw_connect(port), late = raw_connect(port), next = raw_connect(port);
    int64_t began;
    bool closed;
    const char *answer;

    raw_say(idle, ASK("/ok"));
    raw_read(idle, 100, 1000, NULL);
    raw_say(late, ASK("/later?ms=700"));
    for (int i = 0; i < 1000 && little_handled() < 2; i++)
        clock_sleep_ms(1);
    began = clock_mono_ms();
    server_drain(server);
    clock_sleep_ms(50);
    raw_say(next, ASK("/ok"));
    answer = raw_read(next, SIZE_MAX, 1000, &closed);
    cr_assert_eq(raw_count(answer, "Connection: close\r\n"), 1);
    cr_assert(closed);
    answer = raw_read(late, SIZE_MAX, 2000, &closed);
    cr_assert_eq(raw_count(answer, "{\"late\":true}"), 1);
    cr_assert(closed);
    stop();
    cr_assert_lt(clock_mono_ms() - began, 2000);
    close(idle);
    close(late);
    close(next);
}

Test(http, a_drain_does_not_wait_for_ever)
{
    int fd = raw_connect(port);
    int64_t began = clock_mono_ms();

    raw_say(fd, "GET /ok HTTP/1.1\r\nHost: loc");
    clock_sleep_ms(20);
    stop();
    cr_assert_lt(clock_mono_ms() - began, 2000);
    close(fd);
}

Test(http_bounds, connections_above_the_limit_are_turned_away)
{
    int fds[6];
    bool closed;

    conf_set(SET_MAX_CONNECTIONS, "4");
    start();
    for (int i = 0; i < 4; i++) {
        fds[i] = raw_connect(port);
        raw_say(fds[i], ASK("/ok"));
        cr_assert_eq(raw_status(raw_read(fds[i], 100, 1000, NULL)), 200);
    }
    fds[4] = raw_connect(port);
    cr_assert_eq(raw_status(raw_read(fds[4], SIZE_MAX, 2000, &closed)), 503);
    cr_assert(closed);
    close(fds[0]);
    expect_connections(3);
    fds[5] = raw_connect(port);
    raw_say(fds[5], ASK("/ok"));
    cr_assert_eq(raw_status(raw_read(fds[5], 100, 1000, NULL)), 200);
    for (int i = 1; i < 6; i++)
        close(fds[i]);
    stop();
}

Test(http_bounds, a_port_that_is_taken_and_an_address_that_is_none)
{
    struct server *other = NULL;
    struct server_options options = {.bind = "127.0.0.1", .loops = 1, .routes = little_routes};
    int fd = raw_connect((start(), port));

    options.port = -1;
    options.bind = "localhost";
    cr_assert_eq(server_start(&options, &other).code, ERR_CONFIG);
    close(fd);
    stop();
}
