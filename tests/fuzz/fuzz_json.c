/*
 * The JSON reader on any bytes. Skipping and reading token by token must agree, strings that are read are
 * UTF-8 without NUL, and what the writer makes of them is read back.
 */
#include <assert.h>
#include <stdlib.h>

#include "bus/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct arena *arena;

static void check_string(struct str text)
{
    struct buf b = buf_new(arena, text.n + 2);
    struct json j = json_on(&b);
    struct str again;
    assert(utf8_length(text) != SIZE_MAX && (text.n == 0 || !memchr(text.p, '\0', text.n)));
    json_str(&j, text);
    struct json_in in = json_in(buf_view(&b), arena);
    err e = json_read_string(&in, &again);
    assert(!failed(e) && str_eq(again, text));
}

static err walk(struct json_in *in);

static err walk_container(struct json_in *in, enum json_kind kind)
{
    bool first = true, more;
    struct str name = STR("");
    TRY(json_enter(in, kind));
    for (;;) {
        TRY(json_next(in, &first, &more, &name));
        if (!more)
            return OK;
        check_string(name);
        TRY(walk(in));
    }
}

static err walk(struct json_in *in)
{
    enum json_kind kind;
    struct str text;
    TRY(json_peek(in, &kind));
    switch (kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return walk_container(in, kind);
    case JSON_STRING:
        TRY(json_read_string(in, &text));
        check_string(text);
        return OK;
    case JSON_NUMBER:
        return json_read_number(in, &text);
    default:
        return json_read_literal(in, kind);
    }
}

static err walk_all(struct str text)
{
    struct json_in in = json_in(text, arena);
    TRY(walk(&in));
    return json_end(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!arena)
        arena = arena_new(1 << 24);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    struct str text = {copy, n};
    bool good = !failed(json_check(text, arena));
    assert(good == !failed(walk_all(text)));
    if (good && n > 0) {
        struct str member = json_member(text, "a", arena);
        if (member.p)
            assert(!failed(json_check(member, arena)));
        json_member_str(text, "a", arena);
        json_member_int(text, "a", 0, arena);
    }
    free(copy);
    arena_reset(arena);
    return 0;
}
