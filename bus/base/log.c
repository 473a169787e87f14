/*
 * Log lines. A record is built in an arena of its own and leaves by one write(2), so records of several
 * threads and programs that share standard error never mix (a pipe keeps writes of up to 4096 bytes whole).
 * What cannot be written is dropped: a full disk must not stop the shop.
 */
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "bus/base/log.h"

enum { STRING_MAX = 1024 };

enum log_level log_threshold = LOG_INFO;
static char program_name[32] = "daydream";

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

struct log_field log_field_cstr(const char *key, const char *value)
{
    return log_field_str(key, str_of(value));
}

struct log_field log_field_str(const char *key, struct str value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_STR, .str = value};
}

struct log_field log_field_int(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_INT, .integer = value};
}

struct log_field log_field_size(const char *key, uint64_t value)
{
    return log_field_int(key, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

struct log_field log_field_uuid(const char *key, struct uuid value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_UUID, .uuid = value};
}

void log_init(const char *program, struct str level)
{
    size_t n = strnlen(program, sizeof(program_name) - 1);

    memcpy(program_name, program, n);
    program_name[n] = '\0';
    log_threshold = LOG_INFO;
    for (enum log_level i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (str_ieq(level, str_of(level_names[i])))
            log_threshold = i;
}

/* "bus/base/log" of "bus/base/log.c" (the build cuts the paths before the root of the tree). */
static struct str module_of(const char *file)
{
    struct str module = str_of(file);

    if (module.n > 2 && memcmp(module.p + module.n - 2, ".c", 2) == 0)
        module.n -= 2;
    return module;
}

static void put_field(struct json *j, const struct log_field *field)
{
    char text[UUID_TEXT + 1];

    json_key(j, field->key);
    switch (field->kind) {
    case LOG_FIELD_STR:
        json_str(j, field->str.n > STRING_MAX ? str_slice(field->str, 0, STRING_MAX) : field->str);
        return;
    case LOG_FIELD_INT:
        json_int(j, field->integer);
        return;
    case LOG_FIELD_UUID:
        uuid_print(field->uuid, text);
        json_str(j, (struct str){text, UUID_TEXT});
        return;
    }
}

void log_write(enum log_level level, const char *file, const char *function, int line, const char *message,
               const struct log_field *fields, size_t n)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    struct buf b = buf_new(arena, 1023);
    struct json j = json_on(&b);
    ssize_t written;

    json_open(&j, '{');
    json_ktime(&j, "timestamp", clock_ms());
    json_kstr(&j, "level", str_of(level_names[level]));
    json_kstr(&j, "program", str_of(program_name));
    json_kstr(&j, "message", str_of(message));
    json_kstr(&j, "module", module_of(file));
    json_kstr(&j, "function", str_of(function));
    json_kint(&j, "line", line);
    for (size_t i = 0; i < n; i++)
        put_field(&j, &fields[i]);
    json_close(&j, '}');
    buf_char(&b, '\n');
    written = write(STDERR_FILENO, b.p, b.n);
    (void)written;
}
