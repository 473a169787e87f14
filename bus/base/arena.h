/*
 * Arenas: memory with one lifetime (a request, a batch), released as a whole. Allocation never returns NULL:
 * a failing malloc aborts. An arena has a ceiling; what goes beyond it is still served, the overflow is
 * sticky and the loop asks once, arena_overflowed(), and answers TOO_LARGE. Not thread-safe: one owner at a
 * time.
 */
#pragma once

#include <stdarg.h>

#include "bus/base/str.h"

struct arena;

/* For programs whose arenas come and go some hundred times a second: what they give back in pieces of less
 * than `piece` bytes stays with the process (up to four such pieces at the end of the heap), since asking the
 * kernel for it again each time costs a tenth of the CPU, and threads share it, since seldom more than a few
 * are busy at a time. A larger piece goes back at once: one rare large batch, behind a standstill, does not
 * stay resident for ever. Once, before the first thread. */
void arena_keep_memory(int piece);
/* Gives idle pages back to the system, also those between pieces in use; takes about a millisecond per ten
 * megabytes. Now and then, from any thread: else what many bursts have scattered stays resident for ever. */
void arena_give_back(void);
/* A new arena with a ceiling in bytes. The caller owns it. */
struct arena *arena_new(size_t ceiling);
/* Frees all; takes NULL; returns NULL. */
struct arena *arena_free(struct arena *arena);
void arena_freep(struct arena **arena);
/* Forgets everything allocated, keeps the first chunk, clears the overflow. */
void arena_reset(struct arena *arena);
/* n zeroed bytes, aligned for any type. */
void *arena_alloc(struct arena *arena, size_t n) __attribute__((malloc, returns_nonnull, alloc_size(2)));
bool arena_overflowed(const struct arena *arena);
size_t arena_used(const struct arena *arena);

#define arena_new_of(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_array(arena, type, n) ((type *)arena_alloc((arena), sizeof(type) * (size_t)(n)))

/* Makes an allocation of `from` bytes one of `to` >= from bytes, in place when it was the last one, else a
 * copy. The new part is not zeroed. p == NULL with from == 0 is a new allocation. */
void *arena_grow(struct arena *arena, void *p, size_t from, size_t to) __attribute__((returns_nonnull));

/* Copies; the copy is followed by a NUL byte that does not count. Absent stays absent; as a C string it is
 * "". */
struct str arena_str(struct arena *arena, struct str s);
const char *arena_cstr(struct arena *arena, struct str s);
struct str arena_printf(struct arena *arena, const char *format, ...) _printf_(2, 3);

/*
 * A growing byte buffer in an arena. Bytes are always followed by a NUL that does not count.
 * Pointers into it are valid until the next put.
 */
struct buf {
    struct arena *arena;
    char *p;
    size_t n, cap;
};

struct buf buf_new(struct arena *arena, size_t expected);
/* Makes room for n more bytes (and the NUL) and returns where they go; the caller writes them, then calls
 * buf_took. */
char *buf_room(struct buf *b, size_t n);
static inline void buf_took(struct buf *b, size_t n)
{
    b->n += n;
    b->p[b->n] = '\0';
}
void buf_put(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_lit(struct buf *b, const char *literal);
void buf_char(struct buf *b, char c);
void buf_int(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *format, ...) _printf_(2, 3);
static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}
