/*
 * What operators look with: top, owners, grep, tail and fsck's memory, as programs, over a log whose order is
 * known.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "bus/base/json.h"
#include "tests/support/bus.h"

static struct bus bus;
static struct relay *relay;

static void start(void)
{
    bus = bus_start(4);
    relay = relay_new(bus.redis, bus.pg);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(look, .init = start, .fini = stop, .timeout = 120);

struct run {
    int status;
    char text[1 << 16];
};

static struct run *shell(const char *command)
{
    struct run *run = arena_new_of(bus.arena, struct run);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    run->text[fread(run->text, 1, sizeof(run->text) - 1, pipe)] = 0;
    int status = pclose(pipe);
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return run;
}

static struct run *ctl(const char *words)
{
    return shell(arena_printf(bus.arena, "%s/daydreamctl %s 2>&1", DAYDREAM_BIN_DIR, words).p);
}

static void expect(const struct run *run, int status, const char *text)
{
    cr_assert_eq(run->status, status, "exit %d: %s", run->status, run->text);
    cr_assert(strstr(run->text, text), "'%s' is not in: %s", text, run->text);
}

/* ---- grep ---- */

/* Ids of the events in a JSON answer, appended to all; ret_next: where to go on, absent at the end. */
static void take_page(const struct run *run, struct buf *all, struct str *ret_next)
{
    struct str text = str_of(run->text), id;
    struct json_in in = json_in(json_member(text, "events", bus.arena), bus.arena);
    bool first = true, more = true;
    cr_assert_eq(run->status, 0, "%s", run->text);
    bus_must(json_enter(&in, JSON_ARRAY));
    for (;;) {
        bus_must(json_next(&in, &first, &more, NULL));
        if (!more)
            break;
        bus_must(json_skip(&in, &id));
        buf_printf(all, "%.*s ", STR_ARG(json_member_str(id, "id", bus.arena)));
    }
    *ret_next = json_member_str(text, "next", bus.arena);
}

/* All that a grep finds, page by page. */
static const char *paged(const char *words)
{
    struct buf all = buf_new(bus.arena, 4096);
    struct str next = STR_NONE;
    int pages = 0;
    do {
        take_page(ctl(arena_printf(bus.arena, "bus grep --json %s%s%.*s", words, next.p ? " --after " : "",
                                   STR_ARG(next.p ? next : STR("")))
                          .p),
                  &all, &next);
    } while (next.p && ++pages < 100);
    return buf_view(&all).p;
}

static const char *in_order(const char *where, const char *order)
{
    static int n;
    struct pg_stmt *stmt = arena_new_of(bus.arena, struct pg_stmt); /* is known by its place */
    *stmt = (struct pg_stmt){
        arena_printf(bus.arena, "in_order_%d", n++).p,
        arena_printf(bus.arena,
                     "SELECT coalesce(string_agg(id::text || ' ', '' ORDER BY ms %s, topic %s,"
                     " part %s, seq %s), '') FROM event_log WHERE %s",
                     order, order, order, order, where)
            .p};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    bus_must(pg_call(bus.pg, stmt, 0, NULL, &r));
    return arena_cstr(bus.arena, pg_get_str(r, 0, 0));
}

/* Commits of several keys in turn, and a few of one moment. */
static void some_events(void)
{
    static const char *const keys[] = {"ana", "berta", "carla", "dora", "eva"};
    for (int i = 0; i < 60; i++)
        bus_commit(&bus, bus.pg, keys[i * 7 % 5], (size_t)(1 + i % 4));
    bus_sql(&bus, "UPDATE event_log SET ms = 1005 WHERE part = 1 AND seq < 20");
    bus_sql(&bus, "UPDATE event_log SET data = '{\"note\":\"needle\"}' WHERE seq %% 9 = 4");
}

Test(look, grep_pages_through_the_whole_log_in_both_directions)
{
    some_events();
    cr_expect_str_eq(paged("--limit 7"), in_order("true", "DESC"));
    cr_expect_str_eq(paged("--limit 7 --oldest"), in_order("true", "ASC"));
    cr_expect_str_eq(paged("--limit 500"), in_order("true", "DESC"));
}

Test(look, grep_that_stops_says_where_and_goes_on_from_there)
{
    some_events();
    const char *needles = "data LIKE '%needle%'";
    cr_expect_str_eq(paged("--text needle --scan 1 --limit 3"), in_order(needles, "DESC"));
    cr_expect_str_eq(paged("--text needle --scan 1 --oldest"), in_order(needles, "ASC"));
    bus_commit(&bus, bus.pg, "fee", 3000);
    expect(ctl("bus grep --text nowhere --scan 100"), 0, "--after ");
}

