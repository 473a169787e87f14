/*
 * The pump of Redis against a real server, and against a scripted one where a real one cannot be brought to
 * say it.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/redis/redis.h"
#include "tests/support/servers.h"

static const struct servers_options redis_only = {.no_postgres = true, .appendfsync = "no"};

static struct redis *must_open(const char *url)
{
    struct redis *redis = NULL;
    err e = redis_open_within(url, REDIS_PATIENT_MS, &redis);
    cr_assert(!failed(e), "%s", err_text(e));
    return redis;
}

static void must(err e)
{
    cr_assert(!failed(e), "%s: %s", err_name(e.code), err_text(e));
}

/* What a function saw: how often it was called, how often with NULL, and the last reply. */
struct seen {
    int calls, nulls, errors;
    int64_t last;
};

static void see(void *data, const struct redis_reply *reply)
{
    struct seen *seen = data;
    seen->calls++;
    seen->nulls += reply == NULL;
    seen->errors += redis_is_error(reply, "");
    seen->last = redis_integer(reply, -1);
}

Test(redis, words_of_every_kind_come_back_as_sent)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    const struct redis_reply *reply;
    const struct str odd = {"a\0b c\r\n%s", 9};

    must(redis_callf(redis, &reply, "SET key:{%s}:%d %b", "orders", (int64_t)-7, odd));
    cr_assert_eq(reply->kind, REDIS_STATUS);
    must(redis_callf(redis, &reply, "GET key:{orders}:-7"));
    cr_assert(str_eq(reply->text, odd));
    must(redis_call(redis, &reply, 2, (const struct str[]){STR("STRLEN"), STR("key:{orders}:-7")}));
    cr_assert_eq(redis_integer(reply, -1), 9);
    must(redis_callf(redis, &reply, "GET absent"));
    cr_assert_eq(reply->kind, REDIS_NIL);
    must(redis_callf(redis, &reply, "SET empty %s", ""));
    must(redis_callf(redis, &reply, "GET empty"));
    cr_assert(reply->kind == REDIS_STRING && reply->text.n == 0);

    must(redis_callf(redis, &reply, "XADD lane 5-1 type %s data %s", "cart.add-item.v1", "{}"));
    must(redis_callf(redis, &reply, "XREAD COUNT 10 STREAMS lane 0"));
    const struct redis_reply *entry = &reply->items[0].items[1].items[0];
    cr_assert(str_is(entry->items[0].text, "5-1"));
    cr_assert_eq(entry->items[1].n, 4);
    cr_assert(str_is(entry->items[1].items[1].text, "cart.add-item.v1"));
    redis_close(redis);
    servers_stop(servers);
}

Test(redis, an_error_nobody_takes_surfaces_once_and_quotes_no_arguments)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    const struct redis_reply *reply;

    redis_sendf(redis, NULL, NULL, "SET text x");
    redis_sendf(redis, NULL, NULL, "INCR text");
    redis_sendf(redis, NULL, NULL, "LPUSH text y");
    err e = redis_wait(redis, 1000);
    cr_assert_eq(e.code, ERR_REDIS_REFUSED);
    cr_assert(strstr(err_text(e), "not an integer"));
    must(redis_wait(redis, 1000));

    e = redis_callf(redis, &reply, "NOSUCH somebody@example.org");
    cr_assert_eq(e.code, ERR_REDIS_REFUSED);
    cr_assert(strstr(err_text(e), "unknown command") && !strstr(err_text(e), "somebody"));
    cr_assert_eq(reply->kind, REDIS_ERROR);
    redis_close(redis);
    servers_stop(servers);
}

static struct redis_script bump = {.source = "return redis.call('INCRBY', KEYS[1], ARGV[1])"};

Test(redis, a_forgotten_script_is_sent_again_with_its_source)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    const struct str words[] = {STR("1"), STR("counter"), STR("3")};
    struct seen seen = {0}, other = {0};

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            redis_script_send(redis, &bump, see, &seen, 3, words);
            redis_sendf(redis, see, &other, "INCR other");
        }
        redis_sendf(redis, NULL, NULL, "SCRIPT FLUSH");
        redis_script_send(redis, &bump, see, &seen, 3, words);
        must(redis_wait(redis, 2000));
    }
    cr_assert_eq(seen.calls, 18);
    cr_assert_eq(seen.errors + seen.nulls, 0);
    cr_assert_eq(seen.last, 54);
    cr_assert_eq(other.last, 15);
    const struct redis_reply *reply;
    must(redis_callf(redis, &reply, "SCRIPT EXISTS %s", bump.sha));
    cr_assert_eq(reply->items[0].integer, 1);
    redis_close(redis);
    servers_stop(servers);
}

