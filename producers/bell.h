/*
 * How the loops of this process wait: a bell wakes one loop before its time, patience bounds one outside
 * call. Both wait on conditions, never by sleeping, so that a stop is heard at once.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rings;
    bool rung;
};

void bell_init(struct bell *bell);
void bell_deinit(struct bell *bell);
/* Any thread. A ring before the wait is not lost; several count as one. */
void bell_ring(struct bell *bell);
/* Returns when it rang, at the latest after ms. */
void bell_wait(struct bell *bell, int64_t ms);

/* The time one outside call may take. It ends at the deadline, or when patience_end is called. */
struct patience {
    pthread_mutex_t lock;
    pthread_cond_t ends;
    int64_t until_ms; /* monotonic */
    bool over;
};

void patience_init(struct patience *patience);
void patience_deinit(struct patience *patience);
/* Before each call: ms from now. */
void patience_begin(struct patience *patience, int64_t ms);
/* Any thread: whoever waits gives up now. */
void patience_end(struct patience *patience);
bool patience_over(struct patience *patience);
/* What is left, in ms; 0 when it is over. For the timeouts of libraries. */
int64_t patience_left(struct patience *patience);
/* Waits ms. True when they have passed, false when the patience was over before. */
bool patience_wait(struct patience *patience, int64_t ms);
