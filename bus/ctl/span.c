/*
 * See span.h.
 */
#include "bus/ctl/span.h"

#include <inttypes.h>

#include "bus/base/clock.h"

enum { COLUMN_TOPIC = 14, COLUMN_PART = 15 };

/* ---- spans ---- */

static const struct pg_stmt select_spans = {
    "ctl_spans",
    "SELECT h.topic, h.part, f.seq, h.seq FROM stream_head h CROSS JOIN LATERAL"
    " (SELECT seq FROM event_log e WHERE e.topic = h.topic AND e.part = h.part ORDER BY seq LIMIT 1) f"
    " ORDER BY 1, 2"};

err span_whole(struct ctl *ctl, const struct type_filter *filter, struct arena *arena, struct span **ret,
               size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(ctl->pg, &select_spans, 0, NULL, &r));
    *ret = arena_array(arena, struct span, pg_rows(r) + 1);
    *ret_n = 0;
    for (int i = 0; i < pg_rows(r); i++) {
        enum topic topic = topic_find(pg_get_str(r, i, 0));
        if (topic != TOPIC_NONE && (!filter || filter->topics[topic]))
            (*ret)[(*ret_n)++] =
                (struct span){topic, (int)pg_get_int(r, i, 1), pg_get_int(r, i, 2), pg_get_int(r, i, 3)};
    }
    return OK;
}

/* ---- halving ---- */

/* n, seq and ms of the first event at or behind each place; no row where there is none. */
static const struct pg_stmt probe = {
    "ctl_probe",
    "SELECT x.n, e.seq, e.ms FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
    " AS x(topic, part, at, n) CROSS JOIN LATERAL (SELECT seq, ms FROM event_log l"
    "  WHERE l.topic = x.topic AND l.part = x.part::int AND l.seq >= x.at ORDER BY l.seq LIMIT 1) e"};

err span_probe(struct ctl *ctl, const struct span *spans, size_t n, const int64_t *at, struct arena *arena,
               int64_t *ret_seq, int64_t *ret_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg_array a[] = {pg_array(arena, PG_TEXT, (int)n), pg_array(arena, PG_INT8, (int)n),
                           pg_array(arena, PG_INT8, (int)n)};
    for (size_t i = 0; i < n; i++) {
        ret_seq[i] = ret_ms[i] = -1;
        pg_array_text(&a[0], str_of(topic_name(spans[i].topic)));
        pg_array_int(&a[1], spans[i].part);
        pg_array_int(&a[2], at[i]);
    }
    struct pg_param params[] = {pg_array_param(&a[0]), pg_array_param(&a[1]), pg_array_param(&a[2])};
    TRY(pg_call(ctl->pg, &probe, 3, params, &r));
    for (int row = 0; row < pg_rows(r); row++) {
        size_t i = (size_t)pg_get_int(r, row, 0) - 1;
        ret_seq[i] = pg_get_int(r, row, 1);
        ret_ms[i] = pg_get_int(r, row, 2);
    }
    return OK;
}

/* All that is below `from` is too early, all from `to` on is not. */
struct search {
    int64_t from, to;
};

/* One look at the middle of each. Archived events may be missing there: the next one that is here stands for
 * them. */
static err halve(struct ctl *ctl, const struct span *spans, size_t n, const int64_t *ms, struct search *s,
                 struct arena *arena)
{
    int64_t *mid = arena_array(arena, int64_t, n), *seq = arena_array(arena, int64_t, n),
            *at = arena_array(arena, int64_t, n);
    for (size_t i = 0; i < n; i++)
        mid[i] = s[i].from + (s[i].to - s[i].from) / 2;
    TRY(span_probe(ctl, spans, n, mid, arena, seq, at));
    for (size_t i = 0; i < n; i++) {
        if (s[i].from >= s[i].to)
            continue;
        if (at[i] < 0 || at[i] >= ms[i])
            s[i].to = mid[i];
        else
            s[i].from = seq[i] + 1;
    }
    return OK;
}

static bool all_found(const struct search *s, size_t n)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++)
        open += s[i].from < s[i].to;
    return open == 0;
}

err span_seek(struct ctl *ctl, const struct span *spans, size_t n, const int64_t *ms, struct arena *arena,
              int64_t *ret)
{
    struct search *s = arena_array(arena, struct search, n + 1);
    for (size_t i = 0; i < n; i++)
        s[i] = (struct search){spans[i].low, spans[i].high + 1};
    while (!all_found(s, n))
        TRY(halve(ctl, spans, n, ms, s, arena));
    for (size_t i = 0; i < n; i++)
        ret[i] = s[i].to;
    return OK;
}

err span_time(struct str text, int64_t now, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    int64_t n;
    for (size_t i = 0; text.n > 1 && i < sizeof(units) / sizeof(*units); i++)
        if (text.p[text.n - 1] == units[i].unit && !failed(str_int64(str_slice(text, 0, text.n - 1), &n)) &&
            n >= 0 && n < INT64_MAX / units[i].ms) {
            *ret_ms = now - n * units[i].ms;
            return OK;
        }
    if (failed(clock_parse(text, ret_ms)))
        return FAIL(INVALID, "a time is RFC 3339 (2026-11-22T20:30:00Z) or that long ago: 90s 15m 2h 3d");
    return OK;
}

/* ---- events ---- */

struct event *span_events(const struct pg_result *result, struct arena *arena, size_t *ret_n)
{
    struct event *events = eventlog_rows(result, TOPIC_NONE, 0, arena, ret_n);
    size_t known = 0;
    for (size_t i = 0; i < *ret_n; i++) {
        events[i].topic = topic_find(pg_get_str(result, (int)i, COLUMN_TOPIC));
        events[i].part = (int)pg_get_int(result, (int)i, COLUMN_PART);
        if (events[i].topic != TOPIC_NONE)
            events[known++] = events[i];
    }
    *ret_n = known;
    return events;
}

void span_print(FILE *to, const struct event *event)
{
    const struct envelope *e = &event->envelope;
    fprintf(to, "%.*s %s.%02d %" PRId64 " %.*s %.*s from %.*s %.*s\n", STR_ARG(e->time),
            topic_name(event->topic), event->part, event->seq, STR_ARG(e->type), STR_ARG(e->partitionkey),
            STR_ARG(e->source), STR_ARG(e->data));
}

void span_json(struct json *j, const struct event *event)
{
    char entry[48];
    snprintf(entry, sizeof(entry), "%" PRId64 "-%" PRId64, event->ms, event->seq);
    json_open(j, '{');
    json_kstr(j, "stream", str_of(topic_name(event->topic)));
    json_kint(j, "part", event->part);
    json_kstr(j, "entry", str_of(entry));
#define FIELD(member, name) json_kstr(j, name, event->envelope.member);
    ENVELOPE_FIELDS(FIELD)
#undef FIELD
    json_close(j, '}');
}
