/*
 * One connection to Redis (RESP2) with a non-blocking pump over hiredis' reader. Commands are queued, replies
 * come back in order to the function given with each. Two ways to drive it: a loop with its own poller asks
 * redis_fd() and redis_wants() and calls redis_pump(); sequential code calls redis_call() or redis_wait(),
 * which poll inside and always have a deadline. A broken connection answers every waiting command with reply
 * == NULL, once, and the connection stays down until redis_open again (redis_reopen): the outcome of those
 * commands is unknown. hiredis is included nowhere else. Not thread-safe: one owner.
 */
#pragma once

#include "bus/base/arena.h"

enum redis_kind { REDIS_NIL, REDIS_INTEGER, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_ARRAY };

/* A reply; lives until the function it was given to returns (redis_call: until the next call on the
 * connection). */
struct redis_reply {
    enum redis_kind kind;
    int64_t integer;
    struct str text; /* string, status, error */
    size_t n;        /* elements of an array */
    struct redis_reply *items;
};

struct redis;

/* reply == NULL: the connection broke, the outcome is unknown. Must not close the connection. */
typedef void redis_fn(void *data, const struct redis_reply *reply);

enum {
    REDIS_CONNECT_MS = 2000,  /* for loops: they try again, and must be able to end */
    REDIS_PATIENT_MS = 30000, /* for who has one try */
};

/* Connects (bounded by REDIS_CONNECT_MS) to "redis://[user][:password@]host[:port][/db]" or
 * "unix://[user:password@]/path[?db=n]" (user, password and path may hold %XX); authenticates. CONFIG: not
 * such a URL. REDIS_DOWN when nobody answers, also while it is LOADING. REDIS_REFUSED: credentials or
 * database. On failure *ret is NULL if it was set at all. */
err redis_open(const char *url, struct redis **ret) _must_use_;
/* The same with so many ms for this connection, at least 1; those of redis_reopen have REDIS_CONNECT_MS. */
err redis_open_within(const char *url, int connect_ms, struct redis **ret) _must_use_;
struct redis *
redis_close(struct redis *redis); /* takes NULL, returns NULL; waiting functions get NULL replies */
/* Ends the connection, also one that answers; everybody who waits gets NULL at once. What arrived and was not
 * read is dropped. Not from inside a redis_fn. */
void redis_break(struct redis *redis);
bool redis_is_up(const struct redis *redis);
/* Connects anew after a break. Everything prepared on the connection (subscriptions) is gone. */
err redis_reopen(struct redis *redis) _must_use_;

/* Queues one command of n binary-safe words, copied. fn may be NULL (the reply is dropped; an error reply is
 * noted and surfaces at redis_wait). On a connection that is down fn gets NULL at once. */
void redis_send(struct redis *redis, redis_fn *fn, void *data, size_t n, const struct str *words);
/* The same from a literal template: words separated by single spaces, %s a const char *, %b a struct str (by
 * value), %d an int64_t. e.g. redis_sendf(r, fn, x, "XACK %b %s %b", stream, group, id). */
void redis_sendf(struct redis *redis, redis_fn *fn, void *data, const char *format, ...);

/* Driving from a poller. wants: POLLIN, plus POLLOUT while bytes wait. pump handles readiness and calls
 * functions; call it also after redis_send to write at once. */
int redis_fd(const struct redis *redis);
short redis_wants(const struct redis *redis);
void redis_pump(struct redis *redis, short ready);
/* Number of commands whose replies are outstanding. */
size_t redis_waiting(const struct redis *redis);

/* Sequential: runs until no reply is outstanding. RETRY errors: REDIS_DOWN (broken or timeout, the connection
 * is then closed), REDIS_REFUSED when a command without fn was answered by an error (first one, text in
 * err_text). */
err redis_wait(struct redis *redis, int64_t timeout_ms) _must_use_;
/* Sequential: one command, its reply, within 5 s (so blocking reads block for less). An error reply is
 * REDIS_REFUSED with its text; *ret is then still set; it is NULL with REDIS_DOWN. ret may be NULL. Not from
 * inside a redis_fn. */
err redis_callf(struct redis *redis, const struct redis_reply **ret, const char *format, ...) _must_use_;
err redis_call(struct redis *redis, const struct redis_reply **ret, size_t n,
               const struct str *words) _must_use_;

/* Runs a script by EVALSHA, loading it when the server does not know it (NOSCRIPT, after a restart or SCRIPT
 * FLUSH). The struct is static; sha is filled on first use (thread-safe). */
struct redis_script {
    const char *source;
    char sha[41];
};
/* Queued. words are numkeys, the keys, the arguments as EVAL takes them. On NOSCRIPT it is sent again by EVAL
 * behind the commands queued meanwhile, so never rely on order between a script and what follows it in the
 * pipeline. */
void redis_script_send(struct redis *redis, struct redis_script *script, redis_fn *fn, void *data, size_t n,
                       const struct str *words);

/* Messages of SUBSCRIBE on this connection go to the channel's function; they live until it returns.
 * Afterwards only redis_subscribe, "UNSUBSCRIBE channel" and PING are allowed on it. On a connection that is
 * down nothing happens. */
typedef void redis_push_fn(void *data, struct str channel, struct str payload);
void redis_subscribe(struct redis *redis, struct str channel, redis_push_fn *fn, void *data);

/* Helpers for replies. */
bool redis_is_error(const struct redis_reply *reply, const char *prefix); /* error whose text starts so */
int64_t redis_integer(const struct redis_reply *reply, int64_t fallback); /* integer, or numeric string */
