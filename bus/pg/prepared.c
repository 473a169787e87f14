/*
 * The statements that a connection has prepared, found by the address of their constant.
 */
#include <stdio.h>

#include "bus/pg/internal.h"

static struct prepared *slot_of(const struct prepared_table *t, const struct pg_stmt *stmt)
{
    uint64_t h =
        (uint64_t)(uintptr_t)stmt * 0x9e3779b97f4a7c15u; /* Fibonacci hashing: the high bits are mixed */
    size_t i = (size_t)(h >> 32) & (t->cap - 1);
    while (t->slots[i].stmt && t->slots[i].stmt != stmt)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static void grow(struct prepared_table *t)
{
    struct prepared_table bigger = {.cap = t->cap ? t->cap * 2 : 64, .n = t->n};
    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        abort();
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i].stmt)
            *slot_of(&bigger, t->slots[i].stmt) = t->slots[i];
    }
    free(t->slots);
    *t = bigger;
}

struct prepared *prepared_of(struct prepared_table *t, const struct pg_stmt *stmt)
{
    if (4 * (t->n + 1) > 3 * t->cap)
        grow(t);
    struct prepared *p = slot_of(t, stmt);
    if (!p->stmt) {
        p->stmt = stmt;
        t->n++;
    }
    return p;
}

void prepared_clear(struct prepared_table *t)
{
    free(t->slots);
    *t = (struct prepared_table){0};
}

void prepared_name(const struct pg_stmt *stmt, unsigned generation, char ret[static PG_STMT_NAME])
{
    int n = snprintf(ret, PG_STMT_NAME, generation > 1 ? "%s~%x" : "%s", stmt->name, generation);
    assert(n < PG_STMT_NAME);
}
