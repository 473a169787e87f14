/*
 * Moves bytes between a socket and its connection. All that a read brought is answered by one uv_try_write;
 * only what the socket would not take waits in a uv_write. A client is serviced at the end of its read, or,
 * when an answer came from elsewhere, once per turn of the loop (the dirty list).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus/base/metrics.h"
#include "api/loop.h"

enum { PIECES = 2 * CONN_OUTSTANDING };

static struct caller *caller_of(const void *handle)
{
    return ((const uv_handle_t *)handle)->data;
}

/* ---- end ---- */

static void free_when_unused(struct caller *caller)
{
    if (caller->closed && !caller->dirty)
        free(caller);
}

static void on_closed(uv_handle_t *handle)
{
    struct caller *caller = caller_of(handle);

    caller->loop->callers--;
    atomic_fetch_sub(&caller->loop->server->connections, 1);
    counter_add(COUNTER_HTTP_CONNECTIONS, -1);
    caller->closed = true;
    free_when_unused(caller);
}

void caller_close(struct caller *caller)
{
    if (caller->closing)
        return;
    caller->closing = true;
    wheel_take(caller);
    free(caller->rest);
    caller->rest = NULL;
    caller->rest_n = 0;
    uv_close((uv_handle_t *)&caller->tcp, on_closed);
    conn_deinit(&caller->conn);
}

static void on_shut(uv_shutdown_t *shutdown, int status)
{
    struct caller *caller = shutdown->data;

    if (!caller->closing && (status < 0 || caller->eof))
        caller_close(caller);
}

/* The client may still be sending: closing now would reset the connection under the last answer. */
static void linger(struct caller *caller)
{
    if (caller->conn.lingering)
        return;
    conn_linger(&caller->conn);
    caller->shutdown.data = caller;
    if (uv_shutdown(&caller->shutdown, (uv_stream_t *)&caller->tcp, on_shut) < 0)
        caller_close(caller);
}

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status)
{
    struct caller *caller = write->data;
    size_t n = caller->writing_n;

    caller->writing_n = 0;
    if (caller->closing)
        return;
    if (status < 0) {
        caller_close(caller);
        return;
    }
    conn_wrote(&caller->conn, n);
    caller_service(caller);
}

static int output(struct caller *caller, uv_buf_t *ret, size_t *ret_n)
{
    struct iovec pieces[PIECES];
    int n = conn_output(&caller->conn, pieces, PIECES);

    *ret_n = 0;
    for (int i = 0; i < n; i++) {
        ret[i] = uv_buf_init(pieces[i].iov_base, (unsigned)pieces[i].iov_len);
        *ret_n += pieces[i].iov_len;
    }
    return n;
}

/* The socket is full: libuv waits for it. The pieces stay where they are until on_written. */
static void write_later(struct caller *caller)
{
    uv_buf_t pieces[PIECES];
    int n = output(caller, pieces, &caller->writing_n);

    caller->write.data = caller;
    if (uv_write(&caller->write, (uv_stream_t *)&caller->tcp, pieces, (unsigned)n, on_written) < 0)
        caller_close(caller);
}

static void flush(struct caller *caller)
{
    while (caller->writing_n == 0 && !caller->closing) {
        uv_buf_t pieces[PIECES];
        size_t all;
        int n = output(caller, pieces, &all);
        int written = n == 0 ? 0 : uv_try_write((uv_stream_t *)&caller->tcp, pieces, (unsigned)n);

        if (n == 0)
            return;
        if (written < 0 && written != UV_EAGAIN) {
            caller_close(caller);
            return;
        }
        if (written > 0)
            conn_wrote(&caller->conn, (size_t)written);
        if (written < 0 || (size_t)written < all)
            write_later(caller);
    }
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct loop *loop = caller_of(handle)->loop;

    (void)suggested;
    *buffer = uv_buf_init(loop->buffer, sizeof(loop->buffer));
}

static void feed(struct caller *caller, const char *p, size_t n)
{
    char *rest = NULL;

    while (!caller->closing) {
        size_t used = conn_feed(&caller->conn, p, n);

        p += used;
        n -= used;
        flush(caller);
        if (n == 0 || !conn_reads(&caller->conn))
            break;
    }
    if (caller->closing || n == 0)
        return;
    rest = malloc(n);
    if (!rest)
        abort();
    memcpy(rest, p, n);
    caller->rest = rest;
    caller->rest_n = n;
}

static void feed_rest(struct caller *caller)
{
    char *p = caller->rest;
    size_t n = caller->rest_n;

    caller->rest = NULL;
    caller->rest_n = 0;
    feed(caller, p, n);
    free(p);
}

