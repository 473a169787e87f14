/*
 * See webhook_http.h.
 */
#include "producers/webhook_http.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/target.h"
#include "producers/webhook_plan.h"

/* The address that libcurl is about to connect to, whatever name it came from: the last word on it. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct webhook_request *request = data;
    (void)purpose;
    if (!request->allow_private && !address_is_public(&address->addr)) {
        request->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Head and body alike: reads on until it is enough; then the transfer is broken off, and its status is what
 * counts. */
static size_t drop_answer(char *bytes, size_t size, size_t n, void *data)
{
    struct webhook_request *request = data;
    (void)bytes;
    request->received += size * n;
    request->enough = request->received > WEBHOOK_ANSWER_MAX;
    return request->enough ? 0 : size * n;
}

#define SET(easy, option, value)                                                                             \
    do {                                                                                                     \
        CURLcode set_ = curl_easy_setopt((easy), (option), (value));                                         \
        assert(set_ == CURLE_OK);                                                                            \
    } while (0)

/* What is the same for all requests of a handle. */
static void prepare(struct webhook_request *request)
{
    CURL *easy = request->easy = curl_easy_init();
    assert(easy);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(easy, CURLOPT_PROXY, ""); /* none, whatever the environment says */
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(easy, CURLOPT_TIMEOUT_MS, (long)WEBHOOK_TIMEOUT_MS);
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)WEBHOOK_CONNECT_MS);
    SET(easy, CURLOPT_DNS_CACHE_TIMEOUT, 30L);
    SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(easy, CURLOPT_OPENSOCKETDATA, request);
    SET(easy, CURLOPT_HEADERFUNCTION, drop_answer);
    SET(easy, CURLOPT_HEADERDATA, request);
    SET(easy, CURLOPT_WRITEFUNCTION, drop_answer);
    SET(easy, CURLOPT_WRITEDATA, request);
    SET(easy, CURLOPT_USERAGENT, "DaydreamShop-Webhooks/1.0");
    SET(easy, CURLOPT_POST, 1L);
}

static void add_header(struct webhook_request *request, const char *line)
{
    struct curl_slist *longer = curl_slist_append(request->headers, line);
    assert(longer);
    request->headers = longer;
}

void webhook_request_begin(struct webhook_request *request, const char *url, struct str id, int64_t timestamp,
                           struct str signatures, struct str body, void *owner)
{
    char line[256];
    if (!request->easy)
        prepare(request);
    request->refused = request->enough = false;
    request->received = 0;
    assert(!request->headers);
    snprintf(line, sizeof(line), "webhook-id: %.*s", STR_ARG(id));
    add_header(request, line);
    snprintf(line, sizeof(line), "webhook-timestamp: %lld", (long long)timestamp);
    add_header(request, line);
    snprintf(line, sizeof(line), "webhook-signature: %.*s", STR_ARG(signatures));
    add_header(request, line);
    add_header(request, "Content-Type: application/cloudevents+json; charset=utf-8");
    add_header(request, "Accept:");
    add_header(request, "Expect:"); /* no round trip more for a body this small */
    SET(request->easy, CURLOPT_PROTOCOLS_STR, request->allow_private ? "http,https" : "https");
    SET(request->easy, CURLOPT_URL, url);
    SET(request->easy, CURLOPT_HTTPHEADER, request->headers);
    SET(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    SET(request->easy, CURLOPT_POSTFIELDS, body.p);
    SET(request->easy, CURLOPT_PRIVATE, owner);
}

static const char *word_of(const struct webhook_request *request, CURLcode code)
{
    if (request->refused)
        return "private-address";
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
        return "not-https";
    case CURLE_OPERATION_TIMEDOUT:
        return "timeout";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "dns";
    case CURLE_COULDNT_CONNECT:
        return "connect";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return "tls";
    default:
        return "broken";
    }
}

struct webhook_answer webhook_request_end(struct webhook_request *request, CURLcode code)
{
    struct webhook_answer answer = {.status = 0};
    struct curl_header *header = NULL;
    long status = 0;
    curl_off_t us = 0;
    if (code == CURLE_OK || request->enough) {
        curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
        if (curl_easy_header(request->easy, "retry-after", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
            answer.retry_after_ms = webhook_retry_after_ms(header->value, clock_ms());
        answer.error = webhook_judge((int)status).delivered ? NULL : "http";
    } else {
        answer.error = word_of(request, code);
    }
    curl_easy_getinfo(request->easy, CURLINFO_TOTAL_TIME_T, &us);
    answer.status = (int)status;
    answer.latency_ms = us / 1000;
    curl_slist_free_all(request->headers);
    request->headers = NULL;
    return answer;
}

void webhook_request_deinit(struct webhook_request *request)
{
    curl_slist_free_all(request->headers);
    if (request->easy)
        curl_easy_cleanup(request->easy);
    *request = (struct webhook_request){.easy = NULL};
}
