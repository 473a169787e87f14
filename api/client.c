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

static struct client *client_of(const void *handle)
{
    return ((const uv_handle_t *)handle)->data;
}

/* ---- end ---- */

static void free_when_unused(struct client *client)
{
    if (client->closed && !client->dirty)
        free(client);
}

static void on_closed(uv_handle_t *handle)
{
    struct client *client = client_of(handle);

    client->loop->clients--;
    atomic_fetch_sub(&client->loop->server->connections, 1);
    counter_add(COUNTER_HTTP_CONNECTIONS, -1);
    client->closed = true;
    free_when_unused(client);
}

void client_close(struct client *client)
{
    if (client->closing)
        return;
    client->closing = true;
    wheel_take(client);
    free(client->rest);
    client->rest = NULL;
    client->rest_n = 0;
    uv_close((uv_handle_t *)&client->tcp, on_closed);
    conn_deinit(&client->conn);
}

static void on_shut(uv_shutdown_t *shutdown, int status)
{
    struct client *client = shutdown->data;

    if (!client->closing && (status < 0 || client->eof))
        client_close(client);
}

/* The client may still be sending: closing now would reset the connection under the last answer. */
static void linger(struct client *client)
{
    if (client->conn.lingering)
        return;
    conn_linger(&client->conn);
    client->shutdown.data = client;
    if (uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, on_shut) < 0)
        client_close(client);
}

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status)
{
    struct client *client = write->data;
    size_t n = client->writing_n;

    client->writing_n = 0;
    if (client->closing)
        return;
    if (status < 0) {
        client_close(client);
        return;
    }
    conn_wrote(&client->conn, n);
    client_service(client);
}

static int output(struct client *client, uv_buf_t *ret, size_t *ret_n)
{
    struct iovec pieces[PIECES];
    int n = conn_output(&client->conn, pieces, PIECES);

    *ret_n = 0;
    for (int i = 0; i < n; i++) {
        ret[i] = uv_buf_init(pieces[i].iov_base, (unsigned)pieces[i].iov_len);
        *ret_n += pieces[i].iov_len;
    }
    return n;
}

/* The socket is full: libuv waits for it. The pieces stay where they are until on_written. */
static void write_later(struct client *client)
{
    uv_buf_t pieces[PIECES];
    int n = output(client, pieces, &client->writing_n);

    client->write.data = client;
    if (uv_write(&client->write, (uv_stream_t *)&client->tcp, pieces, (unsigned)n, on_written) < 0)
        client_close(client);
}

static void flush(struct client *client)
{
    while (client->writing_n == 0 && !client->closing) {
        uv_buf_t pieces[PIECES];
        size_t all;
        int n = output(client, pieces, &all);
        int written = n == 0 ? 0 : uv_try_write((uv_stream_t *)&client->tcp, pieces, (unsigned)n);

        if (n == 0)
            return;
        if (written < 0 && written != UV_EAGAIN) {
            client_close(client);
            return;
        }
        if (written > 0)
            conn_wrote(&client->conn, (size_t)written);
        if (written < 0 || (size_t)written < all)
            write_later(client);
    }
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct loop *loop = client_of(handle)->loop;

    (void)suggested;
    *buffer = uv_buf_init(loop->buffer, sizeof(loop->buffer));
}

static void feed(struct client *client, const char *p, size_t n)
{
    char *rest = NULL;

    while (!client->closing) {
        size_t used = conn_feed(&client->conn, p, n);

        p += used;
        n -= used;
        flush(client);
        if (n == 0 || !conn_reads(&client->conn))
            break;
    }
    if (client->closing || n == 0)
        return;
    rest = malloc(n);
    if (!rest)
        abort();
    memcpy(rest, p, n);
    client->rest = rest;
    client->rest_n = n;
}

static void feed_rest(struct client *client)
{
    char *p = client->rest;
    size_t n = client->rest_n;

    client->rest = NULL;
    client->rest_n = 0;
    feed(client, p, n);
    free(p);
}

static void settle(struct client *client);

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct client *client = client_of(stream);

    if (n == 0)
        return;
    if (n > 0) {
        feed(client, buffer->base, (size_t)n);
    } else if (n == UV_EOF && !client->conn.lingering) {
        client->eof = true;
        conn_eof(&client->conn);
        flush(client);
    } else {
        client_close(client);
    }
    settle(client);
}

static void set_reading(struct client *client)
{
    bool reads = !client->eof && client->rest_n == 0 && conn_reads(&client->conn);

    if (reads == client->reading)
        return;
    client->reading = reads;
    if (reads)
        uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&client->tcp);
}

/* What follows every change: end, or read and wait as the connection now wants. */
static void settle(struct client *client)
{
    if (client->closing)
        return;
    if (conn_broken(&client->conn)) {
        client_close(client);
        return;
    }
    if (conn_finished(&client->conn) && client->writing_n == 0)
        linger(client);
    if (client->closing)
        return;
    set_reading(client);
    wheel_put(client);
}

void client_service(struct client *client)
{
    flush(client);
    if (!client->closing && client->rest_n > 0 && conn_reads(&client->conn))
        feed_rest(client);
    settle(client);
}

void client_on_output(struct conn *conn)
{
    struct client *client = (struct client *)((char *)conn - offsetof(struct client, conn));

    if (client->dirty || client->closing)
        return;
    client->dirty = true;
    client->next_dirty = client->loop->dirty;
    client->loop->dirty = client;
}

void loop_service_dirty(struct loop *loop)
{
    while (loop->dirty) {
        struct client *client = loop->dirty;

        loop->dirty = client->next_dirty;
        client->dirty = false;
        if (!client->closing)
            client_service(client);
        free_when_unused(client);
    }
}

/* ---- begin ---- */

/* Refuses politely, without reading: there is no room even for that. */
static void turn_away(struct client *client)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    uv_buf_t piece = uv_buf_init((char *)(uintptr_t)full, sizeof(full) - 1);

    uv_try_write((uv_stream_t *)&client->tcp, &piece, 1);
    counter_add(COUNTER_HTTP_5XX, 1);
    client_close(client);
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

static struct client *client_make(struct loop *loop)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client)
        abort();
    client->loop = loop;
    client->slot = -1;
    uv_tcp_init(&loop->uv, &client->tcp);
    client->tcp.data = client;
    loop->clients++;
    counter_add(COUNTER_HTTP_CONNECTIONS, 1);
    return client;
}

static void begin(struct client *client)
{
    struct loop *loop = client->loop;
    char peer[46];

    name_peer(&client->tcp, peer, sizeof(peer));
    conn_init(&client->conn, &loop->host, peer);
    if (atomic_fetch_add(&loop->server->connections, 1) >= loop->server->connections_max) {
        turn_away(client);
        return;
    }
    uv_tcp_nodelay(&client->tcp, 1);
    settle(client);
}

/* Also counts what could not be begun, since on_closed counts back. */
static void give_up(struct client *client)
{
    conn_init(&client->conn, &client->loop->host, "unknown");
    atomic_fetch_add(&client->loop->server->connections, 1);
    client_close(client);
}

void client_new(struct loop *loop, uv_stream_t *listener)
{
    struct client *client = client_make(loop);

    if (uv_accept(listener, (uv_stream_t *)&client->tcp) < 0)
        give_up(client);
    else
        begin(client);
}

void client_adopt(struct loop *loop, int fd)
{
    struct client *client = client_make(loop);

    if (uv_tcp_open(&client->tcp, fd) < 0) {
        close(fd);
        give_up(client);
    } else {
        begin(client);
    }
}
