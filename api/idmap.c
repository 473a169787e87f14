/*
 * Buckets with chains, and one list through all nodes in the order of use.
 */
#include "api/idmap.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

/* The last bytes of our ids are random or a MAC, but ids also come from addresses: the seeded hash decides.
 */
static size_t bucket_of(const struct idmap *map, struct uuid id)
{
    return (size_t)str_hash((struct str){(const char *)id.b, sizeof(id.b)}) & map->mask;
}

static void allocate(struct idmap *map, size_t buckets)
{
    map->buckets = calloc(buckets, sizeof(*map->buckets));
    if (!map->buckets)
        abort();
    map->mask = buckets - 1;
}

void idmap_init(struct idmap *map, size_t cap, void (*drop)(struct idmap_node *node))
{
    *map = (struct idmap){.cap = cap, .drop = drop};
    allocate(map, FIRST_BUCKETS);
}

static void unlink_use(struct idmap *map, struct idmap_node *node)
{
    *(node->older ? &node->older->newer : &map->oldest) = node->newer;
    *(node->newer ? &node->newer->older : &map->newest) = node->older;
}

static void link_newest(struct idmap *map, struct idmap_node *node)
{
    node->older = map->newest;
    node->newer = NULL;
    *(node->older ? &node->older->newer : &map->oldest) = node;
    map->newest = node;
}

static void link_bucket(struct idmap *map, struct idmap_node *node)
{
    struct idmap_node **at = &map->buckets[bucket_of(map, node->id)];
    node->chain = *at;
    *at = node;
}

void *idmap_peek(const struct idmap *map, struct uuid id)
{
    for (struct idmap_node *node = map->buckets[bucket_of(map, id)]; node; node = node->chain)
        if (uuid_eq(node->id, id))
            return node;
    return NULL;
}

void *idmap_use(struct idmap *map, struct uuid id)
{
    struct idmap_node *node = idmap_peek(map, id);
    if (node && node != map->newest) {
        unlink_use(map, node);
        link_newest(map, node);
    }
    return node;
}

static void grow(struct idmap *map)
{
    free(map->buckets);
    allocate(map, 2 * (map->mask + 1));
    for (struct idmap_node *node = map->oldest; node; node = node->newer)
        link_bucket(map, node);
}

void idmap_put(struct idmap *map, struct idmap_node *node)
{
    assert(!idmap_peek(map, node->id));
    if (map->cap && map->n == map->cap)
        idmap_remove(map, map->oldest->id);
    if (map->n > map->mask)
        grow(map);
    link_bucket(map, node);
    link_newest(map, node);
    map->n++;
}

void *idmap_take(struct idmap *map, struct uuid id)
{
    for (struct idmap_node **at = &map->buckets[bucket_of(map, id)], *node; (node = *at); at = &node->chain) {
        if (!uuid_eq(node->id, id))
            continue;
        *at = node->chain;
        unlink_use(map, node);
        map->n--;
        return node;
    }
    return NULL;
}

void idmap_remove(struct idmap *map, struct uuid id)
{
    struct idmap_node *node = idmap_take(map, id);
    if (node)
        map->drop(node);
}

void idmap_deinit(struct idmap *map)
{
    while (map->oldest)
        idmap_remove(map, map->oldest->id);
    free(map->buckets);
    *map = (struct idmap){0};
}
