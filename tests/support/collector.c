/* One thread that serves one connection after another for each of its clients by poll(); bodies are
 * jansson's.
 */
#include "tests/support/collector.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 32, HEAD_MAX = 8192, BODY_MAX = 16 << 20, AWAIT_MS = 60000 };

struct client {
    int fd; /* -1: free */
    char *bytes;
    size_t n;
};

struct collector {
    int listener, port, wake[2];
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    struct collected *spans;
    size_t n, cap;
    char fault[200];
    struct client clients[CLIENTS];
};

/* ---- reading what came ---- */

static void complain(struct collector *c, const char *what, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (!c->fault[0])
        snprintf(c->fault, sizeof(c->fault), "%s: %.120s", what, text ? text : "(absent)");
    free(text);
}

static bool is_hex(const char *s, size_t n)
{
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n && strspn(s, "0") != n;
}

/* A 64-bit number is a string of digits in this encoding. */
static int64_t number(struct collector *c, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || !*text || text[strspn(text + (*text == '-'), "0123456789") + (*text == '-')])
        complain(c, key, object);
    return text ? strtoll(text, NULL, 10) : 0;
}

static void id(struct collector *c, const json_t *object, const char *key, size_t n, bool needed, char *ret)
{
    const char *text = json_string_value(json_object_get(object, key));
    if ((text || needed) && !is_hex(text, n))
        complain(c, key, object);
    snprintf(ret, n + 1, "%s", text ? text : "");
}

static void check_attributes(struct collector *c, json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        json_t *value = json_object_get(item, "value");
        if (!json_is_string(json_object_get(item, "key")) || json_object_size(value) != 1)
            complain(c, "attribute", item);
        if (json_object_get(value, "intValue"))
            number(c, value, "intValue");
        else if (!json_is_string(json_object_get(value, "stringValue")))
            complain(c, "attribute's value", item);
    }
}

static void take_span(struct collector *c, json_t *json, const char *service)
{
    struct collected s = {.kind = (int)json_integer_value(json_object_get(json, "kind"))};
    json_t *link, *links = json_object_get(json, "links");
    size_t i;
    id(c, json, "traceId", 32, true, s.trace);
    id(c, json, "spanId", 16, true, s.span);
    id(c, json, "parentSpanId", 16, false, s.parent);
    s.start_ns = number(c, json, "startTimeUnixNano");
    s.end_ns = number(c, json, "endTimeUnixNano");
    if (s.kind < 1 || s.kind > 5 || s.end_ns < s.start_ns || !json_is_string(json_object_get(json, "name")))
        complain(c, "span", json);
    check_attributes(c, json_object_get(json, "attributes"));
    json_array_foreach(links, i, link)
    {
        char trace[33], span[17];
        id(c, link, "traceId", 32, true, trace);
        id(c, link, "spanId", 16, true, span);
        if (s.links++ == 0)
            memcpy(s.link, span, sizeof(span));
    }
    snprintf(s.name, sizeof(s.name), "%s", json_string_value(json_object_get(json, "name")));
    snprintf(s.service, sizeof(s.service), "%s", service);
    s.failed = json_integer_value(json_object_get(json_object_get(json, "status"), "code")) == 2;
    s.json = json_dumps(json, JSON_COMPACT);
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 256;
        c->spans = realloc(c->spans, c->cap * sizeof(*c->spans));
    }
    c->spans[c->n++] = s;
}

static const char *service_of(struct collector *c, const json_t *resource)
{
    json_t *list = json_object_get(resource, "attributes"), *item;
    size_t i;
    check_attributes(c, list);
    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "key")), "service.name") == 0)
            return json_string_value(json_object_get(json_object_get(item, "value"), "stringValue"));
    }
    complain(c, "service.name", resource);
    return "";
}

static void take_body(struct collector *c, const char *p, size_t n)
{
    json_t *body = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL), *resource, *scope, *span;
    size_t i, k, m;
    pthread_mutex_lock(&c->lock);
    if (!json_is_array(json_object_get(body, "resourceSpans")))
        complain(c, "body", body);
    json_array_foreach(json_object_get(body, "resourceSpans"), i, resource)
    {
        const char *service = service_of(c, json_object_get(resource, "resource"));
        json_array_foreach(json_object_get(resource, "scopeSpans"), k, scope)
            json_array_foreach(json_object_get(scope, "spans"), m, span) take_span(c, span, service);
    }
    pthread_mutex_unlock(&c->lock);
    json_decref(body);
}

/* ---- HTTP ---- */

static void drop(struct client *client)
{
    close(client->fd);
    free(client->bytes);
    *client = (struct client){.fd = -1};
}

