/*
 * daydreamctl as operators run it: a program, its output and its exit. No consumers run here, so what is
 * published stays in its lane and can be looked at.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/codec.h"
#include "bus/lane.h"
#include "tests/support/ctl.h"

static struct bus bus;
static struct relay *relay;

static void start(void)
{
    bus = bus_start(4);
    relay = relay_new(bus.redis, bus.pg);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    setenv("REDIS_URL", servers_redis_url(bus.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1);
    setenv("SUPERUSER_EMAIL", "Jefa@Tienda.cl", 1);
    setenv("SUPERUSER_PASSWORD", "una clave larga", 1);
}

static void stop(void)
{
    relay = relay_free(relay);
    bus_stop(&bus);
}

TestSuite(ctl, .init = start, .fini = stop, .timeout = 120);

static struct ctl_run *ctl(const char *words)
{
    return ctl_run(&bus, "%s", words);
}

static void expect(const struct ctl_run *run, int status, const char *text)
{
    cr_assert_eq(run->status, status, "exit %d: %s", run->status, run->text);
    cr_assert(strstr(run->text, text), "'%s' is not in: %s", text, run->text);
}

static struct entry *lane_entries_of(enum topic topic, size_t *ret_n)
{
    struct entry *all = arena_array(bus.arena, struct entry, 1000), *some;
    size_t n;
    char name[STREAM_NAME];
    *ret_n = 0;
    for (int part = 0; part < partitions(); part++) {
        lane_name(topic, part, name);
        bus_must(
            lane_entries(bus_redis_do(&bus, "XREAD COUNT 1000 STREAMS %s 0", name), bus.arena, &some, &n));
        if (n)
            memcpy(all + *ret_n, some, n * sizeof(*some));
        *ret_n += n;
    }
    return all;
}

Test(ctl, words_that_make_no_sense_are_exit_2)
{
    expect(ctl("--help"), 0, "bus fsck");
    expect(ctl("bus tail --help"), 0, "--topic");
    expect(ctl(""), 2, "a verb is needed");
    expect(ctl("bus"), 2, "unknown verb");
    expect(ctl("seed --fast"), 2, "unknown option");
    expect(ctl("import"), 2, "takes 1 words");
    expect(ctl("migrate down"), 2, "--version N is needed");
    expect(ctl("migrate down --version=-1"), 2, "number");
    expect(ctl("bus tail --topic nobody"), 2, "no such topic");
}

Test(ctl, a_server_that_is_not_there_is_exit_3)
{
    servers_kill(bus.servers, SERVER_REDIS);
    expect(ctl("bus lag"), 3, "daydreamctl:");
    expect(ctl("migrate status"), 0, "applied");
    servers_kill(bus.servers, SERVER_POSTGRES);
    expect(ctl("migrate status"), 3, "daydreamctl:");
}

Test(ctl, migrations_go_down_and_up)
{
    expect(ctl("migrate down --version 1"), 0, "undid 0002_shop");
    expect(ctl("migrate status"), 1, "pending");
    expect(ctl("migrate up"), 0, "applied 0002_shop");
    expect(ctl("migrate status --json"), 0, "\"state\":\"applied\"");
    setenv("MIGRATIONS_DIR", "/nonexistent", 1);
    expect(ctl("migrate status"), 1, "/nonexistent");
}

Test(ctl, settings_are_shown_without_secrets)
{
    struct ctl_run *run = ctl("config");
    expect(run, 0, "SUPERUSER_EMAIL");
    cr_assert(!strstr(run->text, "una clave larga") && !strstr(run->text, "AAECAw"));
    expect(ctl("faults"), 0, "relay.rebuild");
}

Test(ctl, the_superuser_is_one_command_however_often_it_is_asked)
{
    size_t n;
    for (int i = 0; i < 3; i++)
        expect(ctl("superuser"), 0, "published");
    struct entry *entries = lane_entries_of(TOPIC_USERS, &n);
    cr_assert_eq(n, 3);
    for (size_t i = 1; i < n; i++)
        cr_assert(str_eq(entries[0].envelope.id, entries[i].envelope.id));
    bus_sql(&bus,
            "INSERT INTO app_user SELECT gen_random_uuid(), 'x', '%.*s', 'x', NULL, 'x', 'super_admin', "
            "true, 1, 1, 1",
            STR_ARG(json_member_str(entries[0].envelope.data, "email_index", bus.arena)));
    expect(ctl("superuser"), 0, "exists");
    expect(ctl("superuser --json"), 0, "{\"superuser\":\"exists\"}");
}

Test(ctl, the_superuser_is_sealed_under_a_key_of_his_own)
{
    size_t n;
    struct seal_key master, key;
    struct user_register message = {.email = STR_NONE};
    struct str wrapped, email;
    struct uuid person;
    ctl("superuser");
    struct entry *entries = lane_entries_of(TOPIC_USERS, &n);
    cr_assert_eq(n, 1);
    cr_assert(!memmem(entries->envelope.data.p, entries->envelope.data.n, "Tienda", 6), "an e-mail in clear");
    bus_must(codec_decode(message_types[USER_REGISTER].shape, CODEC_BUS, entries->envelope.data, NULL, 0,
                          bus.arena, &message, NULL));
    bus_must(seal_key_parse(str_of(getenv("ENCRYPTION_KEY")), &master));
    bus_must(uuid_parse(entries->envelope.id, &person));
    bus_must(base64url_decode(message.person_key, bus.arena, &wrapped));
    bus_must(seal_unwrap(&master, person, wrapped, &key));
    bus_must(seal_open(&key, message.email, bus.arena, &email));
    cr_assert(str_is(email, "\"Jefa@Tienda.cl\""), "%.*s", STR_ARG(email));
    cr_assert(str_is(message.role, "super_admin"));
    cr_assert(str_starts(message.password_hash, STR("$argon2id$v=19$m=19456,t=2,p=1$")));
}

Test(ctl, the_demo_catalogue_is_published_once)
{
    size_t n, m;
    expect(ctl("seed"), 0, "published");
    lane_entries_of(TOPIC_CATALOG, &n);
    cr_assert_geq(n, 12);
    expect(ctl("seed"), 0, "was done before");
    lane_entries_of(TOPIC_CATALOG, &m);
    cr_assert_eq(n, m);

    bus_sql(&bus, "DELETE FROM bus_meta WHERE name = 'seeded'"); /* as after a crash before the mark */
    expect(ctl("seed"), 0, "published");
    struct entry *entries = lane_entries_of(TOPIC_CATALOG, &m);
    size_t same = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < i; j++)
            same += str_eq(entries[i].envelope.id, entries[j].envelope.id);
    cr_assert_eq(same, n, "the same ids again");
}

