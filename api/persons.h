/*
 * The keys of persons, per loop: looked up in person_key, unwrapped by the master key, kept for
 * PERSONS_FRESH_MS so that a destroyed key is forgotten soon. A person without a key is known as such for a
 * moment only.
 */
#pragma once

#include "bus/base/seal.h"

enum { PERSONS_MAX = 4096, PERSONS_FRESH_MS = 30000, PERSONS_MISSING_MS = 500 };

struct door;
struct persons;

struct persons *persons_new(struct door *door);
struct persons *persons_free(struct persons *persons);

/* After persons_load: the key, NULL when that person has none (destroyed, or never was). Until the next load.
 */
const struct seal_key *person_key(struct persons *persons, struct uuid person);

/* Makes the keys of n persons (at most PERSONS_MAX / 4) available to person_key. fn is called once, perhaps
 * before this returns: OK, or PG_DOWN and the like. */
typedef void persons_fn(void *data, err e);
void persons_load(struct persons *persons, const struct uuid *ids, size_t n, struct arena *arena,
                  persons_fn *fn, void *data);
/* What is known of that person is looked up again next time. */
void persons_forget(struct persons *persons, struct uuid person);
