/*
 * The table of hostile requests (hostile.def), shared by the unit tests, the memory test and the fuzzer's
 * corpus.
 */
#pragma once

#include <stddef.h>

struct hostile {
    const char *name;
    int status;        /* of the answer */
    const char *bytes; /* with marks for repetitions, see hostile_bytes */
    size_t n;
};

extern const struct hostile hostile_table[];
extern const size_t hostile_count;

/* The bytes to send; the caller frees them. */
char *hostile_bytes(const struct hostile *row, size_t *ret_n);
