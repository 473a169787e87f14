/*
 * Time zones as PostgreSQL knows them: it has the rules of the whole world and keeps them up to date with the
 * system, so that this shop needs no second copy.
 */
#pragma once

#include "bus/cron.h"
#include "bus/pg/pg.h"

/* The offsets of a zone ("America/Santiago", "UTC") from one year before at_ms to nine years after it, into
 * the arena. Takes about a tenth of a second: keep the answer for a day. Sequential; nothing may wait on the
 * connection. INVALID: PostgreSQL knows no such zone. */
err zone_load(struct pg *pg, struct str name, int64_t at_ms, struct arena *arena,
              struct zone *ret) _must_use_;
