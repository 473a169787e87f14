/*
 * See browser.h. A blocking socket with a deadline for the whole exchange; enough of HTTP/1.1 to speak to the
 * door: status line, header fields, Content-Length and chunked bodies.
 */
#include "tests/support/browser.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 120000, FIRST_READ = 16384 };

struct browser {
    int port, fd; /* -1: not connected */
    int64_t deadline_ms;
    char *in; /* what was read and not consumed */
    size_t n, cap;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct browser *browser_new(int port)
{
    struct browser *browser = calloc(1, sizeof(*browser));

    assert(browser);
    browser->port = port;
    browser->fd = -1;
    return browser;
}

static void disconnect(struct browser *browser)
{
    if (browser->fd >= 0)
        close(browser->fd);
    browser->fd = -1;
    browser->n = 0;
}

struct browser *browser_free(struct browser *browser)
{
    if (!browser)
        return NULL;
    disconnect(browser);
    free(browser->in);
    free(browser);
    return NULL;
}

void browser_freep(struct browser **browser)
{
    *browser = browser_free(*browser);
}

void browser_move(struct browser *browser, int port)
{
    disconnect(browser);
    browser->port = port;
}

/* ---- bytes ---- */

/* True when the socket is ready for the event before the deadline. */
static bool ready(struct browser *browser, short event)
{
    struct pollfd p = {.fd = browser->fd, .events = event};
    int64_t left;

    while ((left = browser->deadline_ms - now_ms()) > 0) {
        int n = poll(&p, 1, (int)left);

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static bool connected(struct browser *browser)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)browser->port)};
    struct pollfd p = {.fd = browser->fd, .events = POLLIN};
    int on = 1;

    /* The other side may have closed a connection that was idle; nothing is in doubt then. */
    if (browser->fd >= 0 && (browser->n > 0 || poll(&p, 1, 0) != 0))
        disconnect(browser);
    if (browser->fd >= 0)
        return true;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    browser->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(browser->fd >= 0);
    setsockopt(browser->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(browser->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return true;
    disconnect(browser);
    return false;
}

static bool send_all(struct browser *browser, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent;

        if (!ready(browser, POLLOUT))
            return false;
        sent = send(browser->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        bytes += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

static bool read_more(struct browser *browser)
{
    ssize_t got;

    if (browser->cap - browser->n < FIRST_READ) {
        browser->cap = browser->cap ? browser->cap * 2 : 2 * FIRST_READ;
        browser->in = realloc(browser->in, browser->cap + 1);
        assert(browser->in);
    }
    do {
        if (!ready(browser, POLLIN))
            return false;
        got = recv(browser->fd, browser->in + browser->n, browser->cap - browser->n, MSG_DONTWAIT);
    } while (got < 0 && (errno == EAGAIN || errno == EINTR));
    if (got <= 0)
        return false;
    browser->n += (size_t)got;
    browser->in[browser->n] = 0;
    return true;
}

/* Reads until at least n bytes are there. */
static bool have(struct browser *browser, size_t n)
{
    while (browser->n < n)
        if (!read_more(browser))
            return false;
    return true;
}

static void consume(struct browser *browser, size_t n)
{
    browser->n -= n;
    memmove(browser->in, browser->in + n, browser->n);
    if (browser->in)
        browser->in[browser->n] = 0;
}

/* Takes a line without its CRLF; malloc'ed, NULL when none comes. */
static char *take_line(struct browser *browser)
{
    char *end, *line;

    while (!browser->n || !(end = memmem(browser->in, browser->n, "\r\n", 2)))
        if (!read_more(browser))
            return NULL;
    line = strndup(browser->in, (size_t)(end - browser->in));
    assert(line);
    consume(browser, (size_t)(end - browser->in) + 2);
    return line;
}

/* ---- the request ---- */

__attribute__((format(printf, 2, 3))) static void put(FILE *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
}

static bool send_request(struct browser *browser, const struct ask *ask, const char *body)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    bool ok;

    assert(f);
    put(f, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", ask->method, ask->path, browser->port);
    if (ask->token)
        put(f, "Authorization: Bearer %s\r\n", ask->token);
    if (ask->key)
        put(f, "Idempotency-Key: %s\r\n", ask->key);
    if (ask->if_match)
        put(f, "If-Match: %s\r\n", ask->if_match);
    if (ask->wait_s)
        put(f, "Prefer: wait=%d\r\n", ask->wait_s < 0 ? 0 : ask->wait_s);
    if (ask->more)
        put(f, "%s", ask->more);
    if (body)
        put(f, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        put(f, "%s\r\n", strcmp(ask->method, "GET") == 0 ? "" : "Content-Length: 0\r\n");
    fclose(f);
    ok = send_all(browser, text, n);
    free(text);
    return ok;
}

/* ---- the response ---- */

struct head {
    long length; /* -1: none given */
    bool chunked, close;
};

static void keep(char *to, size_t size, const char *value)
{
    snprintf(to, size, "%s", value);
}

static void note_field(struct reply *reply, struct head *head, char *line)
{
    char *value = strchr(line, ':');

    if (!value)
        return;
    *value++ = 0;
    value += strspn(value, " \t");
    if (strcasecmp(line, "content-length") == 0)
        head->length = strtol(value, NULL, 10);
    else if (strcasecmp(line, "transfer-encoding") == 0)
        head->chunked = strcasecmp(value, "chunked") == 0;
    else if (strcasecmp(line, "connection") == 0)
        head->close = strcasecmp(value, "close") == 0;
    else if (strcasecmp(line, "location") == 0)
        keep(reply->location, sizeof(reply->location), value);
    else if (strcasecmp(line, "etag") == 0)
        keep(reply->etag, sizeof(reply->etag), value);
    else if (strcasecmp(line, "x-event-position") == 0)
        keep(reply->position, sizeof(reply->position), value);
    else if (strcasecmp(line, "x-request-id") == 0)
        keep(reply->request_id, sizeof(reply->request_id), value);
    else if (strcasecmp(line, "preference-applied") == 0)
        reply->preference_applied = true;
}

static bool read_head(struct browser *browser, struct reply *reply, struct head *head)
{
    char *line = take_line(browser);

    *head = (struct head){.length = -1};
    if (!line || sscanf(line, "HTTP/1.%*d %d", &reply->status) != 1) {
        free(line);
        return false;
    }
    free(line);
    while ((line = take_line(browser)) && *line) {
        note_field(reply, head, line);
        free(line);
    }
    if (!line)
        return false;
    free(line);
    return true;
}

static bool take_bytes(struct browser *browser, size_t n, FILE *to)
{
    if (!have(browser, n))
        return false;
    fwrite(browser->in, 1, n, to);
    consume(browser, n);
    return true;
}

static bool read_chunks(struct browser *browser, FILE *to)
{
    for (;;) {
        char *line = take_line(browser);
        size_t n = line ? strtoul(line, NULL, 16) : 0;
        bool ok = line && take_bytes(browser, n, to);

        free(line);
        line =
            ok ? take_line(browser) : NULL; /* behind the chunk; after the last one the end of the trailer */
        if (!line)
            return false;
        free(line);
        if (n == 0)
            return true;
    }
}

static bool read_body(struct browser *browser, struct reply *reply, const struct head *head)
{
    FILE *to = open_memstream(&reply->text, &reply->length);
    bool none = reply->status == 204 || reply->status == 304, ok = true;

    assert(to);
    if (!none && head->chunked)
        ok = read_chunks(browser, to);
    else if (!none && head->length > 0)
        ok = take_bytes(browser, (size_t)head->length, to);
    fclose(to);
    if (ok && reply->length)
        reply->body = json_loadb(reply->text, reply->length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    return ok;
}

bool browser_ask(struct browser *browser, const struct ask *ask, struct reply *ret)
{
    char *body = ask->body ? json_dumps(ask->body, JSON_COMPACT) : NULL;
    struct head head;
    bool ok;

    *ret = (struct reply){.status = 0};
    browser->deadline_ms = now_ms() + (ask->timeout_ms ? ask->timeout_ms : TIMEOUT_MS);
    ok = connected(browser) && send_request(browser, ask, body) && read_head(browser, ret, &head) &&
         read_body(browser, ret, &head);
    free(body);
    json_decref(ask->body);
    if (!ok)
        reply_clear(ret);
    if (!ok || head.close)
        disconnect(browser);
    return ok;
}

void reply_clear(struct reply *reply)
{
    json_decref(reply->body);
    free(reply->text);
    *reply = (struct reply){.status = 0};
}

/* ---- looking into bodies ---- */

json_t *json_path(json_t *value, const char *path)
{
    char copy[200], *rest = copy, *name;

    snprintf(copy, sizeof(copy), "%s", path);
    while (value && (name = strsep(&rest, ".")))
        value = json_is_array(value) ? json_array_get(value, strtoul(name, NULL, 10))
                                     : json_object_get(value, name);
    return value;
}

json_t *reply_at(const struct reply *reply, const char *path)
{
    return json_path(reply->body, path);
}

const char *reply_str(const struct reply *reply, const char *path)
{
    const char *s = json_string_value(reply_at(reply, path));

    return s ? s : "";
}

double reply_num(const struct reply *reply, const char *path)
{
    json_t *value = reply_at(reply, path);

    return json_is_number(value) ? json_number_value(value) : -1;
}