/* Takes one request off the client's bytes; false: it is not complete. */
static bool take_request(struct collector *c, struct client *client)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    char *end = memmem(client->bytes, client->n, "\r\n\r\n", 4);
    const char *length = end ? strcasestr(client->bytes, "\r\ncontent-length:") : NULL;
    if (!end || !length || length > end)
        return false;
    size_t body = strtoul(length + 17, NULL, 10), head = (size_t)(end + 4 - client->bytes);
    if (body > BODY_MAX || client->n < head + body)
        return false;
    if (strncmp(client->bytes, "POST /v1/traces HTTP/1.1\r\n", 26) != 0)
        snprintf(c->fault, sizeof(c->fault), "request line: %.40s", client->bytes);
    take_body(c, client->bytes + head, body);
    client->n -= head + body;
    memmove(client->bytes, client->bytes + head + body, client->n + 1);
    return send(client->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) > 0;
}

static void read_client(struct collector *c, struct client *client)
{
    client->bytes = realloc(client->bytes, client->n + 65537);
    ssize_t got = recv(client->fd, client->bytes + client->n, 65536, 0);
    if (got <= 0) {
        drop(client);
        return;
    }
    client->n += (size_t)got;
    client->bytes[client->n] = 0;
    while (take_request(c, client))
        continue;
}

static void accept_client(struct collector *c)
{
    int fd = accept(c->listener, NULL, NULL), i = 0;
    while (i < CLIENTS && c->clients[i].fd >= 0)
        i++;
    if (fd >= 0 && i < CLIENTS)
        c->clients[i].fd = fd;
    else if (fd >= 0)
        close(fd);
}

static void *serve(void *data)
{
    struct collector *c = data;
    for (;;) {
        struct pollfd fds[CLIENTS + 2] = {{.fd = c->wake[0], .events = POLLIN},
                                          {.fd = c->listener, .events = POLLIN}};
        for (int i = 0; i < CLIENTS; i++)
            fds[i + 2] = (struct pollfd){.fd = c->clients[i].fd, .events = POLLIN};
        poll(fds, CLIENTS + 2, -1);
        if (fds[0].revents)
            return NULL;
        for (int i = 0; i < CLIENTS; i++)
            if (fds[i + 2].revents)
                read_client(c, &c->clients[i]);
        if (fds[1].revents)
            accept_client(c);
    }
}

/* ---- starting and ending ---- */

struct collector *collector_start(void)
{
    struct collector *c = calloc(1, sizeof(*c));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(address);
    pthread_mutex_init(&c->lock, NULL);
    for (int i = 0; i < CLIENTS; i++)
        c->clients[i].fd = -1;
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(c->listener, (struct sockaddr *)&address, n) != 0 || listen(c->listener, 16) != 0 ||
        getsockname(c->listener, (struct sockaddr *)&address, &n) != 0 || pipe(c->wake) != 0) {
        perror("collector");
        abort();
    }
    c->port = ntohs(address.sin_port);
    snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d", c->port);
    pthread_create(&c->thread, NULL, serve, c);
    return c;
}

struct collector *collector_stop(struct collector *c)
{
    if (!c)
        return NULL;
    if (write(c->wake[1], "", 1) != 1)
        abort();
    pthread_join(c->thread, NULL);
    for (int i = 0; i < CLIENTS; i++)
        if (c->clients[i].fd >= 0)
            drop(&c->clients[i]);
    close(c->listener);
    close(c->wake[0]);
    close(c->wake[1]);
    for (size_t i = 0; i < c->n; i++)
        free(c->spans[i].json);
    free(c->spans);
    free(c);
    return NULL;
}

int collector_port(const struct collector *c)
{
    return c->port;
}

const char *collector_url(const struct collector *c)
{
    return c->url;
}

/* ---- looking ---- */

const char *collector_fault(struct collector *c)
{
    pthread_mutex_lock(&c->lock);
    const char *fault = c->fault[0] ? c->fault : NULL;
    pthread_mutex_unlock(&c->lock);
    return fault;
}

size_t collector_count(struct collector *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

bool collector_find(struct collector *c, const char *trace, const char *parent, const char *name,
                    struct collected *ret)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n && !found; i++) {
        const struct collected *s = &c->spans[i];
        found = strcmp(s->name, name) == 0 && (!trace || strcmp(s->trace, trace) == 0) &&
                (!parent || strcmp(s->parent, parent) == 0);
        if (found)
            *ret = *s;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

bool collector_await(struct collector *c, const char *trace, const char *parent, const char *name,
                     struct collected *ret)
{
    for (int ms = 0; ms < AWAIT_MS; ms += 20) {
        if (collector_find(c, trace, parent, name, ret))
            return true;
        poll(NULL, 0, 20);
    }
    return false;
}

bool collector_holds(struct collector *c, const char *text)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n && !found; i++)
        found = strstr(c->spans[i].json, text) != NULL;
    pthread_mutex_unlock(&c->lock);
    return found;
}
