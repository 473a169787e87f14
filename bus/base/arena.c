/*
 * Arenas are chains of chunks; allocating moves a mark in the newest one. Chunks double in size, so an arena
 * of n bytes costs O(log n) mallocs, and reset gives all but the first back. Under AddressSanitizer every
 * allocation is followed by poisoned bytes, and what was reset is poisoned, so overruns and stale pointers
 * are found as in malloc'ed memory.
 */
#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifdef WATCHED
#include <sanitizer/asan_interface.h>
enum { RED_ZONE = 16 };
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
enum { RED_ZONE = 0 };
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, FIRST_CHUNK = 4096, LARGEST_STEP = 1 << 20 };

struct chunk {
    struct chunk *older;
    size_t used, size;
    _Alignas(ALIGN) char bytes[];
};

struct arena {
    struct chunk *newest;
    size_t ceiling;
    size_t used; /* bytes asked for, all chunks */
    bool overflow;
};

void arena_keep_memory(int piece)
{
    mallopt(M_ARENA_MAX, 1); /* malloc_trim() leaves the end of every other one as it is */
    mallopt(M_MMAP_THRESHOLD, piece);
    mallopt(M_TRIM_THRESHOLD, 4 * piece);
}

void arena_give_back(void)
{
    malloc_trim(0);
}

static void *allocate(size_t n)
{
    void *p = malloc(n);

    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

static struct chunk *chunk_new(size_t size, struct chunk *older)
{
    struct chunk *chunk = allocate(sizeof(struct chunk) + size);

    *chunk = (struct chunk){.older = older, .size = size};
    POISON(chunk->bytes, size);
    return chunk;
}

static struct chunk *chunk_free(struct chunk *chunk)
{
    struct chunk *older = chunk->older;

    UNPOISON(chunk->bytes, chunk->size);
    free(chunk);
    return older;
}

struct arena *arena_new(size_t ceiling)
{
    struct arena *arena = allocate(sizeof(*arena));

    *arena = (struct arena){.newest = chunk_new(FIRST_CHUNK, NULL), .ceiling = ceiling};
    return arena;
}

struct arena *arena_free(struct arena *arena)
{
    if (!arena)
        return NULL;
    for (struct chunk *chunk = arena->newest; chunk;)
        chunk = chunk_free(chunk);
    free(arena);
    return NULL;
}

void arena_freep(struct arena **arena)
{
    *arena = arena_free(*arena);
}

void arena_reset(struct arena *arena)
{
    while (arena->newest->older)
        arena->newest = chunk_free(arena->newest);
    POISON(arena->newest->bytes, arena->newest->size);
    arena->newest->used = 0;
    arena->used = 0;
    arena->overflow = false;
}

static void count(struct arena *arena, size_t n)
{
    arena->used += n;
    if (arena->used > arena->ceiling)
        arena->overflow = true;
}

static size_t rounded(size_t n)
{
    assert(n < SIZE_MAX / 2); /* a length that went below zero */
    return (n + RED_ZONE + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static void *take(struct arena *arena, size_t n)
{
    struct chunk *chunk = arena->newest;
    size_t need = rounded(n);
    void *p;

    if (chunk->size - chunk->used < need) {
        size_t step = chunk->size < LARGEST_STEP ? 2 * chunk->size : LARGEST_STEP;

        chunk = arena->newest = chunk_new(need > step ? need : step, chunk);
    }
    p = chunk->bytes + chunk->used;
    chunk->used += need;
    count(arena, n);
    UNPOISON(p, n);
    return p;
}

void *arena_alloc(struct arena *arena, size_t n)
{
    return memset(take(arena, n), 0, n);
}

/* Moves the mark when p is the newest allocation of its chunk and the chunk has room. */
static bool grow_in_place(struct arena *arena, char *p, size_t from, size_t to)
{
    struct chunk *chunk = arena->newest;
    size_t more = rounded(to) - rounded(from);

    if (p + rounded(from) != chunk->bytes + chunk->used || chunk->size - chunk->used < more)
        return false;
    chunk->used += more;
    count(arena, to - from);
    UNPOISON(p, to);
    return true;
}

void *arena_grow(struct arena *arena, void *p, size_t from, size_t to)
{
    void *copy;

    assert(from <= to && (p || from == 0));
    if (p && grow_in_place(arena, p, from, to))
        return p;
    copy = take(arena, to);
    if (from)
        memcpy(copy, p, from);
    return copy;
}

bool arena_overflowed(const struct arena *arena)
{
    return arena->overflow;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}

struct str arena_str(struct arena *arena, struct str s)
{
    char *copy;

    if (!s.p)
        return STR_NONE;
    copy = take(arena, s.n + 1);
    memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return (struct str){copy, s.n};
}

const char *arena_cstr(struct arena *arena, struct str s)
{
    return s.p ? arena_str(arena, s).p : "";
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    int n;
    char *p;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(n >= 0);
    p = take(arena, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return (struct str){p, (size_t)n};
}
