/*
 * Schedules: rows that say when (cron.h), and an event `schedule.ticked` for every slot that comes. A slot
 * fires once, whoever runs: its event is appended in the transaction that moves the row to the next slot.
 * What was missed while nobody ran is caught up as the row says: `last`, the most recent slot alone, which
 * says how many it stands for; `each`, all of them in order; `none`, only a slot that is less than a minute
 * late.
 */
#pragma once

#include "bus/zone.h"

/* Zones that were looked up, kept for a day. One per loop. */
struct schedules;
struct schedules *schedules_new(void);
struct schedules *schedules_free(struct schedules *schedules);

enum { SCHEDULES_BATCH = 64, SCHEDULES_EACH = 256 };

/* One pass over at most SCHEDULES_BATCH schedules that are due. ret: how many events were appended. A
 * schedule that cannot be understood is stopped and says why in its row; a failure fires none. */
err schedules_fire(struct schedules *schedules, struct pg *pg, struct arena *arena, size_t *ret) _must_use_;
