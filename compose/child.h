/*
 * One process under supervision: a server, a step that must succeed once, or a program of the shop. The table
 * of all is in supervise.c. A child dies with the supervisor, writes to log/<name>.log and has its pid in
 * run/<name>.pid.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum child_kind {
    SERVER,  /* counts as up once `ready` has said so */
    STEP,    /* counts as up once it has ended with 0, and is not started again */
    PROGRAM, /* counts as up once started */
};

enum child_place {
    OURS,
    SYSTEM,
    POSTGRES
}; /* beside this program; in PATH; in DAYDREAM_PGBIN, not as root */

struct child {
    const char *name;
    enum child_kind kind;
    int level; /* started once every child of a lower level is up */
    enum child_place place;
    const char *argv[6];
    int stop_signal;     /* asks for a clean end; also sent when the supervisor dies */
    int patience_ms;     /* how long a clean end may take before SIGKILL */
    const char *cwd;     /* below the home; NULL: where the supervisor runs */
    bool (*ready)(void); /* servers only */
    bool off;            /* not in this run */
    bool terminal;       /* writes where the supervisor writes instead of to a log */

    bool up;
    pid_t pid;         /* 0: not running */
    int64_t started;   /* ms, last start */
    int64_t next;      /* ms, not started before */
    int64_t pause;     /* ms, before the next start if it ends early again */
    unsigned failures; /* in all */
};

void child_start(struct child *c);
/* After waitpid: notes the end, decides when it may start again: at once, after early ends with growing
 * pauses of at most a second. */
void child_ended(struct child *c, int status);
/* Asks it to end, waits, in the end forces it. It is reaped on return. */
void child_stop(struct child *c);
/* Ends what a supervisor that was killed has left of this child. Call before the first child_start. */
void child_clear_leftover(const struct child *c);
