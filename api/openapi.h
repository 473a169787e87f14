/*
 * GET /openapi.json: OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0) of the front door, written from the tables
 * that route and validate: rows of routes.c, field tables of bodies and of query parameters. What a table
 * does not say (the members of results) the document does not say either.
 */
#pragma once

#include "api/route.h"

/* The document of these tables (a NULL-terminated list, see router_new()); JSON, into the arena. */
struct str openapi_document(const struct route *const *tables, struct arena *arena);

void get_openapi(struct request *req);
