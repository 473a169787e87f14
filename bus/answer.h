/* What a handler may answer. Shared between the generated handler tables and the runner. */
#pragma once

#include "bus/base/str.h"

struct batch;

enum answer {
    ANSWER_DONE,     /* handled; a command has its result */
    ANSWER_REJECTED, /* a refusal with a problem; nothing else of this message happens */
    ANSWER_RUNNING,  /* a command that another message of this or another group will complete */
    ANSWER_NOT_YET,  /* a fact of another aggregate is missing, see batch_not_yet() */
    ANSWER_POISON,   /* cannot be handled: a broken invariant; the key is parked */
};
