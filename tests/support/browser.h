/*
 * A browser: a client of the front door: one blocking HTTP/1.1 connection over loopback, kept alive, opened
 * again when it broke. It never repeats a request by itself: a request without an answer has status 0 and may
 * or may not have been taken, which is for the caller to deal with. One thread at a time; bodies are
 * jansson's.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct browser;

/* Connects with the first request. */
struct browser *browser_new(int port);
/* Takes NULL, returns NULL. */
struct browser *browser_free(struct browser *browser);
void browser_freep(struct browser **browser); /* for _cleanup_ */
/* From now on to another door. */
void browser_move(struct browser *browser, int port);

struct ask {
    const char *method, *path; /* path with its query */
    json_t *body;              /* taken over; NULL: none */
    const char *token;         /* bearer token, NULL: anonymous */
    const char *key;           /* Idempotency-Key, or NULL */
    const char *if_match;      /* or NULL */
    const char *more;          /* further header lines, each with its CRLF, or NULL */
    int wait_s;                /* Prefer: wait=N; 0: none is sent; -1: wait=0 */
    int timeout_ms;            /* for the whole exchange; 0: 120000 */
};

struct reply {
    int status;   /* 0: no answer, or one that is not HTTP */
    json_t *body; /* NULL: none, or it is not JSON; owned */
    char *text;   /* the body as it came, owned; never NULL when status is not 0 */
    size_t length;
    char location[160], etag[120], position[1024], request_id[80];
    bool preference_applied;
};

/* ret is overwritten: the caller has freed what it held. False: status 0. */
bool browser_ask(struct browser *browser, const struct ask *ask, struct reply *ret);
void reply_clear(struct reply *reply);

/* A string member by a path of names and list indices with dots ("items.0.name"); "" when there is none. */
const char *reply_str(const struct reply *reply, const char *path);
/* A number as it is; -1 when there is none. */
double reply_num(const struct reply *reply, const char *path);
/* The value itself, borrowed; NULL when there is none. */
json_t *reply_at(const struct reply *reply, const char *path);
json_t *json_path(json_t *value, const char *path);
