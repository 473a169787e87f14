/*
 * Time is data: a timer is a row, and firing it appends its event in the transaction that deletes the row.
 * Any number of producers may run: each locks the rows it takes and passes over those of others. A timer that
 * is cancelled or moved at the same moment is decided by the row's lock.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/pg/pg.h"

enum { TIMERS_BATCH = 256 };

/* Fires up to TIMERS_BATCH timers that are due, in the order of their time. ret: how many fired. A failure
 * fires none. */
err timers_fire(struct pg *pg, struct arena *arena, size_t *ret) _must_use_;
