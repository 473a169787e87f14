/*
 * A receiver of webhooks: a small HTTP/1.1 server on a loopback port with a thread per connection, which
 * checks the signature of each request with code of its own, keeps what came in order, and answers as the
 * test wants.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bus/base/arena.h"

struct received {
    char id[40], type[64], key[64];
    char *body;     /* owned by the receiver */
    int status;     /* what was answered */
    int signatures; /* how many stand in the header */
    bool good;      /* one of them fits one of the secrets, and the timestamp is fresh */
    int64_t at_ms;  /* monotonic */
};

struct receiver;

struct receiver *receiver_start(void);
struct receiver *receiver_stop(struct receiver *receiver); /* takes NULL, returns NULL */
const char *receiver_url(const struct receiver *receiver);
/* "whsec_…"; replaces the ones before when alone, else is tried beside them. */
void receiver_secret(struct receiver *receiver, const char *secret, bool alone);
/* What is answered from now on: a status (200, 500, 410 …), further header lines (each with its CRLF, or
 * NULL), after a while. status 0: the connection is broken instead. */
void receiver_answers(struct receiver *receiver, int status, const char *lines, int after_ms);
/* Events of that key alone get this status; NULL: none any more. */
void receiver_dislikes(struct receiver *receiver, const char *key, int status);

/* How many requests came; those answered by 2xx; different ids of those; of that type ("order.placed.v1", or
 * NULL: all). */
size_t receiver_count(struct receiver *receiver);
size_t receiver_accepted(struct receiver *receiver, const char *type);
size_t receiver_distinct(struct receiver *receiver, const char *type);
bool receiver_has(struct receiver *receiver, const char *id);
/* A copy of the i-th request; its body lives as long as the receiver. */
struct received receiver_at(struct receiver *receiver, size_t i);
/* How many carried no good signature. */
size_t receiver_forged(struct receiver *receiver);
/* Waits until it has accepted n different ids of that type; false when that takes too long. */
bool receiver_gets(struct receiver *receiver, const char *type, size_t n);
/* Waits until that many requests came in all. */
bool receiver_asked(struct receiver *receiver, size_t n);
