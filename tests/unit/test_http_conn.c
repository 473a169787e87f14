/* The connection without a socket: order, phases, deadlines by a clock that the test moves. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/conn.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "tests/support/hostile.h"

#define HEAD_OF(line) line " HTTP/1.1\r\nHost: localhost\r\n"
#define ASK(path) HEAD_OF("GET " path) "\r\n"

static struct request *held[128];
static size_t held_n;
static int handled, gone, drained;
static struct conn_host host;
static struct conn conn;
static char out[1 << 21];
static size_t out_n;

/* ---- handlers ---- */

static void answer(struct request *req)
{
    handled++;
    respond(req, 200, arena_printf(req->arena, "\"%.*s\"", STR_ARG(req->path)));
}

static void hold(struct request *req)
{
    handled++;
    held[held_n++] = req;
}

static void echo(struct request *req)
{
    handled++;
    respond(req, 200, req->body.p ? req->body : STR("none"));
}

static void tag(struct request *req)
{
    if (!respond_unchanged(req, STR("\"7\"")))
        respond(req, 200, STR("{}"));
}

static void count_gone(struct request *req)
{
    (void)req;
    gone++;
}

static void count_drained(struct request *req)
{
    (void)req;
    drained++;
}

static void begin(struct request *req)
{
    req->on_gone = count_gone;
    req->on_drain = count_drained;
    stream_begin(req, 200, "text/event-stream");
    held[held_n++] = req;
}

static const struct route rows[] = {{GET, "/a", .direct = answer},
                                    {GET, "/items/{id}", .direct = answer},
                                    {GET, "/hold/{n}", .direct = hold},
                                    {POST, "/echo", .direct = echo},
                                    {GET, "/tag", .direct = tag},
                                    {GET, "/stream", .direct = begin},
                                    {0}};

/* ---- the test's own loop ---- */

static void set_up(void)
{
    static const struct route *const tables[] = {rows, NULL};
    static const struct str names[] = {{"localhost", 9}, {".shop.example", 13}, {NULL, 0}};
    static const struct str origins[] = {{"https://shop.example", 20}, {NULL, 0}};

    host = (struct conn_host){.router = router_new(tables),
                              .names = names,
                              .origins = origins,
                              .body_limit = 65536,
                              .held_limit = 1 << 20,
                              .kept_limit = 1 << 20};
    host_tick(&host, 1000, 1700000000000);
    conn_init(&conn, &host, "192.0.2.7");
}

static void tear_down(void)
{
    conn_deinit(&conn);
    cr_expect_eq(host.held, 0, "every body and head is given back");
    cr_expect_eq(host.kept, 0, "and every answer");
    cr_expect_eq(host.orphans, 0, "every request is answered");
    host_deinit(&host);
    router_free((struct router *)(uintptr_t)host.router);
}

static void pass(int64_t ms)
{
    host_tick(&host, host.now_ms + ms, host.wall_ms + ms);
}

/* Takes what is written, at most n bytes at a time. */
static void take(size_t n)
{
    struct iovec pieces[8];
    int count;

    while ((count = conn_output(&conn, pieces, 8)) > 0) {
        size_t taken = 0;

        for (int i = 0; i < count && taken < n; i++) {
            size_t some = pieces[i].iov_len < n - taken ? pieces[i].iov_len : n - taken;

            memcpy(out + out_n, pieces[i].iov_base, some);
            out_n += some;
            taken += some;
        }
        conn_wrote(&conn, taken);
    }
    out[out_n] = '\0';
}

static void say_n(const char *p, size_t n)
{
    while (n > 0) {
        size_t used = conn_feed(&conn, p, n);

        p += used;
        n -= used;
        take(SIZE_MAX);
        if (!conn_reads(&conn))
            break;
    }
    take(SIZE_MAX);
}

static void say(const char *text)
{
    say_n(text, strlen(text));
}

static int count(const char *part)
{
    int n = 0;

    for (const char *p = out; (p = strstr(p, part)); p += strlen(part))
        n++;
    return n;
}

/* Milliseconds until the connection is cut off when nothing more comes. */
static int64_t patience(void)
{
    int64_t from = host.now_ms;

    for (;;) {
        int64_t deadline = conn_deadline(&conn);

        if (deadline == INT64_MAX)
            return -1;
        pass(deadline - host.now_ms);
        if (conn_expire(&conn))
            return host.now_ms - from;
    }
}

TestSuite(conn, .init = set_up, .fini = tear_down);

/* ---- requests and answers ---- */

