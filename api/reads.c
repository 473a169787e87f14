/*
 * See reads.h. A group's offset alone would be too strict a measure: events that do not concern it are passed
 * unread, and their offset is committed some time later. So what counts is whether an event of a type that
 * the group listens to lies between its offset and the position. Offsets move in the transaction that writes
 * the group's tables, hence whoever sees the offset sees the rows.
 */
#include "api/reads.h"

#include <stdlib.h>

#include "api/door.h"
#include "api/tail.h"
#include "bus/base/clock.h"
#include "bus/base/metrics.h"

enum { ITEMS_MAX = 8192, SCRATCH = 4 << 20 };

static const char *const group_names[] = {"identity", "catalog",  "inventory", "cart",
                                          "orders",   "payments", "reports",   "webhooks"};
enum { GROUPS = sizeof(group_names) / sizeof(*group_names) };

/* A request that is held; lives in its arena. */
struct reader {
    struct reader *next;
    struct request *req;
    route_fn *pass;
    struct position wanted;
    int64_t since_ms;
    int64_t number; /* in the statement that is under way; -1: not in it */
    bool behind;    /* so says that statement */
    bool groups;    /* the groups have reached it */
    bool reached;   /* and so has the memory of this loop */
};

struct reads {
    struct door *door;
    struct reader *first;
    unsigned n;
    bool looking, drained;
    uv_timer_t timer;
    struct arena *scratch;
};

/* ---- the header ---- */

static err read_list(struct str list, struct arena *arena, struct position *ret)
{
    for (int i = 0; list.n; i++) {
        struct position one;
        size_t n = str_find(list, ',');
        struct str text = str_trim(str_slice(list, 0, n));
        list = str_slice(list, n < list.n ? n + 1 : n, list.n);
        if (i == READS_HEADERS_MAX)
            return FAIL(MALFORMED, "X-Event-Position names more than %d positions.", READS_HEADERS_MAX);
        if (str_is(text, "behind"))
            continue;
        TRY(position_parse(text, arena, &one));
        position_merge(ret, &one);
    }
    return OK;
}

err reads_wanted(struct request *req, struct position *ret)
{
    struct str header = request_header(req, "x-event-position");
    *ret = position_new(req->arena);
    err e = read_list(header, req->arena, ret);
    for (size_t i = 0; !failed(e) && i < ret->n; i++)
        if (ret->places[i].part >= partitions())
            e = FAIL(MALFORMED, "This position is not of this shop.");
    if (!failed(e) && ret->n > READS_PLACES_MAX)
        e = FAIL(MALFORMED, "X-Event-Position names more than %d partitions.", READS_PLACES_MAX);
    if (failed(e))
        *ret = position_new(req->arena);
    return e;
}

/* ---- letting pass ---- */

static bool memory_reached(const struct reader *reader)
{
    const struct tail *tail = door_of(reader->req)->tail;
    for (size_t i = 0; i < reader->wanted.n; i++) {
        const struct position_place *place = &reader->wanted.places[i];
        if (!tail_reached(tail, place->topic, place->part, place->seq))
            return false;
    }
    return true;
}

static void let_pass(struct reader *reader, bool reached)
{
    struct request *req = reader->req;
    histogram_observe(HISTOGRAM_READS_WAIT_SECONDS, (clock_mono_ms() - reader->since_ms) * 1000000);
    counter_add(COUNTER_READS_BEHIND, !reached);
    respond_header(req, "X-Event-Position",
                   reached ? position_text(&reader->wanted, req->arena) : STR("behind"));
    reader->pass(req);
}

/* Those are taken out first: whoever passes may make others come. */
static void settle(struct reads *reads)
{
    struct reader *passing = NULL, *reader;
    int64_t now = clock_mono_ms();
    for (struct reader **at = &reads->first; (reader = *at);) {
        reader->reached = reader->groups && memory_reached(reader);
        if (!reader->reached && !reads->drained && now < reader->since_ms + READS_WAIT_MS) {
            at = &reader->next;
            continue;
        }
        *at = reader->next;
        reader->next = passing;
        passing = reader;
        reads->n--;
    }
    for (; passing; passing = reader) {
        reader = passing->next;
        let_pass(passing, passing->reached);
    }
}

/* ---- looking ---- */

/* The numbers of those who are behind. A position beyond the head is of another shop, or of one whose
 * database was set back: it is not reached. Whoever lies far back is not counted out event by event. */
static const struct pg_stmt select_behind = {
    "door_select_behind",
    "SELECT DISTINCT x.n FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])"
    "  AS x(n, grp, topic, part, seq)"
    " JOIN consumer_offset o ON o.grp = x.grp AND o.topic = x.topic AND o.part = x.part::int"
    " WHERE o.seq < x.seq AND (x.seq - o.seq > 1000"
    "  OR NOT EXISTS (SELECT 1 FROM stream_head h"
    "   WHERE h.topic = x.topic AND h.part = x.part::int AND h.seq >= x.seq)"
    "  OR EXISTS (SELECT 1 FROM event_log e JOIN group_listens l ON l.grp = x.grp AND l.type = e.type"
    "   WHERE e.topic = x.topic AND e.part = x.part::int AND e.seq > o.seq AND e.seq <= x.seq))"};

