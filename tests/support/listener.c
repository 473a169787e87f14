/* See listener.h. Bytes → chunks → blocks → lines. */
#include "tests/support/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/diary.h"

enum { BYTES = 4 << 20, POLL_MS = 20, AGAIN_MS = 50, ID_MAX = 12000 };

struct listener {
    struct shop *shop;
    struct listener_options options;
    char token[2048], last_id[ID_MAX], wrong[200];
    pthread_t thread;
    pthread_mutex_t lock; /* heard */
    struct heard *heard;
    int n, cap;
    atomic_int status, connections, attempts;
    atomic_bool stop, paused;
    bool ended;
    int fd;
    char *in;
    size_t in_n;
};

static void note(struct listener *l, const char *what)
{
    if (!*l->wrong)
        snprintf(l->wrong, sizeof(l->wrong), "%s", what);
}

/* ---- blocks ---- */

static void keep(struct listener *l, const char *type, const char *id, const char *data)
{
    json_t *event = json_loads(data, 0, NULL);
    const char *event_id = json_string_value(json_object_get(event, "id"));
    const char *key = json_string_value(json_object_get(event, "partitionkey"));

    if (!event_id || !key || !*type || !*id ||
        strcmp(type, json_string_value(json_object_get(event, "type"))) != 0) {
        note(l, "an event that is not whole");
        json_decref(event);
        return;
    }
    pthread_mutex_lock(&l->lock);
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->heard = realloc(l->heard, (size_t)l->cap * sizeof(*l->heard));
        assert(l->heard);
    }
    struct heard *h = &l->heard[l->n];
    *h = (struct heard){.connection = l->connections, .data = strdup(data)};
    snprintf(h->id, sizeof(h->id), "%s", event_id);
    snprintf(h->type, sizeof(h->type), "%s", type);
    snprintf(h->key, sizeof(h->key), "%s", key);
    l->n++;
    pthread_mutex_unlock(&l->lock);
    json_decref(event);
}

static const char *value_of(char *line, const char *name)
{
    size_t n = strlen(name);

    return strncmp(line, name, n) == 0 && line[n] == ':' ? line + n + (line[n + 1] == ' ' ? 2 : 1) : NULL;
}

/* One block without its empty line; taken apart in place. */
static void take_block(struct listener *l, char *block)
{
    const char *type = "", *data = NULL, *value;
    char *rest = block, *line;

    while ((line = strsep(&rest, "\n"))) {
        if ((value = value_of(line, "id")))
            snprintf(l->last_id, sizeof(l->last_id), "%s", value);
        else if ((value = value_of(line, "event")))
            type = value;
        else if ((value = value_of(line, "data")))
            data = value;
        else if (line[0] != ':' && !value_of(line, "retry"))
            note(l, "a line that belongs to no event");
    }
    if (data)
        keep(l, type, l->last_id, data);
}

/* A chunk is made of whole blocks, each ended by an empty line. */
static void take_chunk(struct listener *l, char *chunk, size_t n)
{
    char *end;

    if (n < 2 || memcmp(chunk + n - 2, "\n\n", 2) != 0) {
        note(l, "a chunk that ends inside a block");
        return;
    }
    while (n > 0 && (end = memmem(chunk, n, "\n\n", 2))) {
        *end = 0;
        n -= (size_t)(end - chunk) + 2;
        take_block(l, chunk);
        chunk = end + 2;
    }
}

/* ---- bytes ---- */

static void forget(struct listener *l, size_t n)
{
    memmove(l->in, l->in + n, l->in_n - n);
    l->in_n -= n;
}

/* More bytes; false at the end, or when there is to be one. */
static bool receive(struct listener *l)
{
    while (!l->stop) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};

        if (l->paused || poll(&p, 1, POLL_MS) <= 0) {
            if (l->paused)
                shop_nap();
            continue;
        }
        ssize_t n = recv(l->fd, l->in + l->in_n, BYTES - l->in_n, 0);
        if (n <= 0)
            return false;
        l->in_n += (size_t)n;
        return true;
    }
    return false;
}

static char *find(const struct listener *l, const char *what)
{
    return memmem(l->in, l->in_n, what, strlen(what));
}

/* One chunk; false at the end of the stream. */
static bool read_chunk(struct listener *l)
{
    char *line;

    while (!(line = find(l, "\r\n")))
        if (!receive(l))
            return false;
    size_t head = (size_t)(line - l->in) + 2, size = strtoul(l->in, NULL, 16);
    while (l->in_n < head + size + 2)
        if (!receive(l))
            return false;
    if (size)
        take_chunk(l, l->in + head, size);
    forget(l, head + size + 2);
    return size > 0;
}

