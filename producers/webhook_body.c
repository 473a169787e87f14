/*
 * Attributes are copied, data is rewritten only when it holds something that must stay inside. On the bus
 * every personal field is sealed text, whatever its schema and version, so the text itself tells what to
 * leave out.
 */
#include "producers/webhook_body.h"

#include "bus/base/json.h"
#include "bus/base/seal.h"

static const char *const closed_names[] = {"email_index"};

static bool is_closed_name(struct str name)
{
    for (size_t i = 0; i < sizeof(closed_names) / sizeof(*closed_names); i++)
        if (str_is(name, closed_names[i]))
            return true;
    return false;
}

static bool has_closed(struct str data)
{
    if (memmem(data.p, data.n, "sealed:", 7))
        return true;
    for (size_t i = 0; i < sizeof(closed_names) / sizeof(*closed_names); i++)
        if (memmem(data.p, data.n, closed_names[i], strlen(closed_names[i])))
            return true;
    return false;
}

static err copy(struct json_in *in, struct json *out, struct str name);

/* The name as a member's: escaped as any string is. */
static void put_name(struct json *out, struct str name)
{
    json_str(out, name);
    buf_char(out->b, ':');
    out->comma = false;
}

static err copy_string(struct json_in *in, struct json *out, struct str name)
{
    struct str value;
    TRY(json_read_string(in, &value));
    bool closed = seal_is(value) || (name.p && is_closed_name(name));
    if (closed && name.p)
        return OK;
    if (name.p)
        put_name(out, name);
    if (closed)
        json_nil(out);
    else
        json_str(out, value);
    return OK;
}

static err copy_container(struct json_in *in, struct json *out, bool object)
{
    bool first = true, more;
    struct str name = STR_NONE;
    TRY(json_enter(in, object ? JSON_OBJECT : JSON_ARRAY));
    json_open(out, object ? '{' : '[');
    for (;;) {
        TRY(json_next(in, &first, &more, &name));
        if (!more)
            break;
        TRY(copy(in, out, object ? name : STR_NONE));
    }
    json_close(out, object ? '}' : ']');
    return OK;
}

/* Depth is bounded by the reader. name: of a member; absent in a list and at the top. */
static err copy(struct json_in *in, struct json *out, struct str name)
{
    enum json_kind kind;
    struct str raw;
    TRY(json_peek(in, &kind));
    if (kind == JSON_STRING)
        return copy_string(in, out, name);
    if (name.p)
        put_name(out, name);
    if (kind == JSON_OBJECT || kind == JSON_ARRAY)
        return copy_container(in, out, kind == JSON_OBJECT);
    TRY(json_skip(in, &raw));
    json_raw(out, raw);
    return OK;
}

static err put_data(struct json *out, struct str data, struct arena *arena)
{
    json_key(out, "data");
    if (!has_closed(data)) {
        json_raw(out, data);
        return OK;
    }
    struct json_in in = json_in(data, arena);
    return copy(&in, out, STR_NONE);
}

err webhook_body(const struct event *event, struct arena *arena, struct str *ret)
{
    const struct envelope *e = &event->envelope;
    const struct {
        const char *name;
        struct str value;
    } attributes[] = {{"specversion", e->specversion},
                      {"id", e->id},
                      {"source", e->source},
                      {"type", e->type},
                      {"subject", e->subject},
                      {"time", e->time},
                      {"dataschema", e->dataschema},
                      {"partitionkey", e->partitionkey},
                      {"correlationid", e->correlationid},
                      {"causationid", e->causationid},
                      {"traceparent", e->traceparent},
                      {"datacontenttype", e->datacontenttype}};
    struct buf b = buf_new(arena, e->data.n + 1024);
    struct json out = json_on(&b);
    json_open(&out, '{');
    for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
        if (attributes[i].value.n)
            json_kstr(&out, attributes[i].name, attributes[i].value);
    TRY(put_data(&out, e->data, arena));
    json_close(&out, '}');
    *ret = buf_view(&b);
    return OK;
}
