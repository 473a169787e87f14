/*
 * GET /events?types=…: who asks, for what, from where on.
 *
 *   types → rights → room → position → heads of the log → the stream (event_stream.c)
 *
 * The heads say what "now" is, and that a position is one of this log.
 */
#include "api/events.h"

#include "api/door.h"

/* ---- from where ---- */

/* Last-Event-ID, or ?from= for those who cannot set it: a position, "now" (also when absent or empty), or
 * "0", the first event there is. */
static err read_from(struct subscription *s)
{
    struct str from = request_header(s->req, "last-event-id");
    if (!from.n)
        from = request_query(s->req, "from");
    s->from = position_new(s->req->arena);
    s->named = from.n && !str_is(from, "now");
    if (!s->named || str_is(from, "0"))
        return OK;
    TRY(position_parse(from, s->req->arena, &s->from));
    for (size_t i = 0; i < s->from.n; i++)
        if (s->from.places[i].part >= partitions())
            return FAIL(MALFORMED, "This position is not of this shop.");
    return OK;
}

/* A place that a position does not name begins now: it was not subscribed to before. Only "0" names none and
 * means all. */
static err place(const struct subscription *s, struct position *to, const struct head *head)
{
    int64_t seq = position_seq(&s->from, head->topic, head->part);
    if (seq > head->seq)
        return FAIL(MALFORMED, "This position lies behind the end of the log.");
    bool all = s->named && s->from.n == 0;
    position_raise(to, head->topic, head->part, seq >= 0 ? seq : all ? 0 : head->seq);
    return OK;
}

static err place_all(struct subscription *s, const struct pg_result *rows)
{
    struct position heads = position_new(s->req->arena), to = position_new(s->req->arena);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; s->filter.topics[topic] && part < partitions(); part++)
            position_raise(&heads, (enum topic)topic, part, 0);
    for (int i = 0; i < pg_rows(rows); i++)
        position_raise(&heads, topic_find(pg_get_str(rows, i, 0)), (int)pg_get_int(rows, i, 1),
                       pg_get_int(rows, i, 2));
    for (size_t i = 0; i < heads.n; i++)
        TRY(place(s, &to,
                  &(struct head){heads.places[i].topic, heads.places[i].part, heads.places[i].seq, 0}));
    s->from = to;
    return OK;
}

/* ---- the request ---- */

static const struct field event_fields[] = {
    {.name = "types", .kind = FIELD_STRING, .has_offset = SIZE_MAX, .min = 1},
    {.name = "from", .kind = FIELD_STRING, .has_offset = SIZE_MAX, .min = 1, .max = POSITION_TEXT_MAX},
};
const struct shape event_params = {"events", 0, event_fields, 2};

static bool is_param(struct str name)
{
    for (size_t i = 0; i < event_params.n; i++)
        if (str_is(name, event_params.fields[i].name))
            return true;
    return false;
}

static void on_heads(struct request *req, const struct pg_result *rows, void *data)
{
    struct subscription *s = data;
    struct streams *streams = door_of(req)->streams;
    err e = place_all(s, rows);
    if (!failed(e))
        e = streams_room(streams, s->reader.user);
    if (failed(e))
        respond_error(req, e);
    else
        stream_open(streams, s);
}

static const struct pg_stmt select_heads = {
    "door_event_heads", "SELECT topic, part, seq FROM stream_head WHERE topic = ANY($1::text[])"};

static void ask_heads(struct subscription *s)
{
    struct pg_array names = pg_array(s->req->arena, PG_TEXT, TOPIC_COUNT);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (s->filter.topics[topic])
            pg_array_text(&names, str_of(topic_name((enum topic)topic)));
    struct pg_param param = pg_array_param(&names);
    door_select(s->req, &select_heads, 1, &param, on_heads, s);
}

static err read_request(struct subscription *s)
{
    for (size_t i = 0; i < s->req->query_n; i++)
        if (!is_param(s->req->query[i].name))
            return FAIL(INVALID, "There are the parameters types and from, and no other.");
    TRY(type_filter_parse(request_query(s->req, "types"), &s->filter));
    const struct who *who = who_of(s->req);
    s->reader = (struct event_reader){.rights = role_event_rights(who->role), .user = who->user};
    if (!event_rights_narrow(&s->reader, &s->filter))
        return FAIL(FORBIDDEN, "Events of these types are not shown to you.");
    TRY(read_from(s));
    return streams_room(door_of(s->req)->streams, s->reader.user);
}

void get_events(struct request *req)
{
    struct subscription *s = arena_new_of(req->arena, struct subscription);
    s->req = req;
    err e = read_request(s);
    if (failed(e)) {
        respond_error(req, e);
    } else if (req->method == HEAD) {
        respond_header(req, "Cache-Control", STR("no-store"));
        stream_begin(req, 200, "text/event-stream");
        stream_end(req);
    } else {
        ask_heads(s);
    }
}
