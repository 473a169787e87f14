/*
 * What is fixed when a shop is made, and checked at each start: partition count, format, and that Redis would not lose
 * data (appendonly yes, appendfsync always, noeviction, role master) unless REDIS_RELAXED says otherwise.
 */
#pragma once

#include "bus/pg/pg.h"
#include "bus/redis/redis.h"

/* Reads bus_meta from PostgreSQL, mirrors it to the hash bus:meta, sets partitions(). CONFIG with a clear text on a
 * mismatch between the two, a schema that is not migrated, or a Redis that would lose data. */
err meta_check(struct pg *pg, struct redis *redis) _must_use_;
/* The same, waiting with backoff for servers that do not answer yet; returns false when *stop became true. */
bool meta_wait(const volatile bool *stop, struct pg **pg, const char *role, struct redis **redis);
