/*
 * Any text against the reader of positions, and any bytes with a fitting frame: what is read has one text,
 * and is read again as itself.
 */
#include <assert.h>

#include "bus/base/seal.h"
#include "bus/position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct arena *arena;

static void check(struct str text)
{
    struct position position, again;
    if (failed(position_parse(text, arena, &position))) {
        assert(position.n == 0);
        return;
    }
    assert(position.n <= POSITION_PLACES);
    assert(str_eq(position_text(&position, arena), text));
    err e = position_parse(text, arena, &again);
    assert(!failed(e) && position_covers(&position, &again) && position_covers(&again, &position));
    position_merge(&position, &again);
    assert(position.n == again.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!arena)
        arena = arena_new(1 << 24);
    struct str bytes = {(const char *)data, n};
    check(bytes);
    struct buf framed = buf_new(arena, n + 5);
    buf_char(&framed, 1);
    buf_str(&framed, bytes);
    uint32_t sum = crc32c(buf_view(&framed));
    for (int i = 0; i < 4; i++)
        buf_char(&framed, (char)(sum >> (8 * i)));
    check(base64url(buf_view(&framed), arena));
    arena_reset(arena);
    return 0;
}
