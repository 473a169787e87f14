/* Arenas and buffers: alignment, zeroes, the ceiling, reset, growing in place; memory that goes back. */
#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>

#include "bus/base/arena.h"
#include "tests/support/measure.h"

Test(arena, memory_is_zeroed_aligned_and_apart)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 24);
    unsigned char *last = NULL;

    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = arena_alloc(arena, n);

        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(p[i], 0);
        memset(p, 0xaa, n);
        if (last && n > 7)
            cr_assert_eq(last[n - 8], 0xaa);
        last = p;
    }
    cr_assert_not(arena_overflowed(arena));
}

Test(arena, overflow_is_served_sticky_and_cleared_by_reset)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(10000);

    arena_alloc(arena, 10000);
    cr_assert_not(arena_overflowed(arena));
    memset(arena_alloc(arena, 100000), 1, 100000);
    cr_assert(arena_overflowed(arena));
    cr_assert_eq(arena_used(arena), 110000);
    arena_alloc(arena, 1);
    cr_assert(arena_overflowed(arena));

    arena_reset(arena);
    cr_assert_not(arena_overflowed(arena));
    cr_assert_eq(arena_used(arena), 0);
    cr_assert_eq(*(char *)arena_alloc(arena, 1), 0, "used memory is zeroed again");
}

Test(arena, freeing_nothing_is_fine)
{
    struct arena *none = NULL;

    cr_assert_null(arena_free(NULL));
    arena_freep(&none);
}

Test(arena, copies_end_with_nul)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(4096);
    struct str copy = arena_str(arena, STR("pan"));

    cr_assert_eq(copy.n, 3);
    cr_assert_eq(copy.p[3], '\0');
    cr_assert_null(arena_str(arena, STR_NONE).p);
    cr_assert_str_eq(arena_cstr(arena, STR_NONE), "");
    cr_assert_str_eq(arena_cstr(arena, str_slice(STR("panadero"), 0, 3)), "pan");
    cr_assert(str_is(arena_printf(arena, "%s-%05d", "DS", 42), "DS-00042"));
    cr_assert(str_is(arena_printf(arena, "%s", ""), ""));
}

Test(arena, grows_in_place_only_at_the_end)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    char *p = arena_grow(arena, NULL, 0, 100), *moved;

    memset(p, 'x', 100);
    cr_assert_eq(arena_grow(arena, p, 100, 200), p);
    arena_alloc(arena, 1);
    moved = arena_grow(arena, p, 200, 300);
    cr_assert_neq(moved, p);
    cr_assert_eq(moved[99], 'x');
}

Test(arena, a_length_below_zero_is_a_programming_error, .signal = SIGABRT)
{
    struct arena *arena = arena_new(4096);
    volatile size_t below = 3;

    arena_alloc(arena, below - 4);
}

#ifndef __SANITIZE_ADDRESS__ /* whose malloc has nothing to trim */
Test(arena, idle_pages_between_pieces_in_use_go_back)
{
    enum { PIECES = 2048, BYTES = 16 << 10, KEPT = 32 };
    static char *pieces[PIECES];
    for (int i = 0; i < PIECES; i++)
        memset(pieces[i] = malloc(BYTES), 'x', BYTES);
    for (int i = 0; i < PIECES; i++)
        if (i % KEPT)
            free(pieces[i]);
    int64_t before = memory_resident(getpid());
    arena_give_back();
    cr_assert_lt(memory_resident(getpid()), before - PIECES * BYTES / 2);
    for (int i = 0; i < PIECES; i += KEPT)
        cr_assert_eq(pieces[i][BYTES - 1], 'x');
}
#endif

Test(buf, keeps_every_byte_while_it_grows)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 22);
    struct buf b = {.arena = arena};

    cr_assert_str_eq(buf_view(&b).p, "");
    for (int i = 0; i < 20000; i++) {
        buf_char(&b, (char)('a' + i % 26));
        if (i % 1000 == 0)
            arena_alloc(arena, 8); /* somebody else in between: the buffer has to move */
        cr_assert_eq(b.p[b.n], '\0');
    }
    cr_assert_eq(b.n, 20000);
    for (size_t i = 0; i < b.n; i++)
        cr_assert_eq(b.p[i], (char)('a' + i % 26));
}

Test(buf, puts_texts_numbers_and_formats)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 16);
    struct buf b = buf_new(arena, 0);

    buf_int(&b, 0);
    buf_char(&b, ' ');
    buf_int(&b, INT64_MIN);
    buf_char(&b, ' ');
    buf_int(&b, INT64_MAX);
    buf_str(&b, STR_NONE);
    buf_lit(&b, " fin");
    buf_printf(&b, " %03d", 7);
    cr_assert_str_eq(b.p, "0 -9223372036854775808 9223372036854775807 fin 007");
    cr_assert_eq(buf_view(&b).n, strlen(b.p));
}
