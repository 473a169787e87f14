/*
 * Asking for a replay: what stands in the range, and the rows that send the group back. Points in time become
 * sequence numbers by halving, through eventlog_read(), so that archived history counts. Nothing here handles
 * an event, and nothing is written before the one statement at the end.
 */
#include "consumers/replay.h"

#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/meta.h"

enum { GUESS_PER_SECOND = 5000 };

static const struct pg_stmt read_offsets = {
    "replay_offsets", "SELECT o.topic, o.part, o.seq, r.reset_seq FROM consumer_offset o LEFT JOIN replay r"
                      " USING (grp, topic, part) WHERE o.grp = $1 ORDER BY o.topic, o.part"};
static const struct pg_stmt count_types = {
    "replay_count", "SELECT type, count(*) FROM event_log WHERE topic = $1 AND part = $2::bigint::int"
                    " AND seq BETWEEN $3::bigint AND $4::bigint GROUP BY type ORDER BY type"};
static const struct pg_stmt begin = {
    "replay_begin",
    "SELECT replay_begin($1, $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],"
    " $7, $8::bigint, $9::bigint)"};

/* What is handled again of one partition: from ≤ seq ≤ to, of those that the filter wants. */
struct range {
    enum topic topic;
    int part;
    int64_t offset, from, to, before_ms; /* before_ms: time of the event in front of from */
    int64_t events;                      /* that the filter wants and the log has in its table */
    struct pg_result *types;
};

struct asking {
    const struct replay_options *options;
    const struct group *group;
    struct type_filter filter;
    struct arena *arena, *page;
    struct pg *pg;
    struct range *ranges;
    size_t n;
    int64_t events, rate; /* of all; rate per partition */
};

/* ---- what is refused ---- */

static err check_group(const struct asking *a)
{
    const struct group *group = a->group;
    if (!group->idempotent && group_handles_commands(group))
        return FAIL(
            INVALID,
            "%s may not handle an event twice, and its rows come from commands too: it cannot be replayed",
            group->name);
    if (!group->idempotent)
        return FAIL(INVALID,
                    "%s would count what it handles twice: a range cannot be replayed on top of its rows;"
                    " daydreamctl bus rebuild %s builds them anew from the whole log",
                    group->name, group->name);
    if (group->effects != EFFECTS_NONE && !a->options->forced)
        return FAIL(
            INVALID,
            "%s has effects beyond its own tables (%s); --allow-effects replays its rows and repeats none"
            " of the effects",
            group->name, group->effects == EFFECTS_EXTERNAL ? "external" : "internal");
    return OK;
}

/* ---- from and to ---- */

/* A point in the log: by time, or by number in one partition or in all. */
struct point {
    bool by_time, everywhere;
    int64_t ms, seq;
    enum topic topic;
    int part;
};

static err parse_numbered(struct str text, struct point *ret)
{
    size_t colon = str_find(text, ':'), dot = str_find(text, '.');
    int64_t part;
    if (dot >= colon || colon == text.n || failed(str_int64(str_slice(text, colon + 1, text.n), &ret->seq)))
        return FAIL(INVALID, "not a time, a number or TOPIC.PP:N");
    ret->topic = topic_find(str_slice(text, 0, dot));
    struct str digits = str_slice(text, dot + 1, colon);
    while (digits.n > 1 && digits.p[0] == '0')
        digits = str_slice(digits, 1, digits.n);
    if (ret->topic == TOPIC_NONE || failed(str_int64(digits, &part)) || part < 0 || part >= partitions())
        return FAIL(INVALID, "there is no partition %.*s", (int)colon, text.p);
    ret->part = (int)part;
    return OK;
}

/* "2026-11-24" is its first moment, UTC; "2026-11-24T10:00:00-03:00"; "1200"; "orders.03:1200". */
static err parse_point(const char *text, struct arena *arena, struct point *ret)
{
    struct str s = str_of(text);
    *ret = (struct point){.everywhere = true};
    if (!failed(str_int64(s, &ret->seq)))
        return ret->seq > 0 ? OK : FAIL(INVALID, "sequence numbers begin at 1");
    ret->by_time = true;
    if (!failed(clock_parse(s, &ret->ms)))
        return OK;
    if (s.n == 10 && !failed(clock_parse(arena_printf(arena, "%sT00:00:00Z", text), &ret->ms)))
        return OK;
    *ret = (struct point){.by_time = false};
    return parse_numbered(s, ret);
}

