/* What verb_schemas.c calls: jansson and bus/base/json.h do not meet in one file. */
#pragma once

#include "bus/base/arena.h"

/* Checks the schemas of a folder against its lock.json and, when against is not NULL, another folder or a git
 * revision; prints what was found. Without against it also asks that all is released. INVALID: something
 * cannot be read. */
err schemas_check(const char *folder, const char *against, bool as_json, struct arena *arena,
                  bool *ret_clean) _must_use_;
/* Writes what is new into lock.json and makes its samples; prints findings and writes nothing when there are
 * any. */
err schemas_release(const char *folder, struct arena *arena, bool *ret_clean) _must_use_;
