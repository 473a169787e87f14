/* See event_rights.h. The table stands beside the schemas, since it speaks of types. */
#include "bus/event_rights.h"

#include "bus/base/json.h"

static const struct row {
    unsigned right; /* 0: nobody's */
    bool own;
} rows[MESSAGE_COUNT] = {
#define EVENT(type, right, own) [type] = {EVENTS_##right, (own)},
#include "schemas/event_rights.def"
#undef EVENT
};

bool event_rights_any(const struct event_reader *reader, enum message type)
{
    unsigned shows = rows[type].right | (rows[type].own ? EVENTS_OWN : 0);
    return (reader->rights & shows) != 0;
}

bool event_rights_narrow(const struct event_reader *reader, struct type_filter *filter)
{
    bool any = false;
    memset(filter->topics, 0, sizeof(filter->topics));
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++) {
        filter->wants[m] = filter->wants[m] && event_rights_any(reader, (enum message)m);
        if (filter->wants[m])
            any = filter->topics[message_types[m].topic] = true;
    }
    return any;
}

/* Most events are not his, and those do not hold his id anywhere. */
static bool is_about(struct uuid user, struct str data, struct arena *arena)
{
    struct str id = uuid_str(user, arena);
    if (uuid_is_nil(user) || !data.n || !memmem(data.p, data.n, id.p, id.n))
        return false;
    return str_eq(json_member_str(data, "user_id", arena), id);
}

bool event_rights_see(const struct event_reader *reader, const struct envelope *event, struct arena *arena)
{
    enum message type = message_find(event->type);
    if (type == MESSAGE_NONE || message_types[type].command)
        return false;
    if (reader->rights & rows[type].right)
        return true;
    return rows[type].own && (reader->rights & EVENTS_OWN) && is_about(reader->user, event->data, arena);
}