Test(ctl, lag_shows_commands_that_nobody_takes)
{
    ctl("superuser");
    expect(ctl("bus lag --json"), 0, "\"command_backlog\":1");
    expect(ctl("bus lag"), 0, "users.");
}

Test(ctl, lag_is_head_minus_offset)
{
    bus_commit(&bus, bus.pg, "ana", 7);
    bus_sql(&bus,
            "INSERT INTO consumer_offset (grp, topic, part, seq, ms, owner, lease_until)"
            " VALUES ('cart', 'carts', %d, 3, 1, 'one', now() - interval '1 s')",
            partition_of(STR("ana")));
    bus_must(relay_sweep(relay, NULL));
    expect(ctl("bus lag --json"), 0, "\"head\":7,\"offset\":3,\"lag\":4");
    expect(ctl("bus lag"), 0, "lease is over");
}

Test(ctl, tail_prints_what_the_streams_hold)
{
    bus_commit(&bus, bus.pg, "ana", 2);
    bus_commit(&bus, bus.pg, "berta", 1);
    bus_must(relay_sweep(relay, NULL));
    expect(ctl("bus tail --all --max 3"), 0, "cart.cleared.v1 berta from cart");
    expect(ctl("bus tail --all --max 1 --topic carts --type cart. --json"), 0, "\"partitionkey\":\"");
}

/* ---- decode ---- */

static void log_event(enum message type, const char *data)
{
    struct event event = event_new(&message_types[type], STR("test"), STR("key"),
                                   arena_str(bus.arena, str_of(data)), bus.arena);
    eventlog_queue(bus.pg, &event, 1, bus.arena);
    pg_sync(bus.pg, NULL, NULL);
    bus_must(pg_wait(bus.pg, 5000));
}

