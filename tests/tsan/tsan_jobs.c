/* The job runner's threads under ThreadSanitizer: two runners, many keys, voids that overtake, a stop in the
 * middle. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/seal.h"
#include "producers/jobs.h"
#include "tests/support/bus.h"

enum { ORDERS = 120 };
static const char master_key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

static struct bus bus;
static struct seal_key person_key;
static struct uuid person;

static void make_person(void)
{
    struct seal_key master;
    uint8_t wrapped[SEAL_WRAPPED];
    person = uuid_v7(clock_ms());
    person_key = seal_key_random();
    bus_must(seal_key_parse(str_of(master_key), &master));
    seal_wrap(&master, person, &person_key, wrapped);
    struct str text = hex((struct str){(const char *)wrapped, sizeof(wrapped)}, bus.arena);
    bus_sql(&bus, "INSERT INTO person_key VALUES ('%s', '\\x%s', 0)", uuid_str(person, bus.arena).p, text.p);
}

static void add_job(const char *kind, const char *order, const char *token)
{
    struct str sealed = seal_value(&person_key, person, arena_printf(bus.arena, "\"%s\"", token), bus.arena);
    bus_sql(&bus,
            "INSERT INTO job (id, kind, key, payload) VALUES ('%s', '%s', '%s',"
            " '{\"method\":\"test\",\"amount\":1990,\"currency\":\"CLP\",\"token\":\"%s\"}')",
            uuid_str(uuid_v7(clock_ms()), bus.arena).p, kind, order, sealed.p);
}

static bool ended(void)
{
    for (int i = 0; i < 6000; i++) {
        if (bus_query(&bus, "SELECT count(*) FROM job WHERE state <> 'done'") == 0)
            return true;
        usleep(10000);
    }
    return false;
}

int main(void)
{
    bus = bus_start(4);
    setenv("ENCRYPTION_KEY", master_key, 1);
    setenv("LOG_LEVEL", "error", 1);
    setenv("DAYDREAM_HOME", servers_dir(bus.servers), 1);
    setenv("DATABASE_URL", servers_database_url(bus.servers), 1);
    bus_must(conf_load("test"));
    make_person();
    struct bell told;
    bell_init(&told);
    struct jobs *one = jobs_start(&told), *two = jobs_start(&told);
    for (int i = 0; i < ORDERS; i++) {
        const char *order = uuid_str(uuid_v7(clock_ms()), bus.arena).p;
        const char *token = i % 6 == 0 ? "tok_timeout" : "tok_ok";
        add_job("payment.authorise", order, token);
        if (i % 3 == 0)
            add_job("payment.void", order, token);
        if (i == ORDERS / 2)
            one = jobs_stop(one);
    }
    bool done = ended();
    jobs_stop(two);
    int64_t left = bus_query(&bus, "SELECT count(*) FROM payment_test_charge WHERE state = 'authorised'");
    bus_stop(&bus);
    bell_deinit(&told);
    printf("jobs: %s, %lld authorised\n", done ? "all ended" : "not all ended", (long long)left);
    return done && left == ORDERS - ORDERS / 3 ? 0 : 1;
}
