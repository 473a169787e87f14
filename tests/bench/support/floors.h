/*
 * What the same servers do without a shop: the floors of design.md §6. Programs of others (redis-benchmark,
 * pgbench, nginx) are run as they are installed; the bare loops are here. Each ends the program when it
 * cannot be measured.
 */
#pragma once

#include "bus/pg/pg.h"
#include "bus/redis/redis.h"
#include "tests/support/measure.h"

/* Runs a program and returns what it printed, malloc'ed; ends this one when it fails. */
char *floor_output(const char *const *argv);

/* XADD of the add-to-cart size by redis-benchmark -c 32 -n 60000: requests per second. */
double floor_xadd(const char *redis_socket);
/* redis-benchmark -P 64 XADD of an entry with these words (XADD's arguments after the id). */
double floor_xadd_pipelined(const char *redis_socket, const struct str *words, size_t n);

/* The bare loop over n commands: XREADGROUP 256 → one INSERT … unnest of id and body → COMMIT; commands per
 * second. The entries stand in `stream` already, as the lanes hold them; the table bench_floor is made anew.
 */
double floor_loop(struct redis *redis, struct pg *pg, const char *stream, int n);

/* The bare wait: XADD → XREADGROUP → INSERT, COMMIT → PUBLISH, n times on one connection each; latencies of
 * all. */
void floor_wait(struct redis *redis, struct pg *pg, int n, struct latencies *ret);

/* pgbench -M prepared -c 8 with this statement; transactions per second. */
double floor_pgbench(const char *host, const char *sql, int seconds);

/* nginx that answers everything with these bytes on a free port of 127.0.0.1, in a folder of its own below
 * dir. */
struct floor_nginx;
struct floor_nginx *floor_nginx_start(const char *dir, struct str body, int workers, int *ret_port);
void floor_nginx_stop(struct floor_nginx *nginx);