/* A function that queues the next command from inside, and pumps to write it at once. */
struct chain {
    struct redis *redis;
    int left, longest;
};

static void next_link(void *data, const struct redis_reply *reply)
{
    struct chain *chain = data;
    cr_assert_not_null(reply);
    cr_assert(redis_integer(reply, -1) > 0);
    if (chain->left-- <= 0)
        return;
    redis_sendf(chain->redis, next_link, chain, "INCR chain");
    if (chain->left % 7 == 0)
        redis_pump(chain->redis, 0);
}

Test(redis, functions_may_queue_more_while_a_poller_drives)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    struct chain chain = {.redis = redis, .left = 3000};
    const struct redis_reply *reply;

    for (int i = 0; i < 100; i++)
        redis_sendf(redis, next_link, &chain, "INCR chain");
    while (redis_waiting(redis)) {
        struct pollfd p = {.fd = redis_fd(redis), .events = redis_wants(redis)};
        cr_assert_eq(poll(&p, 1, 2000), 1);
        redis_pump(redis, p.revents);
    }
    must(redis_callf(redis, &reply, "GET chain"));
    cr_assert_eq(redis_integer(reply, 0), 3100);
    redis_close(redis);
    servers_stop(servers);
}

Test(redis, both_directions_full_do_not_deadlock)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    enum { SIZE = 256 << 10, TIMES = 200 };
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    struct seen seen = {0};

    for (int i = 0; i < TIMES; i++) {
        redis_sendf(redis, see, &seen, "SET big %b", (struct str){big, SIZE});
        redis_sendf(redis, see, &seen, "GET big");
    }
    must(redis_wait(redis, 20000));
    cr_assert_eq(seen.calls, 2 * TIMES);
    cr_assert_eq(seen.nulls + seen.errors, 0);
    free(big);
    redis_close(redis);
    servers_stop(servers);
}

Test(redis, a_killed_server_answers_everybody_with_nothing_once)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    struct seen seen = {0}, late = {0};

    redis_sendf(redis, see, &seen, "BLPOP nothing 0");
    for (int i = 0; i < 200; i++)
        redis_sendf(redis, see, &seen, "INCR a");
    redis_script_send(redis, &bump, see, &seen, 3, (const struct str[]){STR("1"), STR("a"), STR("1")});
    redis_pump(redis, 0);
    servers_kill(servers, SERVER_REDIS);
    cr_assert_eq(redis_wait(redis, 5000).code, ERR_REDIS_DOWN);
    cr_assert_eq(seen.calls, 202);
    cr_assert_eq(seen.nulls, 202);
    cr_assert(!redis_is_up(redis) && redis_fd(redis) == -1 && redis_wants(redis) == 0);

    redis_sendf(redis, see, &late, "PING");
    cr_assert_eq(late.nulls, 1);
    cr_assert_eq(redis_reopen(redis).code, ERR_REDIS_DOWN);
    servers_restart(servers, SERVER_REDIS);
    must(redis_reopen(redis));
    must(redis_callf(redis, NULL, "PING"));
    redis_close(redis);
    servers_stop(servers);
}

Test(redis, a_silent_server_is_down_at_the_deadline)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    struct seen seen = {0};

    servers_pause(servers, SERVER_REDIS);
    redis_sendf(redis, see, &seen, "PING");
    int64_t start = clock_mono_ms();
    cr_assert_eq(redis_wait(redis, 200).code, ERR_REDIS_DOWN);
    int64_t took = clock_mono_ms() - start;
    cr_assert(took >= 190 && took < 1500, "%ld ms", (long)took);
    cr_assert_eq(seen.nulls, 1);
    start = clock_mono_ms();
    cr_assert_eq(redis_reopen(redis).code, ERR_REDIS_DOWN); /* the kernel connects, nobody greets */
    cr_assert(clock_mono_ms() - start < 4000);
    servers_resume(servers, SERVER_REDIS);
    must(redis_reopen(redis));
    redis_close(redis);
    servers_stop(servers);
}

