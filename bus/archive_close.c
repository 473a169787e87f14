/*
 * Closing a period of the log: write its files, read them back and compare them with the rows, and only then,
 * in one transaction, enter them into the catalogue and drop the rows. A crash before that transaction leaves
 * the rows, and files that nobody knows of, which the next run writes over; a crash after it leaves the
 * archive.
 */
#include <inttypes.h>

#include "bus/archive_file.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

enum { AHEAD = 2, PAGE = 256, DROP_TRIES = 60, DROP_PAUSE_MS = 1000 };
static const int64_t day_ms = 86400000;

/* ---- partitions ---- */

static const struct pg_stmt make_ahead = {"archive_make_ahead",
                                          "SELECT event_log_ahead($1::bigint, $2::text, $3::bigint::int)"};
/* An event that came when nobody had made a partition for its time. */
static const struct pg_stmt make_for_rest = {
    "archive_make_for_rest", "SELECT event_log_ahead(ms, $1::text, 0)"
                             " FROM (SELECT min(ms) AS ms FROM event_log_rest) rest WHERE ms IS NOT NULL"};
static const struct pg_stmt select_closed = {
    "archive_closed",
    "SELECT name, lo_ms, hi_ms FROM event_partition WHERE hi_ms <= $1::bigint ORDER BY lo_ms"};

static err make_for_all_of_rest(struct pg *pg)
{
    const struct pg_param period = pg_text(conf_str(SET_LOG_PARTITION));
    for (bool more = true; more;) {
        _cleanup_(pg_result_freep) struct pg_result *result = NULL;
        TRY(pg_call(pg, &make_for_rest, 1, &period, &result));
        more = pg_rows(result) > 0;
    }
    return OK;
}

err archive_make_ahead(struct pg *pg)
{
    const struct pg_param params[] = {pg_int(clock_ms()), pg_text(conf_str(SET_LOG_PARTITION)),
                                      pg_int(AHEAD)};
    TRY(pg_call(pg, &make_ahead, 3, params, NULL));
    return make_for_all_of_rest(pg);
}

int64_t archive_before_ms(void)
{
    int64_t days = conf_int(SET_ARCHIVE_AFTER_DAYS), before = clock_ms() - days * day_ms;
    return days && before > 0 ? before : 0;
}

err archive_closed(struct pg *pg, int64_t before_ms, struct arena *arena, struct log_period **ret,
                   size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param before = pg_int(before_ms);
    TRY(pg_call(pg, &select_closed, 1, &before, &result));
    *ret_n = (size_t)pg_rows(result);
    *ret = arena_array(arena, struct log_period, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = (struct log_period){.name = arena_str(arena, pg_get_str(result, (int)i, 0)),
                                        .lo_ms = pg_get_int(result, (int)i, 1),
                                        .hi_ms = pg_get_int(result, (int)i, 2)};
    return OK;
}

static const struct pg_stmt cut_period = {"archive_cut", "SELECT event_log_cut()"};

err archive_cut(struct pg *pg, int64_t *ret_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &cut_period, 0, NULL, &result));
    *ret_ms = pg_get_int(result, 0, 0);
    return OK;
}

/* ---- what a period holds ---- */

/* Of each partition of the bus: its first and last event in the period, with their times, and where the
 * archive ends. */
static const struct pg_stmt select_content = {
    "archive_content",
    "SELECT h.topic, h.part, f.seq, l.seq, f.ms, l.ms, coalesce(a.seq, 0) FROM stream_head h"
    " CROSS JOIN LATERAL (SELECT seq, ms FROM event_log e WHERE e.topic = h.topic AND e.part = h.part"
    "  AND e.ms >= $1::bigint AND e.ms < $2::bigint ORDER BY seq LIMIT 1) f"
    " CROSS JOIN LATERAL (SELECT seq, ms FROM event_log e WHERE e.topic = h.topic AND e.part = h.part"
    "  AND e.ms >= $1::bigint AND e.ms < $2::bigint ORDER BY seq DESC LIMIT 1) l"
    " LEFT JOIN LATERAL (SELECT max(last_seq) AS seq FROM event_archive a"
    "  WHERE a.topic = h.topic AND a.part = h.part) a ON true ORDER BY 1, 2"};

struct closing {
    struct pg *pg;
    struct log_period *period;
    const volatile bool *stop;
    archive_progress_fn *progress;
    void *data;
    struct arena *arena; /* what lasts as long as the closing */
    struct arena *page;
    struct archive_file *files;
    size_t n;
    int64_t done; /* events written or compared, of 2 * period->events */
};

