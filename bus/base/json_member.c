/* Small reads of our own JSON: one member of an object without a schema. Malformed counts as absent. */
#include "bus/base/json.h"

static err find_member(struct str object, struct str name, struct arena *arena, struct str *ret)
{
    struct json_in in = json_in(object, arena);
    bool first = true, more;
    struct str here, value;

    TRY(json_enter(&in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(&in, &first, &more, &here));
        if (!more)
            return OK;
        TRY(json_skip(&in, &value));
        if (str_eq(here, name)) {
            *ret = value;
            return OK;
        }
    }
}

struct str json_member(struct str object, const char *name, struct arena *arena)
{
    struct str value = STR_NONE;

    return failed(find_member(object, str_of(name), arena, &value)) ? STR_NONE : value;
}

struct str json_member_str(struct str object, const char *name, struct arena *arena)
{
    struct json_in in = json_in(json_member(object, name, arena), arena);
    struct str value;

    return failed(json_read_string(&in, &value)) ? STR_NONE : value;
}

int64_t json_member_int(struct str object, const char *name, int64_t fallback, struct arena *arena)
{
    int64_t value;

    return failed(str_int64(json_member(object, name, arena), &value)) ? fallback : value;
}
