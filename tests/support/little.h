/*
 * A little server on the real HTTP core with routes for tests, in this process, and a raw client: bytes out,
 * bytes in. Routes: GET /ok /hot /items/{id} /later?ms= /big?n= /stream?n= /work /fail /ask, POST /echo, POST
 * /cart/items (a command row: the body goes through the codec).
 */
#pragma once

#include "api/route.h"
#include "api/server.h"

/* The tables, for connections without a server. */
extern const struct route *const little_routes[];
void little_command(struct request *req); /* server_hooks.command */
void little_query(struct request *req);   /* server_hooks.query */

/* Loads the settings and starts it with that many loops on a free loopback port. */
struct server *little_start(int loops);
/* How many requests reached a handler, and how many of them were told that nobody reads. */
int little_handled(void);
int little_gone(void);

/* A connected socket. */
int raw_connect(int port);
/* Sends all, as far as the server lets it. */
void raw_send(int fd, const char *p, size_t n);
void raw_say(int fd, const char *text);
/* Reads until the server closes, until want bytes are there, or until the time is up; returns the bytes with
 * a NUL behind them in a static buffer (1 MB). *ret_closed (may be NULL): the server closed. */
const char *raw_read(int fd, size_t want, int timeout_ms, bool *ret_closed);
/* One request on a connection of its own; closes. */
const char *raw_ask(int port, const char *text);
/* The status of the first answer in text, 0 when there is none. */
int raw_status(const char *text);
/* How often part stands in text. */
int raw_count(const char *text, const char *part);