/* ms of the event with that number, 0 when there is none; archived ones too. */
static err time_of(struct asking *a, const struct range *r, int64_t seq, int64_t *ret)
{
    struct event *events;
    size_t n;
    *ret = 0;
    if (seq < 1)
        return OK;
    arena_reset(a->page);
    TRY(eventlog_read(a->pg, r->topic, r->part, seq - 1, 1, a->page, &events, &n));
    if (n && events[0].seq == seq)
        *ret = events[0].ms;
    return OK;
}

/* The first event not before that time; behind the offset when all are. ms never falls within a partition. */
static err first_since(struct asking *a, const struct range *r, int64_t ms, int64_t *ret)
{
    int64_t low = 1, high = r->offset + 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, at;
        TRY(time_of(a, r, middle, &at));
        if (at >= ms)
            high = middle;
        else
            low = middle + 1;
    }
    *ret = low;
    return OK;
}

static err place(struct asking *a, const struct range *r, const struct point *point, int64_t elsewhere,
                 int64_t *ret)
{
    if (point->by_time)
        return first_since(a, r, point->ms, ret);
    bool here = point->everywhere || (point->topic == r->topic && point->part == r->part);
    *ret = here ? point->seq : elsewhere;
    return OK;
}

/* A range without events has from above to. A time is the end of what lies before it, a number is the last.
 */
static err set_range(struct asking *a, struct range *r, const struct point *from, const struct point *to)
{
    TRY(place(a, r, from, r->offset + 1, &r->from));
    r->to = r->offset;
    if (to) {
        TRY(place(a, r, to, 0, &r->to));
        r->to -= to->by_time;
    }
    if (r->to > r->offset)
        r->to = r->offset;
    return time_of(a, r, r->from - 1, &r->before_ms);
}

static err read_ranges(struct asking *a)
{
    struct point from, to;
    struct pg_param name = pg_text(str_of(a->group->name));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(parse_point(a->options->from, a->arena, &from));
    if (a->options->to)
        TRY(parse_point(a->options->to, a->arena, &to));
    TRY(pg_call(a->pg, &read_offsets, 1, &name, &r));
    a->ranges = arena_array(a->arena, struct range, (size_t)pg_rows(r) + 1);
    for (int i = 0; i < pg_rows(r); i++) {
        struct range *range = &a->ranges[a->n];
        *range = (struct range){.topic = topic_find(pg_get_str(r, i, 0)),
                                .part = (int)pg_get_int(r, i, 1),
                                .offset = pg_get_int(r, i, 2)};
        if (!pg_is_null(r, i, 3))
            return FAIL(CONFLICT, "%s is replaying already; wait until it has passed", a->group->name);
        if (range->topic == TOPIC_NONE)
            continue;
        TRY(set_range(a, range, &from, a->options->to ? &to : NULL));
        a->n += range->from <= range->to && a->filter.topics[range->topic];
    }
    return OK;
}

/* ---- showing ---- */

static err count(struct asking *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct range *r = &a->ranges[i];
        struct pg_param params[] = {pg_text(str_of(topic_name(r->topic))), pg_int(r->part), pg_int(r->from),
                                    pg_int(r->to)};
        TRY(pg_call(a->pg, &count_types, 4, params, &r->types));
        for (int t = 0; t < pg_rows(r->types); t++)
            if (type_filter_wants(&a->filter, pg_get_str(r->types, t, 0)))
                r->events += pg_get_int(r->types, t, 1);
        a->events += r->events;
    }
    return OK;
}

static int64_t estimate_s(const struct asking *a)
{
    return a->events / (a->options->rate ? a->options->rate : GUESS_PER_SECOND);
}

