/* A second opinion on JSON: jansson, behind plain C types, since its header and bus/base/json.h do not go
 * together. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Does jansson take the text as one JSON value? overflow: it refused only because a number does not fit its
 * types. */
bool oracle_accepts(const char *text, size_t n, bool *ret_overflow);
/* The string member of an object as malloc'ed text; NULL when jansson sees none. */
char *oracle_member(const char *text, size_t n, const char *name);
