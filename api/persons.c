/*
 * See persons.h. One query brings all keys that are missing.
 */
#include "api/persons.h"

#include <assert.h>
#include <stdlib.h>

#include "api/door.h"
#include "api/idmap.h"
#include "bus/base/clock.h"

struct person {
    struct idmap_node node;
    bool has_key;
    struct seal_key key;
    int64_t until_ms; /* mono */
};

struct persons {
    struct door *door;
    struct idmap map;
};

static void drop_person(struct idmap_node *node)
{
    explicit_bzero(node, sizeof(struct person));
    free(node);
}

struct persons *persons_new(struct door *door)
{
    struct persons *persons = calloc(1, sizeof(*persons));
    if (!persons)
        abort();
    persons->door = door;
    idmap_init(&persons->map, PERSONS_MAX, drop_person);
    return persons;
}

struct persons *persons_free(struct persons *persons)
{
    if (!persons)
        return NULL;
    idmap_deinit(&persons->map);
    free(persons);
    return NULL;
}

const struct seal_key *person_key(struct persons *persons, struct uuid id)
{
    const struct person *person = idmap_use(&persons->map, id);
    return person && person->has_key ? &person->key : NULL;
}

void persons_forget(struct persons *persons, struct uuid id)
{
    idmap_remove(&persons->map, id);
}

/* A load under way. */
struct load {
    struct persons *persons;
    const struct uuid *missing;
    size_t n;
    persons_fn *fn;
    void *data;
};

static struct person *person_new(struct persons *persons, struct uuid id, int64_t fresh_ms)
{
    struct person *person = calloc(1, sizeof(*person));
    if (!person)
        abort();
    idmap_remove(&persons->map, id);
    person->node.id = id;
    person->until_ms = clock_mono_ms() + fresh_ms;
    idmap_put(&persons->map, &person->node);
    return person;
}

/* person, wrapped */
static const struct pg_stmt select_keys = {
    "door_select_person_keys", "SELECT person, wrapped FROM person_key WHERE person = ANY($1::uuid[])"};

static void on_keys(void *data, err e, struct pg_result *rows)
{
    struct load *load = data;
    struct persons *persons = load->persons;
    if (failed(e)) {
        load->fn(load->data, e);
        return;
    }
    for (size_t i = 0; i < load->n; i++)
        person_new(persons, load->missing[i], PERSONS_MISSING_MS);
    for (int i = 0; i < pg_rows(rows); i++) {
        struct person *person = person_new(persons, pg_get_uuid(rows, i, 0), PERSONS_FRESH_MS);
        person->has_key = !failed(seal_unwrap(&persons->door->shop->secrets.master, person->node.id,
                                              pg_get_str(rows, i, 1), &person->key));
    }
    load->fn(load->data, OK);
}

void persons_load(struct persons *persons, const struct uuid *ids, size_t n, struct arena *arena,
                  persons_fn *fn, void *data)
{
    assert(n <= PERSONS_MAX / 4);
    int64_t now = clock_mono_ms();
    struct uuid *missing = arena_array(arena, struct uuid, n ? n : 1);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const struct person *person = idmap_use(&persons->map, ids[i]);
        if (!person || person->until_ms < now)
            missing[count++] = ids[i];
    }
    if (!count) {
        fn(data, OK);
        return;
    }
    struct load *load = arena_new_of(arena, struct load);
    *load = (struct load){.persons = persons, .missing = missing, .n = count, .fn = fn, .data = data};
    struct pg_array array = pg_array(arena, PG_UUID, (int)count);
    for (size_t i = 0; i < count; i++)
        pg_array_uuid(&array, missing[i]);
    err e = pg_poll_query(persons->door->pg, &select_keys, 1, (struct pg_param[]){pg_array_param(&array)},
                          on_keys, load);
    if (failed(e))
        fn(data, e);
}