Test(look, grep_finds_by_what_has_an_index)
{
    some_events();
    struct event *last = bus_commit(&bus, bus.pg, "ana", 3);
    bus_sql(&bus,
            "UPDATE event_log SET correlationid = 'c-1', actor = 'user:ana' WHERE partitionkey = 'ana'");
    const char *of_ana = "partitionkey = 'ana'";
    cr_expect_str_eq(paged("--key ana --limit 5"), in_order(of_ana, "DESC"));
    cr_expect_str_eq(paged("--key ana --limit 5 --oldest"), in_order(of_ana, "ASC"));
    cr_expect_str_eq(paged("--correlation c-1 --limit 50"), in_order(of_ana, "DESC"));
    cr_expect_str_eq(paged("--actor user:ana --limit 50"), in_order(of_ana, "DESC"));
    expect(ctl(arena_printf(bus.arena, "bus grep --id %.*s", STR_ARG(last[1].envelope.id)).p), 0,
           "cart.cleared.v1 ana from");
    expect(ctl("bus grep --key nobody"), 1, "");
    expect(ctl("bus grep --key ana --types order.*"), 1, "");
    expect(ctl("bus grep --types 'cart.*' --limit 1 --json"), 0, "\"more\":true");
}

Test(look, grep_takes_times_and_refuses_nonsense)
{
    some_events();
    bus_sql(&bus, "UPDATE event_log SET ms = CASE WHEN seq <= 10 THEN 1700000000000 ELSE 1700000060000 END");
    const char *early = "ms = 1700000000000";
    cr_expect_str_eq(paged("--to 2023-11-14T22:13:59Z --from 2023-11-14T22:13:20.000Z"),
                     in_order(early, "DESC"));
    cr_expect_str_eq(paged("--from 2023-11-14T22:14:00Z --limit 9"), in_order("ms = 1700000060000", "DESC"));
    expect(ctl("bus grep --from 1h"), 1, "");
    expect(ctl("bus grep --to 3d --limit 1"), 0, "cart.cleared");
    expect(ctl("bus grep --from yesterday"), 2, "RFC 3339");
    expect(ctl("bus grep --types no.such"), 2, "no event has a type");
    expect(ctl("bus grep --after 17"), 2, "--after takes");
    expect(ctl("bus grep --id 17"), 2, "--id");
}

/* ---- top, lag, owners ---- */

Test(look, top_in_a_pipe_is_one_look_at_everything)
{
    int ana = partition_of(STR("ana"));
    bus_commit(&bus, bus.pg, "ana", 7);
    bus_must(relay_sweep(relay, NULL));
    bus_sql(&bus, "UPDATE event_log SET ms = 5 WHERE seq = 4");
    bus_sql(&bus,
            "INSERT INTO consumer_offset (grp, topic, part, seq, ms, epoch, owner, lease_until, gap_fetches, "
            "repeats)"
            " VALUES ('cart', 'carts', %d, 3, 1, 6, 'one', now() + interval '5 s', 11, 12)",
            ana);
    bus_sql(&bus, "INSERT INTO dead_letter (grp, topic, key, lane) VALUES ('cart', 'carts', 'ana', 'event'),"
                  " ('cart', 'carts', 'ana', 'event')");
    struct run *run = ctl("bus top --json");
    expect(run, 0, "\"head\":7,\"offset\":3,\"lag\":4,\"lag_s\":");
    expect(run, 0, "\"epoch\":6,\"parked_keys\":1,\"gap_fetches\":11,\"repeats\":12");
    expect(ctl("bus top"), 0, "parked keys 1");
    expect(ctl("bus top --once"), 0, "carts.");
    expect(ctl("bus lag"), 0, " d"); /* the fourth event is of 1970 */
}

Test(look, top_on_a_terminal_lives_until_q_and_leaves_it_as_it_was)
{
    bus_commit(&bus, bus.pg, "ana", 7);
    struct str live = arena_printf(
        bus.arena, "printf q | script -qec '%s/daydreamctl bus top; stty -a' /dev/null", DAYDREAM_BIN_DIR);
    struct run *run = shell(live.p);
    expect(run, 0, "\033[?1049h\033[?25l\033[H");
    expect(run, 0, "\033[?25h\033[?1049l");
    expect(run, 0, "carts.");
    expect(run, 0, " icanon");
    cr_expect(!strstr(run->text, "-icanon") && !strstr(run->text, "-echo "), "%s", run->text);
}

Test(look, owners_says_what_would_move)
{
    bus_sql(&bus, "INSERT INTO consumer_offset (grp, topic, part, epoch, owner, lease_until)"
                  " SELECT 'cart', 'carts', p, 1, CASE WHEN p < 3 THEN 'one' END, now() + interval '5 s'"
                  " FROM generate_series(0, 3) p");
    bus_sql(&bus, "INSERT INTO member VALUES ('cart', 'one', now() + interval '5 s'),"
                  " ('cart', 'two', now() + interval '5 s')");
    struct run *run = ctl("bus owners");
    expect(run, 0, "gives 1 back");
    expect(run, 0, "takes up to 2, 1 free now");
    expect(run, 0, "carts.00 carts.01 carts.02");
    bus_sql(&bus, "DELETE FROM member WHERE instance = 'one'");
    expect(ctl("bus owners"), 0, "not alive: its 3 partitions");
    expect(ctl("bus owners --json"), 0, "\"instance\":\"two\",\"alive\":true,\"owns\":0");
}