static void look(struct reads *reads);

static void mark_behind(struct reads *reads, const struct pg_result *rows)
{
    for (struct reader *reader = reads->first; reader; reader = reader->next)
        reader->behind = false;
    for (int i = 0; i < pg_rows(rows); i++)
        for (struct reader *reader = reads->first; reader; reader = reader->next)
            reader->behind |= reader->number == pg_get_int(rows, i, 0);
    for (struct reader *reader = reads->first; reader; reader = reader->next)
        reader->groups = reader->number >= 0 && !reader->behind;
}

static bool has_new(const struct reads *reads)
{
    for (const struct reader *reader = reads->first; reader; reader = reader->next)
        if (reader->number < 0)
            return true;
    return false;
}

static void on_behind(void *data, err e, struct pg_result *rows)
{
    struct reads *reads = data;
    reads->looking = false;
    if (failed(e))
        return; /* the timer asks again */
    mark_behind(reads, rows);
    settle(reads);
    if (has_new(reads)) /* they came while the statement was under way */
        look(reads);
}

static void put_reader(struct pg_array a[static 5], const struct reader *reader)
{
    for (size_t i = 0; i < reader->wanted.n; i++)
        for (int g = 0; g < GROUPS; g++) {
            const struct position_place *place = &reader->wanted.places[i];
            if (!(reader->req->route->reads & 1U << g))
                continue;
            pg_array_int(&a[0], reader->number);
            pg_array_text(&a[1], str_of(group_names[g]));
            pg_array_text(&a[2], str_of(topic_name(place->topic)));
            pg_array_int(&a[3], place->part);
            pg_array_int(&a[4], place->seq);
        }
}

static void look(struct reads *reads)
{
    static const enum pg_type types[5] = {PG_INT8, PG_TEXT, PG_TEXT, PG_INT8, PG_INT8};
    struct pg_array a[5];
    struct pg_param params[5];
    int64_t number = 0;
    if (reads->looking || !reads->first)
        return;
    for (int i = 0; i < 5; i++)
        a[i] = pg_array(reads->scratch, types[i], 64);
    for (struct reader *reader = reads->first; reader; reader = reader->next) {
        reader->number = a[0].n < ITEMS_MAX ? number++ : -1; /* the others are asked for next time */
        if (reader->number >= 0)
            put_reader(a, reader);
    }
    for (int i = 0; i < 5; i++)
        params[i] = pg_array_param(&a[i]);
    reads->looking = !failed(pg_poll_query(reads->door->pg, &select_behind, 5, params, on_behind, reads));
    arena_reset(reads->scratch);
}

static void on_timer(uv_timer_t *timer)
{
    struct reads *reads = timer->data;
    settle(reads);
    look(reads);
    if (!reads->first)
        uv_timer_stop(timer);
}

/* ---- holding ---- */

static void hold(struct reads *reads, struct reader *reader)
{
    struct reader **at = &reads->first;
    while (*at)
        at = &(*at)->next;
    *at = reader;
    reads->n++;
    if (!uv_is_active((uv_handle_t *)&reads->timer))
        uv_timer_start(&reads->timer, on_timer, READS_LOOK_MS, READS_LOOK_MS);
    look(reads);
}

void reads_wait(struct request *req, route_fn *pass)
{
    struct reads *reads = door_of(req)->reads;
    struct position wanted;
    err e = req->route->reads ? reads_wanted(req, &wanted) : OK;
    if (failed(e)) {
        respond_error(req, e);
        return;
    }
    if (!req->route->reads || !request_header(req, "x-event-position").p) {
        pass(req);
        return;
    }
    struct reader *reader = arena_new_of(req->arena, struct reader);
    *reader = (struct reader){
        .req = req, .pass = pass, .wanted = wanted, .since_ms = clock_mono_ms(), .number = -1};
    if (!wanted.n || reads->drained || reads->n == READS_WAITING_MAX)
        let_pass(reader, !wanted.n);
    else
        hold(reads, reader);
}

/* ---- life ---- */

struct reads *reads_new(struct door *door)
{
    struct reads *reads = calloc(1, sizeof(*reads));
    if (!reads)
        abort();
    *reads = (struct reads){.door = door, .scratch = arena_new(SCRATCH)};
    uv_timer_init(loop_uv(door->loop), &reads->timer);
    reads->timer.data = reads;
    return reads;
}

void reads_drain(struct reads *reads)
{
    reads->drained = true;
    settle(reads);
}

static void on_closed(uv_handle_t *handle)
{
    struct reads *reads = handle->data;
    arena_free(reads->scratch);
    free(reads);
}

struct reads *reads_free(struct reads *reads)
{
    if (!reads)
        return NULL;
    uv_close((uv_handle_t *)&reads->timer, on_closed);
    return NULL;
}
