/*
 * What a loop knows of the command lanes: their lengths, sampled every LANES_SAMPLE_MS while commands are
 * being published, and the time of the last entry, which new ids must not lie before.
 */
#pragma once

#include "bus/redis/redis.h"
#include "bus/topics.h"

enum { LANES_SAMPLE_MS = 100 };

struct door;
struct lanes;

/* partitions() must be known. */
struct lanes *lanes_new(struct door *door);
/* Closes its timer; the memory goes with the loop's closing callbacks. */
struct lanes *lanes_free(struct lanes *lanes);

/* Is the lane at its cap (LANE_CAP), as far as was sampled? Marks the lane for the next sample. */
bool lanes_full(struct lanes *lanes, enum topic topic, int part);
/* The ms a new id for this lane gets: own clock, or the last entry's when that is ahead. part may be
 * CMDID_SELF. */
int64_t lanes_now(const struct lanes *lanes, enum topic topic, int part);
/* The reply of a publish: its entry id. */
void lanes_note(struct lanes *lanes, enum topic topic, int part, struct str entry);
