/*
 * What is fixed when a shop is made, and checked at each start: partition count, format, and that Redis would
 * not lose data (appendonly yes, appendfsync always, noeviction, role master) unless REDIS_RELAXED says
 * otherwise.
 */
#pragma once

#include "bus/pg/pg.h"
#include "bus/redis/redis.h"

/* Reads bus_meta from PostgreSQL, mirrors it to the hash bus:meta, sets partitions(). CONFIG with a clear
 * text on a mismatch between the two, a schema that is not migrated, or a Redis that would lose data. */
err meta_check(struct pg *pg, struct redis *redis) _must_use_;
/* The same from PostgreSQL alone, for who does without Redis: sets partitions(). */
err meta_check_pg(struct pg *pg) _must_use_;
/* Opens both connections as DATABASE_URL and REDIS_URL say (PostgreSQL as that role, NULL for none, without
 * sequential scans: plans cached while tables are young would keep them) and does the same, waiting with
 * backoff for servers that do not answer yet and for a schema that is not there yet. False, with nothing
 * open, when *stop became true, or when the two must not be used (logged): callers that were not told to stop
 * exit with failure. */
bool meta_wait(const volatile bool *stop, struct pg **pg, const char *role, struct redis **redis);
