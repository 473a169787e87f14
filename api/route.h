/*
 * Routes: rows of method, pattern and one of three kinds. A pattern is made of literal segments and {name}
 * segments, which take one whole non-empty segment; literals win over names. Paths are matched exactly (a
 * slash at the end matters) and never normalised. HEAD is served by GET rows; OPTIONS, 404 and 405 by the
 * core.
 */
#pragma once

#include "api/http.h"
#include "messages.h"

typedef void route_fn(struct request *req);

struct route {
    enum method method;
    const char *path;     /* "/api/v1/orders/{id}"; NULL ends a table */
    enum message command; /* kind .command: goes to server_hooks.command */
    route_fn *query;  /* kind .query: goes to server_hooks.query, which calls it when the request may pass */
    route_fn *direct; /* kind .direct: called by the core at once */
    unsigned may;     /* permission, the upper layer's; the core does not look at it */
    unsigned flags;   /* the upper layer's */
    unsigned reads;   /* the upper layer's: which groups' tables a .query shows */
    const void *more; /* the upper layer's: how a command is made from the request (struct command_spec), or
                         the query parameters (struct shape), NULL: none */
    const char
        *about; /* what a .query or .direct is for, in a few words; a command's is its schema's title */
};

struct router;

/* Compiles tables (a NULL-terminated list of tables, which must outlive the router). Asserts that each row is
 * of exactly one kind, that no two rows are the same, and that patterns are well-formed. */
struct router *router_new(const struct route *const *tables);
struct router *router_free(struct router *router); /* takes NULL, returns NULL */

/* Looks up req->method and req->path; on success sets req->route and req->params. Returns the set of methods
 * the path takes, 1 << method each (with HEAD beside GET, and OPTIONS); 0: there is no such path. */
unsigned router_find(const struct router *router, struct request *req);
