/* See event_form.h. */
#include "bus/event_form.h"

#include "bus/base/json.h"

/* Sealed itself, or with something sealed inside; or what tells the same person again (a blind index). */
static bool is_closed(struct str name, struct str value)
{
    return str_is(name, "email_index") || (value.n && memmem(value.p, value.n, "\"sealed:", 8));
}

struct shown {
    struct buf data, withheld;
};

static void withhold(struct shown *shown, struct str name)
{
    if (shown->withheld.n)
        buf_char(&shown->withheld, ' ');
    buf_str(&shown->withheld, name);
}

static err show_members(struct shown *shown, struct str text, struct arena *arena)
{
    struct json_in in = json_in(text, arena);
    struct json j = json_on(&shown->data);
    bool first = true, more;
    struct str name, value;
    TRY(json_enter(&in, JSON_OBJECT));
    json_open(&j, '{');
    for (;;) {
        TRY(json_next(&in, &first, &more, &name));
        if (!more)
            break;
        TRY(json_skip(&in, &value));
        if (is_closed(name, value))
            withhold(shown, name);
        else
            json_kraw(&j, arena_cstr(arena, name), json_compact(value, arena));
    }
    json_close(&j, '}');
    return json_end(&in);
}

static void put_some(struct json *j, const char *key, struct str value)
{
    if (value.n)
        json_kstr(j, key, value);
}

/* "order.placed/1.0" as the absolute URI that the attribute must be. */
static struct str schema_uri(struct str schema, struct arena *arena)
{
    return schema.n ? arena_printf(arena, "urn:daydream:%.*s", STR_ARG(schema)) : STR_NONE;
}

struct str event_json(const struct envelope *event, bool actor, struct arena *arena)
{
    struct buf b = buf_new(arena, 512 + event->data.n);
    struct shown shown = {buf_new(arena, event->data.n + 2), buf_new(arena, 64)};
    struct json j = json_on(&b);
    bool readable = !failed(show_members(&shown, event->data, arena));
    if (!readable)
        withhold(&shown, STR("data"));
    json_open(&j, '{');
    json_kstr(&j, "specversion", STR("1.0"));
    json_kstr(&j, "id", event->id);
    json_kstr(&j, "source", event->source.n ? event->source : STR("shop"));
    json_kstr(&j, "type", event->type);
    put_some(&j, "subject", event->subject);
    put_some(&j, "time", event->time);
    put_some(&j, "dataschema", schema_uri(event->dataschema, arena));
    put_some(&j, "partitionkey", event->partitionkey);
    put_some(&j, "correlationid", event->correlationid);
    put_some(&j, "causationid", event->causationid);
    put_some(&j, "actor", actor ? event->actor : STR_NONE);
    put_some(&j, "traceparent", event->traceparent);
    put_some(&j, "withheld", buf_view(&shown.withheld));
    json_kstr(&j, "datacontenttype", STR("application/json"));
    if (readable)
        json_kraw(&j, "data", buf_view(&shown.data));
    json_close(&j, '}');
    return buf_view(&b);
}
