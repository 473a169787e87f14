/* The program daydream-producers: killed at each of its crash points and started again, everything happens
 * once. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/seal.h"
#include "tests/support/bus.h"

static const char master_key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
static struct bus bus;
static struct str token;
static const char *order;

static void start(void)
{
    bus = bus_start(4);
    struct seal_key master, key = seal_key_random();
    uint8_t wrapped[SEAL_WRAPPED];
    struct uuid person = uuid_v7(clock_ms());
    bus_must(seal_key_parse(str_of(master_key), &master));
    seal_wrap(&master, person, &key, wrapped);
    struct str text = hex((struct str){(const char *)wrapped, sizeof(wrapped)}, bus.arena);
    bus_sql(&bus, "INSERT INTO person_key VALUES ('%s', '\\x%s', 0)", uuid_str(person, bus.arena).p, text.p);
    token = seal_value(&key, person, STR("\"tok_ok\""), bus.arena);
    order = uuid_str(uuid_v7(clock_ms()), bus.arena).p;
}

static void stop(void)
{
    bus_stop(&bus);
}

static pid_t producers(const char *fault)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("ENCRYPTION_KEY", master_key, 1);
    setenv("LOG_LEVEL", "error", 1);
    if (fault)
        setenv("FAULT", fault, 1);
    execl(DAYDREAM_BIN_DIR "/daydream-producers", "daydream-producers", (char *)NULL);
    _exit(127);
}

static void ask(void)
{
    for (int i = 0; i < 2; i++)
        bus_sql(&bus,
                "INSERT INTO job (id, kind, key, payload) VALUES (gen_random_uuid(), '%s', '%s',"
                " '{\"method\":\"test\",\"amount\":1,\"currency\":\"CLP\",\"token\":\"%s\"}')",
                i ? "payment.capture" : "payment.authorise", order, token.p);
    bus_sql(&bus,
            "INSERT INTO timer (grp, name, key, due_ms, topic, part, type, data) VALUES ('orders', "
            "'payment', '%s', 0,"
            " 'orders', 0, 'order.payment-timed-out.v1', '{\"order_id\":\"%s\"}')",
            order, order);
}

/* Polls until the number is what the story expects; the bound only keeps a broken build from hanging. */
static void expect_soon(int64_t expected, const char *sql)
{
    int64_t now = -1;
    for (int i = 0; i < 3000 && (now = bus_query(&bus, "%s", sql)) != expected; i++)
        usleep(10000);
    cr_assert_eq(now, expected, "%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

static const enum topic told[] = {TOPIC_ORDERS, TOPIC_PAYMENTS};

static int64_t streamed(void)
{
    char stream[STREAM_NAME];
    int64_t n = 0;
    for (int i = 0; i < 2; i++)
        for (int part = 0; part < 4; part++) {
            stream_name(told[i], part, stream);
            n += redis_integer(bus_redis_do(&bus, "XLEN %s", stream), 0);
        }
    return n;
}

static void expect_all_once(void)
{
    expect_soon(0, "SELECT count(*) FROM job WHERE state <> 'done'");
    expect_soon(0, "SELECT count(*) FROM timer");
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 3);
    cr_assert_eq(bus_query(&bus, "SELECT count(DISTINCT type) FROM event_log"), 3);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM payment_test_charge WHERE state = 'captured'"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM payment_test_call"), 2);
}

static void expect_relayed(void)
{
    int64_t n = 0;
    for (int i = 0; i < 1000 && (n = streamed()) != 3; i++)
        usleep(10000);
    cr_assert_eq(n, 3);
    for (int i = 0; i < 2; i++)
        for (int part = 0; part < 4; part++)
            if (bus_query(&bus, "SELECT count(*) FROM stream_head WHERE topic = '%s' AND part = %d",
                          topic_name(told[i]), part))
                bus_stream_check(&bus, told[i], part);
}

/* Ends it as an operator does, and says how long that took. */
static int64_t terminate(pid_t pid)
{
    int status;
    int64_t began = clock_mono_ms();
    kill(pid, SIGTERM);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    return clock_mono_ms() - began;
}

/* 1 while a producer looks for timers. */
#define AT_WORK                                                                                              \
    "SELECT (count(*) > 0)::int FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '% FROM " \
    "timer %'"

static const struct point {
    char name[64];
} points[] = {
    {"timer.after_select:1:kill"},  {"timer.after_commit:1:kill"}, {"job.after_claim:1:kill"},
    {"job.after_claim:2:kill"},     {"job.after_call:1:kill"},     {"job.after_call:2:kill"},
    {"job.after_commit:1:kill"},    {"job.after_commit:2:kill"},   {"provider.mid_charge:1:kill"},
    {"provider.mid_charge:2:kill"}, {"timer.after_select:1:err"},  {"job.after_claim:1:err"},
    {"job.after_call:1:err"},       {"provider.mid_charge:1:err"},
};

ParameterizedTestParameters(producers, a_crash_at_a_point_repeats_nothing)
{
    return cr_make_param_array(const struct point, (struct point *)(uintptr_t)points,
                               sizeof(points) / sizeof(*points));
}

ParameterizedTest(struct point *point, producers, a_crash_at_a_point_repeats_nothing, .init = start,
                  .fini = stop, .timeout = 90)
{
    ask();
    pid_t pid = producers(point->name);
    if (strstr(point->name, ":kill")) {
        int status;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status), "%s was not reached", point->name);
        expect_soon(0, AT_WORK);
        pid = producers(NULL);
        expect_soon(1, AT_WORK); /* all may be done already: before that it does not know SIGTERM */
    }
    expect_all_once();
    expect_relayed();
    terminate(pid);
}

Test(producers, end_quickly_whatever_is_under_way, .init = start, .fini = stop, .timeout = 60)
{
    pid_t pid = producers(NULL);
    ask();
    expect_all_once();
    cr_assert_lt(terminate(pid), 2000);
    expect_soon(0, AT_WORK);
    pid = producers(NULL);
    expect_soon(1, AT_WORK);
    servers_pause(bus.servers, SERVER_POSTGRES);
    cr_assert_lt(terminate(pid), 2500);
    servers_resume(bus.servers, SERVER_POSTGRES);
}

Test(producers, survive_both_servers, .init = start, .fini = stop, .timeout = 60)
{
    pid_t pid = producers(NULL);
    expect_soon(0, "SELECT count(*) FROM job");
    servers_kill(bus.servers, SERVER_REDIS);
    servers_kill(bus.servers, SERVER_POSTGRES);
    servers_restart(bus.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(bus.pg));
    ask();
    servers_restart(bus.servers, SERVER_REDIS);
    bus_must(redis_reopen(bus.redis));
    expect_all_once();
    expect_relayed();
    terminate(pid);
}
