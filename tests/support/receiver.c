/* See receiver.h. The signature is computed by OpenSSL from the text of the secret, as a receiver out there
 * would. */
#include "tests/support/receiver.h"

#include <arpa/inet.h>
#include <assert.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/shop.h"

enum { SECRETS = 4, HEAD_MAX = 8192, BODY_MAX = 1 << 20, PATIENCE_MS = 60000 };

struct receiver {
    pthread_mutex_t lock;
    pthread_cond_t came;
    pthread_t thread;
    int fd;
    atomic_bool stop;
    atomic_int serving;
    char url[64], lines[256], disliked[64];
    char secrets[SECRETS][80];
    int n_secrets, status, after_ms, disliked_status;
    struct received *got;
    size_t n, cap;
};

struct visit {
    struct receiver *receiver;
    int fd;
};

/* ---- the signature, as a receiver checks it ---- */

static bool fits(const char *secret, const char *id, const char *timestamp, const char *body,
                 const char *given)
{
    unsigned char key[64], digest[EVP_MAX_MD_SIZE];
    char wanted[64], *content;
    unsigned int n = 0;
    const char *text = secret + strlen("whsec_");
    int key_n = EVP_DecodeBlock(key, (const unsigned char *)text, (int)strlen(text));
    for (const char *end = text + strlen(text); end > text && end[-1] == '='; end--)
        key_n--;
    int content_n = asprintf(&content, "%s.%s.%s", id, timestamp, body);
    HMAC(EVP_sha256(), key, key_n, (const unsigned char *)content, (size_t)content_n, digest, &n);
    free(content);
    EVP_EncodeBlock((unsigned char *)wanted, digest, (int)n);
    return strncmp(given, "v1,", 3) == 0 && strcmp(given + 3, wanted) == 0;
}

