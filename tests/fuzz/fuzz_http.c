/*
 * Any bytes, cut anywhere, into a connection. The first byte seeds how the input is cut, when handlers answer
 * and how much of the output is taken; after each step the connection must be consistent, what a handler sees
 * must keep the promises of http.h, and at the end every byte of memory must have come back.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/conn.h"
#include "bus/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct conn_host host;
static struct conn conn;
static struct request *held[CONN_OUTSTANDING];
static size_t held_n;
static uint32_t dice;

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525 + 1013904223;
    return (dice >> 16) % sides;
}

static void check_text(struct str s)
{
    assert(s.p && utf8_length(s) != SIZE_MAX);
    assert(s.n == 0 || !memchr(s.p, '\0', s.n));
}

/* The promises of http.h to handlers. */
static void check_request(const struct request *req)
{
    struct str host_name;

    check_text(req->path);
    assert(req->path.p[0] == '/' && req->headers_n <= REQUEST_HEADERS && req->query_n <= REQUEST_QUERY);
    assert(!strstr(req->path.p, "/../") && !strstr(req->path.p, "/./"));
    for (size_t i = 0; i < req->query_n; i++) {
        check_text(req->query[i].name);
        check_text(req->query[i].value);
    }
    for (size_t i = 0; i < req->headers_n; i++) {
        struct str value = req->headers[i].value;

        assert(req->headers[i].name.n > 0);
        for (size_t k = 0; k < value.n; k++)
            assert((unsigned char)value.p[k] >= 0x20 || value.p[k] == '\t');
        assert(value.n == 0 || utf8_length(value) != SIZE_MAX);
    }
    assert(req->body.n <= host.body_limit && guard_request_id(req->id));
    assert(guard_host(request_header(req, "host"), &host_name) == ERR_NONE);
    assert(str_ieq(host_name, STR("localhost")));
}

static void answer(struct request *req)
{
    check_request(req);
    request_prefer_wait(req);
    request_is_json(req);
    assert(guard_traceparent(request_traceparent(req)));
    if (roll(3) == 0)
        held[held_n++] = req;
    else if (!respond_unchanged(req, STR("\"1\"")))
        respond(req, 200, req->body.p ? req->body : STR("{}"));
}

static void stream(struct request *req)
{
    check_request(req);
    stream_begin(req, 200, "text/plain");
    for (uint32_t i = roll(4); i > 0; i--)
        stream_write(req, STR("a line\n"));
    stream_end(req);
}

static void answer_held(void)
{
    struct request *req;
    size_t i;

    if (held_n == 0)
        return;
    i = roll((uint32_t)held_n);
    req = held[i];
    held[i] = held[--held_n];
    respond_problem(req, &(struct problem){.code = ERR_INVALID});
}

/* Takes some of the output; an answer begins where an answer must. */
static void take(size_t most)
{
    struct iovec pieces[4];
    int count = conn_output(&conn, pieces, 4);
    size_t taken = 0;

    for (int i = 0; i < count && taken < most; i++)
        taken += pieces[i].iov_len < most - taken ? pieces[i].iov_len : most - taken;
    conn_wrote(&conn, taken);
    assert(conn.outstanding <= CONN_OUTSTANDING + 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct route rows[] = {{GET, "/", .direct = answer},
                                        {POST, "/a", .direct = answer},
                                        {GET, "/a/{id}/b", .direct = answer},
                                        {GET, "/s", .direct = stream},
                                        {0}};
    static const struct route *const tables[] = {rows, NULL};
    static const struct str names[] = {{"localhost", 9}, {NULL, 0}}, origins[] = {{"http://a", 8}, {NULL, 0}};

    (void)argc, (void)argv;
    log_init("fuzz", STR("error"));
    host = (struct conn_host){.router = router_new(tables),
                              .names = names,
                              .origins = origins,
                              .body_limit = 256,
                              .held_limit = 4096,
                              .kept_limit = 4096};
    host_tick(&host, 1000, 1700000000000);
    return 0;
}

static void feed(const char *p, size_t n)
{
    while (n > 0) {
        size_t some = dice & 1 ? n : 1 + roll((uint32_t)(n < 64 ? n : 64)), used = 0;

        if (conn_reads(&conn))
            used = conn_feed(&conn, p, some);
        assert(used <= some);
        p += used;
        n -= used;
        take(roll(2) ? SIZE_MAX : roll(100));
        if (roll(4) == 0 || used == 0)
            answer_held();
        host_tick(&host, host.now_ms + roll(50), host.wall_ms);
        if (conn_deadline(&conn) <= host.now_ms && conn_expire(&conn))
            break;
        if (conn_finished(&conn) && !conn.lingering)
            conn_linger(&conn);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    dice = data[0];
    held_n = 0;
    conn_init(&conn, &host, "192.0.2.1");
    feed((const char *)data + 1, n - 1);
    if (roll(2))
        conn_eof(&conn);
    take(SIZE_MAX);
    if (roll(2))
        conn_deinit(&conn);
    while (held_n > 0)
        answer_held();
    conn_deinit(&conn);
    assert(host.held == 0 && host.orphans == 0);
    return 0;
}
