/*
 * Requests by route: http_requests_total{method,endpoint,status} and
 * http_request_duration_seconds{method,endpoint}. The endpoint is the pattern of the route, never the path;
 * what has no route is "none". A status that the door does not give is "other". So the number of series is
 * bounded by the table of routes. Shared by the loops of a server; relaxed atomics.
 */
#pragma once

#include "api/route.h"

struct route_metrics;

/* For these tables, which must outlive it. */
struct route_metrics *route_metrics_new(const struct route *const *tables);
struct route_metrics *route_metrics_free(struct route_metrics *metrics); /* takes NULL, returns NULL */
/* A request was answered; ns: from its last byte until the answer was written. */
void route_metrics_count(struct route_metrics *metrics, const struct request *req, int status, int64_t ns);
/* Both families; routes that were never asked are left out. labels: added to each value, not empty. */
void route_metrics_print(const struct route_metrics *metrics, struct buf *b, const char *labels);
