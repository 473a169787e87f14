/*
 * bus grep: the words of the verb, the answer from an index, and printing.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/grep.h"

enum { LIMIT = 20, LIMIT_MAX = 10000, SCAN = 50000 };

/* ---- the order ---- */

struct place place_of(const struct event *event)
{
    return (struct place){event->ms, event->seq, str_of(topic_name(event->topic)), event->part};
}

int place_cmp(const struct grep *grep, const struct place *a, const struct place *b)
{
    int c = (a->ms > b->ms) - (a->ms < b->ms);
    if (c == 0)
        c = str_cmp(a->topic, b->topic);
    if (c == 0)
        c = (a->part > b->part) - (a->part < b->part);
    if (c == 0)
        c = (a->seq > b->seq) - (a->seq < b->seq);
    return grep->oldest ? c : -c;
}

/* "1795384778567-orders.03-6" */
static err place_parse(struct str text, struct place *ret)
{
    size_t first = str_find(text, '-'), dot = str_find(text, '.'), last = text.n;
    int64_t part;
    while (last > 0 && text.p[last - 1] != '-')
        last--;
    if (first < dot && dot < last && !failed(str_int64(str_slice(text, 0, first), &ret->ms)) &&
        !failed(str_int64(str_slice(text, last, text.n), &ret->seq))) {
        struct str number = str_slice(text, dot + 1, last - 1);
        while (number.n > 1 && *number.p == '0')
            number = str_slice(number, 1, number.n);
        ret->topic = str_slice(text, first + 1, dot);
        if (topic_find(ret->topic) != TOPIC_NONE && !failed(str_int64(number, &part)) && part >= 0 &&
            part < PARTITIONS_MAX) {
            ret->part = (int)part;
            return OK;
        }
    }
    return FAIL(INVALID, "--after takes a place as bus grep prints it: 1795384778567-orders.03-6");
}

static struct str place_text(const struct place *place, struct arena *arena)
{
    return arena_printf(arena, "%" PRId64 "-%.*s.%02d-%" PRId64, place->ms, STR_ARG(place->topic),
                        place->part, place->seq);
}

/* ---- from an index ---- */

void grep_filters(const struct grep *grep, struct pg_param ret[static GREP_FILTERS])
{
    struct uuid id;
    struct pg_array types = pg_array(grep->arena, PG_TEXT, MESSAGE_COUNT);
    for (int m = 0; grep->types.p && m < MESSAGE_COUNT; m++)
        if (grep->filter.wants[m])
            pg_array_text(&types, str_of(message_types[m].name));
    ret[0] = !failed(uuid_parse(grep->id, &id)) ? pg_uuid(id) : pg_null();
    ret[1] = pg_text(grep->key);
    ret[2] = pg_text(grep->correlation);
    ret[3] = grep->types.p ? pg_array_param(&types) : pg_null();
    ret[4] = pg_text(grep->actor);
    ret[5] = pg_text(grep->text);
    ret[6] = pg_int(grep->from_ms);
    ret[7] = pg_int(grep->to_ms);
}

#define INDEXED(sign, order)                                                                                 \
    "SELECT " SPAN_COLUMNS " FROM event_log e WHERE" GREP_WHERE                                              \
    " AND ($9::bigint IS NULL OR (e.ms, e.topic COLLATE \"C\", e.part, e.seq) " sign                         \
    " ($9, $10::text, $11::bigint, $12::bigint)) ORDER BY e.ms " order ", e.topic COLLATE \"C\" " order      \
    ", e.part " order ", e.seq " order " LIMIT $13::bigint"
static const struct pg_stmt select_newest = {"ctl_grep_newest", INDEXED("<", "DESC")};
static const struct pg_stmt select_oldest = {"ctl_grep_oldest", INDEXED(">", "ASC")};

