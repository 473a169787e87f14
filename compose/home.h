/*
 * One DAYDREAM_HOME as daydream-supervise sees it: who supervises it (a lock that dies with its holder), the
 * pid files in run/, and whether a process belongs to it. compose/lib.sh has made the folders before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct home {
    const char *path; /* absolute, as the programs get it in DAYDREAM_HOME */
    int dir;          /* the folder itself, for openat and the like: long paths do no harm */
};

extern struct home home;

int64_t now_ms(void); /* monotonic */
void nap_ms(int ms);
/* One line on standard error, with the time of day; die() also ends the process with status 1. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Opens the folder DAYDREAM_HOME names; dies with a message when it cannot. */
void home_open(void);
/* Becomes the home's only supervisor until this process ends, however it ends. Returns 0, or the pid of the
 * one that supervises already. Children made by fork do not hold the lock. */
pid_t home_lock(void);
/* The pid that supervises this home now, 0 for nobody. Never the caller. */
pid_t home_supervisor(void);

/* Small files below the home, by relative name. Reading a missing file gives "" and false. */
void home_write(const char *name, const char *text);
bool home_read(const char *name, char *text, size_t size);
void home_remove(const char *name);
/* Prints the last lines of a log below the home to standard error, each after its name. */
void home_tail(const char *name, int lines);

/* True when the process lives and is of this home: its working directory is the folder `cwd` below the home,
 * or, with cwd NULL, DAYDREAM_HOME in its environment is this home. False for zombies and for whoever got an
 * old pid. */
bool home_owns(pid_t pid, const char *cwd);
