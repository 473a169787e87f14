/* Outside work against a real PostgreSQL: order, leases, outcomes, the test provider's books. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/seal.h"
#include "producers/breaker.h"
#include "producers/job_store.h"
#include "producers/jobs.h"
#include "tests/support/bus.h"

static struct bus bus;
static struct bell told;
static struct seal_key person_key;
static struct uuid person;

static void start(void)
{
    setenv("ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1);
    setenv("LOG_LEVEL", "error", 1);
    setenv("PAYMENT_TEST_SLOW_MS", "600", 1);
    setenv("JOB_TIMEOUT_MS", "5000", 1);
    bus = bus_start(4);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    bus_must(conf_load("test"));
    bell_init(&told);
    struct seal_key master;
    uint8_t wrapped[SEAL_WRAPPED];
    person = uuid_v7(clock_ms());
    person_key = seal_key_random();
    bus_must(seal_key_parse(conf_str(SET_ENCRYPTION_KEY), &master));
    seal_wrap(&master, person, &person_key, wrapped);
    struct str text = hex((struct str){(const char *)wrapped, sizeof(wrapped)}, bus.arena);
    bus_sql(&bus, "INSERT INTO person_key VALUES ('%s', '\\x%s', 0)", uuid_str(person, bus.arena).p, text.p);
}

static void stop(void)
{
    bus_stop(&bus);
}

TestSuite(jobs, .init = start, .fini = stop, .timeout = 60);

static const char *new_order(void)
{
    return uuid_str(uuid_v7(clock_ms()), bus.arena).p;
}

static void add_job(const char *kind, const char *order, const char *token)
{
    struct str value = arena_printf(bus.arena, "\"%s\"", token);
    struct str sealed = seal_value(&person_key, person, value, bus.arena);
    bus_sql(&bus,
            "INSERT INTO job (id, kind, key, payload, correlationid) VALUES ('%s', '%s', '%s',"
            " '{\"order_id\":\"%s\",\"method\":\"test\",\"amount\":1990,\"currency\":\"CLP\",\"token\":\"%"
            "s\"}', 'c')",
            uuid_str(uuid_v7(clock_ms()), bus.arena).p, kind, order, order, sealed.p);
}

/* Polls until the number is what the story expects; the bound only keeps a broken build from hanging. */
static void expect_soon(int64_t expected, const char *sql)
{
    int64_t now = -1;
    for (int i = 0; i < 3000 && (now = bus_query(&bus, "%s", sql)) != expected; i++)
        usleep(10000);
    cr_assert_eq(now, expected, "%s: %lld, expected %lld", sql, (long long)now, (long long)expected);
}

static int64_t charges(const char *state)
{
    return bus_query(&bus, "SELECT count(*) FROM payment_test_charge WHERE state = '%s'", state);
}

static int64_t answered(const char *type, const char *outcome)
{
    return bus_query(
        &bus,
        "SELECT count(*) FROM event_log WHERE type = '%s' AND topic = 'payments' AND source = 'jobs'"
        " AND correlationid = 'c' AND data::json->>'outcome' = '%s'",
        type, outcome);
}

#define NOT_DONE "SELECT count(*) FROM job WHERE state <> 'done'"

Test(jobs, a_payment_is_authorised_and_captured_once)
{
    const char *order = new_order();
    add_job("payment.authorise", order, "tok_ok");
    add_job("payment.capture", order, "tok_ok");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(answered("payment.authorise-answered.v1", "authorised"), 1);
    cr_assert_eq(answered("payment.capture-answered.v1", "captured"), 1);
    cr_assert_eq(charges("captured"), 1);
    jobs_stop(jobs);
}

Test(jobs, tokens_decide)
{
    add_job("payment.authorise", new_order(), "tok_declined");
    add_job("payment.authorise", new_order(), "tok_nobody_knows");
    add_job("payment.authorise", new_order(), "tok_slow");
    const char *order = new_order();
    add_job("payment.authorise", order, "tok_capture_refused");
    add_job("payment.capture", order, "tok_capture_refused");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(answered("payment.authorise-answered.v1", "declined"), 2);
    cr_assert_eq(answered("payment.authorise-answered.v1", "authorised"), 2);
    cr_assert_eq(answered("payment.capture-answered.v1", "refused"), 1);
    cr_assert_eq(charges("captured"), 0);
    jobs_stop(jobs);
}

Test(jobs, a_token_whose_key_was_destroyed_is_declined)
{
    add_job("payment.authorise", new_order(), "tok_ok");
    bus_sql(&bus, "DELETE FROM person_key");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(answered("payment.authorise-answered.v1", "declined"), 1);
    jobs_stop(jobs);
}

Test(jobs, a_void_ends_an_authorisation_that_never_answers)
{
    const char *order = new_order();
    add_job("payment.authorise", order, "tok_timeout");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(1, "SELECT count(*) FROM payment_test_charge WHERE state = 'authorised'");
    int64_t began = clock_mono_ms();
    add_job("payment.void", order, "tok_timeout");
    expect_soon(0, NOT_DONE);
    cr_assert_lt(clock_mono_ms() - began, 3000, "the void waits for no deadline");
    cr_assert_eq(charges("voided"), 1);
    cr_assert_eq(charges("authorised"), 0);
    cr_assert_eq(answered("payment.authorise-answered.v1", "failed"), 1);
    cr_assert_eq(answered("payment.void-answered.v1", "voided"), 1);
    jobs_stop(jobs);
}

