#include "tests/support/bus.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/archive.h"
#include "bus/base/conf.h"
#include "bus/lane.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "tests/support/template.h"

void bus_must(err e)
{
    if (failed(e))
        support_die("%s: %s (%s)", err_name(e.code), err_text(e), err_where(e));
}

struct pg *bus_pg(const struct bus *bus)
{
    struct pg *pg;
    bus_must(pg_open_within(servers_database_url(bus->servers), NULL, NULL, PG_PATIENT_MS, &pg));
    return pg;
}

struct redis *bus_redis(const struct bus *bus)
{
    struct redis *redis;
    bus_must(redis_open_within(servers_redis_url(bus->servers), REDIS_PATIENT_MS, &redis));
    return redis;
}

struct bus bus_start(int partitions)
{
    struct bus bus = {.servers = servers_start(NULL), .arena = arena_new(256 << 20)};
    bus.redis = bus_redis(&bus);
    bus.pg = bus_pg(&bus);
    bus_must(migrate_up(bus.pg, DAYDREAM_SOURCE_DIR "/migrations", partitions, NULL, NULL));
    bus_must(meta_check(bus.pg, bus.redis));
    return bus;
}

void bus_stop(struct bus *bus)
{
    bus->redis = redis_close(bus->redis);
    bus->pg = pg_close(bus->pg);
    bus->arena = arena_free(bus->arena);
    bus->servers = servers_stop(bus->servers);
}

__attribute__((format(printf, 2, 0))) static struct str formatted(struct bus *bus, const char *format,
                                                                  va_list list)
{
    char *text;
    if (vasprintf(&text, format, list) < 0)
        abort();
    struct str s = arena_str(bus->arena, str_of(text));
    free(text);
    return s;
}

void bus_sql(struct bus *bus, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    struct str sql = formatted(bus, format, list);
    va_end(list);
    bus_must(pg_script(bus->pg, sql.p));
}

int64_t bus_query(struct bus *bus, const char *format, ...)
{
    static int number; /* each text is another prepared statement */
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    va_list list;
    va_start(list, format);
    struct str sql = formatted(bus, format, list);
    va_end(list);
    struct pg_stmt *stmt = arena_new_of(bus->arena, struct pg_stmt);
    *stmt = (struct pg_stmt){arena_printf(bus->arena, "bus_query_%d", number++).p, sql.p};
    bus_must(pg_call(bus->pg, stmt, 0, NULL, &result));
    return pg_rows(result) ? pg_get_int(result, 0, 0) : -1;
}

const struct redis_reply *bus_redis_do(struct bus *bus, const char *format, ...)
{
    struct str words[32];
    size_t n = 0;
    va_list list;
    va_start(list, format);
    struct str text = formatted(bus, format, list);
    va_end(list);
    for (size_t at = 0; at < text.n && n < 32;) {
        size_t end = str_find(str_slice(text, at, text.n), ' ');
        words[n++] = str_slice(text, at, at + end);
        at += end + 1;
    }
    const struct redis_reply *reply = NULL;
    bus_must(redis_call(bus->redis, &reply, n, words));
    return reply;
}

struct event *bus_commit(struct bus *bus, struct pg *pg, const char *key, size_t n)
{
    struct event *events = arena_array(bus->arena, struct event, n);
    for (size_t i = 0; i < n; i++)
        events[i] = event_new(&message_types[CART_CLEARED], STR("cart"), arena_str(bus->arena, str_of(key)),
                              arena_printf(bus->arena, "{\"user_id\":\"%s\",\"n\":%zu}", key, i), bus->arena);
    eventlog_queue(pg, events, n, bus->arena);
    pg_sync(pg, NULL, NULL);
    bus_must(pg_wait(pg, 10000));
    return events;
}

static bool same_event(const struct entry *entry, const struct event *event)
{
    struct str a[2 * ENVELOPE_COMMAND], b[2 * ENVELOPE_COMMAND];
    size_t n = envelope_words(&entry->envelope, false, a), m = envelope_words(&event->envelope, false, b);
    bool same = n == m && entry->ms == event->ms && entry->seq == event->seq && !entry->broken;
    for (size_t i = 0; same && i < n; i++)
        same = str_eq(a[i], b[i]);
    return same;
}

int64_t bus_stream_check(struct bus *bus, enum topic topic, int part)
{
    char name[STREAM_NAME];
    struct entry *entries;
    struct event *events;
    size_t n, m;
    stream_name(topic, part, name);
    int64_t head = bus_query(bus, "SELECT seq FROM stream_head WHERE topic = '%s' AND part = %d",
                             topic_name(topic), part);
    const struct redis_reply *reply = bus_redis_do(bus, "XREAD COUNT 100000 STREAMS %s 0", name);
    bus_must(lane_entries(reply, bus->arena, &entries, &n));
    if (n == 0)
        return 0;
    int64_t after = entries[0].seq - 1;
    for (size_t i = 0; i < n;) {
        bus_must(eventlog_read(bus->pg, topic, part, after, 1000, bus->arena, &events, &m));
        if (m == 0)
            support_die("%s holds more than the log", name);
        for (size_t j = 0; j < m && i < n; j++, i++)
            if (!same_event(&entries[i], &events[j]))
                support_die("%s differs from the log at %.*s", name, STR_ARG(entries[i].entry));
        after = events[m - 1].seq;
    }
    if (entries[n - 1].seq != head)
        support_die("%s ends at %" PRId64 ", the log at %" PRId64, name, entries[n - 1].seq, head);
    return (int64_t)n;
}

void bus_archive(struct bus *bus)
{
    struct log_period *list;
    size_t n;
    int64_t before;
    bus_must(archive_cut(bus->pg, &before));
    bus_must(archive_closed(bus->pg, before, bus->arena, &list, &n));
    for (size_t i = 0; i < n; i++)
        bus_must(archive_period(bus->pg, &list[i], NULL, NULL, NULL, bus->arena));
}