Test(ctl, the_whole_log_is_read_with_this_build)
{
    expect(ctl("bus decode"), 0, "0 events");
    log_event(STOCK_OPENED, "{\"product_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\",\"quantity\":3,"
                            "\"more\":[1]}");
    expect(ctl("bus decode"), 0, "1 events, 0 of older majors, 0 unreadable");
    log_event(STOCK_OPENED, "{\"product_id\":\"nobody\",\"quantity\":3}");
    struct ctl_run *run = ctl("bus decode");
    expect(run, 1, "stock.opened.v1");
    expect(run, 1, "2 events, 0 of older majors, 1 unreadable");
    cr_assert_not(strstr(run->text, "nobody"));
    expect(ctl("bus decode --json"), 1, "\"unreadable_events\":1");
    bus_sql(&bus, "UPDATE event_log SET type = 'stock.opened.v9' WHERE seq = 2 AND topic = 'stock'");
    expect(ctl("bus decode"), 1, "does not know the type");
}

/* It is what says before a release that the new build can read everything. */
Test(ctl, a_log_that_was_read_in_part_is_not_found_readable)
{
    log_event(CART_CLEARED, "{\"user_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\"}");
    log_event(STOCK_OPENED, "{\"product_id\":\"nobody\",\"quantity\":3}");
    struct ctl_run *run = ctl_signalled_at(&bus, SIGTERM, "event_log", "bus decode");
    expect(run, 3, "stopped when 1 of 2 events were read");
    cr_assert_not(strstr(run->text, "unreadable"), "%s", run->text);
    run = ctl_signalled_at(&bus, SIGINT, "event_log", "bus decode --json");
    expect(run, 3, "stopped when 1 of 2");
    cr_assert_not(strstr(run->text, "\"unreadable_events\""), "%s", run->text);
}

static bool a_replay_is_asked_for(struct bus *b)
{
    return bus_query(b, "SELECT count(*) FROM replay") > 0;
}

/* Without the signal it ends well when the group is through, and a script relies on that. */
Test(ctl, a_replay_that_is_not_looked_on_to_its_end_did_not_end_well)
{
    log_event(PAYMENT_VOID_REQUESTED, "{\"order_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\"}");
    bus_sql(
        &bus,
        "INSERT INTO consumer_offset (grp, topic, part, seq, ms) VALUES ('payments', 'payments', %d, 1, 1)",
        partition_of(STR("key")));
    struct ctl_run *run =
        ctl_signalled(&bus, SIGTERM, a_replay_is_asked_for, "bus replay payments --from 1 --allow-effects");
    expect(run, 3, "the replay of payments goes on by itself");
}

/* ---- fsck ---- */

Test(ctl, a_sound_shop_has_no_findings)
{
    bus_commit(&bus, bus.pg, "ana", 450);
    bus_commit(&bus, bus.pg, "berta", 3);
    bus_must(relay_sweep(relay, NULL));
    expect(ctl("bus fsck"), 0, "0 findings");
    bus_redis_do(&bus, "XTRIM evt:{carts.%02d} MAXLEN 5", partition_of(STR("ana")));
    expect(ctl("bus fsck --json"), 0, "\"findings\":[]");
}

Test(ctl, every_kind_of_damage_is_found)
{
    int ana = partition_of(STR("ana"));
    struct event *events = bus_commit(&bus, bus.pg, "ana", 300);
    bus_must(relay_sweep(relay, NULL));
    bus_redis_do(&bus, "XDEL evt:{carts.%02d} %lld-250", ana, (long long)events[249].ms);
    expect(ctl("bus fsck"), 1, "-251 stands where the log has");
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    bus_redis_do(&bus, "XADD evt:{carts.%02d} * type foreign", ana);
    expect(ctl("bus fsck"), 1, "I3 streams");
    bus_redis_do(&bus, "SET evt:{carts.%02d} 1", ana);
    expect(ctl("bus fsck"), 1, "WRONGTYPE");
    bus_redis_do(&bus, "DEL evt:{carts.%02d}", ana);
    expect(ctl("bus fsck"), 0, "0 findings");

    bus_sql(&bus, "DELETE FROM event_log WHERE seq = 7");
    bus_sql(&bus, "INSERT INTO consumer_offset (grp, topic, part, seq) VALUES ('cart', 'carts', %d, 301)",
            ana);
    bus_sql(&bus, "INSERT INTO command (id, status, created_ms) VALUES (gen_random_uuid(), 'running', 5)");
    bus_sql(
        &bus,
        "INSERT INTO stock VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000001', 5, 2, 1, 1)");
    struct ctl_run *run = ctl("bus fsck --full");
    static const char *const found[] = {"I2 log", "I4 offsets", "I1 commands", "I10 stock", "I10 holds"};
    for (size_t i = 0; i < sizeof(found) / sizeof(*found); i++)
        expect(run, 1, found[i]);
}

