/* Settings: where values come from, what is refused, what is masked. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/log.h"

#define GOOD_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SAME_BYTES "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

static char home[] = "/tmp/daydream-conf-XXXXXX";
static char file_path[64];

static void at_home(void)
{
    clearenv();
    cr_assert_not_null(mkdtemp(home));
    setenv("DAYDREAM_HOME", home, 1);
    snprintf(file_path, sizeof(file_path), "%s/env", home);
}

static void leave_home(void)
{
    unlink(file_path);
    rmdir(home);
}

TestSuite(conf, .init = at_home, .fini = leave_home);

static void write_file(const char *text)
{
    FILE *file = fopen(file_path, "w");

    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_refused(const char *mention)
{
    err e = conf_load("test");

    cr_assert_eq(e.code, ERR_CONFIG);
    cr_assert_not_null(strstr(err_text(e), mention), "%s", err_text(e));
}

Test(conf, defaults_need_no_environment)
{
    cr_assert_not(failed(conf_load("test")), "%s", err_text((err){ERR_CONFIG}));
    cr_assert_eq(conf_int(SET_PORT), 8000);
    cr_assert(conf_on(SET_RATE_LIMIT));
    cr_assert_not(conf_production());
    cr_assert(str_is(conf_str(SET_DEFAULT_CURRENCY), "CLP"));
    cr_assert(str_is(conf_str(SET_DATABASE_URL), ""));
}

Test(conf, the_environment_wins_over_the_file_and_the_file_over_defaults)
{
    write_file("# made by hand\n\nPORT=9000\nLANE_CAP = 77 \r\nRATE_LIMIT=False\nFOREIGN=1\nno equals sign\n"
               "REDIS_URL=redis://127.0.0.1:1/0?a=b\nSUPERUSER_PASSWORD='with # and = '\nLEASE_MS=");
    setenv("PORT", "9001", 1);
    setenv("LANE_CAP", "", 1);
    cr_assert_not(failed(conf_load("test")));
    cr_assert_eq(conf_int(SET_PORT), 9001);
    cr_assert_eq(conf_int(SET_LANE_CAP), 77, "an empty variable leaves the setting open");
    cr_assert_eq(conf_int(SET_LEASE_MS), 5000);
    cr_assert_not(conf_on(SET_RATE_LIMIT));
    cr_assert(str_is(conf_str(SET_REDIS_URL), "redis://127.0.0.1:1/0?a=b"));
    cr_assert(str_is(conf_str(SET_SUPERUSER_PASSWORD), "with # and = "));
}

Test(conf, switches_take_several_words)
{
    static const struct {
        const char *word;
        bool on;
    } rows[] = {{"on", true},     {"true", true}, {"1", true},   {"off", false},
                {"false", false}, {"0", false},   {"OFF", false}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        setenv("RATE_LIMIT", rows[i].word, 1);
        cr_assert_not(failed(conf_load("test")));
        cr_assert_eq(conf_on(SET_RATE_LIMIT), rows[i].on, "%s", rows[i].word);
    }
}

Test(conf, wrong_values_are_named)
{
    static const struct {
        const char *name, *value;
    } rows[] = {{"PORT", "http"},
                {"PORT", "65536"},
                {"PORT", "-1"},
                {"PORT", "80 "},
                {"RATE_LIMIT", "yes?"},
                {"ENVIRONMENT", "prod"},
                {"LOG_LEVEL", "loud"},
                {"PARTITIONS", "0"},
                {"PARTITIONS", "127"},
                {"DEFAULT_CURRENCY", "peso"},
                {"ENCRYPTION_KEY", "hunter2"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        setenv(rows[i].name, rows[i].value, 1);
        expect_refused(rows[i].name);
        cr_assert_null(strstr(err_text((err){ERR_CONFIG}), "hunter2"));
        unsetenv(rows[i].name);
    }
}

Test(conf, the_log_level_is_applied)
{
    setenv("LOG_LEVEL", "error", 1);
    cr_assert_not(failed(conf_load("test")));
    cr_assert_eq(log_threshold, LOG_ERROR);
}

Test(conf, production_refuses_weak_keys)
{
    setenv("ENVIRONMENT", "production", 1);
    setenv("JWT_SECRET_KEY", "short", 1);
    expect_refused("JWT_SECRET_KEY");
    setenv("JWT_SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1);
    expect_refused("JWT_SECRET_KEY");
    setenv("JWT_SECRET_KEY", "a key of thirty-two bytes or more", 1);
    setenv("ENCRYPTION_KEY", SAME_BYTES, 1);
    expect_refused("ENCRYPTION_KEY");
    setenv("ENCRYPTION_KEY", GOOD_KEY, 1);
    cr_assert_not(failed(conf_load("test")));
    cr_assert(conf_production());
}

Test(conf, a_missing_secret_is_named_with_the_way_to_make_one)
{
    static const struct {
        enum setting setting;
        const char *name, *advice;
    } rows[] = {{SET_JWT_SECRET_KEY, "JWT_SECRET_KEY", "openssl rand"},
                {SET_ENCRYPTION_KEY, "ENCRYPTION_KEY", "openssl rand"},
                {SET_SUPERUSER_EMAIL, "SUPERUSER_EMAIL", "choose"},
                {SET_SUPERUSER_PASSWORD, "SUPERUSER_PASSWORD", "choose"},
                {SET_DATABASE_URL, "DATABASE_URL", "--help"}};

    for (int production = 0; production <= 1; production++) {
        setenv("ENVIRONMENT", production ? "production" : "development", 1);
        cr_assert_not(failed(conf_load("test")));
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
            err e = conf_require(rows[i].setting);

            cr_assert_eq(e.code, ERR_CONFIG);
            cr_assert_not_null(strstr(err_text(e), rows[i].name));
            cr_assert_not_null(strstr(err_text(e), rows[i].advice));
            cr_assert_eq(strstr(err_text(e), "production") != NULL, production);
        }
    }
    setenv("JWT_SECRET_KEY", "a key of thirty-two bytes or more", 1);
    cr_assert_not(failed(conf_load("test")));
    cr_assert_not(failed(conf_require(SET_JWT_SECRET_KEY)));
}

Test(conf, an_unreadable_or_endless_file_is_refused)
{
    mkdir(file_path, 0700);
    expect_refused("env cannot be read");
    rmdir(file_path);
    write_file("");
    cr_assert_eq(truncate(file_path, 70000), 0);
    expect_refused("larger than");
}

Test(conf, secrets_are_masked_wherever_they_are_printed)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    static char text[1 << 16];

    setenv("DATABASE_URL", "postgresql://shop:hunter2@localhost/shop", 1);
    setenv("SUPERUSER_PASSWORD", "hunter2", 1);
    setenv("PORT", "9001", 1);
    cr_assert_not(failed(conf_load("test")));
    for (int json = 0; json <= 1; json++) {
        FILE *to = fmemopen(text, sizeof(text), "w");

        conf_print(to, true, json);
        fclose(to);
        cr_assert_null(strstr(text, "hunter2"), "%s", text);
        cr_assert_not_null(strstr(text, "9001"));
        cr_assert_not_null(strstr(text, "********"));
        cr_assert_not_null(strstr(text, "TCP port of the front door"));
        cr_assert(!json || !failed(json_check(str_of(text), arena)));
    }
}

Test(conf, tests_may_override)
{
    conf_set(SET_LEASE_MS, "250");
    cr_assert_eq(conf_int(SET_LEASE_MS), 250);
}
