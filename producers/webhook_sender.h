/* The loop that sends what is due; private to webhooks.c. One thread owns all of it but stop and multi's
 * wake-up. */
#pragma once

#include <stdatomic.h>

#include "bus/base/seal.h"
#include "producers/link.h"
#include "producers/webhook_http.h"
#include "producers/webhook_plan.h"
#include "producers/webhook_store.h"

/* A delivery in hand. */
struct post {
    bool used;
    struct delivery_row row;
    struct webhook_request request;
    struct arena *arena; /* of the row's strings and the body */
};

struct sender {
    struct seal_key master;
    struct bell *told;
    CURLM *multi;
    struct link link;
    struct arena *arena; /* of one turn */
    struct post *posts;
    int n, running;
    struct endpoint_state *states; /* of endpoints there is something to remember about */
    size_t states_n, states_cap;
    struct delivery_end *ends; /* of one turn */
    struct post **ended;
    size_t ends_n;
    int64_t claim_ms, keep_ms; /* monotonic: when next */
    char owner[32];
    atomic_bool stop;
};

/* told is rung when an event was committed. */
struct sender *sender_new(const struct seal_key *master, struct bell *told);
/* Sends until stop is set; then gives back what is under way. */
void sender_run(struct sender *sender);
/* Any thread: there may be something to send, or stop was set. */
void sender_wake(struct sender *sender);
struct sender *sender_free(struct sender *sender);
