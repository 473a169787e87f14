/*
 * The whole shop for one test: private servers (servers.h), migrated, with a superuser, and the three
 * programs as child processes in a home of their own. Each door gets a loopback port that is held for it
 * until the shop ends, so it keeps its address when it is started again and no other process can come to have
 * it. Everything goes when shop_stop is called, and also when the test crashes. Nothing here returns an
 * error: what fails is printed with the ends of the programs' logs and ends the test. What talks to the front
 * door is in verbs.h.
 */
#pragma once

#include <hiredis/hiredis.h>
#include <stdint.h>

#include "bus/base/err.h"
#include "tests/support/servers.h"

enum program { PROGRAM_API, PROGRAM_CONSUMERS, PROGRAM_PRODUCERS, PROGRAMS };
enum { INSTANCES_MAX = 4 }; /* of each program */

struct shop_options {
    struct servers_options servers;
    int doors, consumers, producers; /* how many of each: 0: one, negative: none */
    int partitions;                  /* 0: 3 */
    const char *const *settings;     /* "NAME=value" for every program, NULL-terminated, or NULL */
    const char *fault[PROGRAMS];     /* FAULT for the first process of the program, at its first start only */
    const char *mutant;              /* DAYDREAM_MUTANT for all of them */
    const char *fault_log;           /* DAYDREAM_FAULT_LOG for all of them */
    const char *from;                /* a folder shop_keep() made: start on its data */
    int resume_after_ms;             /* not 0: supervised from the first process on, see shop_supervise() */
    const char *logs; /* folder that exists, for the programs' logs; NULL: inside the private folder */
};

struct shop;

/* NULL: one of each. Returns when every door says it is ready. */
struct shop *shop_start(const struct shop_options *options);
/* Ends the programs by kill -9 and removes everything. Takes NULL, returns NULL. */
struct shop *shop_stop(struct shop *shop);
void shop_stopp(struct shop **shop); /* for _cleanup_ */
/* Ends everything cleanly and copies what the shop knows (both servers' data, its secrets) to a folder that
 * does not exist yet, for shop_options.from. The shop is gone afterwards. */
void shop_keep(struct shop *shop, const char *folder);

/* Prints the ends of the logs and the sentence, and ends the test. */
void shop_die(const struct shop *shop, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

struct servers *shop_servers(const struct shop *shop);
const char *shop_home(const struct shop *shop);
int shop_doors(const struct shop *shop);
int shop_port(const struct shop *shop, int door);
extern const char shop_admin_email[], shop_admin_password[]; /* of the superuser */
int64_t shop_now_ms(void);                                   /* monotonic */
/* A few milliseconds between two looks at something that has no other way to tell. */
void shop_nap(void);

/* ---- processes; i counts from 0 ---- */
pid_t shop_pid(const struct shop *shop, enum program program, int i); /* 0: down */
/* Starts one that is down; does not wait until it is ready. */
void shop_launch(struct shop *shop, enum program program, int i);
/* kill -9; returns when it is gone. Down already: nothing. */
void shop_kill(struct shop *shop, enum program program, int i);
/* SIGTERM; returns when it is gone, after how many milliseconds, or dies after ten seconds. */
int64_t shop_end(struct shop *shop, enum program program, int i);
/* SIGSTOP and SIGCONT. */
void shop_pause(struct shop *shop, enum program program, int i);
void shop_resume(struct shop *shop, enum program program, int i);
/* The supervisor's turn: programs that ended are reaped and started again at once (without FAULT); programs
 * that stopped themselves at a crash point go on after resume_after_ms. Returns how many were started or
 * resumed. */
int shop_restart_dead(struct shop *shop, int resume_after_ms);
/* From now on a thread takes that turn every few milliseconds, until the shop ends. */
void shop_supervise(struct shop *shop, int resume_after_ms);
/* How often processes died of signal 9 that was not ours, or stopped themselves: what crash points did. */
int shop_self_killed(const struct shop *shop);
int shop_self_stopped(const struct shop *shop);
/* How often a program ended in any other way that nobody asked for: never, or there is a bug. */
int shop_crashed(const struct shop *shop);
/* Runs daydreamctl with these arguments (NULL-terminated) to its end; returns its exit status. Its output
 * goes to the log ctl.log, or to ret_output (malloc'ed) when that is not NULL. */
int shop_ctl(struct shop *shop, char **ret_output, const char *const *arguments);
/* The same with FAULT ("point:nth:action", or NULL) for it and what it runs; what stops itself goes on after
 * that time. Any thread. */
int shop_ctl_fault(struct shop *shop, const char *fault, int resume_after_ms, const char *const *arguments);

/* ---- waiting, in milliseconds; 0: as long as a loaded machine may need ---- */
/* Until /health/detailed of every door is 200; false when the time has passed. */
bool shop_is_ready(struct shop *shop, int64_t within_ms);
/* Until nothing is under way: lanes and PELs empty, groups at the heads, streams at the heads, no open
 * command but parked ones, no job, no order that is not final. False, with the reason printed, when the time
 * has passed. */
bool shop_is_quiet(struct shop *shop, int64_t within_ms);
/* Until the query's first column is that number. */
bool shop_sql_becomes(struct shop *shop, int64_t value, int64_t within_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- looks behind the counter; any thread ---- */
/* First column of the first row as a number (-1: no row or NULL), or as text ("" when there is none; freed by
 * the caller). */
int64_t shop_sql(struct shop *shop, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *shop_sql_text(struct shop *shop, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A command to Redis, as redisCommand; the reply belongs to the caller. */
redisReply *shop_redis(struct shop *shop, const char *format, ...);
int64_t shop_redis_number(struct shop *shop, const char *format, ...);
