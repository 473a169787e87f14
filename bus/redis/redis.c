/*
 * The pump of one connection to Redis: output buffer, queue of outstanding replies, and the loop that moves
 * both. Promises: every queued command gets exactly one call of its function, in order, with a reply or with
 * NULL; functions are never called from inside redis_send of a healthy connection; what a function queues
 * leaves with the same write.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/redis/internal.h"

err redis_open(const char *url, struct redis **ret)
{
    return redis_open_within(url, REDIS_CONNECT_MS, ret);
}

err redis_open_within(const char *url, int connect_ms, struct redis **ret)
{
    struct target target;
    assert(connect_ms > 0);
    TRY(target_parse(str_of(url), &target));
    struct redis *redis = calloc(1, sizeof(*redis));
    if (!redis)
        abort();
    *redis =
        (struct redis){.fd = -1, .target = target, .waiting = RING(struct waiting), .connect_ms = connect_ms};
    redis->replies = arena_new(REDIS_REPLY_BYTES);
    err e = redis_reopen(redis);
    redis->connect_ms = REDIS_CONNECT_MS;
    if (failed(e))
        redis = redis_close(redis);
    *ret = redis;
    return e;
}

err redis_reopen(struct redis *redis)
{
    redis_break(redis);
    if (redis->reader)
        redisReaderFree(redis->reader);
    redis->reader = reply_reader(&redis->replies);
    redis->refused[0] = '\0';
    return redis_connect(redis);
}

struct redis *redis_close(struct redis *redis)
{
    if (!redis)
        return NULL;
    redis_break(redis);
    if (redis->reader)
        redisReaderFree(redis->reader);
    arena_free(redis->replies);
    ring_deinit(&redis->waiting);
    free(redis->out.p);
    free(redis->kept.p);
    target_deinit(&redis->target);
    free(redis);
    return NULL;
}

bool redis_is_up(const struct redis *redis)
{
    return redis->fd >= 0;
}

void redis_break(struct redis *redis)
{
    assert(!redis->running);
    if (redis->fd >= 0)
        close(redis->fd);
    redis->fd = -1;
    fifo_clear(&redis->out);
    fifo_clear(&redis->kept);
    subscriptions_clear(redis);
    redis->running = true;
    while (redis->waiting.n) {
        struct waiting w = *(struct waiting *)ring_first(&redis->waiting);
        ring_pop(&redis->waiting);
        if (w.fn)
            w.fn(w.data, NULL);
    }
    redis->running = false;
}

struct waiting *redis_enqueue(struct redis *redis, redis_fn *fn, void *data)
{
    if (redis->fd < 0) {
        if (fn)
            fn(data, NULL);
        return NULL;
    }
    struct waiting *w = ring_push(&redis->waiting);
    *w = (struct waiting){.fn = fn, .data = data};
    return w;
}

/* Writes as far as the socket takes it. False: the connection is gone. */
static bool write_out(struct redis *redis)
{
    struct fifo *out = &redis->out;
    while (fifo_n(out)) {
        ssize_t n = send(redis->fd, out->p + out->start, fifo_n(out), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            fifo_take(out, (size_t)n);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return true;
        else if (errno != EINTR)
            return false;
    }
    return true;
}

void redis_queued(struct redis *redis)
{
    /* A failure is not told here, where nobody expects functions to be called: the next pump meets it again.
     */
    if (fifo_n(&redis->out) >= REDIS_WRITE_BYTES)
        (void)write_out(redis);
}

void redis_send(struct redis *redis, redis_fn *fn, void *data, size_t n, const struct str *words)
{
    if (!redis_enqueue(redis, fn, data))
        return;
    encode_count(&redis->out, '*', n);
    encode_words(&redis->out, n, words);
    redis_queued(redis);
}

static void send_format(struct redis *redis, redis_fn *fn, void *data, const char *format, va_list *args)
{
    if (!redis_enqueue(redis, fn, data))
        return;
    encode_format(&redis->out, format, args);
    redis_queued(redis);
}

void redis_sendf(struct redis *redis, redis_fn *fn, void *data, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    send_format(redis, fn, data, format, &args);
    va_end(args);
}

int redis_fd(const struct redis *redis)
{
    return redis->fd;
}

short redis_wants(const struct redis *redis)
{
    return redis->fd < 0 ? 0 : fifo_n(&redis->out) ? POLLIN | POLLOUT : POLLIN;
}

size_t redis_waiting(const struct redis *redis)
{
    return redis->waiting.n;
}

/* An error's text without the arguments that "unknown command" quotes: they may be anybody's data. */
static struct str refusal(const struct redis_reply *reply)
{
    const char *quoted = memmem(reply->text.p, reply->text.n, ", with args", 11);
    return (struct str){reply->text.p, quoted ? (size_t)(quoted - reply->text.p) : reply->text.n};
}

/* Keeps the first error nobody took, for redis_wait. */
static void note_refusal(struct redis *redis, const struct redis_reply *reply)
{
    if (!redis->refused[0] && reply->kind == REDIS_ERROR)
        snprintf(redis->refused, sizeof(redis->refused), "%.*s", STR_ARG(refusal(reply)));
}

/* Hands one reply to whom it belongs. False: a reply nobody asked for, so the stream cannot be trusted. */
static bool answer(struct redis *redis, const struct redis_reply *reply)
{
    if (subscription_deliver(redis, reply))
        return true;
    if (!redis->waiting.n)
        return false;
    struct waiting w = *(struct waiting *)ring_first(&redis->waiting);
    ring_pop(&redis->waiting);
    if (w.script && script_resend(redis, &w, reply))
        return true;
    if (w.fn)
        w.fn(w.data, reply);
    else
        note_refusal(redis, reply);
    return true;
}

/* Hands out the whole replies that were read. False: not RESP2, or absurdly large. */
static bool take_replies(struct redis *redis)
{
    const redisReader *reader = redis->reader;
    while (!redis->hold && reader->pos < reader->len) {
        void *reply = NULL;
        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK)
            return false;
        if (!reply)
            return reader->len - reader->pos <= REDIS_REPLY_BYTES;
        if (!answer(redis, reply))
            return false;
    }
    return true;
}

