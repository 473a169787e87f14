/* The statements of a flush; each function queues at most two. Private to the runner. */
#pragma once

#include "consumers/worker.h"

void flush_queue_fence(struct worker *w, struct batch *b); /* partitions that are `touched`, up to `hi` */
/* The word for a command's row. */
const char *flush_queue_status(const struct item *item);
void flush_queue_commands(struct worker *w, struct batch *b);
void flush_queue_completions(struct worker *w, struct batch *b,
                             struct pg_result **ret); /* id, replyto of each */
void flush_queue_timers(struct worker *w, struct batch *b);
void flush_queue_jobs(struct worker *w, struct batch *b);
