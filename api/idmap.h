/*
 * A table of things with a UUID, oldest first: the base of the door's caches and sets. Things embed a node as
 * their first member and are owned by the table once they are put. A cap makes it a cache: putting one more
 * drops the one that was used least recently. malloc failure aborts. Not thread-safe: one loop.
 */
#pragma once

#include "bus/base/uuid.h"

struct idmap_node {
    struct uuid id;
    struct idmap_node *chain;         /* same bucket */
    struct idmap_node *older, *newer; /* order of use */
};

struct idmap {
    struct idmap_node **buckets;
    size_t mask, n, cap; /* cap 0: none */
    struct idmap_node *oldest, *newest;
    void (*drop)(struct idmap_node *node); /* frees a thing */
};

void idmap_init(struct idmap *map, size_t cap, void (*drop)(struct idmap_node *node));
/* Drops everything. */
void idmap_deinit(struct idmap *map);
/* NULL when there is none. Does not count as use. */
void *idmap_peek(const struct idmap *map, struct uuid id);
/* The same, and makes it the newest. */
void *idmap_use(struct idmap *map, struct uuid id);
/* node->id is set and not in the table; it becomes the newest. */
void idmap_put(struct idmap *map, struct idmap_node *node);
/* Takes it out without dropping it; NULL when there is none. */
void *idmap_take(struct idmap *map, struct uuid id);
/* Takes it out and drops it, if it is there. */
void idmap_remove(struct idmap *map, struct uuid id);
