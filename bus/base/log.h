/*
 * Structured logs: one JSON line per record on standard error: timestamp, level, program, message, module,
 * function, line, then the fields. The message is a constant sentence and serves as its id. Fields are typed
 * by kv(). Below the level (LOG_LEVEL) nothing is evaluated. A record is one write(2); strings are cut at
 * 1024 bytes. Only loops log. Never put secrets or personal data into a field.
 */
#pragma once

#include "bus/base/str.h"
#include "bus/base/uuid.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_UUID } kind;
    struct str str;
    int64_t integer;
    struct uuid uuid;
};

struct log_field log_field_cstr(const char *key, const char *value);
struct log_field log_field_str(const char *key, struct str value);
struct log_field log_field_int(const char *key, int64_t value);
struct log_field log_field_size(const char *key, uint64_t value); /* above INT64_MAX counts as that */
struct log_field log_field_uuid(const char *key, struct uuid value);

#define kv(key, value)                                                                                       \
    _Generic((value),                                                                                        \
        char *: log_field_cstr,                                                                              \
        const char *: log_field_cstr,                                                                        \
        struct str: log_field_str,                                                                           \
        struct uuid: log_field_uuid,                                                                         \
        unsigned long: log_field_size,                                                                       \
        unsigned long long: log_field_size,                                                                  \
        default: log_field_int)((key), (value))

#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_at(level, message, ...)                                                                          \
    do {                                                                                                     \
        if ((level) >= log_threshold) {                                                                      \
            const struct log_field log_fields_[] = {{.key = NULL}, __VA_ARGS__};                             \
            log_write((level), __FILE__, __func__, __LINE__, (message), log_fields_ + 1,                     \
                      sizeof(log_fields_) / sizeof(*log_fields_) - 1);                                       \
        }                                                                                                    \
    } while (0)

extern enum log_level log_threshold;
/* program: shown in each line. level: debug, info, warn or error; another word counts as info. */
void log_init(const char *program, struct str level);
void log_write(enum log_level level, const char *file, const char *function, int line, const char *message,
               const struct log_field *fields, size_t n);
