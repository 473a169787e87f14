/*
 * An event as CloudEvents 1.0 JSON, structured mode: attributes that are absent are left out, data stands as
 * the JSON it is.
 */
#include <stdio.h>

#include "bus/base/json.h"
#include "bus/subscriber/internal.h"

static void attribute(struct json *j, const char *name, const char *value)
{
    if (*value)
        json_kstr(j, name, str_of(value));
}

size_t dds_event_json(const struct dds_event *event, char *buffer, size_t n)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    struct buf b = buf_new(arena, event->data_len + 1024);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "specversion", STR("1.0"));
#define ATTRIBUTE(name) attribute(&j, #name, event->name);
    ATTRIBUTE(id)
    ATTRIBUTE(source)
    ATTRIBUTE(type)
    ATTRIBUTE(subject)
    ATTRIBUTE(time)
    ATTRIBUTE(dataschema)
    ATTRIBUTE(partitionkey)
    ATTRIBUTE(correlationid)
    ATTRIBUTE(causationid)
    ATTRIBUTE(actor)
    ATTRIBUTE(traceparent)
    ATTRIBUTE(datacontenttype)
#undef ATTRIBUTE
    json_kstr(&j, "sequence", arena_printf(arena, "%lld-%lld", (long long)event->ms, (long long)event->seq));
    json_key(&j, "data");
    struct str data = {event->data, event->data_len};
    if (failed(json_check(data, arena)))
        json_str(&j, data); /* never from the shop itself */
    else
        json_raw(&j, json_compact(data, arena));
    json_close(&j, '}');
    if (n)
        snprintf(buffer, n, "%.*s", STR_ARG(buf_view(&b)));
    return b.n;
}