static bool read_replies(struct redis *redis)
{
    char bytes[REDIS_READ_BYTES];
    for (int i = 0; i < REDIS_READS_PER_PUMP && !redis->hold; i++) {
        ssize_t n = recv(redis->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        if (redisReaderFeed(redis->reader, bytes, (size_t)n) != REDIS_OK || !take_replies(redis))
            return false;
        if ((size_t)n < sizeof(bytes))
            return true;
    }
    return true;
}

void redis_pump(struct redis *redis, short ready)
{
    if (redis->fd < 0)
        return;
    if (redis->running) { /* called by a function of ours: only write, the pump around it meets a failure
                             again */
        (void)write_out(redis);
        return;
    }
    redis->running = true;
    redis->hold = false;
    bool up = take_replies(redis) && (!(ready & ~POLLOUT) || read_replies(redis)) && write_out(redis);
    redis->running = false;
    if (!up)
        redis_break(redis);
}

/* Runs until *done, or without it until nothing waits; breaks the connection at the deadline. */
static void run(struct redis *redis, const bool *done, int64_t timeout_ms)
{
    assert(!redis->running);
    int64_t deadline = clock_mono_ms() + timeout_ms;
    redis_pump(redis, 0);
    while (redis_is_up(redis) && (done ? !*done : redis->waiting.n > 0)) {
        struct pollfd p = {.fd = redis->fd, .events = redis_wants(redis)};
        int64_t left = deadline - clock_mono_ms();
        int n = left > 0 ? poll(&p, 1, left < INT32_MAX ? (int)left : INT32_MAX) : 0;
        if (n > 0)
            redis_pump(redis, p.revents);
        else if (n == 0)
            redis_break(redis);
        else
            assert(errno == EINTR);
    }
}

static err down(const struct redis *redis)
{
    return FAIL(REDIS_DOWN, "the connection to Redis at %s broke", redis->target.text);
}

err redis_wait(struct redis *redis, int64_t timeout_ms)
{
    run(redis, NULL, timeout_ms);
    if (!redis_is_up(redis))
        return down(redis);
    if (!redis->refused[0])
        return OK;
    err e = FAIL(REDIS_REFUSED, "%s", redis->refused);
    redis->refused[0] = '\0';
    return e;
}

/* A sequential call and its reply. */
struct call {
    struct redis *redis;
    const struct redis_reply *reply;
    bool done;
};

static void call_done(void *data, const struct redis_reply *reply)
{
    struct call *call = data;
    call->reply = reply;
    call->done = true;
    call->redis->hold = true;
}

static err call_finish(struct call *call, int64_t timeout_ms, const struct redis_reply **ret)
{
    run(call->redis, &call->done, timeout_ms);
    if (ret)
        *ret = call->reply;
    if (!call->reply)
        return down(call->redis);
    if (call->reply->kind != REDIS_ERROR)
        return OK;
    return FAIL(REDIS_REFUSED, "%.*s", STR_ARG(refusal(call->reply)));
}

err redis_call_within(struct redis *redis, int64_t timeout_ms, const struct redis_reply **ret, size_t n,
                      const struct str *words)
{
    struct call call = {.redis = redis};
    redis_send(redis, call_done, &call, n, words);
    return call_finish(&call, timeout_ms, ret);
}

err redis_call(struct redis *redis, const struct redis_reply **ret, size_t n, const struct str *words)
{
    return redis_call_within(redis, REDIS_CALL_MS, ret, n, words);
}

err redis_callf(struct redis *redis, const struct redis_reply **ret, const char *format, ...)
{
    struct call call = {.redis = redis};
    va_list args;
    va_start(args, format);
    send_format(redis, call_done, &call, format, &args);
    va_end(args);
    return call_finish(&call, REDIS_CALL_MS, ret);
}
