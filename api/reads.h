/*
 * Read your writes. A result carries X-Event-Position; a query that sends it back is held until the groups
 * whose tables its route shows have handled every event up to there that concerns them, and the memory of
 * this loop has seen them too, but no longer than READS_WAIT_MS: then it is answered as things stand, with
 * `X-Event-Position: behind`. One statement per READS_LOOK_MS asks for everybody who waits on a loop, and
 * none when nobody does.
 */
#pragma once

#include "api/http.h"
#include "api/route.h"
#include "bus/position.h"

/* route->reads: the groups whose tables a query shows. */
enum reads_groups {
    READS_NOTHING = 0,
    READS_IDENTITY = 1 << 0,
    READS_CATALOG = 1 << 1,
    READS_INVENTORY = 1 << 2,
    READS_CART = 1 << 3,
    READS_ORDERS = 1 << 4,
    READS_PAYMENTS = 1 << 5,
    READS_REPORTS = 1 << 6,
    READS_WEBHOOKS = 1 << 7,
};

enum {
    READS_WAIT_MS = 2000,
    READS_LOOK_MS = 10,
    READS_WAITING_MAX = 1024, /* per loop; who comes then is not held and is told that it is behind */
    READS_PLACES_MAX = 256,   /* partitions one request may name */
    READS_HEADERS_MAX = 8,    /* positions in one header, separated by commas */
};

struct door;
struct reads;

struct reads *reads_new(struct door *door);
struct reads *reads_free(struct reads *reads); /* takes NULL, returns NULL */
/* Lets everybody pass, also whoever comes later. */
void reads_drain(struct reads *reads);

/* Calls pass(req), now or when its position is reached; or answers 400. */
void reads_wait(struct request *req, route_fn *pass);
/* What a request says that it has seen: all positions of its header, merged; nothing without one. The word
 * `behind`, which a client may have kept from an answer, says nothing. MALFORMED; ret is set in any case. */
err reads_wanted(struct request *req, struct position *ret) _must_use_;