Test(conn, answers_carry_what_every_answer_carries)
{
    say(ASK("/a"));
    cr_assert_eq(count("HTTP/1.1 200 OK\r\n"), 1);
    cr_assert_eq(count("Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"), 1);
    cr_assert_eq(count("X-Content-Type-Options: nosniff\r\n"), 1);
    cr_assert_eq(count("X-Frame-Options: DENY\r\n"), 1);
    cr_assert_eq(count("Referrer-Policy: no-referrer\r\n"), 1);
    cr_assert_eq(count("X-Request-Id: "), 1);
    cr_assert_eq(count("Content-Type: application/json\r\n"), 1);
    cr_assert_eq(count("Content-Length: 4\r\n"), 1);
    cr_assert_eq(count("Connection:"), 0);
    cr_assert(conn_idle(&conn));
}

Test(conn, a_request_id_is_taken_over_when_it_is_one)
{
    say(HEAD_OF("GET /a") "X-Request-Id: order-42_b.c\r\n\r\n");
    cr_assert_eq(count("X-Request-Id: order-42_b.c\r\n"), 1);
    say(HEAD_OF("GET /a") "X-Request-Id: two words\r\n\r\n");
    cr_assert_eq(count("two words"), 0);
    cr_assert_eq(count("X-Request-Id: "), 2);
}

Test(conn, pipelined_requests_are_answered_in_order_however_late_the_answers)
{
    say(ASK("/hold/1") ASK("/a") ASK("/hold/2"));
    cr_assert_eq(held_n, 2);
    cr_assert_eq(handled, 3);
    respond(held[1], 200, STR("\"second\""));
    take(SIZE_MAX);
    cr_assert_eq(out_n, 0, "nothing overtakes the first");
    respond(held[0], 200, STR("\"first\""));
    take(7);
    cr_assert(strstr(out, "first") < strstr(out, "/a") && strstr(out, "/a") < strstr(out, "second"));
    cr_assert(conn_idle(&conn));
}

Test(conn, byte_by_byte_is_the_same)
{
    const char *text = HEAD_OF("POST /echo") "Content-Length: 3\r\n\r\nabc" HEAD_OF(
        "POST /echo") "Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n3\r\nfgh\r\n0\r\n\r\n" ASK("/a");

    for (size_t i = 0; i < strlen(text); i++)
        say_n(text + i, 1);
    cr_assert_eq(count("HTTP/1.1 200"), 3);
    cr_assert_eq(count("\r\n\r\nabc"), 1);
    cr_assert_eq(count("\r\n\r\ndefgh"), 1);
}

Test(conn, hostile_rows_byte_by_byte_get_the_same_status)
{
    for (size_t i = 0; i < hostile_count; i++) {
        const struct hostile *row = &hostile_table[i];
        size_t n, at;
        char *bytes = hostile_bytes(row, &n), status[16];

        if (strncmp(row->name, "json_", 5) != 0) {
            conn_deinit(&conn);
            conn_init(&conn, &host, "192.0.2.7");
            out_n = 0;
            for (at = 0; at < n; at++)
                say_n(bytes + at, 1);
            snprintf(status, sizeof(status), "HTTP/1.1 %d", row->status);
            cr_expect_eq(count(status), 1, "%s", row->name);
            cr_expect(conn_finished(&conn), "%s", row->name);
        }
        free(bytes);
    }
    cr_assert_eq(handled, 0);
}