Test(jobs, a_void_that_comes_first_forbids_the_authorisation)
{
    const char *order = new_order();
    add_job("payment.void", order, "tok_ok");
    add_job("payment.authorise", order, "tok_ok");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM payment_test_charge"), 0);
    cr_assert_eq(answered("payment.authorise-answered.v1", "declined"), 1);
    jobs_stop(jobs);
}

Test(jobs, a_slow_authorisation_that_is_cancelled_leaves_nothing)
{
    const char *order = new_order();
    add_job("payment.authorise", order, "tok_slow");
    add_job("payment.void", order, "tok_slow");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(charges("authorised"), 0);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM job a JOIN job v ON v.key = a.key AND v.n > a.n"
                                 " WHERE a.outcome = 'failed' AND v.outcome = 'voided'"),
                 1);
    jobs_stop(jobs);
}

/* The first holder made the call and died; the second asks again with the same key. */
Test(jobs, a_lease_that_passed_is_taken_over_without_a_second_charge)
{
    const char *order = new_order();
    add_job("payment.authorise", order, "tok_ok");
    bus_sql(
        &bus,
        "UPDATE job SET state = 'running', attempt = 1, owner = 'dead', lease_until = now() - interval '1 s';"
        "INSERT INTO payment_test_call VALUES ('%s/authorise', 'authorise', 'test-%s', 'authorised', 0);"
        "INSERT INTO payment_test_charge VALUES ('test-%s', 1990, 'CLP', 'authorised', 0)",
        order, order, order);
    struct jobs *jobs = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(bus_query(&bus, "SELECT attempt FROM job"), 2);
    cr_assert_eq(answered("payment.authorise-answered.v1", "authorised"), 1);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM payment_test_charge"), 1);
    jobs_stop(jobs);
}

Test(jobs, the_outcome_of_a_zombie_is_refused)
{
    const bool all[JOB_KINDS_MAX] = {true, true, true};
    struct job job;
    int n;
    bool accepted = true;
    add_job("payment.authorise", new_order(), "tok_ok");
    bus_must(job_claim(bus.pg, STR("zombie"), all, 1, bus.arena, &job, &n));
    cr_assert_eq(n, 1);
    bus_sql(&bus, "UPDATE job SET attempt = attempt + 1");
    struct payment_authorise_answered data = {.order_id = person, .outcome = STR("authorised")};
    struct job_outcome outcome = {"authorised", PAYMENT_AUTHORISE_ANSWERED, &data};
    bus_must(job_finish(bus.pg, &job, &outcome, bus.arena, &accepted));
    cr_assert_not(accepted);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM event_log"), 0);
    cr_assert_eq(bus_query(&bus, NOT_DONE), 1);
    struct job_held held = {.id = job.id, .attempt = job.attempt};
    bus_must(job_renew(bus.pg, &held, 1, bus.arena));
    cr_assert(held.lost);
}

Test(jobs, many_keys_on_two_runners_end_once_each)
{
    for (int i = 0; i < 200; i++)
        add_job("payment.authorise", new_order(), i % 4 ? "tok_ok" : "tok_declined");
    struct jobs *one = jobs_start(&told), *two = jobs_start(&told);
    expect_soon(0, NOT_DONE);
    cr_assert_eq(answered("payment.authorise-answered.v1", "authorised"), 150);
    cr_assert_eq(answered("payment.authorise-answered.v1", "declined"), 50);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM job WHERE attempt <> 1"), 0);
    jobs_stop(one);
    jobs_stop(two);
}

Test(jobs, a_stop_is_quick_and_puts_the_job_back)
{
    add_job("payment.authorise", new_order(), "tok_timeout");
    struct jobs *jobs = jobs_start(&told);
    expect_soon(1, "SELECT count(*) FROM payment_test_charge");
    int64_t began = clock_mono_ms();
    jobs_stop(jobs);
    cr_assert_lt(clock_mono_ms() - began, 1500);
    cr_assert_eq(bus_query(&bus, "SELECT count(*) FROM job WHERE state = 'waiting' AND due_ms = 0"), 1);
}

Test(jobs, survives_the_death_of_postgresql)
{
    struct jobs *jobs = jobs_start(&told);
    add_job("payment.authorise", new_order(), "tok_ok");
    expect_soon(0, NOT_DONE);
    servers_kill(bus.servers, SERVER_POSTGRES);
    servers_restart(bus.servers, SERVER_POSTGRES);
    bus_must(pg_reopen(bus.pg));
    add_job("payment.authorise", new_order(), "tok_ok");
    expect_soon(0, NOT_DONE);
    cr_assert_eq(charges("authorised"), 2);
    jobs_stop(jobs);
}

Test(breaker, opens_after_failures_in_a_row_and_closes_by_a_probe)
{
    struct breaker breaker = {0};
    for (int i = 1; i < BREAKER_FAILURES; i++)
        cr_assert_not(breaker_ended(&breaker, false, 0));
    cr_assert_eq(breaker_room(&breaker, 0), INT_MAX);
    cr_assert(breaker_ended(&breaker, false, 0));
    cr_assert_eq(breaker_room(&breaker, 0), 0);
    int64_t later = breaker.open_until_ms;
    cr_assert_eq(breaker_room(&breaker, later), 1);
    breaker_began(&breaker);
    cr_assert_eq(breaker_room(&breaker, later), 0, "one probe at a time");
    cr_assert(breaker_ended(&breaker, false, later));
    cr_assert_eq(breaker_room(&breaker, later), 0);
    later = breaker.open_until_ms;
    breaker_began(&breaker);
    cr_assert_not(breaker_ended(&breaker, true, later));
    cr_assert_eq(breaker_room(&breaker, later), INT_MAX);
}
