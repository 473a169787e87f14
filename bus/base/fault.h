/*
 * Crash points. In builds with DAYDREAM_FAULTS, FAULT(NAME) is a place where a test can make the process die,
 * stop or get an error: FAULT=point:nth:kill|stop|err[,...] in the environment acts at the nth time (from 1,
 * all threads counted together) the point is passed. A wrong FAULT ends the process, so that no test passes
 * by a misspelt point. DAYDREAM_FAULT_LOG=file appends "<point> <pid>\n" the first time each point is passed
 * in a process, so that a run can show that every point was reached. All points are rows of faults.def; in
 * release builds they are nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

enum fault {
#define POINT(id, name, text) FAULT_##id,
#include "bus/base/faults.def"
#undef POINT
    FAULT_COUNT
};

#ifdef DAYDREAM_FAULTS
/* True when the caller shall behave as if the operation failed (action err). */
bool fault_hit(enum fault point);
#define FAULT(id) fault_hit(FAULT_##id)
#else
#define FAULT(id) false
#endif

/*
 * Mutants. DAYDREAM_MUTANT=name in a build with crash points switches one safeguard off, so that the suite
 * can show that it goes red: a fault test that has never failed proves nothing.
 */
enum mutant {
#define MUTANT(id, name, text) MUTANT_##id,
#include "bus/base/mutants.def"
#undef MUTANT
    MUTANT_COUNT
};

#ifdef DAYDREAM_FAULTS
bool mutant(enum mutant m);
#else
#define mutant(m) false
#endif

/*
 * Messages that no handler digests. FAULT_POISON=file in a build with crash points names a file of lines
 * "<partition key> segv|abort|hang|bad": a handler that gets a message of that key dies, never returns, or
 * finds it poisonous. The file is read at each call, so that a story can mend the handler.
 */
#ifdef DAYDREAM_FAULTS
bool fault_poison(const char *key, size_t n);
#define INDIGESTIBLE(key) fault_poison((key).p, (key).n)
#else
#define INDIGESTIBLE(key) false
#endif

/* "name  sentence" lines, the list for the fault suite; also in release builds. */
void fault_print(FILE *to);
