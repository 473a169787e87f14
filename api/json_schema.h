/*
 * A field table as JSON Schema (json-schema.org, draft 2020-12), as the door reads it: internal fields are
 * not there, personal ones are in clear, amounts are decimals.
 */
#pragma once

#include "bus/base/json.h"
#include "bus/codec.h"

/* A client never sends what the door sets. */
bool schema_shows(const struct field *field);
/* The members of the schema of an object; the caller has opened it. */
void schema_put(struct json *j, const struct shape *shape);
/* The same for one field. Limits of money are left out: they are in minor units, of a currency that is not
 * known here. */
void schema_put_field(struct json *j, const struct field *field);
