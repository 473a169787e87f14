/*
 * daydream-consumers of several homes on one host name: containers on the host's network, cloned machines, a
 * second home beside the first. Each has a name of its own among the members, and has it again after any end.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "tests/support/bus.h"

enum { PARTS = 4, LEASE = 500, WAIT_MS = 40000 };

static struct bus bus;
static char host[65];

static void begin(void)
{
    bus = bus_start(PARTS);
    gethostname(host, sizeof(host) - 1);
}

static void end(void)
{
    bus_stop(&bus);
}

TestSuite(instances, .init = begin, .fini = end, .timeout = 180);

static pid_t start(const char *home)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid > 0)
        return pid;
    char path[200], lease[20];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(path, sizeof(path), "%s/%s", servers_dir(bus.servers), home);
    snprintf(lease, sizeof(lease), "%d", LEASE);
    mkdir(path, 0755);
    setenv("DAYDREAM_HOME", path, 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("CONSUMER_GROUPS", "cart", 1);
    setenv("LEASE_MS", lease, 1);
    setenv("WORKERS", "1", 1);
    setenv("LOG_LEVEL", "error", 1);
    execl(DAYDREAM_BIN_DIR "/daydream-consumers", "daydream-consumers", NULL);
    _exit(127);
}

static void die(pid_t pid)
{
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static void becomes(int64_t expected, const char *sql)
{
    int64_t now = -1;
    for (int64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until; clock_sleep_ms(10))
        if ((now = bus_query(&bus, "%s", sql)) == expected)
            return;
    cr_assert_fail("%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

#define ALIVE "SELECT count(*) FROM member WHERE until > now()"
#define OWNERS "SELECT count(DISTINCT owner) FROM consumer_offset WHERE lease_until > now()"

static int64_t epochs(void)
{
    return bus_query(&bus, "SELECT sum(epoch)::bigint FROM consumer_offset");
}

/* For three leases: do the members share, and does nobody take anything from anybody? */
static bool is_shared(int n)
{
    int64_t first = epochs();
    for (int64_t until = clock_mono_ms() + INT64_C(3) * LEASE; clock_mono_ms() < until; clock_sleep_ms(50))
        if (bus_query(&bus, ALIVE) != n || bus_query(&bus, OWNERS) != n || epochs() != first)
            return false;
    return bus_query(&bus, "SELECT count(*) FROM consumer_offset WHERE owner IS NULL") == 0;
}

static void share(int n)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    while (!is_shared(n))
        cr_assert_lt(clock_mono_ms(), until, "%lld alive, %lld owners, expected %d",
                     (long long)bus_query(&bus, ALIVE), (long long)bus_query(&bus, OWNERS), n);
}

static bool is_member(int n)
{
    return bus_query(&bus, "SELECT count(*) FROM member WHERE until > now() AND instance = '%s-%d'", host,
                     n) == 1;
}

Test(instances, two_homes_of_one_host_are_two_members)
{
    pid_t a = start("a"), b = start("b");
    share(2);
    cr_expect(is_member(1) && is_member(2));
    die(a);
    die(b);
}

/* Also the one that is not the first: it does not take the other's name when that is away for a moment. */
Test(instances, who_is_killed_comes_back_under_his_name)
{
    pid_t a = start("a");
    becomes(1, OWNERS);
    pid_t b = start("b");
    share(2);
    for (int round = 0; round < 3; round++) {
        die(b);
        b = start("b");
        share(2);
        cr_expect(is_member(1) && is_member(2));
    }
    die(a);
    die(b);
    b = start("b");
    becomes(1, OWNERS);
    cr_expect(is_member(2), "the name is not free because its owner is away");
    a = start("a");
    share(2);
    cr_expect(is_member(1) && is_member(2));
    die(a);
    die(b);
}

/* A home that was copied with all that is in it. */
Test(instances, a_cloned_home_gets_another_name)
{
    pid_t a = start("a");
    becomes(1, OWNERS);
    struct str copy =
        arena_printf(bus.arena, "cp -r %s/a %s/c", servers_dir(bus.servers), servers_dir(bus.servers));
    cr_assert_eq(system(copy.p), 0);
    pid_t c = start("c");
    share(2);
    cr_expect(is_member(1) && is_member(2));
    die(c);
    c = start("c");
    share(2);
    die(a);
    die(c);
}

/* Several of one home, as before. */
Test(instances, the_second_of_a_home_is_the_next_number)
{
    pid_t a = start("a");
    becomes(1, OWNERS);
    pid_t b = start("a");
    share(2);
    die(a);
    a = start("a");
    share(2);
    cr_expect(is_member(1) && is_member(2));
    die(a);
    die(b);
}

/* PostgreSQL forgets who has which name when it starts; a newcomer may be quicker. */
Test(instances, a_database_that_starts_again_knows_the_names_again)
{
    pid_t a = start("a"), b = start("b");
    share(2);
    servers_kill(bus.servers, SERVER_POSTGRES);
    servers_restart(bus.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(bus.pg));
    share(2);
    pid_t c = start("c");
    share(3);
    cr_expect(is_member(1) && is_member(2) && is_member(3));
    die(a);
    die(b);
    die(c);
}

/* Who finds his name with somebody else, and not only for the moment that his old session takes to end, gives
 * way and comes again under another. */
Test(instances, a_name_that_somebody_else_has_is_given_up)
{
    int status;
    pid_t a = start("a");
    becomes(1, OWNERS);
    struct pg *other = bus_pg(&bus);
    struct str take = arena_printf(bus.arena,
                                   "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = "
                                   "'advisory' AND pid <> pg_backend_pid();"
                                   "SELECT pg_advisory_lock(hashtextextended('daydream-consumers %s-1', 23))",
                                   host);
    bus_must(pg_script(other, take.p));
    cr_assert_eq(waitpid(a, &status, 0), a);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%x", status);
    a = start("a");
    share(1);
    cr_expect(is_member(2));
    die(a);
    pg_close(other);
}