/* ---- import ---- */

/* The words that import such a file. */
static const char *file_of(const char *text, const char *options)
{
    struct str path = arena_printf(bus.arena, "%s/products.json", servers_dir(bus.servers));
    FILE *file = fopen(path.p, "we");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return arena_printf(bus.arena, "import %s %s", path.p, options).p;
}

static struct ctl_run *import(const char *text, const char *options)
{
    return ctl(file_of(text, options));
}

Test(ctl, rows_that_cannot_be_taken_are_refused_one_by_one)
{
    struct ctl_run *run =
        import("{\"total\": 5, \"products\": ["
               "{\"sku\": \"A-1\", \"title\": \"Uno\", \"price\": 9.99},"
               "{\"sku\": \"A-2\", \"price\": 9},"
               "{\"title\": \"Tres\", \"price\": 9},"
               "{\"sku\": \"A-4\", \"title\": \"Cuatro\", \"price\": 1e3},"
               "{\"sku\": \"A-5\", \"title\": \"Cinco\", \"price\": 10, \"stock\": -1},"
               "{\"sku\": \"A-6\", \"title\": \"Seis\", \"price\": 10, \"stock\": 2000000000}]}",
               "");
    expect(run, 1, "0 accepted, 6 refused");
    expect(run, 1, "A-1: price 9.99 has more decimals than CLP");
    expect(run, 1, "A-2: name is missing");
    expect(run, 1, "sku is missing");
    expect(run, 1, "A-4: price is not an amount");
    expect(run, 1, "A-5: stock");
    expect(run, 1, "A-6: stock");
    size_t n;
    lane_entries_of(TOPIC_CATALOG, &n);
    cr_assert_eq(n, 0);
    expect(import("[{\"sku\": \"A-1\", \"title\": \"x\"}]", "--json"), 1, "\"outcome\":\"refused\"");
}

Test(ctl, files_that_are_no_list_are_refused)
{
    expect(import("[]", ""), 0, "0 accepted, 0 refused");
    expect(import("7", ""), 1, "neither a list");
    expect(import("{\"items\": []}", ""), 1, "no \"products\"");
    expect(import("[1]", ""), 1, "row 1 is not an object");
    expect(import("[{\"sku\": ", ""), 1, "daydreamctl:");
    expect(import("[]", "--currency XXX"), 2, "not known");
    expect(ctl("import /nonexistent.json"), 1, "cannot read");
    expect(ctl("import /dev/null"), 1, "not a file");
}

/* A loop that connects gives up twice while the program waits; then the server goes on. */
static bool postgres_outlasts_loops(struct bus *b)
{
    for (int i = 0; i < 2; i++) {
        struct pg *pg = NULL;
        cr_assert_eq(pg_open(servers_database_url(b->servers), NULL, NULL, &pg).code, ERR_PG_DOWN);
    }
    servers_resume(b->servers, SERVER_POSTGRES);
    return true;
}

static bool redis_outlasts_loops(struct bus *b)
{
    for (int i = 0; i < 2; i++) {
        struct redis *redis = NULL;
        cr_assert_eq(redis_open(servers_redis_url(b->servers), &redis).code, ERR_REDIS_DOWN);
    }
    servers_resume(b->servers, SERVER_REDIS);
    return true;
}

Test(ctl, waits_longer_for_a_busy_server_than_loops_do)
{
    servers_pause(bus.servers, SERVER_POSTGRES);
    expect(ctl_signalled(&bus, 0, postgres_outlasts_loops, "bus lag"), 0, "group");
    servers_pause(bus.servers, SERVER_REDIS);
    expect(ctl_signalled(&bus, 0, redis_outlasts_loops, "bus lag"), 0, "group");
}

