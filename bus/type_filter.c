/*
 * See type_filter.h.
 */
#include "bus/type_filter.h"

static bool matches(struct str pattern, struct str type)
{
    if (str_is(pattern, "*") || str_eq(pattern, type))
        return true;
    if (pattern.n > 2 && str_eq(str_slice(pattern, pattern.n - 2, pattern.n), STR(".*")))
        return str_starts(type, str_slice(pattern, 0, pattern.n - 1)); /* "order." of "order.*" */
    /* Without a version: every major. */
    return type.n > pattern.n + 2 && str_starts(type, pattern) && type.p[pattern.n] == '.' &&
           type.p[pattern.n + 1] == 'v' &&
           str_find(str_slice(type, pattern.n + 1, type.n), '.') == type.n - pattern.n - 1;
}

static err add(struct type_filter *filter, struct str pattern)
{
    bool any = false;
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++) {
        const struct message_type *type = &message_types[m];
        if (type->command || !matches(pattern, str_of(type->name)))
            continue;
        filter->wants[m] = filter->topics[type->topic] = any = true;
    }
    if (!any)
        return FAIL(INVALID, "no event has a type like %.*s", (int)(pattern.n < 64 ? pattern.n : 64),
                    pattern.p ? pattern.p : "");
    return OK;
}

err type_filter_parse(struct str text, struct type_filter *ret)
{
    *ret = (struct type_filter){.wants = {false}};
    if (str_empty(str_trim(text)))
        return add(ret, STR("*"));
    for (int n = 0; text.p; n++) {
        size_t comma = str_find(text, ',');
        if (n == TYPE_FILTER_MAX)
            return FAIL(INVALID, "more than %d patterns", TYPE_FILTER_MAX);
        TRY(add(ret, str_trim(str_slice(text, 0, comma))));
        text = comma < text.n ? str_slice(text, comma + 1, text.n) : STR_NONE;
    }
    return OK;
}

bool type_filter_wants(const struct type_filter *filter, struct str type)
{
    enum message m = message_find(type);
    return m != MESSAGE_NONE && filter->wants[m];
}

bool type_list_wants(struct str text, struct str type)
{
    if (str_empty(str_trim(text)))
        return true;
    for (;;) {
        size_t comma = str_find(text, ',');
        if (matches(str_trim(str_slice(text, 0, comma)), type))
            return true;
        if (comma == text.n)
            return false;
        text = str_slice(text, comma + 1, text.n);
    }
}