static err read_content(struct closing *c)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param params[] = {pg_int(c->period->lo_ms), pg_int(c->period->hi_ms)};
    TRY(pg_call(c->pg, &select_content, 2, params, &result));
    c->files = arena_array(c->arena, struct archive_file, pg_rows(result) + 1);
    c->period->events = c->period->bytes = 0;
    c->period->files = pg_rows(result);
    for (int i = 0; i < pg_rows(result); i++) {
        struct archive_file *file = &c->files[c->n++];
        *file = (struct archive_file){.topic = topic_find(pg_get_str(result, i, 0)),
                                      .part = (int)pg_get_int(result, i, 1),
                                      .first_seq = pg_get_int(result, i, 2),
                                      .last_seq = pg_get_int(result, i, 3),
                                      .first_ms = pg_get_int(result, i, 4),
                                      .last_ms = pg_get_int(result, i, 5)};
        if (file->topic == TOPIC_NONE)
            return FAIL(CONFLICT, "the period holds events of a newer version's topic; archive with that");
        if (file->first_seq != pg_get_int(result, i, 6) + 1)
            return FAIL(CONFLICT,
                        "%s.%02d begins at %" PRId64 ", but the archive ends at %" PRId64
                        ": older periods go first",
                        topic_name(file->topic), file->part, file->first_seq, pg_get_int(result, i, 6));
        c->period->events += file->last_seq - file->first_seq + 1;
    }
    return OK;
}

err archive_measure(struct pg *pg, struct log_period *period, struct arena *arena)
{
    struct closing c = {.pg = pg, .period = period, .arena = arena};
    TRY(make_for_all_of_rest(pg));
    return read_content(&c);
}

static err step(struct closing *c, size_t n)
{
    c->done += (int64_t)n;
    if (c->progress)
        c->progress(c->data, c->period, c->done, 2 * c->period->events);
    return c->stop && *c->stop ? FAIL(UNAVAILABLE, "archiving was stopped") : OK;
}

/* Events of the file behind `after` as the rows say; none is missing. */
static err read_rows(struct closing *c, const struct archive_file *file, int64_t after, struct event **ret,
                     size_t *ret_n)
{
    int64_t left = file->last_seq - after;
    arena_reset(c->page);
    TRY(eventlog_read(c->pg, file->topic, file->part, after, left < PAGE ? (int)left : PAGE, c->page, ret,
                      ret_n));
    for (size_t i = 0; i < *ret_n; i++)
        if ((*ret)[i].seq != after + 1 + (int64_t)i)
            *ret_n = 0;
    if (*ret_n == 0)
        return FAIL(CONFLICT, "the log of %s.%02d has a gap behind %" PRId64, topic_name(file->topic),
                    file->part, after);
    return OK;
}

/* ---- the steps ---- */

static err write_file(struct closing *c, struct archive_file *file)
{
    _cleanup_(archive_writer_freep) struct archive_writer *writer = NULL;
    TRY(archive_writer_new(file, c->arena, &writer));
    for (int64_t after = file->first_seq - 1; after < file->last_seq;) {
        struct event *events;
        size_t n;
        TRY(read_rows(c, file, after, &events, &n));
        TRY(archive_writer_add(writer, events, n));
        TRY(step(c, n));
        after = events[n - 1].seq;
    }
    TRY(archive_writer_end(writer));
    c->period->bytes += file->bytes;
    return OK;
}

static bool same(const struct event *a, const struct event *b)
{
    bool equal = a->seq == b->seq && a->ms == b->ms;
#define FIELD(member, name) equal &= str_eq(a->envelope.member, b->envelope.member);
    ENVELOPE_FIELDS(FIELD)
#undef FIELD
    return equal;
}

/* What a reader will get from the file is what the rows say, byte for byte. */
static err compare_file(struct closing *c, const struct archive_file *file)
{
    TRY(archive_file_verify(file, c->page));
    for (int64_t after = file->first_seq - 1; after < file->last_seq;) {
        struct event *rows, *events;
        size_t n, m;
        TRY(read_rows(c, file, after, &rows, &n));
        TRY(archive_file_read(file, after, (int)n, c->page, &events, &m));
        for (size_t i = 0; i < n; i++)
            if (i >= m || !same(&rows[i], &events[i]))
                return FAIL(CONFLICT, "%.*s differs from the log at %" PRId64, STR_ARG(file->name),
                            rows[i].seq);
        TRY(step(c, n));
        after = rows[n - 1].seq;
    }
    return OK;
}

static const struct pg_stmt drop_period = {
    "archive_drop",
    "SELECT event_log_drop($1, $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],"
    " $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint)"};

enum { DROP_PARAMS = 12 };

