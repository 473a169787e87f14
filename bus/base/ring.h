/*
 * A growable FIFO of small elements of one size, for things that wait for their turn: commands without a
 * reply, statements without an outcome. Zeroed memory is an empty ring of elements whose size is set by
 * RING(type). A pointer from ring_push or ring_first is valid until the next ring_push. malloc failure
 * aborts. Not thread-safe.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct ring {
    char *p;
    size_t size; /* bytes of an element */
    size_t cap;  /* elements there is room for, a power of two or 0 */
    size_t first, n;
};

#define RING(type) ((struct ring){.size = sizeof(type)})

static inline void *ring_at(const struct ring *r, size_t i)
{
    return r->p + ((r->first + i) & (r->cap - 1)) * r->size;
}

static inline void ring_grow(struct ring *r)
{
    size_t cap = r->cap ? r->cap * 2 : 64;
    char *p = calloc(cap, r->size);
    if (!p)
        abort();
    for (size_t i = 0; i < r->n; i++)
        memcpy(p + i * r->size, ring_at(r, i), r->size);
    free(r->p);
    *r = (struct ring){.p = p, .size = r->size, .cap = cap, .n = r->n};
}

/* Room for one element at the end; its bytes are left from earlier use. */
static inline void *ring_push(struct ring *r)
{
    assert(r->size > 0);
    if (r->n == r->cap)
        ring_grow(r);
    return ring_at(r, r->n++);
}

static inline void *ring_first(const struct ring *r)
{
    return r->n ? ring_at(r, 0) : NULL;
}

static inline void ring_pop(struct ring *r)
{
    assert(r->n > 0);
    r->first = (r->first + 1) & (r->cap - 1);
    r->n--;
}

static inline void ring_deinit(struct ring *r)
{
    free(r->p);
    *r = (struct ring){.size = r->size};
}
