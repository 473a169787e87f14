/*
 * One look for all who ask for the same thing while it is taken: what anybody may ask without a token, and
 * what costs more than it takes to ask. However many requests wait on a loop, one look is under way.
 */
#pragma once

#include "api/http.h"

/* Zeroed: nobody looks. One per page and loop. */
struct glance {
    struct asker *askers; /* in memory of their requests */
    bool under_way;
};

/* Puts the request among those that the present look will answer. True: there is none, the caller takes it
 * and ends with glance_end. */
bool glance_begin(struct glance *glance, struct request *req) _must_use_;
/* Answers all of them; Retry-After: 1 comes with a 503. text needs to live until this returns. */
void glance_end(struct glance *glance, int status, const char *content_type, struct str text);
