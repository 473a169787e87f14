/* The little server and the raw client, see little.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "tests/support/little.h"

static _Atomic int handled, gone;

int little_handled(void)
{
    return handled;
}

int little_gone(void)
{
    return gone;
}

/* ---- handlers ---- */

static int64_t number(const struct request *req, const char *name)
{
    int64_t n = 0;
    struct str text = request_query(req, name);
    err e = text.p ? str_int64(text, &n) : OK;

    return failed(e) ? 0 : n;
}

static void answer_ok(struct request *req)
{
    handled++;
    respond(req, 200, STR("{\"ok\":true}"));
}

static void answer_hot(struct request *req)
{
    static _Thread_local struct blob *blob;

    handled++;
    if (!blob)
        blob = blob_new(STR("{\"id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\",\"name\":\"Taza azul\"}"),
                        STR("\"1\""));
    respond_blob(req, blob);
}

static void answer_item(struct request *req)
{
    handled++;
    respond(req, 200,
            arena_printf(req->arena, "{\"id\":\"%.*s\",\"q\":\"%.*s\"}", STR_ARG(request_param(req, "id")),
                         STR_ARG(request_query(req, "q"))));
}

static void answer_echo(struct request *req)
{
    handled++;
    respond_as(req, 200, "application/octet-stream", req->body.p ? req->body : STR(""));
}

struct late {
    uv_timer_t timer;
    struct request *req;
};

static void on_late_closed(uv_handle_t *timer)
{
    free(timer->data);
}

static void on_late(uv_timer_t *timer)
{
    struct late *late = timer->data;

    respond(late->req, 200, STR("{\"late\":true}"));
    uv_close((uv_handle_t *)timer, on_late_closed);
}

static void count_gone(struct request *req)
{
    (void)req;
    gone++;
}

static void answer_later(struct request *req)
{
    struct late *late = calloc(1, sizeof(*late));

    assert(late);
    handled++;
    late->req = req;
    late->timer.data = late;
    req->on_gone = count_gone;
    uv_timer_init(loop_uv(req->loop), &late->timer);
    uv_timer_start(&late->timer, on_late, (uint64_t)number(req, "ms"), 0);
}

static void answer_big(struct request *req)
{
    size_t n = (size_t)number(req, "n");
    char *p = arena_alloc(req->arena, n + 1);

    handled++;
    memset(p, 'x', n);
    respond_as(req, 200, "text/plain", (struct str){p, n});
}

/* Writes lines until it is told to wait, or all are out. data counts them. */
static void go_on(struct request *req)
{
    uintptr_t n = (uintptr_t)number(req, "n"), i = (uintptr_t)req->data;

    while (i < n && !req->gone && stream_write(req, STR("one more line of a long story\n")))
        i++;
    req->data = (void *)(i + 1);
    if (i >= n || req->gone)
        stream_end(req);
}

static void stop_stream(struct request *req)
{
    gone++;
    stream_end(req);
}

static void answer_stream(struct request *req)
{
    handled++;
    req->on_drain = go_on;
    req->on_gone = stop_stream;
    stream_begin(req, 200, "text/plain");
    go_on(req);
}

static void burn(void *data)
{
    (void)data;
    for (int64_t until = clock_mono_ms() + 20; clock_mono_ms() < until;)
        ;
}

static void burnt(void *data)
{
    respond(data, 200, STR("{\"burnt\":true}"));
}

static void answer_work(struct request *req)
{
    err e = work_submit(req->loop, burn, burnt, req);

    handled++;
    if (failed(e))
        respond_error(req, e);
}

static void answer_failure(struct request *req)
{
    handled++;
    respond_error(req, FAIL(SQL, "a text that must stay inside"));
}

/* As the door does: what the codec refuses is no command. */
void little_command(struct request *req)
{
    const struct shape *shape = message_types[req->route->command].shape;
    void *message = arena_alloc(req->arena, shape->size);
    struct codec_param user = {STR("user_id"), STR("018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f7")};
    struct field_errors errors = {.n = 0};
    err e = codec_decode(shape, CODEC_DOOR, req->body, &user, 1, req->arena, message, &errors);

    if (failed(e)) {
        respond_problem(req, &(struct problem){.code = e.code, .errors = errors.list, .errors_n = errors.n});
        return;
    }
    handled++;
    respond(req, 202, STR("{\"status\":\"accepted\"}"));
}

void little_query(struct request *req)
{
    req->route->query(req);
}

static const struct route rows[] = {
    {GET, "/ok", .direct = answer_ok},
    {GET, "/hot", .direct = answer_hot},
    {GET, "/items/{id}", .direct = answer_item},
    {POST, "/echo", .direct = answer_echo},
    {PUT, "/echo", .direct = answer_echo},
    {GET, "/later", .direct = answer_later},
    {GET, "/big", .direct = answer_big},
    {GET, "/stream", .direct = answer_stream},
    {GET, "/work", .direct = answer_work},
    {GET, "/fail", .direct = answer_failure},
    {GET, "/ask", .query = answer_ok},
    {POST, "/cart/items", .command = CART_ADD_ITEM},
    {0},
};
const struct route *const little_routes[] = {rows, NULL};

struct server *little_start(int loops)
{
    struct server *server = NULL;
    err e;

    e = server_start(&(struct server_options){.bind = "127.0.0.1",
                                              .loops = loops,
                                              .routes = little_routes,
                                              .hooks = {.command = little_command, .query = little_query}},
                     &server);
    if (failed(e)) {
        fprintf(stderr, "the little server: %s\n", err_text(e));
        abort();
    }
    return server;
}

/* ---- the raw client ---- */

int raw_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        perror("raw_connect");
        abort();
    }
    return fd;
}

void raw_send(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        p += sent;
        n -= (size_t)sent;
    }
}

void raw_say(int fd, const char *text)
{
    raw_send(fd, text, strlen(text));
}

const char *raw_read(int fd, size_t want, int timeout_ms, bool *ret_closed)
{
    static char buffer[(1 << 20) + 1];
    size_t n = 0;
    bool closed = false;
    int64_t until = clock_mono_ms() + timeout_ms;

    want = want < sizeof(buffer) - 1 ? want : sizeof(buffer) - 1;
    while (n < want && !closed) {
        struct pollfd poller = {fd, POLLIN, 0};
        int64_t left = until - clock_mono_ms();
        ssize_t got;

        if (left <= 0 || poll(&poller, 1, (int)left) == 0)
            break;
        got = recv(fd, buffer + n, want - n, 0);
        closed = got <= 0;
        n += got > 0 ? (size_t)got : 0;
    }
    buffer[n] = '\0';
    if (ret_closed)
        *ret_closed = closed;
    return buffer;
}

const char *raw_ask(int port, const char *text)
{
    int fd = raw_connect(port);
    const char *answer;

    raw_say(fd, text);
    shutdown(fd, SHUT_WR);
    answer = raw_read(fd, SIZE_MAX, 5000, NULL);
    close(fd);
    return answer;
}

int raw_status(const char *text)
{
    int status = 0;

    return sscanf(text, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

int raw_count(const char *text, const char *part)
{
    int n = 0;

    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}
