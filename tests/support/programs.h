/*
 * Inside a shop; private to shop.c, shop_look.c and programs.c. The three programs of a shop as child
 * processes: started with an environment of exactly what a shop says, killed, paused, reaped and started
 * again. Each works in the servers' private folder, so the watcher of servers.h ends what is left when the
 * test dies; a signal at the death of the parent would not do, since that is sent when the thread ends that
 * forked. Every call locks; starting and reaping may happen in a supervising thread while the test kills.
 */
#pragma once

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/shop.h"

enum { ENVIRONMENT_MAX = 64 };

struct child {
    pid_t pid;          /* 0: down */
    bool wanted;        /* the supervisor keeps it running */
    bool paused;        /* by the test */
    bool launched;      /* was started at least once */
    int64_t stopped_ms; /* when it was seen to have stopped itself; 0: it has not */
};

struct programs {
    pthread_mutex_t lock;
    struct child children[PROGRAMS][INSTANCES_MAX];
    char bin[300];                      /* where they are, with a slash at the end */
    char dir[120], logs[200];           /* where they work; where their logs go */
    char *environment[ENVIRONMENT_MAX]; /* "NAME=value", shared by all; owned */
    size_t environment_n;
    const char *fault[PROGRAMS]; /* for the first start of each program's first process */
    int ports[INSTANCES_MAX];    /* of the doors */
    atomic_int self_killed, self_stopped, crashed;
};

extern const char *const program_names[PROGRAMS];

/* dir: a folder below the servers' private one, where their watcher looks for what is left. */
void programs_init(struct programs *programs, const char *dir, const char *logs);
/* Kills what runs and frees. */
void programs_deinit(struct programs *programs);
void programs_setting(struct programs *programs, const char *name, const char *value);
/* Replaces the process: executes a program of the build with the shop's environment and further settings;
 * argv[0] is its name. Call in a new child only. */
void programs_exec(const struct programs *programs, const char *const *more, const char *const *argv)
    __attribute__((noreturn));

void programs_launch(struct programs *programs, enum program program, int i);
void programs_kill(struct programs *programs, enum program program, int i);
/* SIGTERM, then waits; how long it took, -1 when it does not end. */
int64_t programs_end(struct programs *programs, enum program program, int i, int64_t within_ms);
void programs_signal(struct programs *programs, enum program program, int i, int signal);
/* One turn of the supervisor, see shop.h. */
int programs_turn(struct programs *programs, int resume_after_ms);

struct shop {
    struct servers *servers;
    struct programs programs;
    int counts[PROGRAMS];
    int reserved[INSTANCES_MAX]; /* sockets that hold the doors' ports; -1: none */
    char home[120], secrets[200];
    pthread_t supervisor;
    atomic_bool supervised, stopping;
    int resume_after_ms;
    pthread_mutex_t lock; /* of the two connections below */
    PGconn *pg;
    redisContext *redis;
};