static void drop_params(const struct closing *c, struct pg_param ret[static DROP_PARAMS])
{
    static const enum pg_type types[DROP_PARAMS - 2] = {PG_TEXT, PG_INT8, PG_INT8, PG_INT8, PG_INT8,
                                                        PG_INT8, PG_TEXT, PG_INT8, PG_INT8, PG_TEXT};
    struct pg_array a[DROP_PARAMS - 2];
    for (size_t i = 0; i < DROP_PARAMS - 2; i++)
        a[i] = pg_array(c->arena, types[i], (int)c->n);
    for (size_t i = 0; i < c->n; i++) {
        const struct archive_file *file = &c->files[i];
        pg_array_text(&a[0], str_of(topic_name(file->topic)));
        pg_array_int(&a[1], file->part);
        pg_array_int(&a[2], file->first_seq);
        pg_array_int(&a[3], file->last_seq);
        pg_array_int(&a[4], file->first_ms);
        pg_array_int(&a[5], file->last_ms);
        pg_array_text(&a[6], file->name);
        pg_array_int(&a[7], file->bytes);
        pg_array_int(&a[8], file->raw_bytes);
        pg_array_text(&a[9], file->sha256);
    }
    ret[0] = pg_text(c->period->name);
    for (size_t i = 0; i < DROP_PARAMS - 2; i++)
        ret[1 + i] = pg_array_param(&a[i]);
    ret[DROP_PARAMS - 1] = pg_int(clock_ms());
}

/* It takes the log for itself for a moment, but does not queue up for that behind a long read, since all
 * others would queue up behind it: it gives up soon and comes again. */
static err drop(struct closing *c)
{
    struct pg_param params[DROP_PARAMS];
    drop_params(c, params);
    for (int i = 1;; i++) {
        _cleanup_(pg_result_freep) struct pg_result *result = NULL;
        err e = pg_call(c->pg, &drop_period, DROP_PARAMS, params, &result);
        if (!failed(e) && !pg_get_bool(result, 0, 0))
            return FAIL(CONFLICT, "%.*s changed while it was archived; it stays for the next time",
                        STR_ARG(c->period->name));
        if (e.code != ERR_PG_RETRY || i == DROP_TRIES)
            return e;
        TRY(step(c, 0));
        clock_sleep_ms(backoff_ms(i, 20, DROP_PAUSE_MS));
    }
}

static err close_period(struct closing *c)
{
    TRY(make_for_all_of_rest(c->pg));
    TRY(read_content(c));
    for (size_t i = 0; i < c->n; i++)
        TRY(write_file(c, &c->files[i]));
    if (FAULT(ARCHIVE_WRITTEN))
        return FAIL(UNAVAILABLE, "fault injected after writing");
    for (size_t i = 0; i < c->n; i++)
        TRY(compare_file(c, &c->files[i]));
    if (FAULT(ARCHIVE_VERIFIED))
        return FAIL(UNAVAILABLE, "fault injected after verifying");
    TRY(drop(c));
    counter_add(COUNTER_ARCHIVED, c->period->events);
    log_info("a period of the log is archived", kv("period", c->period->name),
             kv("events", c->period->events), kv("bytes", c->period->bytes), kv("files", (int64_t)c->n));
    if (FAULT(ARCHIVE_DROPPED))
        return FAIL(UNAVAILABLE, "fault injected after the drop");
    return OK;
}

/* One archiver at a time. The key is any number that nothing else here locks; it goes with the session. */
static const struct pg_stmt take_turn = {"archive_take_turn", "SELECT pg_try_advisory_lock($1::bigint)"};
static const struct pg_stmt end_turn = {"archive_end_turn", "SELECT pg_advisory_unlock($1::bigint)"};
enum { TURN = 7235939, TURN_MS = 3000, TURN_PAUSE_MS = 100 };

/* Somebody who has just been killed holds the lock until PostgreSQL notices. */
static err wait_turn(struct pg *pg, const volatile bool *stop)
{
    const struct pg_param key = pg_int(TURN);
    int64_t until = clock_mono_ms() + TURN_MS;
    for (int i = 1;; i++) {
        _cleanup_(pg_result_freep) struct pg_result *turn = NULL;
        TRY(pg_call(pg, &take_turn, 1, &key, &turn));
        if (pg_get_bool(turn, 0, 0))
            return OK;
        if (stop && *stop)
            return FAIL(UNAVAILABLE, "archiving was stopped");
        if (clock_mono_ms() >= until)
            return FAIL(CONFLICT, "somebody else is archiving");
        clock_sleep_ms(backoff_ms(i, 10, TURN_PAUSE_MS));
    }
}

err archive_period(struct pg *pg, struct log_period *period, const volatile bool *stop,
                   archive_progress_fn *progress, void *data, struct arena *arena)
{
    _cleanup_(arena_freep) struct arena *page = arena_new(SIZE_MAX);
    struct closing c = {pg, period, stop, progress, data, arena, page, NULL, 0, 0};
    const struct pg_param key = pg_int(TURN);
    TRY(wait_turn(pg, stop));
    err e = close_period(&c), ended = OK;
    if (pg_is_up(pg)) /* else the lock went with the connection */
        ended = pg_call(pg, &end_turn, 1, &key, NULL);
    return failed(e) ? e : ended;
}