Test(redis, closing_answers_who_waits)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *redis = must_open(servers_redis_url(servers));
    struct seen seen = {0};

    redis_sendf(redis, see, &seen, "PING");
    cr_assert_null(redis_close(redis));
    cr_assert_eq(seen.nulls, 1);
    cr_assert_null(redis_close(NULL));
    servers_stop(servers);
}

Test(redis, credentials_are_used_and_never_told)
{
    struct servers *servers = servers_start(&(struct servers_options){
        .no_postgres = true,
        .appendfsync = "no",
        .redis_extra = "user shop on >pa/ss:w@rd%1 ~* +@all\n",
    });
    const char *path = servers_redis_url(servers) + strlen("unix://");
    const struct redis_reply *reply;
    char url[512];

    snprintf(url, sizeof(url), "unix://shop:pa%%2Fss%%3Aw%%40rd%%251@%s?db=3", path);
    struct redis *redis = must_open(url);
    must(redis_callf(redis, &reply, "ACL WHOAMI"));
    cr_assert(str_is(reply->text, "shop"));
    must(redis_callf(redis, &reply, "CLIENT INFO"));
    cr_assert(memmem(reply->text.p, reply->text.n, " db=3 ", 6));
    redis_close(redis);

    snprintf(url, sizeof(url), "unix://shop:hunter2@%s", path);
    err e = redis_open(url, &redis);
    cr_assert_eq(e.code, ERR_REDIS_REFUSED);
    cr_assert(!strstr(err_text(e), "hunter2") && !strstr(err_text(e), "shop"));
    cr_assert_null(redis);
    snprintf(url, sizeof(url), "unix://%s?db=99", path);
    cr_assert_eq(redis_open(url, &redis).code, ERR_REDIS_REFUSED);
    servers_stop(servers);
}

Test(redis, addresses_that_are_none_are_configuration)
{
    static const char *const wrong[] = {"",
                                        "redis:/x",
                                        "http://localhost",
                                        "redis://:secret@",
                                        "redis://h:secret",
                                        "redis://h:0",
                                        "redis://h:70000",
                                        "redis://h/x",
                                        "redis://u:secret%zz@h",
                                        "redis://u:secret%0@h",
                                        "redis://u:secret%00@h",
                                        "redis://[::1",
                                        "unix://",
                                        "unix:///",
                                        "unix://secret/p",
                                        "unix:///p?secret=1",
                                        "unix:///p?db=-1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct redis *redis = NULL;
        err e = redis_open(wrong[i], &redis);
        cr_assert_eq(e.code, ERR_CONFIG, "%s", wrong[i]);
        cr_assert(!strstr(err_text(e), "secret"));
    }
    struct redis *redis = NULL;
    err e = redis_open("redis://u:secret@127.0.0.1:1/2", &redis);
    cr_assert_eq(e.code, ERR_REDIS_DOWN);
    cr_assert(strstr(err_text(e), "127.0.0.1:1") && !strstr(err_text(e), "secret"));
    cr_assert_eq(redis_open("redis://[::1]:1", &redis).code, ERR_REDIS_DOWN);
    cr_assert_eq(redis_open("unix:///nowhere/at/all", &redis).code, ERR_REDIS_DOWN);
}

struct heard {
    int n;
    char last[64];
};

static void hear(void *data, struct str channel, struct str payload)
{
    struct heard *heard = data;
    heard->n++;
    snprintf(heard->last, sizeof(heard->last), "%.*s=%.*s", STR_ARG(channel), STR_ARG(payload));
}

static void listen_until(struct redis *redis, const struct heard *heard, int n)
{
    for (int i = 0; i < 200 && heard->n < n; i++) {
        struct pollfd p = {.fd = redis_fd(redis), .events = redis_wants(redis)};
        poll(&p, 1, 10);
        redis_pump(redis, p.revents);
    }
    cr_assert_eq(heard->n, n);
}