/* ---- tail ---- */

/* Types and keys of what a tail told, as "key:seq " in order. */
static const char *told(const char *words)
{
    struct buf all = buf_new(bus.arena, 1024);
    struct run *run = ctl(arena_printf(bus.arena, "bus tail --json %s", words).p);
    cr_assert_eq(run->status, 0, "%s", run->text);
    for (char *line = strtok(run->text, "\n"); line; line = strtok(NULL, "\n")) {
        struct str object = str_of(line), entry = json_member_str(object, "entry", bus.arena);
        buf_printf(&all, "%.*s:%s ", STR_ARG(json_member_str(object, "partitionkey", bus.arena)),
                   strchr(arena_cstr(bus.arena, entry), '-') + 1);
    }
    return buf_view(&all).p;
}

Test(look, tail_tells_from_the_log_what_a_stream_does_not_show)
{
    int ana = partition_of(STR("ana"));
    bus_commit(&bus, bus.pg, "ana", 4);
    bus_must(relay_sweep(relay, NULL));
    bus_redis_do(&bus, "XDEL evt:{carts.%02d} %lld-2", ana,
                 (long long)bus_query(&bus, "SELECT ms FROM event_log WHERE seq = 2"));
    cr_expect_str_eq(told("--all --key ana --max 4"), "ana:1 ana:2 ana:3 ana:4 ", "a hole");
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    cr_expect_str_eq(told("--all --key ana --max 4"), "ana:1 ana:2 ana:3 ana:4 ", "no stream");
    bus_redis_do(&bus, "XADD evt:{carts.%02d} 9-9 type foreign", ana);
    cr_expect_str_eq(told("--all --types cart.cleared --max 4"), "ana:1 ana:2 ana:3 ana:4 ",
                     "a foreign entry");
    expect(ctl("bus tail --from 1h --all"), 2, "two beginnings");
    expect(ctl("bus tail --types nothing.*"), 2, "no event has a type");
}

Test(look, tail_begins_at_a_time)
{
    bus_commit(&bus, bus.pg, "ana", 6);
    bus_sql(&bus, "UPDATE event_log SET ms = 1000 * seq");
    bus_sql(&bus, "UPDATE stream_head SET ms = 6000");
    cr_expect_str_eq(told("--from 1970-01-01T00:00:04Z --max 3"), "ana:4 ana:5 ana:6 ");
}

/* ---- fsck's memory ---- */

Test(look, fsck_goes_on_where_it_found_all_sound)
{
    int ana = partition_of(STR("ana"));
    bus_commit(&bus, bus.pg, "ana", 5);
    bus_must(relay_sweep(relay, NULL));
    expect(ctl("bus fsck"), 0, "0 findings");
    cr_expect_eq(bus_query(&bus, "SELECT seq FROM fsck_mark WHERE topic = 'carts' AND part = %d", ana), 5);
    bus_sql(&bus, "UPDATE event_log SET ms = ms + 1000 WHERE seq = 2");
    expect(ctl("bus fsck"), 0, "0 findings"); /* behind its mark */
    expect(ctl("bus fsck --full"), 1, "I2 time");
    bus_sql(&bus, "UPDATE event_log SET ms = ms - 1000 WHERE seq = 2");

    bus_commit(&bus, bus.pg, "ana", 3);
    bus_sql(&bus, "DELETE FROM event_log WHERE seq = 7");
    bus_sql(&bus, "UPDATE event_log SET ms = 1 WHERE seq = 6");
    bus_sql(&bus, "UPDATE event_log SET id = (SELECT id FROM event_log WHERE seq = 1) WHERE seq = 8");
    struct run *run = ctl("bus fsck");
    static const char *const found[] = {"I2 log", "I2 time", "event ids"};
    for (size_t i = 0; i < sizeof(found) / sizeof(*found); i++)
        expect(run, 1, found[i]);
    cr_expect_eq(bus_query(&bus, "SELECT seq FROM fsck_mark WHERE part = %d", ana), 5, "the mark stays");
    bus_sql(&bus, "DELETE FROM stream_head");
    expect(ctl("bus fsck"), 1, "has events and no head");
}

Test(look, fsck_compares_a_stream_behind_its_mark)
{
    int ana = partition_of(STR("ana"));
    bus_commit(&bus, bus.pg, "ana", 5);
    bus_must(relay_sweep(relay, NULL));
    expect(ctl("bus fsck"), 0, "0 findings");
    struct event *events = bus_commit(&bus, bus.pg, "ana", 2);
    expect(ctl("bus fsck"), 0, "0 findings"); /* not in the stream yet: the mark waits for it */
    cr_expect_eq(bus_query(&bus, "SELECT seq FROM fsck_mark WHERE part = %d", ana), 5);
    bus_redis_do(&bus, "XADD evt:{carts.%02d} %lld-6 type foreign", ana, (long long)events[0].ms);
    expect(ctl("bus fsck"), 1, "stands where the log has");
}
