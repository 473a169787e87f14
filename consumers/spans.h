/* Spans of the runner: one for each message that was handled, and one for the batch. */
#pragma once

#include "consumers/batch.h"

/* The message is in a sampled trace: from now on what it causes is below its span. */
void span_of_message(struct item *item, struct arena *arena);
/* The batch is committed: writes the spans of its messages and its own. */
void spans_of_batch(const struct batch *b);
