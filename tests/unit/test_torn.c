/*
 * A disk that lied: Redis comes back without the end of its append-only file. Wherever it was cut, a command
 * that stands in a lane is one that somebody will read, or the lane would never be empty again.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/support/aof.h"
#include "tests/support/runner.h"

enum { COMMANDS = 3, CUTS = 60, SIZE_MAX_AOF = 1 << 20 };

/* The append-only file as it was, and where each of its commands begins. */
static struct {
    char path[700], bytes[SIZE_MAX_AOF];
    size_t size, begin[CUTS], n; /* the last CUTS beginnings, a ring */
} file;

/* "*2\r\n$4\r\nXDEL\r\n…": the length of the command that begins there. */
static size_t command_length(char *at)
{
    char *p;
    long words = strtol(at + 1, &p, 10);
    p += strlen("\r\n");
    for (long i = 0; i < words; i++) {
        long n = strtol(p + 1, &p, 10);
        p += strlen("\r\n") + (size_t)n + strlen("\r\n");
    }
    return (size_t)(p - at);
}

static void read_file(const struct bus *s)
{
    aof_path(s->servers, file.path, sizeof(file.path));
    FILE *f = fopen(file.path, "re");
    cr_assert(f);
    file.size = fread(file.bytes, 1, sizeof(file.bytes) - 1, f);
    cr_assert_lt(file.size, sizeof(file.bytes) - 1);
    fclose(f);
    for (size_t at = 0; at < file.size; at += command_length(file.bytes + at)) {
        cr_assert_eq(file.bytes[at], '*', "a command begins at %zu", at);
        file.begin[file.n++ % CUTS] = at;
    }
}

static size_t nth_last(size_t n)
{
    return file.begin[(file.n - n) % CUTS];
}

/* Redis, started on the file up to there. */
static void restart_with(struct bus *s, size_t size)
{
    servers_kill(s->servers, SERVER_REDIS);
    FILE *f = fopen(file.path, "we");
    cr_assert(f && fwrite(file.bytes, 1, size, f) == size && fclose(f) == 0);
    servers_restart(s->servers, SERVER_REDIS);
    bus_must(redis_reopen(s->redis));
}

static int64_t number(struct bus *s, const char *script)
{
    const struct redis_reply *reply;
    bus_must(redis_callf(s->redis, &reply, "EVAL %s 1 cmd:{carts.00}", script));
    return redis_integer(reply, -1);
}

/* Entries that `>` passes over and no history shows. */
static int64_t unreachable(struct bus *s)
{
    return number(s,
                  "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end\n"
                  "local n, group = 0, redis.call('XINFO', 'GROUPS', KEYS[1])[1]\n"
                  "if not group then return 0 end\n"
                  "for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', group[8])) do\n"
                  "  if #redis.call('XPENDING', KEYS[1], group[2], e[1], e[1], 1) == 0 then n = n + 1 end\n"
                  "end\n"
                  "return n");
}

/* What waits to be read or acknowledged. */
static int64_t open_work(struct bus *s)
{
    return number(s, "return redis.call('XLEN', KEYS[1]) + redis.call('XPENDING', KEYS[1], 'cart')[1]");
}

static void expect_empty_lane(struct bus *s)
{
    for (int i = 0; i < 1500 && open_work(s) != 0; i++)
        usleep(10000);
    cr_assert_eq(open_work(s), 0);
}

Test(torn, wherever_the_file_was_cut_no_command_is_left_that_nobody_reads, .timeout = 120)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    for (int i = 1; i <= COMMANDS; i++) {
        runner_publish(&s, runner_add_item(&s, user, shirt, 1));
        runner_expect(&s, "SELECT quantity FROM cart_line", i);
        expect_empty_lane(&s);
    }
    runner_stop(r);
    servers_kill(s.servers, SERVER_REDIS);
    read_file(&s);
    size_t cuts = file.n < CUTS ? file.n : CUTS;
    cr_assert_gt(cuts, 4 * COMMANDS, "XADD, what XREADGROUP wrote, XDEL and XACK of each");
    for (size_t n = 1; n <= cuts; n++) {
        restart_with(&s, nth_last(n));
        cr_expect_eq(unreachable(&s), 0, "%zu commands before the end", n);
    }
    bus_stop(&s);
}

/* The commands before the cut are done, whatever Redis says; and their lane becomes empty. */
Test(torn, what_was_done_before_the_cut_is_not_done_again, .timeout = 120)
{
    struct bus s = runner_bus(1);
    struct uuid user = uuid_v7(clock_ms()), shirt = runner_product(&s, true);
    struct runner *r = runner_start(&cart_group, "one");
    runner_publish(&s, runner_add_item(&s, user, shirt, 1));
    runner_expect(&s, "SELECT quantity FROM cart_line", 1);
    expect_empty_lane(&s);
    runner_stop(r);
    servers_kill(s.servers, SERVER_REDIS);
    read_file(&s);
    for (size_t n = 1; n <= 4; n++) {
        restart_with(&s, nth_last(n));
        r = runner_start(&cart_group, "one");
        expect_empty_lane(&s);
        runner_stop(r);
        cr_expect_eq(bus_query(&s, "SELECT quantity FROM cart_line"), 1);
    }
    bus_stop(&s);
}