static bool read_head(struct listener *l)
{
    char *end;

    while (!(end = find(l, "\r\n\r\n")))
        if (!receive(l))
            return false;
    *end = 0;
    l->status = atoi(l->in + strcspn(l->in, " "));
    bool stream = strstr(l->in, "text/event-stream") && strstr(l->in, "chunked");
    forget(l, (size_t)(end - l->in) + 4);
    return l->status == 200 && stream;
}

static bool ask_for_stream(struct listener *l)
{
    char text[ID_MAX + 4096];
    int n =
        snprintf(text, sizeof(text),
                 "GET /api/v1/events%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s%s%s\r\n",
                 l->options.query, l->token, *l->last_id ? "Last-Event-ID: " : "", l->last_id,
                 *l->last_id ? "\r\n" : "");
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)shop_port(l->shop, l->options.door)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool comes_again = l->options.paused && l->connections > 0;
    if (l->options.receive_buffer && !comes_again)
        setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &l->options.receive_buffer, sizeof(int));
    return connect(l->fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
           send(l->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

static void follow(struct listener *l)
{
    l->in_n = 0;
    if (ask_for_stream(l) && read_head(l)) {
        l->paused = l->connections++ == 0 && l->options.paused;
        while (read_chunk(l))
            l->attempts = 1;
    }
    close(l->fd);
    l->attempts++;
}

static void *run(void *data)
{
    struct listener *l = data;

    while (!l->stop) {
        follow(l);
        for (int i = 0; i < AGAIN_MS / POLL_MS && !l->stop; i++)
            poll(NULL, 0, POLL_MS);
    }
    return NULL;
}

/* ---- life ---- */

struct listener *listener_start(const struct person *person, const struct listener_options *options)
{
    struct listener *l = calloc(1, sizeof(*l));

    assert(l);
    l->shop = person->shop;
    l->options = *options;
    snprintf(l->token, sizeof(l->token), "%s", person->access);
    snprintf(l->last_id, sizeof(l->last_id), "%s", options->last_id ? options->last_id : "");
    l->in = malloc(BYTES);
    assert(l->in);
    pthread_mutex_init(&l->lock, NULL);
    int failure = pthread_create(&l->thread, NULL, run, l);
    assert(failure == 0);
    while (!l->connections && !l->attempts)
        shop_nap();
    return l;
}

static int by_id(const void *a, const void *b)
{
    const struct heard *x = *(const struct heard *const *)a, *y = *(const struct heard *const *)b;
    int order = strcmp(x->id, y->id);

    return order ? order : (x > y) - (x < y);
}

static void look_for_repetitions(struct listener *l)
{
    const struct heard **sorted = calloc((size_t)l->n + 1, sizeof(*sorted));

    assert(sorted);
    for (int i = 0; i < l->n; i++)
        sorted[i] = &l->heard[i];
    qsort(sorted, (size_t)l->n, sizeof(*sorted), by_id);
    for (int i = 1; i < l->n; i++)
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0 &&
            sorted[i - 1]->connection == sorted[i]->connection)
            note(l, "an event twice on one connection");
    free(sorted);
}

void listener_end(struct listener *l)
{
    if (l->ended)
        return;
    l->stop = l->ended = true;
    pthread_join(l->thread, NULL);
    look_for_repetitions(l);
}

struct listener *listener_stop(struct listener *l)
{
    if (!l)
        return NULL;
    listener_end(l);
    for (int i = 0; i < l->n; i++)
        free(l->heard[i].data);
    free(l->heard);
    free(l->in);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

void listener_pause(struct listener *l, bool pause)
{
    l->paused = pause;
}

bool listener_hears(struct listener *l, int n, int64_t within_ms)
{
    int64_t until = shop_now_ms() + within_ms;

    for (;;) {
        pthread_mutex_lock(&l->lock);
        bool enough = l->n >= n;
        pthread_mutex_unlock(&l->lock);
        if (enough || shop_now_ms() > until)
            return enough;
        shop_nap();
    }
}

/* ---- looking ---- */

int listener_status(const struct listener *l)
{
    return l->status;
}

int listener_heard(const struct listener *l)
{
    return l->n;
}

const struct heard *listener_event(const struct listener *l, int i)
{
    return &l->heard[i];
}

int listener_connections(struct listener *l)
{
    return l->connections;
}

const char *listener_last_id(const struct listener *l)
{
    return l->last_id;
}

const char *listener_wrong(const struct listener *l)
{
    return l->wrong;
}

/* ---- against the log ---- */

int listener_missed(struct listener *l, struct shop *shop, const char *where)
{
    struct diary *diary = diary_new();

    listener_end(l);
    for (int i = 0; i < l->n; i++)
        diary_add(diary, l->heard[i].id);
    int missed = diary_missed(diary, shop, where);
    diary_free(diary);
    return missed;
}
