/*
 * From a URL to a connection that answers: socket, options that notice a dead peer, credentials, database,
 * and a PING, which also tells a server that is still loading its data. All of it within connect_ms.
 * Neither the URL nor the password ever gets into an error's text.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/redis/internal.h"

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

/* A part of a URL without its %XX, as a new C string; NULL when it is not well formed or holds a NUL. */
static char *decode(struct str s)
{
    char *text = malloc(s.n + 1), *to = text;
    if (!text)
        abort();
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1,
                low = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
            c = high < 0 || low < 0 ? '\0' : (char)(high * 16 + low);
            i += 2;
        }
        if (!c) {
            free(text);
            return NULL;
        }
        *to++ = c;
    }
    *to = '\0';
    return text;
}

/* "user:password", "user" or ":password". */
static bool parse_user(struct str s, struct target *ret)
{
    size_t colon = str_find(s, ':');
    if (colon > 0 && !(ret->user = decode(str_slice(s, 0, colon))))
        return false;
    if (colon < s.n && !(ret->password = decode(str_slice(s, colon + 1, s.n))))
        return false;
    return true;
}

/* "host", "host:port", "[::1]:port". */
static bool parse_host(struct str s, struct target *ret)
{
    bool bracket = s.n && s.p[0] == '[';
    size_t end = bracket ? str_find(s, ']') : str_find(s, ':');
    if (end == bracket || (bracket && end == s.n))
        return false;
    ret->host = decode(str_slice(s, bracket, end));
    end += bracket;
    int64_t port = 6379;
    if (end < s.n && (s.p[end] != ':' || failed(str_int64(str_slice(s, end + 1, s.n), &port))))
        return false;
    ret->port = (int)port;
    return ret->host && port > 0 && port < 65536;
}

static bool parse_db(struct str s, struct target *ret)
{
    return str_empty(s) || (!failed(str_int64(s, &ret->db)) && ret->db >= 0);
}

/* Behind the scheme: authority, path, query. */
static bool parse_rest(struct str s, bool tcp, struct target *ret)
{
    struct str query = {"", 0}, path = {"", 0};
    size_t mark = str_find(s, '?');
    if (mark < s.n)
        query = str_slice(s, mark + 1, s.n);
    s.n = mark;
    size_t slash = str_find(s, '/');
    path = str_slice(s, slash, s.n);
    s.n = slash;
    const char *at = memrchr(s.p, '@', s.n);
    size_t host = at ? (size_t)(at - s.p) + 1 : 0;
    if (at && !parse_user(str_slice(s, 0, host - 1), ret))
        return false;
    s = str_slice(s, host, s.n);
    if (tcp)
        return parse_host(s, ret) && str_empty(query) && parse_db(str_slice(path, path.n > 0, path.n), ret);
    if (!str_empty(query) && !str_starts(query, STR("db=")))
        return false;
    ret->path = decode(path);
    return str_empty(s) && path.n > 1 && ret->path &&
           parse_db(str_slice(query, query.n ? 3 : 0, query.n), ret);
}

err target_parse(struct str url, struct target *ret)
{
    bool tcp = str_starts(url, STR("redis://")), local = str_starts(url, STR("unix://"));
    *ret = (struct target){0};
    if ((!tcp && !local) || !parse_rest(str_slice(url, tcp ? 8 : 7, url.n), tcp, ret)) {
        target_deinit(ret);
        return FAIL(
            CONFIG,
            "REDIS_URL is neither redis://[user][:password@]host[:port][/db] nor unix:///path[?db=n]");
    }
    if (tcp)
        snprintf(ret->text, sizeof(ret->text), "%s:%d", ret->host, ret->port);
    else
        snprintf(ret->text, sizeof(ret->text), "%s", ret->path);
    return OK;
}

void target_deinit(struct target *t)
{
    if (t->password)
        explicit_bzero(t->password, strlen(t->password));
    free(t->password);
    free(t->user);
    free(t->host);
    free(t->path);
    *t = (struct target){0};
}

/* Small writes leave at once; a peer that is gone without a word is noticed after seconds, not hours. */
static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},  {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 5}, {IPPROTO_TCP, TCP_KEEPINTVL, 2},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},  {IPPROTO_TCP, TCP_USER_TIMEOUT, 10000},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

static err open_socket(struct redis *redis, int64_t deadline)
{
    const struct target *t = &redis->target;
    redisContext *c = t->path ? redisConnectUnixNonBlock(t->path) : redisConnectNonBlock(t->host, t->port);
    if (!c)
        abort();
    if (c->err) {
        err e = FAIL(REDIS_DOWN, "no connection to Redis at %s: %s", t->text, c->errstr);
        redisFree(c);
        return e;
    }
    redis->fd = redisFreeKeepFd(c);
    struct pollfd p = {.fd = redis->fd, .events = POLLOUT};
    int ready, error = 0;
    do {
        int64_t left = deadline - clock_mono_ms();
        ready = poll(&p, 1, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    socklen_t n = sizeof(error);
    if (ready <= 0)
        error = ETIMEDOUT;
    else if (getsockopt(redis->fd, SOL_SOCKET, SO_ERROR, &error, &n))
        error = errno;
    if (error)
        return FAIL(REDIS_DOWN, "no connection to Redis at %s: %s", t->text, strerrordesc_np(error));
    if (t->host)
        set_options(redis->fd);
    return OK;
}

/* One command of the greeting. Error replies get a text of ours: the server's might quote a credential. */
static err greet(struct redis *redis, int64_t deadline, const char *what, size_t n, const struct str *words)
{
    const struct redis_reply *reply;
    int64_t left = deadline - clock_mono_ms();
    err e = redis_call_within(redis, left > 0 ? left : 0, &reply, n, words);
    if (redis_is_error(reply, "LOADING") || redis_is_error(reply, "MASTERDOWN"))
        return FAIL(REDIS_DOWN, "Redis at %s is loading its data", redis->target.text);
    if (redis_is_error(reply, ""))
        return FAIL(REDIS_REFUSED, "Redis at %s refuses the %s", redis->target.text, what);
    return e;
}

static err greetings(struct redis *redis, int64_t deadline)
{
    const struct target *t = &redis->target;
    struct str auth[3] = {STR("AUTH"), str_of(t->user), str_of(t->password)};
    if (t->password && t->user)
        TRY(greet(redis, deadline, "credentials", 3, auth));
    else if (t->password)
        TRY(greet(redis, deadline, "password", 2, (const struct str[]){auth[0], auth[2]}));
    if (t->db) {
        char db[24];
        int n = snprintf(db, sizeof(db), "%lld", (long long)t->db);
        TRY(greet(redis, deadline, "database", 2, (const struct str[]){STR("SELECT"), {db, (size_t)n}}));
    }
    return greet(redis, deadline, "connection", 1, (const struct str[]){STR("PING")});
}

err redis_connect(struct redis *redis)
{
    int64_t deadline = clock_mono_ms() + redis->connect_ms;
    err e = open_socket(redis, deadline);
    if (!failed(e))
        e = greetings(redis, deadline);
    if (failed(e))
        redis_break(redis);
    return e;
}
