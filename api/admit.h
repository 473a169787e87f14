/*
 * What stands in req->data of every admitted request, and the memory of verified tokens. See door_admit in
 * door.h.
 */
#pragma once

#include "api/door.h"

struct visit {
    struct who who;
    enum err_code
        refused; /* why the token that was sent counts for nothing; ERR_NONE: none was, or it counts */
    void *own;   /* of the handler */
};

struct tokens *tokens_new(void);
struct tokens *tokens_free(struct tokens *tokens);
/* Of a request that was admitted and lasts: would it be admitted again, as the same person in the same role?
 */
bool admit_again(const struct request *req);
