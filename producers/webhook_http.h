/*
 * One POST to a place that somebody outside has named. What it may do is bounded on every side: the address
 * is checked when the socket is made, after names were resolved; no redirect is followed, no proxy used, no
 * other protocol spoken; certificates are verified; it may take WEBHOOK_TIMEOUT_MS, and of the answer's body
 * 64 KB are read and dropped. Nothing of the answer but its status and Retry-After is used.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus/base/str.h"

enum { WEBHOOK_TIMEOUT_MS = 15000, WEBHOOK_CONNECT_MS = 5000, WEBHOOK_ANSWER_MAX = 64 << 10 };

/* A request in the making or on its way. One owner. */
struct webhook_request {
    CURL *easy;                 /* kept from one request to the next */
    struct curl_slist *headers; /* of the present one */
    bool allow_private;
    bool refused; /* an address was not public */
    bool enough;  /* the answer was longer than anybody needs */
    size_t received;
};

/* How it ended. */
struct webhook_answer {
    int status;        /* 0: none */
    const char *error; /* a stable word: timeout, dns, connect, tls, not-https, private-address, broken, http;
                          NULL: 2xx */
    int64_t retry_after_ms, latency_ms;
};

/* Prepares the request; body is borrowed until it has ended. User data of the handle is `owner`. */
void webhook_request_begin(struct webhook_request *request, const char *url, struct str id, int64_t timestamp,
                           struct str signatures, struct str body, void *owner);
/* After libcurl said that it is done. */
struct webhook_answer webhook_request_end(struct webhook_request *request, CURLcode code);
void webhook_request_deinit(struct webhook_request *request);