err grep_index(struct grep *grep)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg_param params[GREP_FILTERS + 5];
    grep_filters(grep, params);
    params[GREP_FILTERS] = grep->has_after ? pg_int(grep->after.ms) : pg_null();
    params[GREP_FILTERS + 1] = pg_text(grep->after.topic);
    params[GREP_FILTERS + 2] = pg_int(grep->after.part);
    params[GREP_FILTERS + 3] = pg_int(grep->after.seq);
    params[GREP_FILTERS + 4] = pg_int(grep->limit + 1);
    TRY(pg_call(grep->ctl->pg, grep->oldest ? &select_oldest : &select_newest, GREP_FILTERS + 5, params, &r));
    grep->found = span_events(r, grep->arena, &grep->n);
    grep->more = grep->n > (size_t)grep->limit;
    if (grep->more)
        grep->next = place_of(&grep->found[--grep->n - 1]);
    return OK;
}

/* ---- the words ---- */

static err read_time(const struct ctl *ctl, const char *name, int64_t *ret)
{
    const char *value = ctl_option(ctl, name);
    return value ? span_time(str_of(value), clock_ms(), ret) : OK;
}

static err read_words(struct grep *grep)
{
    const struct ctl *ctl = grep->ctl;
    const char *after = ctl_option(ctl, "after");
    struct uuid id;
    grep->id = str_of(ctl_option(ctl, "id"));
    grep->key = str_of(ctl_option(ctl, "key"));
    grep->correlation = str_of(ctl_option(ctl, "correlation"));
    grep->actor = str_of(ctl_option(ctl, "actor"));
    grep->text = str_of(ctl_option(ctl, "text"));
    grep->types = str_of(ctl_option(ctl, "types"));
    grep->oldest = ctl_option(ctl, "oldest");
    grep->has_after = after;
    if (grep->id.p && failed(uuid_parse(grep->id, &id)))
        return FAIL(INVALID, "--id must be the id of an event");
    TRY(type_filter_parse(grep->types, &grep->filter));
    TRY(read_time(ctl, "from", &grep->from_ms));
    TRY(read_time(ctl, "to", &grep->to_ms));
    TRY(ctl_option_int(ctl, "limit", 1, LIMIT_MAX, LIMIT, &grep->limit));
    TRY(ctl_option_int(ctl, "scan", 1, INT64_MAX / 2, SCAN, &grep->scan));
    return after ? place_parse(str_of(after), &grep->after) : OK;
}

/* ---- the answer ---- */

static void print_json(const struct grep *grep)
{
    struct buf b = buf_new(grep->arena, 4096);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_key(&j, "events");
    json_open(&j, '[');
    for (size_t i = 0; i < grep->n; i++)
        span_json(&j, &grep->found[i]);
    json_close(&j, ']');
    json_kint(&j, "scanned", grep->scanned);
    json_kbool(&j, "more", grep->more);
    json_kstr(&j, "next", grep->more ? place_text(&grep->next, grep->arena) : STR_NONE);
    json_close(&j, '}');
    ctl_print_json(&b);
}

/* How far it went is for the operator, not for the next program in a pipe. */
static void print_lines(const struct grep *grep)
{
    char at[25];
    for (size_t i = 0; i < grep->n; i++)
        span_print(stdout, &grep->found[i]);
    fflush(stdout);
    if (!grep->more)
        return;
    clock_print(grep->next.ms, at);
    if (grep->n < (size_t)grep->limit)
        fprintf(stderr, "stopped at %s after looking at %" PRId64 " events (--scan)", at, grep->scanned);
    else
        fprintf(stderr, "%" PRId64 " events, there may be more", grep->limit);
    fprintf(stderr, "; go on with --after %.*s\n", STR_ARG(place_text(&grep->next, grep->arena)));
}

enum ctl_exit run_bus_grep(struct ctl *ctl)
{
    struct grep grep = {.ctl = ctl, .arena = ctl->arena, .to_ms = INT64_MAX - 1};
    err e = read_words(&grep);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = grep.id.p || grep.key.p || grep.correlation.p ? grep_index(&grep) : grep_scan(&grep);
    if (failed(e))
        return ctl_fail(e);
    if (ctl->json)
        print_json(&grep);
    else
        print_lines(&grep);
    return grep.n || grep.more ? CTL_OK : CTL_FINDINGS;
}
