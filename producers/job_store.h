/* The rows of outside work: claiming, keeping, ending. Private to the job runner. All are sequential. */
#pragma once

#include "producers/jobs.h"

enum { JOB_LEASE_MS = 5000 };

/* Claims up to `room` jobs of these kinds (indexes into job_kinds) that are due and have no unfinished job of
 * their key and family before them. ret has room for `room`; strings go to the arena. */
err job_claim(struct pg *pg, struct str owner, const bool kinds[static JOB_KINDS_MAX], int room,
              struct arena *arena, struct job *ret, int *ret_n) _must_use_;

/* Jobs whose lease has passed are claimable again; those that may give way to a waiting follower are due at
 * once. */
err job_recover(struct pg *pg, struct arena *arena) _must_use_;

/* A job under way, as seen by the dispatcher. */
struct job_held {
    struct uuid id;
    int64_t attempt;
    bool lost;     /* somebody else has it now */
    bool followed; /* a job that overtakes waits behind it */
};
/* Renews the leases of n jobs and fills lost and followed. */
err job_renew(struct pg *pg, struct job_held *held, size_t n, struct arena *arena) _must_use_;

/* Ends a job with its event, if this attempt still holds it; ret: whether it did. */
err job_finish(struct pg *pg, const struct job *job, const struct job_outcome *outcome, struct arena *arena,
               bool *ret) _must_use_;
/* Gives a job back, due at that time, if this attempt still holds it. */
err job_put_back(struct pg *pg, const struct job *job, int64_t due_ms) _must_use_;