static void print_json(const struct asking *a)
{
    struct buf b = buf_new(a->arena, 4096);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "group", str_of(a->group->name));
    json_kint(&j, "events", a->events);
    json_kint(&j, "seconds", estimate_s(a));
    json_key(&j, "partitions");
    json_open(&j, '[');
    for (size_t i = 0; i < a->n; i++) {
        const struct range *r = &a->ranges[i];
        json_open(&j, '{');
        json_kstr(&j, "topic", str_of(topic_name(r->topic)));
        json_kint(&j, "part", r->part);
        json_kint(&j, "from", r->from);
        json_kint(&j, "to", r->to);
        json_kint(&j, "offset", r->offset);
        json_key(&j, "types");
        json_open(&j, '{');
        for (int t = 0; t < pg_rows(r->types); t++)
            if (type_filter_wants(&a->filter, pg_get_str(r->types, t, 0)))
                json_kint(&j, arena_cstr(a->arena, pg_get_str(r->types, t, 0)), pg_get_int(r->types, t, 1));
        json_close(&j, '}');
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    printf("%.*s\n", STR_ARG(buf_view(&b)));
}

static void print_ranges(const struct asking *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct range *r = &a->ranges[i];
        printf("%s.%02d  %lld to %lld, the group is at %lld\n", topic_name(r->topic), r->part,
               (long long)r->from, (long long)r->to, (long long)r->offset);
        for (int t = 0; t < pg_rows(r->types); t++)
            if (type_filter_wants(&a->filter, pg_get_str(r->types, t, 0)))
                printf("    %-40.*s %10lld\n", STR_ARG(pg_get_str(r->types, t, 0)),
                       (long long)pg_get_int(r->types, t, 1));
    }
    printf("%lld events in %zu partitions, about %lld s\n", (long long)a->events, a->n,
           (long long)estimate_s(a));
}

/* ---- writing it down ---- */

static err post(struct asking *a)
{
    int n = (int)a->n;
    struct pg_array topics_of = pg_array(a->arena, PG_TEXT, n), parts = pg_array(a->arena, PG_INT8, n),
                    froms = pg_array(a->arena, PG_INT8, n), tos = pg_array(a->arena, PG_INT8, n),
                    mss = pg_array(a->arena, PG_INT8, n);
    for (size_t i = 0; i < a->n; i++) {
        pg_array_text(&topics_of, str_of(topic_name(a->ranges[i].topic)));
        pg_array_int(&parts, a->ranges[i].part);
        pg_array_int(&froms, a->ranges[i].from);
        pg_array_int(&tos, a->ranges[i].to);
        pg_array_int(&mss, a->ranges[i].before_ms);
    }
    int64_t rate = a->n ? a->options->rate / (int64_t)a->n : 0;
    struct pg_param params[] = {pg_text(str_of(a->group->name)),
                                pg_array_param(&topics_of),
                                pg_array_param(&parts),
                                pg_array_param(&froms),
                                pg_array_param(&tos),
                                pg_array_param(&mss),
                                pg_text(a->options->types ? str_of(a->options->types) : STR("")),
                                pg_int(a->options->rate && rate == 0 ? 1 : rate),
                                pg_int(clock_ms())};
    return pg_call(a->pg, &begin, 9, params, NULL);
}

/* ---- the whole ---- */

static err replay(struct asking *a)
{
    if (!a->group)
        return FAIL(INVALID, "there is no group %s", a->options->group);
    TRY(type_filter_parse(str_of(a->options->types), &a->filter));
    TRY(pg_open_within(conf_str(SET_DATABASE_URL).p, NULL, "SET enable_seqscan = off", PG_PATIENT_MS,
                       &a->pg));
    TRY(meta_check_pg(a->pg));
    TRY(read_ranges(a));
    TRY(count(a));
    if (a->options->dry)
        a->options->json ? print_json(a) : print_ranges(a);
    TRY(check_group(a)); /* also when it is dry: who looks wants to know */
    return a->options->dry ? OK : post(a);
}

int replay_ask(const struct replay_options *options)
{
    struct asking a = {.options = options,
                       .group = group_find(options->group),
                       .arena = arena_new((size_t)64 << 20),
                       .page = arena_new((size_t)16 << 20)};
    err e = replay(&a);
    if (failed(e))
        fprintf(stderr, "daydream-consumers: %s\n", err_text(e));
    for (size_t i = 0; i < a.n; i++)
        pg_result_free(a.ranges[i].types);
    pg_close(a.pg);
    arena_free(a.arena);
    arena_free(a.page);
    return !failed(e) ? 0 : err_class_of(e.code) == ERR_CLASS_RETRY ? 3 : 1;
}
