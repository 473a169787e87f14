/*
 * daydreamctl events and bus subscribers, as operators and shell scripts use them: a command per event, a
 * command that answers, a user of Redis who may read and nothing else.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "tests/support/bus.h"

enum { PARTS = 2 };

static struct bus bus;
static struct relay *relay;

static void start(void)
{
    bus = bus_start(PARTS);
    relay = relay_new(bus.redis, bus.pg);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("LEASE_MS", "1000", 1);
    cr_assert_eq(chdir(servers_dir(bus.servers)), 0);
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(events, .init = start, .fini = stop, .timeout = 120);

static struct str ctl(int expected, const char *words)
{
    char *text = arena_alloc(bus.arena, 1 << 16);
    struct str command = arena_printf(bus.arena, "%s/daydreamctl %s 2>&1", DAYDREAM_BIN_DIR, words);
    FILE *pipe = popen(command.p, "r");
    cr_assert(pipe);
    size_t n = fread(text, 1, (1 << 16) - 1, pipe);
    int status = pclose(pipe);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == expected, "%s: exit %d: %s", words,
              WEXITSTATUS(status), text);
    return (struct str){text, n};
}

static void has(struct str text, const char *part)
{
    cr_assert(strstr(text.p, part), "'%s' is not in: %s", part, text.p);
}

static int64_t lines(const char *file)
{
    int64_t n = 0;
    FILE *f = fopen(file, "re");
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

static int64_t offset(void)
{
    return bus_query(&bus,
                     "SELECT coalesce(sum(seq), 0)::bigint FROM consumer_offset WHERE grp = 'ext:mailer'");
}

static void commit_and_sweep(size_t n)
{
    bus_commit(&bus, bus.pg, "ana", n);
    bus_must(relay_sweep(relay, NULL));
}

Test(events, are_printed_as_lines_of_json_and_the_position_is_kept)
{
    commit_and_sweep(5);
    struct str text = ctl(0, "events subscribe --name mailer --types cart.* --max 3");
    has(text, "\"type\":\"cart.cleared.v1\"");
    has(text, "\"n\":2}}");
    cr_assert(!strstr(text.p, "\"n\":3}}"));
    cr_assert_eq(offset(), 3);
    text = ctl(0, "events subscribe --name mailer --types cart.* --max 2 --batch 10");
    has(text, "\"n\":3}}");
    has(text, "\"n\":4}}");
    cr_assert_eq(offset(), 5);
}

Test(events, go_to_a_command_until_it_takes_them)
{
    commit_and_sweep(3);
    /* Refuses its second call once. */
    ctl(0, "events subscribe --name mailer --types cart.* --max 3 --exec 'cat >>tried;"
           " [ $(wc -l <tried) != 2 ] || exit 1; tail -n 1 tried >>taken' >/dev/null");
    cr_assert_eq(lines("tried"), 4);
    cr_assert_eq(lines("taken"), 3);
    cr_assert_eq(offset(), 3);
    commit_and_sweep(1);
    struct str text = ctl(0, "events subscribe --name mailer --types cart.* --max 1 --format env"
                             " --exec 'echo \"$EVENT_TYPE $EVENT_KEY\"; cat'");
    has(text, "cart.cleared.v1 ana\n{\"user_id\":\"ana\"");
}

Test(events, go_to_a_process_that_answers)
{
    commit_and_sweep(20);
    /* The process says no to its fifth line and is replaced; the batch comes again. */
    ctl(0,
        "events subscribe --name mailer --types cart.* --max 20 --batch 4 --pipe 'n=0; while read -r line; do"
        " n=$((n+1)); if [ $n = 5 ] && [ ! -e said ]; then touch said; echo no; exit 1; else echo \"$line\" "
        ">>taken;"
        " echo ok; fi; done'");
    cr_assert_eq(lines("taken"), 20);
    cr_assert_eq(offset(), 20);
}

Test(events, come_again_to_the_next_one_when_the_program_was_killed)
{
    commit_and_sweep(2);
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        setpgid(0, 0);
        execl(DAYDREAM_BIN_DIR "/daydreamctl", "daydreamctl", "events", "subscribe", "--name", "mailer",
              "--types", "cart.*", "--exec", "touch begun; exec sleep 600", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000 && access("begun", F_OK) != 0; i++)
        clock_sleep_ms(10);
    cr_assert_eq(access("begun", F_OK), 0);
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert_eq(offset(), 0);
    ctl(0, "events subscribe --name mailer --types cart.* --max 2 --exec 'cat >>taken'");
    cr_assert_eq(lines("taken"), 2);
    cr_assert_eq(offset(), 2);
}

