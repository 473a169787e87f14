/*
 * What the files of bus/redis share. connect.c makes the socket and greets, encode.c writes commands, reply.c
 * builds replies, script.c and subscribe.c are the two special kinds of command, redis.c is the pump that
 * moves it all.
 */
#pragma once

#include <hiredis/read.h>

#include "bus/base/ring.h"
#include "bus/redis/redis.h"

enum {
    REDIS_CALL_MS = 5000,          /* deadline of redis_call; blocking reads block for 1 s at most */
    REDIS_REPLY_BYTES = 256 << 20, /* a larger reply is absurd here and breaks the connection */
    REDIS_WRITE_BYTES = 64 << 10,  /* so much output is written without waiting for the pump */
    REDIS_READ_BYTES = 64 << 10,   /* read at once */
    REDIS_READS_PER_PUMP = 16,     /* then the other work of the loop gets its turn */
};

/* Bytes put at the end and taken from the front. */
struct fifo {
    char *p;
    size_t start, end, cap;
};
static inline size_t fifo_n(const struct fifo *f)
{
    return f->end - f->start;
}
/* Room for n bytes at the end; the caller writes there and adds what it used to `end`. */
char *fifo_reserve(struct fifo *f, size_t n);
void fifo_put(struct fifo *f, const void *p, size_t n);
void fifo_take(struct fifo *f, size_t n);
void fifo_clear(struct fifo *f); /* forgets the bytes; gives back a buffer that has become very large */

/* A command whose reply is outstanding. */
struct waiting {
    redis_fn *fn;
    void *data;
    struct redis_script
        *script; /* NULL, or: its `kept` bytes in redis->kept are the words, encoded, for a resend */
    size_t words, kept;
};

struct subscription {
    char *channel;
    size_t n;
    redis_push_fn *fn;
    void *data;
    size_t asked; /* SUBSCRIBEs not yet confirmed: an UNSUBSCRIBE confirmed meanwhile was sent before them */
};

/* Where to connect and as whom; from the URL. */
struct target {
    char *host, *path; /* one of them */
    int port;
    int64_t db;
    char *user, *password;
    char text[128]; /* "host:port" or the path, for errors: never the credentials */
};

struct redis {
    int fd;       /* -1: down */
    bool running; /* functions are being called: no nested pump, no sequential call */
    bool hold;    /* a sequential call has its reply: later replies stay unread, so that it lives on */
    redisReader *reader;
    struct arena *replies; /* the reply being read or handed out */
    struct fifo out, kept;
    struct ring waiting;
    struct subscription *subscriptions;
    size_t n_subscriptions;
    char refused[256]; /* the first error reply nobody took, "" for none */
    struct target target;
    int connect_ms; /* how long the next connection may take */
};

/* connect.c */
err target_parse(struct str url, struct target *ret) _must_use_;
void target_deinit(struct target *t);
err redis_connect(struct redis *redis) _must_use_; /* socket and greeting */

/* encode.c */
void encode_count(struct fifo *out, char mark, size_t n);
void encode_words(struct fifo *out, size_t n, const struct str *words);
void encode_format(struct fifo *out, const char *format, va_list *args);

/* reply.c */
redisReader *reply_reader(struct arena **replies);

/* script.c: queues the script again by EVAL when the reply says NOSCRIPT; false when the reply is final. */
bool script_resend(struct redis *redis, const struct waiting *w, const struct redis_reply *reply);

/* subscribe.c: true when the reply was a message and went to its function. */
bool subscription_deliver(struct redis *redis, const struct redis_reply *reply);
void subscriptions_clear(struct redis *redis);

/* redis.c. enqueue: a place in the queue of outstanding replies, or NULL when the connection is down (fn was
 * told). */
struct waiting *redis_enqueue(struct redis *redis, redis_fn *fn, void *data);
void redis_queued(struct redis *redis); /* after the command is in `out` */
err redis_call_within(struct redis *redis, int64_t timeout_ms, const struct redis_reply **ret, size_t n,
                      const struct str *words) _must_use_;