Test(redis, messages_go_to_the_function_of_their_channel)
{
    struct servers *servers = servers_start(&redis_only);
    struct redis *ears = must_open(servers_redis_url(servers)),
                 *mouth = must_open(servers_redis_url(servers));
    struct heard a = {0}, b = {0};

    redis_subscribe(ears, STR("door:1"), hear, &a);
    redis_subscribe(ears, STR("door:2"), hear, &b);
    must(redis_wait(ears, 1000));
    must(redis_callf(mouth, NULL, "PUBLISH door:1 one"));
    must(redis_callf(mouth, NULL, "PUBLISH door:2 two"));
    listen_until(ears, &a, 1);
    listen_until(ears, &b, 1);
    cr_assert_str_eq(a.last, "door:1=one");
    cr_assert_str_eq(b.last, "door:2=two");

    redis_sendf(ears, NULL, NULL, "UNSUBSCRIBE door:1");
    redis_subscribe(ears, STR("door:1"), hear, &b); /* at once again, with the first not yet confirmed */
    redis_sendf(ears, NULL, NULL, "PING");
    redis_sendf(ears, NULL, NULL, "UNSUBSCRIBE door:2");
    must(redis_wait(ears, 1000));
    must(redis_callf(mouth, NULL, "PUBLISH door:2 silence"));
    must(redis_callf(mouth, NULL, "PUBLISH door:1 three"));
    listen_until(ears, &b, 2);
    cr_assert_str_eq(b.last, "door:1=three");
    cr_assert_eq(a.n, 1);
    redis_close(ears);
    redis_close(mouth);
    servers_stop(servers);
}

/* --- a scripted server: +PONG to the first command, `say` to the second
 * ------------------------------------------- */

struct fake {
    int fd;
    char url[128], path[100], dir[64];
    const char *greeting, *say;
    pthread_t thread;
};

static void *serve(void *data)
{
    struct fake *fake = data;
    char bytes[4096];
    int fd = accept(fake->fd, NULL, NULL);
    if (recv(fd, bytes, sizeof(bytes), 0) > 0)
        (void)!send(fd, fake->greeting, strlen(fake->greeting), MSG_NOSIGNAL);
    if (fake->say && recv(fd, bytes, sizeof(bytes), 0) > 0)
        (void)!send(fd, fake->say, strlen(fake->say), MSG_NOSIGNAL);
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void fake_start(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(fake->dir, sizeof(fake->dir), "/tmp/fake.XXXXXX");
    cr_assert_not_null(mkdtemp(fake->dir));
    snprintf(fake->path, sizeof(fake->path), "%s/s", fake->dir);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path);
    snprintf(fake->url, sizeof(fake->url), "unix://%s", fake->path);
    fake->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fake->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fake->fd, 1), 0);
    pthread_create(&fake->thread, NULL, serve, fake);
}

static void fake_stop(struct fake *fake)
{
    pthread_join(fake->thread, NULL);
    close(fake->fd);
    unlink(fake->path);
    rmdir(fake->dir);
}

Test(redis, a_server_that_loads_its_data_is_down)
{
    struct fake fake = {.greeting = "-LOADING Redis is loading the dataset in memory\r\n"};
    struct redis *redis = NULL;
    fake_start(&fake);
    err e = redis_open(fake.url, &redis);
    cr_assert_eq(e.code, ERR_REDIS_DOWN);
    cr_assert(strstr(err_text(e), "loading"));
    fake_stop(&fake);
}

Test(redis, absurd_replies_break_the_connection_not_the_program)
{
    static const char *const absurd[] = {
        "*2000000000\r\n",
        "*99999999999999999999\r\n",
        "$-5\r\n",
        "%2\r\n",
        "!\r\n",
        ":12x\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "+OK\r\n+nobody asked\r\n"};
    for (size_t i = 0; i < sizeof(absurd) / sizeof(*absurd); i++) {
        struct fake fake = {.greeting = "+PONG\r\n", .say = absurd[i]};
        struct seen seen = {0};
        fake_start(&fake);
        struct redis *redis = must_open(fake.url);
        redis_sendf(redis, see, &seen, "PING");
        redis_sendf(redis, see, &seen, "PING");
        redis_sendf(redis, see, &seen, "PING");
        redis_pump(redis, 0);
        cr_assert_eq(redis_wait(redis, 300).code, ERR_REDIS_DOWN, "%s", absurd[i]);
        cr_assert_eq(seen.calls, 3, "%s", absurd[i]);
        redis_close(redis);
        fake_stop(&fake);
    }
}
