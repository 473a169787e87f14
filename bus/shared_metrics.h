/*
 * The numbers of all processes of a home, for one page. Each process keeps its counters in a file that it has
 * mapped, DAYDREAM_HOME/run/metrics/<program>.<instance>; whoever prints the page reads the files of those
 * that live. A file is its process's as long as that holds the lock on it, which the kernel gives back
 * whatever the end was; names are used again, so there are never more files than processes at one time. A
 * file that is torn, of another build, or written by somebody else is passed over and counted, and can harm
 * nobody: readers read it, they never map it.
 */
#pragma once

#include <sys/types.h>

#include "bus/base/metrics.h"

enum { METRICS_PEERS = 32, METRICS_PROGRAM = 32, METRICS_INSTANCE = 80 };

/* Shares the numbers of this process. instance: its stable name; NULL: the lowest free "<host>-<n>". Without
 * a home that can be written to they stay private, and a warning is logged. Before threads; once. */
void metrics_share(const char *program, const char *instance);
/* The name under which they are shared; "private" when they are not. */
const char *metrics_instance(void);

struct metrics_peer {
    char program[METRICS_PROGRAM], instance[METRICS_INSTANCE]; /* letters, digits, '.', '_', '-' */
    pid_t pid;
    int64_t started_ms; /* since 1970 */
    const struct metrics_page *page;
};
/* Those that live, at most METRICS_PEERS, this process included, into the arena. *ret_ignored: files that
 * live and could not be read. */
size_t metrics_peers(struct arena *arena, struct metrics_peer **ret, int *ret_ignored);