Test(ctl, an_import_that_is_stopped_says_where)
{
    struct buf list = buf_new(bus.arena, 4096);
    buf_lit(&list, "[");
    for (int i = 1; i <= 100; i++)
        buf_printf(&list, "%s{\"sku\": \"A-%d\", \"title\": \"Sin precio\"}", i > 1 ? "," : "", i);
    buf_lit(&list, "]");
    const char *words = file_of(arena_str(bus.arena, buf_view(&list)).p, "");
    struct ctl_run *run = ctl_signalled_at(&bus, SIGTERM, "product", "%s", words);
    expect(run, 3, "0 accepted, 64 refused");
    expect(run, 3, "stopped before row 65");
    expect(ctl(words), 1, "0 accepted, 100 refused");
}

#define CUP "018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6"
static const char cups[] = "[{\"sku\": \"CUP\", \"title\": \"Taza\", \"price\": 4990, \"stock\": 100}]";
static size_t awaited;

static void a_cup_in_the_catalogue(void)
{
    bus_sql(&bus, "INSERT INTO product (id, slug, name, sku, price, currency, is_active, is_featured,"
                  " is_deleted, version, created_ms, updated_ms) VALUES ('" CUP
                  "', 'taza', 'Taza', 'CUP', 4990, 'CLP', true, false, false, 1, 1, 1)");
}

static bool adjustments_are_there(struct bus *unused)
{
    (void)unused;
    size_t n;
    lane_entries_of(TOPIC_STOCK, &n);
    return n >= awaited;
}

/* The import is killed while it waits for its results, and there are no consumers: the row stays as it is. */
static struct envelope adjustment(size_t n)
{
    awaited = n;
    ctl_signalled(&bus, SIGKILL, adjustments_are_there, "%s", file_of(cups, ""));
    return lane_entries_of(TOPIC_STOCK, &n)[awaited - 1].envelope;
}

Test(ctl, stock_is_booked_once_however_often_the_import_is_run)
{
    a_cup_in_the_catalogue();
    bus_sql(&bus,
            "INSERT INTO stock VALUES ('" CUP "', '00000000-0000-7000-8000-000000000001', 50, 0, 3, 1)");
    struct envelope first = adjustment(1), again = adjustment(2);
    cr_assert_eq(json_member_int(first.data, "quantity", 0, bus.arena), 50);
    cr_assert(str_eq(first.id, again.id), "the same difference of the same stock is the same command");
    cr_assert(str_is(first.expectedversion, "3"), "and is void for any other");
    bus_sql(&bus, "UPDATE stock SET quantity = 40, version = 4");
    struct envelope next = adjustment(3);
    cr_assert(!str_eq(first.id, next.id));
    cr_assert_eq(json_member_int(next.data, "quantity", 0, bus.arena), 60);
    cr_assert(str_is(next.expectedversion, "4"));
}

Test(ctl, stock_that_is_not_opened_yet_is_not_taken_for_none)
{
    size_t n;
    a_cup_in_the_catalogue();
    struct ctl_run *run = import(cups, "");
    expect(run, 1, "CUP: its stock is not opened yet");
    expect(run, 1, "0 accepted, 1 refused");
    lane_entries_of(TOPIC_STOCK, &n);
    cr_assert_eq(n, 0);
    lane_entries_of(TOPIC_CATALOG, &n);
    cr_assert_eq(n, 0, "a row is taken as a whole");
}

Test(ctl, schedules_are_checked_before_they_are_stored)
{
    expect(ctl("schedule set metrics '0 2 * * *'"), 0, "metrics fires next at 20");
    expect(ctl("schedule set metrics '0 25 * * *'"), 1, "hour: 25 is not from 0 to 23");
    expect(ctl("schedule set metrics '0 2 30 2 *'"), 1, "there is no such day");
    expect(ctl("schedule set metrics '0 2 * * *' --zone America/Atlantis"), 1, "no time zone");
    expect(ctl("schedule set Metrics '0 2 * * *'"), 2, "lower-case");
    expect(ctl("schedule pause metrics"), 0, "");
    expect(ctl("schedule ls"), 0, "paused");
    expect(ctl("schedule resume metrics"), 0, "fires next");
    expect(ctl("schedule ls --json"), 0, "\"zone\":\"America/Santiago\"");
    expect(ctl("schedule rm metrics"), 0, "");
    expect(ctl("schedule rm metrics"), 1, "there is no schedule metrics");
}
