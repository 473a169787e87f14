/*
 * A bus for one test: private servers, migrated, checked, both connections open. Everything ends the test
 * when it fails. Use from one thread.
 */
#pragma once

#include "bus/eventlog.h"
#include "bus/relay.h"
#include "tests/support/servers.h"

struct bus {
    struct servers *servers;
    struct redis *redis;
    struct pg *pg;
    struct arena *arena; /* lives as long as the test */
};

/* partitions: small numbers make collisions likely. */
struct bus bus_start(int partitions);
void bus_stop(struct bus *bus);

/* Fails the test with the error's text. */
void bus_must(err e);
/* One more connection, until the end of the test. */
struct pg *bus_pg(const struct bus *bus);
struct redis *bus_redis(const struct bus *bus);
/* SQL that is expected to work; query: its first column of the first row as a number. */
void bus_sql(struct bus *bus, const char *format, ...) _printf_(2, 3);
int64_t bus_query(struct bus *bus, const char *format, ...) _printf_(2, 3);
/* A command to Redis by words separated by spaces; the reply lives until the next command. */
const struct redis_reply *bus_redis_do(struct bus *bus, const char *format, ...) _printf_(2, 3);

/* Commits n events under that key in one transaction; the events come back with ms and seq. */
struct event *bus_commit(struct bus *bus, struct pg *pg, const char *key, size_t n);
/* How many entries evt:{topic.part} holds, and whether it is a contiguous part of the log, byte for byte,
 * ending at the head (complaint in the test's output otherwise). */
int64_t bus_stream_check(struct bus *bus, enum topic topic, int part);
/* Moves all that the log holds to the files of the archive. */
void bus_archive(struct bus *bus);
