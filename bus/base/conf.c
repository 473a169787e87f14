/*
 * Settings. Values are texts in an arena that lives as long as the process; numbers and switches were checked
 * when they were read, so asking for one cannot fail. Messages name the setting and never hold the value of a
 * secret.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/log.h"
#include "bus/base/money.h"
#include "bus/base/seal.h"

enum { FILE_MAX = 65536, KEY_MIN = 32 };

struct rule {
    enum { STRING, INTEGER, SWITCH, WORD } kind;
    int64_t min, max;
    const char *words;
};
#define KIND_STR                                                                                             \
    {                                                                                                        \
        .kind = STRING                                                                                       \
    }
#define KIND_INT(low, high)                                                                                  \
    {                                                                                                        \
        .kind = INTEGER, .min = low, .max = high                                                             \
    }
#define KIND_BOOL                                                                                            \
    {                                                                                                        \
        .kind = SWITCH                                                                                       \
    }
#define KIND_ONE_OF(list)                                                                                    \
    {                                                                                                        \
        .kind = WORD, .words = list                                                                          \
    }

static const struct row {
    const char *name;
    struct rule rule;
    const char *fallback;
    bool secret;
    const char *text;
} rows[SET_COUNT] = {
#define SETTING(name, kind, fallback, secret, text) {#name, KIND_##kind, fallback, secret, text},
#include "bus/base/settings.def"
#undef SETTING
};

static struct str values[SET_COUNT]; /* absent: the fallback */
static struct arena *kept;

struct str conf_str(enum setting s)
{
    return values[s].p ? values[s] : str_of(rows[s].fallback);
}

int64_t conf_int(enum setting s)
{
    int64_t v = 0;
    err e = str_int64(conf_str(s), &v);

    assert(rows[s].rule.kind == INTEGER && !failed(e));
    return v;
}

/* 1, 0, or -1 when it is neither. */
static int switch_of(struct str text)
{
    static const struct {
        const char *word;
        int on;
    } words[] = {{"on", 1}, {"true", 1}, {"1", 1}, {"off", 0}, {"false", 0}, {"0", 0}};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (str_ieq(text, str_of(words[i].word)))
            return words[i].on;
    return -1;
}

bool conf_on(enum setting s)
{
    assert(rows[s].rule.kind == SWITCH);
    return switch_of(conf_str(s)) == 1;
}

bool conf_production(void)
{
    return str_is(conf_str(SET_ENVIRONMENT), "production");
}

static void keep(enum setting s, struct str value)
{
    if (!kept)
        kept = arena_new(SIZE_MAX);
    values[s] = arena_str(kept, value);
}

/* ---- checking ---- */

static bool is_word_of(struct str value, const char *words)
{
    struct str rest = str_of(words);

    while (!str_empty(rest)) {
        size_t n = str_find(rest, ' ');

        if (str_eq(value, str_slice(rest, 0, n)))
            return true;
        rest = n < rest.n ? str_slice(rest, n + 1, rest.n) : STR("");
    }
    return false;
}

static err check_rule(const struct row *row, struct str value)
{
    int64_t v;

    switch (row->rule.kind) {
    case STRING:
        return OK;
    case INTEGER:
        if (failed(str_int64(value, &v)) || v < row->rule.min || v > row->rule.max)
            return FAIL(CONFIG, "%s must be a whole number from %" PRId64 " to %" PRId64, row->name,
                        row->rule.min, row->rule.max);
        return OK;
    case SWITCH:
        if (switch_of(value) < 0)
            return FAIL(CONFIG, "%s must be on or off", row->name);
        return OK;
    case WORD:
        if (!is_word_of(value, row->rule.words))
            return FAIL(CONFIG, "%s must be one of: %s", row->name, row->rule.words);
        return OK;
    }
    return OK;
}

