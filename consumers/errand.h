/*
 * Errands: what daydream-consumers does once and ends, when daydreamctl starts it with words, because only
 * here the handlers are known:
 *   --rebuild GROUP [--verify] [--force] [--rate N]                                            (rebuild.h)
 *   --replay GROUP --from POINT [--to POINT] [--types PATTERNS] [--rate N] [--dry-run] [--force] [--json]
 *                                                                                               (replay.h)
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

bool errand_named(int argc, char **argv);
/* Loads the settings, does it, and returns what the program exits with: 2 when the words make no sense. */
int errand_run(int argc, char **argv, const atomic_bool *stop);
