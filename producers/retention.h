/*
 * What need not be kept for ever: results of commands beyond COMMAND_RETENTION_DAYS, and jobs that are done
 * as long. Work that is not ended (running, parked, waiting) is never touched.
 */
#pragma once

#include "bus/pg/pg.h"

/* Deletes at most RETENTION_BATCH rows of each; ret: whether there is more. */
enum { RETENTION_BATCH = 1000 };
err retention_pass(struct pg *pg, bool *ret_more) _must_use_;