static bool one_byte_repeated(const void *bytes, size_t n)
{
    const char *p = bytes;

    return n > 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* ENCRYPTION_KEY is read or refused wherever it is used, so its form is checked everywhere; strength of keys
 * counts in production. */
static err check_keys(void)
{
    struct str jwt = conf_str(SET_JWT_SECRET_KEY), encryption = conf_str(SET_ENCRYPTION_KEY);
    struct seal_key key;

    if (!str_empty(encryption)) {
        if (failed(seal_key_parse(encryption, &key)))
            return FAIL(CONFIG, "ENCRYPTION_KEY must be base64 of exactly %d bytes: openssl rand -base64 32",
                        SEAL_KEY);
        if (conf_production() && one_byte_repeated(key.b, SEAL_KEY))
            return FAIL(CONFIG, "ENCRYPTION_KEY is weak, production refuses it: openssl rand -base64 32");
    }
    if (!str_empty(jwt) && conf_production() && (jwt.n < KEY_MIN || one_byte_repeated(jwt.p, jwt.n)))
        return FAIL(CONFIG, "JWT_SECRET_KEY is weak, production refuses it: openssl rand -base64 48");
    return OK;
}

static err check_all(void)
{
    for (enum setting s = 0; s < SET_COUNT; s++)
        TRY(check_rule(&rows[s], conf_str(s)));
    if (money_decimals(conf_str(SET_DEFAULT_CURRENCY)) < 0)
        return FAIL(CONFIG, "DEFAULT_CURRENCY must be an ISO 4217 code such as CLP");
    return check_keys();
}

/* How to make what is missing. */
static const char *advice(enum setting s)
{
    switch (s) {
    case SET_ENCRYPTION_KEY:
        return "make one: openssl rand -base64 32";
    case SET_JWT_SECRET_KEY:
        return "make one: openssl rand -base64 48";
    case SET_SUPERUSER_EMAIL:
    case SET_SUPERUSER_PASSWORD:
        return "choose one";
    default:
        return "see --help";
    }
}

err conf_require(enum setting s)
{
    if (!str_empty(conf_str(s)))
        return OK;
    if (conf_production())
        return FAIL(CONFIG, "%s is missing, production refuses to start without it; %s", rows[s].name,
                    advice(s));
    return FAIL(CONFIG, "%s is missing; set it in the environment or in %.*s/env (compose/up does so), or %s",
                rows[s].name, STR_ARG(conf_str(SET_DAYDREAM_HOME)), advice(s));
}

/* ---- reading ---- */

static struct str unquoted(struct str value)
{
    char first = value.n >= 2 ? value.p[0] : 0;

    if ((first == '"' || first == '\'') && value.p[value.n - 1] == first)
        return str_slice(value, 1, value.n - 1);
    return value;
}

/* One line KEY=VALUE; comments and foreign keys pass. The environment and earlier lines win. */
static void take_line(struct str line)
{
    size_t sign = str_find(line, '=');
    struct str name = str_trim(str_slice(line, 0, sign));

    if (sign == line.n || str_empty(name) || name.p[0] == '#')
        return;
    for (enum setting s = 0; s < SET_COUNT; s++)
        if (str_is(name, rows[s].name)) {
            struct str value = unquoted(str_trim(str_slice(line, sign + 1, line.n)));

            if (!values[s].p && !str_empty(value))
                keep(s, value);
        }
}

static void close_file(FILE **file)
{
    if (*file)
        fclose(*file);
}

static err read_file(void)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    struct str path = arena_printf(arena, "%.*s/env", STR_ARG(conf_str(SET_DAYDREAM_HOME)));
    _cleanup_(close_file) FILE *file = fopen(path.p, "re");
    char *text = arena_alloc(arena, FILE_MAX + 1);
    struct str rest;

    if (!file && (errno == ENOENT || errno == ENOTDIR))
        return OK;
    if (!file)
        return FAIL(CONFIG, "%s cannot be read", path.p);
    rest = (struct str){text, fread(text, 1, FILE_MAX + 1, file)};
    if (ferror(file) || rest.n > FILE_MAX)
        return FAIL(CONFIG, "%s cannot be read, or is larger than %d bytes", path.p, FILE_MAX);
    while (!str_empty(rest)) {
        size_t n = str_find(rest, '\n');

        take_line(str_slice(rest, 0, n));
        rest = n < rest.n ? str_slice(rest, n + 1, rest.n) : STR("");
    }
    return OK;
}

err conf_load(const char *program)
{
    for (enum setting s = 0; s < SET_COUNT; s++) {
        const char *value = getenv(rows[s].name);

        values[s] = STR_NONE;
        if (value && *value)
            keep(s, str_of(value));
    }
    TRY(read_file());
    TRY(check_all());
    log_init(program, conf_str(SET_LOG_LEVEL));
    return OK;
}

void conf_set(enum setting s, const char *value)
{
    err e = check_rule(&rows[s], str_of(value));

    assert(!failed(e));
    keep(s, str_of(value));
}

/* ---- printing ---- */

static struct str shown_value(enum setting s)
{
    return rows[s].secret && !str_empty(conf_str(s)) ? STR("********") : conf_str(s);
}

static void print_json(FILE *to, bool show)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    struct buf b = buf_new(arena, 4096);
    struct json j = json_on(&b);

    json_open(&j, '[');
    for (enum setting s = 0; s < SET_COUNT; s++) {
        json_open(&j, '{');
        json_kstr(&j, "name", str_of(rows[s].name));
        json_kstr(&j, "default", str_of(rows[s].fallback));
        json_kbool(&j, "secret", rows[s].secret);
        json_kstr(&j, "text", str_of(rows[s].text));
        if (show)
            json_kstr(&j, "value", shown_value(s));
        json_close(&j, '}');
    }
    json_close(&j, ']');
    fprintf(to, "%s\n", b.p);
}

void conf_print(FILE *to, bool show, bool json)
{
    if (json) {
        print_json(to, show);
        return;
    }
    for (enum setting s = 0; s < SET_COUNT; s++) {
        struct str value = show ? shown_value(s) : str_of(rows[s].fallback);

        fprintf(to, "%-22s %-24.*s %s\n", rows[s].name, STR_ARG(value), rows[s].text);
    }
}
