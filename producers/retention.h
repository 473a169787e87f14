/*
 * What need not be kept for ever: results of commands beyond COMMAND_RETENTION_DAYS, and jobs that are done
 * as long. Work that is not ended (running, parked, waiting) is never touched. Events are kept for ever, the
 * old ones in the archive.
 */
#pragma once

#include "bus/pg/pg.h"

/* Deletes at most RETENTION_BATCH rows of each; ret: whether there is more. */
enum { RETENTION_BATCH = 1000 };
err retention_pass(struct pg *pg, bool *ret_more) _must_use_;
/* Makes the partitions of the log that will be needed, and archives those that are older than
 * ARCHIVE_AFTER_DAYS. */
err retention_log(struct pg *pg, const volatile bool *stop) _must_use_;
