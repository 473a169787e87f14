/* Every row of hostile.def against the real server: its status, the connection closed, no handler called. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <unistd.h>

#include "tests/support/hostile.h"
#include "tests/support/little.h"

/* Bodies for the codec are whole requests: after their answer the connection may stay. */
static bool is_json(const struct hostile *row)
{
    return strncmp(row->name, "json_", 5) == 0 && row->status != 413;
}

static void expect_refused(int port, const struct hostile *row)
{
    size_t n;
    char *bytes = hostile_bytes(row, &n);
    int fd = raw_connect(port), before = little_handled();
    bool closed;
    const char *answer;

    raw_send(fd, bytes, n);
    answer = raw_read(fd, SIZE_MAX, is_json(row) ? 150 : 4000, &closed);
    cr_expect_eq(raw_status(answer), row->status, "%s: %d, not %d", row->name, raw_status(answer),
                 row->status);
    cr_expect_eq(raw_count(answer, "HTTP/1.1 "), 1, "%s: one answer", row->name);
    cr_expect(closed || is_json(row), "%s: closed", row->name);
    cr_expect_eq(little_handled(), before, "%s: no handler", row->name);
    cr_expect_neq(raw_count(answer, "application/problem+json"), 0, "%s: a problem", row->name);
    cr_expect_eq(raw_count(answer, "X-Request-Id: "), 1, "%s: has an id", row->name);
    close(fd);
    free(bytes);
}

Test(hostile, every_row_is_refused_before_a_handler)
{
    struct server *server = little_start(1);

    cr_assert_geq(hostile_count, 60);
    for (size_t i = 0; i < hostile_count; i++)
        expect_refused(server_port(server), &hostile_table[i]);
    cr_assert_eq(raw_status(raw_ask(server_port(server), "GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n")),
                 200);
    server_stop(server);
}

Test(hostile, garbage_behind_a_good_request_is_refused_in_its_turn)
{
    struct server *server = little_start(1);
    const char *answer =
        raw_ask(server_port(server), "GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                     "\x01garbage\r\n\r\nGET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n");

    cr_assert_eq(raw_status(answer), 200);
    cr_assert_eq(raw_count(answer, "HTTP/1.1 400"), 1);
    cr_assert_eq(raw_count(answer, "HTTP/1.1 "), 2, "what follows garbage is never read");
    cr_assert_eq(little_handled(), 1);
    server_stop(server);
}

Test(hostile, a_hidden_request_in_a_body_is_a_body)
{
    struct server *server = little_start(1);
    const char *answer =
        raw_ask(server_port(server), "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 37\r\n\r\n"
                                     "GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n");

    cr_assert_eq(raw_count(answer, "HTTP/1.1 200"), 1);
    cr_assert_eq(little_handled(), 1);
    server_stop(server);
}