Test(conn, http_1_0_closes_unless_asked_not_to)
{
    say("GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
    cr_assert_eq(count("Connection: keep-alive\r\n"), 1);
    cr_assert(!conn_finished(&conn));
    say("GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n");
    cr_assert_eq(count("Connection: close\r\n"), 1);
    cr_assert(conn_finished(&conn));
}

Test(conn, close_is_said_and_what_follows_is_dropped)
{
    say(HEAD_OF("GET /a") "Connection: close\r\n\r\n" ASK("/a"));
    cr_assert_eq(count("HTTP/1.1 200"), 1);
    cr_assert_eq(count("Connection: close\r\n"), 1);
    cr_assert(conn_finished(&conn));
}

Test(conn, hundred_continue_is_said_once_and_only_to_who_waits)
{
    say(HEAD_OF("POST /echo") "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    cr_assert_str_eq(out, "HTTP/1.1 100 Continue\r\n\r\n");
    say("abc");
    cr_assert_eq(count("HTTP/1.1 200"), 1);
    say(HEAD_OF("POST /echo") "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    cr_assert_eq(count("100 Continue"), 1);
    cr_assert_eq(count("HTTP/1.1 200"), 2);
}

Test(conn, hundred_continue_half_written_stays_whole)
{
    struct iovec piece;
    const char *ask = HEAD_OF("POST /echo") "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";

    conn_feed(&conn, ask, strlen(ask));
    cr_assert_eq(conn_output(&conn, &piece, 2), 1);
    memcpy(out, piece.iov_base, out_n = 5);
    conn_wrote(&conn, 5);
    conn_feed(&conn, "abc", 3);
    take(3);
    cr_assert_eq(strncmp(out, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 42), 0);
}

Test(conn, head_and_304_have_no_body)
{
    say(HEAD_OF("HEAD /a") "\r\n" ASK("/a"));
    cr_assert_eq(count("Content-Length: 4\r\n"), 2);
    cr_assert_eq(count("\r\n\r\n\"/a\""), 1);
    say(HEAD_OF("GET /tag") "If-None-Match: \"3\", W/\"7\"\r\n\r\n");
    cr_assert_eq(count("HTTP/1.1 304 Not Modified\r\n"), 1);
    cr_assert_eq(count("ETag: \"7\"\r\n"), 1);
    say(HEAD_OF("GET /tag") "If-None-Match: \"3\"\r\n\r\n");
    cr_assert_eq(count("\r\n\r\n{}"), 1);
}

Test(conn, unknown_paths_and_methods)
{
    say(ASK("/nowhere") HEAD_OF("DELETE /a") "\r\n" HEAD_OF("OPTIONS /echo") "\r\n");
    cr_assert_eq(count("HTTP/1.1 404"), 1);
    cr_assert_eq(count("\"type\":\"/problems/not-found\""), 1);
    cr_assert_eq(count("\"instance\":\"/nowhere\""), 1);
    cr_assert_eq(count("HTTP/1.1 405"), 1);
    cr_assert_eq(count("Allow: GET, HEAD, OPTIONS\r\n"), 1);
    cr_assert_eq(count("HTTP/1.1 204"), 1);
    cr_assert_eq(count("Allow: POST, OPTIONS\r\n"), 1);
    cr_assert(conn_idle(&conn), "none of this ends the connection");
}

Test(conn, only_known_origins_are_let_in)
{
    say(HEAD_OF("OPTIONS /a") "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n\r\n");
    cr_assert_eq(count("Access-Control-Allow-Origin: https://shop.example\r\n"), 1);
    cr_assert_eq(count("Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"), 1);
    say(HEAD_OF("GET /a") "Origin: https://evil.example\r\n\r\n");
    cr_assert_eq(count("Access-Control-Allow-Origin"), 1);
    cr_assert_eq(count("Vary: Origin\r\n"), 2);
}

Test(conn, hosts_below_a_dot_entry_and_with_ports)
{
    say("GET /a HTTP/1.1\r\nHost: Shop.Example:8000\r\n\r\n");
    cr_assert_eq(count("HTTP/1.1 400"), 1, "the entry names what is below");
    conn_deinit(&conn);
    conn_init(&conn, &host, "192.0.2.7");
    say("GET /a HTTP/1.1\r\nHost: www.Shop.Example:8000\r\n\r\n");
    say("GET /a HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n");
    cr_assert_eq(count("HTTP/1.1 200"), 2);
}

/* ---- bounds ---- */

Test(conn, reading_stops_while_64_requests_wait)
{
    char many[70 * sizeof(ASK("/hold/1"))] = "";
    size_t n, used;

    for (int i = 0; i < 70; i++)
        strcat(many, ASK("/hold/1"));
    n = strlen(many);
    used = conn_feed(&conn, many, n);
    cr_assert_eq(held_n, 64);
    cr_assert(!conn_reads(&conn));
    cr_assert_eq(used, n / 70 * 64);
    respond(held[0], 200, STR("1"));
    take(SIZE_MAX);
    cr_assert(conn_reads(&conn));
    conn_feed(&conn, many + used, n - used);
    cr_assert_eq(held_n, 65);
    for (size_t i = 1; i < held_n; i++)
        respond(held[i], 200, STR("1"));
}

Test(conn, who_goes_away_is_told_of_and_answered_all_the_same)
{
    say(ASK("/hold/1"));
    held[0]->on_gone = count_gone;
    conn_deinit(&conn);
    cr_assert_eq(gone, 1);
    cr_assert(held[0]->gone);
    cr_assert_eq(host.orphans, 1);
    cr_assert_str_eq(held[0]->peer.p, "192.0.2.7", "the request keeps its memory");
    respond_problem(held[0], &(struct problem){.code = ERR_UNAVAILABLE});
}

Test(conn, half_a_request_before_the_end_is_none)
{
    say(HEAD_OF("POST /echo") "Content-Length: 3\r\n\r\nab");
    conn_eof(&conn);
    take(SIZE_MAX);
    cr_assert_eq(handled, 0);
    cr_assert_eq(out_n, 0);
    cr_assert(conn_finished(&conn));
}

/* The interim answer is on its way, behind the first one, when the client ends in the middle of its body. */
Test(conn, what_is_being_written_outlives_half_a_request)
{
    struct iovec pieces[8];
    const char *ask = ASK("/a") HEAD_OF("POST /echo") "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    size_t sent = 0;
    int n;

    conn_feed(&conn, ask, strlen(ask));
    n = conn_output(&conn, pieces, 8);
    for (int i = 0; i < n; i++) {
        memcpy(out + out_n + sent, pieces[i].iov_base, pieces[i].iov_len);
        sent += pieces[i].iov_len;
    }
    out_n += sent;
    conn_eof(&conn);
    conn_wrote(&conn, sent);
    take(SIZE_MAX);
    cr_assert_eq(count("HTTP/1.1 200"), 1);
    cr_assert_eq(count("100 Continue"), 1);
    cr_assert_eq(count("HTTP/1.1 400"), 1, "who was told to go on is told that it was not enough");
    cr_assert(conn_finished(&conn));
}

Test(conn, a_half_closed_client_still_gets_its_answer)
{
    say(ASK("/hold/1"));
    conn_eof(&conn);
    cr_assert(!conn_finished(&conn));
    respond(held[0], 200, STR("1"));
    take(SIZE_MAX);
    cr_assert_eq(count("Connection: close\r\n"), 1);
    cr_assert(conn_finished(&conn));
}

Test(conn, unfinished_requests_have_a_common_bound)
{
    host.held_limit = 1000;
    say(HEAD_OF("GET /a") "X-Slow: 0123456789");
    cr_assert_eq(out_n, 0);
    host.held += 1001;
    say("0");
    cr_assert_eq(count("HTTP/1.1 503"), 1);
    cr_assert_eq(count("Retry-After: 1\r\n"), 1);
    host.held -= 1001;
}

/* Sixty-four long answers at once to somebody who does not read. */
Test(conn, answers_that_nobody_reads_have_a_common_bound)
{
    static char page[100000];
    char many[64 * sizeof(ASK("/hold/1"))] = "";

    for (int i = 0; i < 64; i++)
        strcat(many, ASK("/hold/1"));
    conn_feed(&conn, many, strlen(many));
    cr_assert_eq(held_n, 64);
    for (int i = 0; i < 10; i++)
        respond(held[i], 200, arena_str(held[i]->arena, (struct str){page, sizeof(page)}));
    cr_assert(!conn_broken(&conn), "a megabyte is nothing");
    for (int i = 10; i < 64; i++)
        respond(held[i], 200, arena_str(held[i]->arena, (struct str){page, sizeof(page)}));
    cr_assert(conn_broken(&conn), "what all answers take together is too much, and most of it is his");
}

Test(conn, who_reads_his_answers_does_not_suffer_from_who_does_not)
{
    struct iovec pieces[2];

    host.kept += (1 << 20) + 1;
    say(ASK("/a"));
    cr_assert_eq(count("HTTP/1.1 200"), 1);
    say(ASK("/hold/1") ASK("/a"));
    respond(held[0], 200, arena_str(held[0]->arena, (struct str){out, 20000}));
    cr_assert_eq(conn_output(&conn, pieces, 2), 2);
    cr_assert(!conn_reads(&conn), "one answer after the other");
    pass(9000);
    conn_wrote(&conn, 4096);
    cr_assert_eq(conn_deadline(&conn) - host.now_ms, 1000, "and a drip is not enough");
    take(SIZE_MAX);
    cr_assert(conn_reads(&conn));
    host.kept -= (1 << 20) + 1;
}

Test(conn, draining_says_close)
{
    say(ASK("/a"));
    host.draining = true;
    say(ASK("/a"));
    cr_assert_eq(count("Connection: close\r\n"), 1);
    cr_assert(conn_finished(&conn));
}

/* ---- time ---- */

Test(conn, a_connection_without_a_request_has_10_s)
{
    cr_assert_eq(patience(), CONN_HEAD_MS);
}

Test(conn, an_idle_connection_has_60_s)
{
    say(ASK("/a"));
    cr_assert_eq(patience(), CONN_IDLE_MS);
}

Test(conn, a_head_has_10_s_however_it_drips)
{
    for (int i = 0; i < 9; i++) {
        say_n(&HEAD_OF("GET /a")[i], 1);
        pass(1000);
    }
    cr_assert_eq(patience(), 1000);
}

Test(conn, a_body_that_stands_still_has_5_s)
{
    say(HEAD_OF("POST /echo") "Content-Length: 30000\r\n\r\nabc");
    cr_assert_eq(patience(), CONN_BODY_STEP_MS);
}

Test(conn, a_body_that_flows_has_20_s_in_all)
{
    char some[1280];

    memset(some, 'x', sizeof(some));
    say(HEAD_OF("POST /echo") "Content-Length: 30000\r\n\r\n");
    for (int i = 0; i < 19; i++) {
        say_n(some, sizeof(some));
        pass(1000);
        cr_assert(conn_deadline(&conn) > host.now_ms || !conn_expire(&conn));
    }
    cr_assert_eq(patience(), 1000);
}

Test(conn, a_reader_has_10_s_for_each_4_KB)
{
    struct iovec pieces[2];

    say(ASK("/hold/1"));
    respond(held[0], 200, arena_str(held[0]->arena, (struct str){out, 20000}));
    cr_assert_eq(conn_output(&conn, pieces, 2), 2);
    pass(9000);
    conn_wrote(&conn, 100);
    cr_assert_eq(conn_deadline(&conn) - host.now_ms, 1000, "a drop is no progress");
    conn_wrote(&conn, 4096);
    cr_assert_eq(conn_deadline(&conn) - host.now_ms, CONN_WRITE_MS);
    cr_assert(conn_expire(&conn));
}

/* What waits behind an answer that is not there yet cannot be written, whoever reads. */
Test(conn, a_reader_is_not_late_for_what_has_to_wait)
{
    say(ASK("/a") ASK("/hold/1") ASK("/a"));
    cr_assert_eq(count("HTTP/1.1 200"), 1);
    cr_assert_eq(patience(), -1);
    respond(held[0], 200, STR("1"));
    cr_assert_eq(patience(), -1, "nobody has looked at the output yet");
    take(SIZE_MAX);
    cr_assert_eq(count("HTTP/1.1 200"), 3);
    cr_assert(conn_idle(&conn));
}

Test(conn, a_handler_has_all_the_time_it_wants)
{
    say(ASK("/hold/1"));
    cr_assert_eq(patience(), -1);
    respond(held[0], 200, STR("1"));
}

Test(conn, after_the_end_a_client_has_2_s_and_1_MB)
{
    say(HEAD_OF("GET /a") "Connection: close\r\n\r\n");
    conn_linger(&conn);
    cr_assert_eq(patience(), CONN_LINGER_MS);
    for (int i = 0; i < 17; i++)
        conn_feed(&conn, out, 1 << 16);
    cr_assert(conn_broken(&conn));
}

/* ---- streams ---- */

Test(conn, a_stream_comes_in_chunks)
{
    say(ASK("/stream"));
    stream_write(held[0], STR("one"));
    stream_write(held[0], STR("twothreefour five six"));
    take(5);
    stream_end(held[0]);
    take(5);
    cr_assert_eq(count("Transfer-Encoding: chunked\r\n"), 1);
    cr_assert_eq(count("\r\n\r\n3\r\none\r\n15\r\ntwothreefour five six\r\n0\r\n\r\n"), 1);
    cr_assert(conn_idle(&conn));
}

Test(conn, a_stream_to_http_1_0_ends_with_the_connection)
{
    say("GET /stream HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
    stream_write(held[0], STR("one"));
    take(SIZE_MAX);
    cr_assert_eq(count("Connection: close\r\n"), 1);
    cr_assert_eq(count("\r\n\r\none"), 1);
    stream_end(held[0]);
    take(SIZE_MAX);
    cr_assert(conn_finished(&conn));
}

Test(conn, a_stream_waits_for_its_reader_and_goes_on)
{
    static char page[4096];
    bool more = true;

    say(ASK("/stream"));
    out_n = 0;
    while (more)
        more = stream_write(held[0], (struct str){page, sizeof(page)});
    cr_assert_eq(drained, 0);
    take(1000);
    cr_assert_eq(drained, 1);
    stream_end(held[0]);
}

Test(conn, a_stream_that_nobody_reads_is_cut_off)
{
    static char page[1 << 16];

    say(ASK("/stream"));
    for (int i = 0; i < 17; i++)
        stream_write(held[0], (struct str){page, sizeof(page)});
    cr_assert(conn_broken(&conn));
    conn_deinit(&conn);
    cr_assert_eq(gone, 1);
    stream_end(held[0]);
}