static bool is_good(struct receiver *receiver, const char *id, const char *timestamp, const char *body,
                    char *signatures, int *ret_n)
{
    bool good = false;
    char *rest = NULL;
    long age = (long)time(NULL) - atol(timestamp);
    for (char *one = strtok_r(signatures, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
        ++*ret_n;
        for (int i = 0; i < receiver->n_secrets; i++)
            good = good || fits(receiver->secrets[i], id, timestamp, body, one);
    }
    return good && age > -300 && age < 300;
}

/* ---- one request ---- */

/* The value of a header line, "" when it is not there; ret has room for HEAD_MAX. */
static void header(const char *head, const char *name, char *ret)
{
    size_t n = strlen(name);
    ret[0] = '\0';
    for (const char *line = head; (line = strstr(line, "\r\n")) && line[2] != '\r';) {
        line += 2;
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        const char *from = line + n + 1, *end = strstr(from, "\r\n");
        from += strspn(from, " ");
        snprintf(ret, HEAD_MAX, "%.*s", (int)(end - from), from);
        return;
    }
}

static void member(json_t *body, const char *name, char *ret, size_t n)
{
    const char *text = json_string_value(json_object_get(body, name));
    snprintf(ret, n, "%s", text ? text : "");
}

static int keep(struct receiver *receiver, const char *head, char *body)
{
    char timestamp[HEAD_MAX], signatures[HEAD_MAX], id[HEAD_MAX];
    json_t *json = json_loads(body, 0, NULL);
    header(head, "webhook-id", id);
    header(head, "webhook-timestamp", timestamp);
    header(head, "webhook-signature", signatures);
    pthread_mutex_lock(&receiver->lock);
    if (receiver->n == receiver->cap) {
        receiver->cap = receiver->cap ? receiver->cap * 2 : 256;
        receiver->got = realloc(receiver->got, receiver->cap * sizeof(*receiver->got));
        assert(receiver->got);
    }
    struct received *r = &receiver->got[receiver->n++];
    *r = (struct received){.body = body, .at_ms = shop_now_ms()};
    snprintf(r->id, sizeof(r->id), "%.39s", id);
    member(json, "type", r->type, sizeof(r->type));
    member(json, "partitionkey", r->key, sizeof(r->key));
    r->good = is_good(receiver, id, timestamp, body, signatures, &r->signatures);
    bool disliked = receiver->disliked[0] && strcmp(receiver->disliked, r->key) == 0;
    r->status = disliked ? receiver->disliked_status : receiver->status;
    int status = r->status;
    pthread_cond_broadcast(&receiver->came);
    pthread_mutex_unlock(&receiver->lock);
    json_decref(json);
    return status;
}

/* Reads until the head is whole, then the body; NULL when the connection ended. */
static char *read_request(int fd, char head[static HEAD_MAX])
{
    char value[HEAD_MAX], *end = NULL;
    size_t n = 0;
    while (!end) {
        ssize_t got = n < HEAD_MAX - 1 ? read(fd, head + n, HEAD_MAX - 1 - n) : 0;
        if (got <= 0)
            return NULL;
        n += (size_t)got;
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    header(head, "content-length", value);
    size_t length = (size_t)atol(value), have = n - (size_t)(end + 4 - head);
    if (length > BODY_MAX)
        return NULL;
    char *body = malloc(length + 1);
    memcpy(body, end + 4, have);
    while (have < length) {
        ssize_t got = read(fd, body + have, length - have);
        if (got <= 0) {
            free(body);
            return NULL;
        }
        have += (size_t)got;
    }
    body[length] = '\0';
    end[4] = '\0';
    return body;
}

/* Waits as the test wants it, but not longer than the receiver lives. */
static void take_time(struct receiver *receiver)
{
    int64_t until = shop_now_ms() + receiver->after_ms;
    while (!atomic_load(&receiver->stop) && shop_now_ms() < until)
        shop_nap();
}

static bool serve_one(struct receiver *receiver, int fd)
{
    char head[HEAD_MAX], answer[1024], *body = read_request(fd, head);
    if (!body)
        return false;
    int status = keep(receiver, head, body);
    take_time(receiver);
    if (status == 0)
        return false;
    int n = snprintf(answer, sizeof(answer), "HTTP/1.1 %d Status\r\n%sContent-Length: 2\r\n\r\nok", status,
                     receiver->lines);
    return send(fd, answer, (size_t)n, MSG_NOSIGNAL) == n; /* the sender may be dead */
}

static void *serve(void *data)
{
    struct visit *visit = data;
    struct receiver *receiver = visit->receiver;
    struct pollfd poll_fd = {.fd = visit->fd, .events = POLLIN};
    bool more = true;
    while (more && !atomic_load(&receiver->stop))
        if (poll(&poll_fd, 1, 50) > 0)
            more = serve_one(receiver, visit->fd);
    close(visit->fd);
    free(visit);
    atomic_fetch_sub(&receiver->serving, 1);
    return NULL;
}

static void *accept_all(void *data)
{
    struct receiver *receiver = data;
    struct pollfd poll_fd = {.fd = receiver->fd, .events = POLLIN};
    while (!atomic_load(&receiver->stop)) {
        int fd = poll(&poll_fd, 1, 50) > 0 ? accept4(receiver->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        pthread_t thread;
        if (fd < 0)
            continue;
        struct visit *visit = malloc(sizeof(*visit));
        *visit = (struct visit){receiver, fd};
        atomic_fetch_add(&receiver->serving, 1);
        int failed_to = pthread_create(&thread, NULL, serve, visit);
        assert(!failed_to);
        pthread_detach(thread);
    }
    return NULL;
}

/* ---- from outside ---- */

struct receiver *receiver_start(void)
{
    struct receiver *receiver = calloc(1, sizeof(*receiver));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);
    pthread_mutex_init(&receiver->lock, NULL);
    pthread_cond_init(&receiver->came, NULL);
    receiver->status = 200;
    receiver->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed_to = bind(receiver->fd, (struct sockaddr *)&address, n) || listen(receiver->fd, 128) ||
                    getsockname(receiver->fd, (struct sockaddr *)&address, &n) ||
                    pthread_create(&receiver->thread, NULL, accept_all, receiver);
    assert(!failed_to);
    snprintf(receiver->url, sizeof(receiver->url), "http://127.0.0.1:%d/hook", ntohs(address.sin_port));
    return receiver;
}

struct receiver *receiver_stop(struct receiver *receiver)
{
    if (!receiver)
        return NULL;
    atomic_store(&receiver->stop, true);
    pthread_join(receiver->thread, NULL);
    while (atomic_load(&receiver->serving))
        shop_nap();
    close(receiver->fd);
    for (size_t i = 0; i < receiver->n; i++)
        free(receiver->got[i].body);
    free(receiver->got);
    pthread_cond_destroy(&receiver->came);
    pthread_mutex_destroy(&receiver->lock);
    free(receiver);
    return NULL;
}

const char *receiver_url(const struct receiver *receiver)
{
    return receiver->url;
}

void receiver_secret(struct receiver *receiver, const char *secret, bool alone)
{
    pthread_mutex_lock(&receiver->lock);
    if (alone)
        receiver->n_secrets = 0;
    assert(receiver->n_secrets < SECRETS);
    snprintf(receiver->secrets[receiver->n_secrets++], sizeof(receiver->secrets[0]), "%s", secret);
    pthread_mutex_unlock(&receiver->lock);
}

void receiver_answers(struct receiver *receiver, int status, const char *lines, int after_ms)
{
    pthread_mutex_lock(&receiver->lock);
    receiver->status = status;
    receiver->after_ms = after_ms;
    snprintf(receiver->lines, sizeof(receiver->lines), "%s", lines ? lines : "");
    pthread_mutex_unlock(&receiver->lock);
}

void receiver_dislikes(struct receiver *receiver, const char *key, int status)
{
    pthread_mutex_lock(&receiver->lock);
    snprintf(receiver->disliked, sizeof(receiver->disliked), "%s", key ? key : "");
    receiver->disliked_status = status;
    pthread_mutex_unlock(&receiver->lock);
}

/* ---- looking ---- */

static bool is_accepted(const struct received *r, const char *type)
{
    return r->status >= 200 && r->status < 300 && (!type || strcmp(r->type, type) == 0);
}

static bool stood_before(const struct receiver *receiver, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (is_accepted(&receiver->got[k], NULL) && strcmp(receiver->got[k].id, receiver->got[i].id) == 0)
            return true;
    return false;
}

static size_t count(struct receiver *receiver, const char *type, bool accepted, bool distinct)
{
    size_t n = 0;
    for (size_t i = 0; i < receiver->n; i++)
        n += (!accepted || is_accepted(&receiver->got[i], type)) && (!distinct || !stood_before(receiver, i));
    return n;
}

static size_t locked_count(struct receiver *receiver, const char *type, bool accepted, bool distinct)
{
    pthread_mutex_lock(&receiver->lock);
    size_t n = count(receiver, type, accepted, distinct);
    pthread_mutex_unlock(&receiver->lock);
    return n;
}

size_t receiver_count(struct receiver *receiver)
{
    return locked_count(receiver, NULL, false, false);
}

size_t receiver_accepted(struct receiver *receiver, const char *type)
{
    return locked_count(receiver, type, true, false);
}

size_t receiver_distinct(struct receiver *receiver, const char *type)
{
    return locked_count(receiver, type, true, true);
}

bool receiver_has(struct receiver *receiver, const char *id)
{
    bool has = false;
    pthread_mutex_lock(&receiver->lock);
    for (size_t i = 0; i < receiver->n; i++)
        has = has || (is_accepted(&receiver->got[i], NULL) && strcmp(receiver->got[i].id, id) == 0);
    pthread_mutex_unlock(&receiver->lock);
    return has;
}

struct received receiver_at(struct receiver *receiver, size_t i)
{
    pthread_mutex_lock(&receiver->lock);
    assert(i < receiver->n);
    struct received r = receiver->got[i];
    pthread_mutex_unlock(&receiver->lock);
    return r;
}

size_t receiver_forged(struct receiver *receiver)
{
    size_t n = 0;
    pthread_mutex_lock(&receiver->lock);
    for (size_t i = 0; i < receiver->n; i++)
        n += !receiver->got[i].good;
    pthread_mutex_unlock(&receiver->lock);
    return n;
}

static bool wait_for(struct receiver *receiver, const char *type, size_t n, bool accepted)
{
    struct timespec until;
    int timed_out = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&receiver->lock);
    while (count(receiver, type, accepted, accepted) < n && !timed_out)
        timed_out = pthread_cond_timedwait(&receiver->came, &receiver->lock, &until);
    bool there = count(receiver, type, accepted, accepted) >= n;
    pthread_mutex_unlock(&receiver->lock);
    return there;
}

bool receiver_gets(struct receiver *receiver, const char *type, size_t n)
{
    return wait_for(receiver, type, n, true);
}

bool receiver_asked(struct receiver *receiver, size_t n)
{
    return wait_for(receiver, NULL, n, false);
}
