/*
 * The name of this process among the members of its groups: the host's name and a number, "vm-1". It is the
 * same after any end, so that a restarted process takes its own partitions back at once, and nobody else has
 * it who uses the same database: several homes may be on one host name (containers, cloned machines).
 */
#pragma once

#include "bus/pg/pg.h"

/* The lowest free place of this home; it is held until the process ends, whatever its end is. CONFIG. */
err instance_place(void) _must_use_;
/* The name that the place had before, or the next that is free. pg is kept open for it, from now on. */
err instance_take(struct pg *pg, const volatile bool *stop, const char **ret) _must_use_;
/* To be called often. False: somebody else has the name now, and this process must end, and will get another
 * one. */
bool instance_keep(void);
