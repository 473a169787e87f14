/*
 * A handler that never returns holds its partitions for ever, and with them whoever it would answer. The
 * watchdog ends the process when a handler has not returned for HANDLER_TIMEOUT_MS; what was in hand is then
 * found like anything else a process dies of (suspect.c). Its thread also gives idle memory back now and
 * then.
 */
#pragma once

#include "consumers/worker.h"

struct watchdog;
/* The workers must live until watchdog_stop. */
struct watchdog *watchdog_start(struct worker *const *workers, size_t n);
void watchdog_stop(struct watchdog *watchdog);