static void settle(struct caller *caller);

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct caller *caller = caller_of(stream);

    if (n == 0)
        return;
    if (n > 0) {
        feed(caller, buffer->base, (size_t)n);
    } else if (n == UV_EOF && !caller->conn.lingering) {
        caller->eof = true;
        conn_eof(&caller->conn);
        flush(caller);
    } else {
        caller_close(caller);
    }
    settle(caller);
}

static void set_reading(struct caller *caller)
{
    bool reads = !caller->eof && caller->rest_n == 0 && conn_reads(&caller->conn);

    if (reads == caller->reading)
        return;
    caller->reading = reads;
    if (reads)
        uv_read_start((uv_stream_t *)&caller->tcp, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&caller->tcp);
}

/* What follows every change: end, or read and wait as the connection now wants. */
static void settle(struct caller *caller)
{
    if (caller->closing)
        return;
    if (conn_broken(&caller->conn)) {
        caller_close(caller);
        return;
    }
    if (conn_finished(&caller->conn) && caller->writing_n == 0)
        linger(caller);
    if (caller->closing)
        return;
    set_reading(caller);
    wheel_put(caller);
}

void caller_service(struct caller *caller)
{
    flush(caller);
    if (!caller->closing && caller->rest_n > 0 && conn_reads(&caller->conn))
        feed_rest(caller);
    settle(caller);
}

void caller_on_output(struct conn *conn)
{
    struct caller *caller = (struct caller *)((char *)conn - offsetof(struct caller, conn));

    if (caller->dirty || caller->closing)
        return;
    caller->dirty = true;
    caller->next_dirty = caller->loop->dirty;
    caller->loop->dirty = caller;
}

void loop_service_dirty(struct loop *loop)
{
    while (loop->dirty) {
        struct caller *caller = loop->dirty;

        loop->dirty = caller->next_dirty;
        caller->dirty = false;
        if (!caller->closing)
            caller_service(caller);
        free_when_unused(caller);
    }
}

/* ---- begin ---- */

/* Refuses politely, without reading: there is no room even for that. */
static void turn_away(struct caller *caller)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    uv_buf_t piece = uv_buf_init((char *)(uintptr_t)full, sizeof(full) - 1);

    uv_try_write((uv_stream_t *)&caller->tcp, &piece, 1);
    counter_add(COUNTER_HTTP_5XX, 1);
    caller_close(caller);
}

static void name_peer(uv_tcp_t *tcp, char *ret, size_t size)
{
    struct sockaddr_storage address;
    int n = sizeof(address);

    snprintf(ret, size, "unknown");
    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &n) < 0)
        return;
    if (address.ss_family == AF_INET)
        uv_ip4_name((struct sockaddr_in *)&address, ret, size);
    else if (address.ss_family == AF_INET6)
        uv_ip6_name((struct sockaddr_in6 *)&address, ret, size);
}

static struct caller *caller_make(struct loop *loop)
{
    struct caller *caller = calloc(1, sizeof(*caller));

    if (!caller)
        abort();
    caller->loop = loop;
    caller->slot = -1;
    uv_tcp_init(&loop->uv, &caller->tcp);
    caller->tcp.data = caller;
    loop->callers++;
    counter_add(COUNTER_HTTP_CONNECTIONS, 1);
    return caller;
}

static void begin(struct caller *caller)
{
    struct loop *loop = caller->loop;
    char peer[46];

    name_peer(&caller->tcp, peer, sizeof(peer));
    conn_init(&caller->conn, &loop->host, peer);
    if (atomic_fetch_add(&loop->server->connections, 1) >= loop->server->connections_max) {
        turn_away(caller);
        return;
    }
    uv_tcp_nodelay(&caller->tcp, 1);
    settle(caller);
}

/* Also counts what could not be begun, since on_closed counts back. */
static void give_up(struct caller *caller)
{
    conn_init(&caller->conn, &caller->loop->host, "unknown");
    atomic_fetch_add(&caller->loop->server->connections, 1);
    caller_close(caller);
}

void caller_new(struct loop *loop, uv_stream_t *listener)
{
    struct caller *caller = caller_make(loop);

    if (uv_accept(listener, (uv_stream_t *)&caller->tcp) < 0)
        give_up(caller);
    else
        begin(caller);
}

void caller_adopt(struct loop *loop, int fd)
{
    struct caller *caller = caller_make(loop);

    if (uv_tcp_open(&caller->tcp, fd) < 0) {
        close(fd);
        give_up(caller);
    } else {
        begin(caller);
    }
}
