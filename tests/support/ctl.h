/* daydreamctl on the bus of a test: a program, its output and its exit. */
#pragma once

#include "tests/support/bus.h"

struct ctl_run {
    int status;
    char text[1 << 16]; /* standard output and standard error */
};

/* words: as in a shell. The settings are those of this process (runner_bus, setenv). */
struct ctl_run *ctl_run(struct bus *bus, const char *words, ...) _printf_(2, 3);
/* The same, and ends the test unless it exits so and prints that. */
struct ctl_run *ctl_expect(struct bus *bus, int status, const char *text, const char *words, ...)
    _printf_(4, 5);

/* ---- ended by a signal ---- */

/* What it has said when it gets the signal, which it does once `there` says so, and after that. */
struct ctl_run *ctl_signalled(struct bus *bus, int signal_number, bool (*there)(struct bus *bus),
                              const char *words, ...) _printf_(4, 5);
/* The signal comes while it waits for that table, which somebody else has locked; then it gets the table. */
struct ctl_run *ctl_signalled_at(struct bus *bus, int signal_number, const char *table, const char *words,
                                 ...) _printf_(4, 5);
