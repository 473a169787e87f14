/* A growing buffer: what every text that leaves the process is written into. Doubles, in place where the
 * arena can. */
#include <assert.h>
#include <stdio.h>

#include "bus/base/arena.h"

struct buf buf_new(struct arena *arena, size_t expected)
{
    struct buf b = {.arena = arena};

    buf_room(&b, expected)[0] = '\0';
    return b;
}

static void grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? 2 * b->cap : 64;

    if (cap < need)
        cap = need;
    b->p = arena_grow(b->arena, b->p, b->cap, cap);
    b->cap = cap;
}

char *buf_room(struct buf *b, size_t n)
{
    if (b->cap - b->n <= n)
        grow(b, b->n + n + 1);
    return b->p + b->n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    char *to = buf_room(b, n);

    if (n)
        memcpy(to, p, n);
    buf_took(b, n);
}

void buf_str(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}

void buf_lit(struct buf *b, const char *literal)
{
    buf_put(b, literal, strlen(literal));
}

void buf_char(struct buf *b, char c)
{
    *buf_room(b, 1) = c;
    buf_took(b, 1);
}

void buf_int(struct buf *b, int64_t v)
{
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (v < 0)
        digits[--at] = '-';
    buf_put(b, digits + at, sizeof(digits) - at);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(n >= 0);
    vsnprintf(buf_room(b, (size_t)n), (size_t)n + 1, format, again);
    va_end(again);
    buf_took(b, (size_t)n);
}
