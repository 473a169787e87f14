/*
 * A load generator: N kept-alive HTTP/1.1 connections in one thread, one request under way on each, requests
 * built beforehand. As fast as the answers come, or at a fixed rate; then latency counts from when a request
 * was due, so that a stall shows in all requests it delayed. Ends the program when the server cannot be
 * reached.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bus/base/str.h"
#include "tests/support/measure.h"

struct load {
    int port; /* on 127.0.0.1 */
    int connections;
    const struct str *requests; /* whole requests, sent in turn */
    size_t n_requests;
    int64_t total;     /* how many to send */
    double per_second; /* 0: as fast as answers come */
    int expected;      /* status of a good answer */
};

struct load_result {
    int64_t good, other, broken; /* answers; answers of another status; connections that ended without one */
    int other_status;            /* one of those */
    double seconds;
    struct latencies latencies; /* of all answers */
};

/* ret is overwritten. */
void load_run(const struct load *load, struct load_result *ret);
