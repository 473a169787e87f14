/* Redis's append-only file, for those who damage it. */
#pragma once

#include <stddef.h>

#include "tests/support/servers.h"

/* The path of the part that Redis appends to. Redis should be down; ends the test when there is none. */
void aof_path(const struct servers *servers, char *ret, size_t size);
