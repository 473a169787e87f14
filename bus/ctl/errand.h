/*
 * Verbs whose work needs the handlers: daydream-consumers of this very build does it, as a child of
 * daydreamctl (consumers/errand.h says by which words).
 */
#pragma once

#include <sys/types.h>

#include "bus/ctl/ctl.h"

enum { ERRAND_WORDS = 24 };

/* Runs daydream-consumers with these words (NULL-terminated, without the program's name) to its end; calls
 * look every 200 ms meanwhile (NULL: never), and ends the child when that fails or after Ctrl-C. ret: its
 * exit. UNAVAILABLE when it died of a signal. */
err errand_run(struct ctl *ctl, const char *const *words, err (*look)(struct ctl *ctl, void *data),
               void *data, int *ret) _must_use_;