Test(events, words_that_make_no_sense_are_exit_2)
{
    has(ctl(2, "events subscribe"), "--name is needed");
    has(ctl(2, "events subscribe --name a --exec x --pipe y"), "not both");
    has(ctl(2, "events subscribe --name a --format env"), "--format json");
    has(ctl(1, "events subscribe --name a --types order.pla"), "order.pla");
    has(ctl(2, "events grant Partner"), "a-z");
    has(ctl(1, "bus subscribers forget nobody"), "there is no subscriber nobody");
}

/* ---- a user of Redis ---- */

static struct redis *redis_as(struct str grant)
{
    struct redis *redis;
    struct str user = json_member_str(grant, "user", bus.arena),
               password = json_member_str(grant, "password", bus.arena);
    const char *path = servers_redis_url(bus.servers) + strlen("unix://");
    cr_assert(str_is(user, "sub:partner"));
    bus_must(
        redis_open_within(arena_printf(bus.arena, "unix://sub%%3Apartner:%.*s@%s", STR_ARG(password), path).p,
                          REDIS_PATIENT_MS, &redis));
    return redis;
}

/* NN in the command is the partition. */
static bool may(struct redis *redis, const char *command, int part)
{
    struct str words[16], text = arena_printf(bus.arena, "%s", command), rest = text;
    char number[3];
    size_t n = 0;
    const char *mark = strstr(text.p, ".NN}");
    snprintf(number, sizeof(number), "%02d", part);
    if (mark)
        rest = arena_printf(bus.arena, "%.*s.%s%s", (int)(mark - text.p), text.p, number, mark + 3);
    for (; rest.p; n++) {
        size_t end = str_find(rest, ' ');
        words[n] = str_slice(rest, 0, end);
        rest = end < rest.n ? str_slice(rest, end + 1, rest.n) : STR_NONE;
    }
    err e = redis_call(redis, NULL, n, words);
    cr_assert(!failed(e) || strstr(err_text(e), "NOPERM"), "%s: %s", command, err_text(e));
    return !failed(e);
}

Test(events, a_granted_user_reads_his_streams_and_nothing_else)
{
    commit_and_sweep(10);
    int ana = partition_of(STR("ana"));
    struct str grant =
        ctl(0, "events grant partner --types cart.* --from earliest --owner 'ana@partner' --json");
    for (int i = 0; i < 200 && bus_query(&bus, "SELECT count(*) FROM subscriber_group") < PARTS; i++)
        clock_sleep_ms(20);
    int64_t until = clock_mono_ms() + 20000; /* the relay makes the groups */
    while (bus_redis_do(&bus, "XINFO GROUPS evt:{carts.%02d}", ana)->n == 0 && clock_mono_ms() < until) {
        bus_must(relay_sweep(relay, NULL));
        clock_sleep_ms(50);
    }
    struct redis *redis = redis_as(grant);
    static const char *const good[] = {"XREADGROUP GROUP partner me COUNT 5 STREAMS evt:{carts.NN} >",
                                       "XPENDING evt:{carts.NN} partner",
                                       "XRANGE evt:{carts.NN} - +",
                                       "XACK evt:{carts.NN} partner 1-1",
                                       "XINFO GROUPS evt:{carts.NN}",
                                       "XAUTOCLAIM evt:{carts.NN} partner me 0 0",
                                       "PING"};
    static const char *const bad[] = {"XADD evt:{carts.NN} * a b",
                                      "DEL evt:{carts.NN}",
                                      "XTRIM evt:{carts.NN} MAXLEN 0",
                                      "XDEL evt:{carts.NN} 1-1",
                                      "XGROUP DESTROY evt:{carts.NN} partner",
                                      "XGROUP SETID evt:{carts.NN} cart 0",
                                      "XRANGE evt:{orders.NN} - +",
                                      "XRANGE cmd:{carts.NN} - +",
                                      "XADD cmd:{carts.NN} * a b",
                                      "GET bus:meta",
                                      "FLUSHALL",
                                      "KEYS *",
                                      "CONFIG GET *",
                                      "ACL LIST",
                                      "PUBLISH a b",
                                      "EVAL return 0",
                                      "SET a b"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_assert(may(redis, good[i], ana), "%s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert(!may(redis, bad[i], ana), "%s", bad[i]);
    redis_close(redis);
    has(ctl(0, "bus subscribers ls"), "ana@partner");
    has(ctl(0, "bus subscribers ls --json"), "\"kind\":\"redis\"");
    ctl(0, "bus subscribers forget partner");
    cr_assert_eq(bus_redis_do(&bus, "XINFO GROUPS evt:{carts.%02d}", ana)->n, 0);
    cr_assert_eq(bus_redis_do(&bus, "ACL GETUSER sub:partner")->kind, REDIS_NIL);
    bus_sql(&bus, "INSERT INTO consumer_offset (grp, topic, part) VALUES ('cart', 'carts', 0)");
    has(ctl(1, "events grant cart"), "there already");
}
