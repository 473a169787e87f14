/* The rows of webhook_delivery: claiming, keeping, ending. Private to the sender. All are sequential. */
#pragma once

#include "bus/base/arena.h"
#include "bus/eventlog.h"
#include "bus/pg/pg.h"

enum { WEBHOOK_LEASE_MS = 5000 };

/* A claimed delivery. Strings live in the arena of the claim. */
struct delivery_row {
    struct uuid id, webhook;
    enum topic topic;
    int part;
    int64_t seq, attempt; /* from 1 */
    int64_t since_ms;     /* when trying began */
    struct str url;
    unsigned rights; /* enum event_right: what the endpoint may be told at that url */
    int64_t generation;
    bool previous; /* the secret before signs too */
};

/* How many deliveries an endpoint may get now; those that are not named may have `most`. A probe takes the
 * first in line even when its time has not come. */
struct endpoint_room {
    struct uuid webhook;
    int room;
    bool probe;
};

/* Claims up to `most` deliveries that are due and that this build can read and judge. ret has room for them.
 */
err delivery_claim(struct pg *pg, struct str owner, const struct endpoint_room *rooms, size_t n_rooms,
                   int per_endpoint, int most, struct arena *arena, struct delivery_row *ret,
                   int *ret_n) _must_use_;
/* Deliveries whose lease has passed are due again. */
err delivery_recover(struct pg *pg) _must_use_;
/* Renews the leases of n deliveries. */
err delivery_renew(struct pg *pg, const struct delivery_row *const *rows, size_t n,
                   struct arena *arena) _must_use_;
/* The events of n deliveries in one round trip, as far as they are in the log; seq 0: ask for it alone. */
err delivery_events(struct pg *pg, const struct delivery_row *rows, size_t n, struct arena *arena,
                    struct event *ret) _must_use_;
/* The event of a delivery, from the archive too. NOT_FOUND when nobody has it any more. */
err delivery_event(struct pg *pg, const struct delivery_row *row, struct arena *arena,
                   struct event *ret) _must_use_;

/* UNTRIED and VOID say nothing of the endpoint: our own trouble, which passes; one that may not be sent, or
 * never can. */
enum delivery_fate { DELIVERY_DONE, DELIVERY_AGAIN, DELIVERY_FAILED, DELIVERY_UNTRIED, DELIVERY_VOID };

/* How an attempt ended. */
struct delivery_end {
    const struct delivery_row *row;
    enum delivery_fate fate;
    int status;        /* HTTP; 0: no answer */
    const char *error; /* a stable word; NULL: none */
    int64_t latency_ms, due_ms;
    int64_t failing_since_ms; /* filled: since when the endpoint takes nothing; 0: it does */
};
/* Records n ends, each in a transaction of its own, if its attempt still holds it, and lets the next delivery
 * of the key go. */
err delivery_finish(struct pg *pg, struct delivery_end *ends, size_t n, struct arena *arena) _must_use_;
/* An endpoint that was away is back: all that waits for it is due now. */
err delivery_hurry(struct pg *pg, struct uuid webhook) _must_use_;
/* Asks the group `webhooks` to switch an endpoint off, by an event. reason: gone, failing. */
err delivery_disable(struct pg *pg, struct uuid webhook, const char *reason, struct arena *arena) _must_use_;

/* Deletes at most n deliveries that ended before that time, and what is left of endpoints that are gone; ret:
 * whether there is more. */
err delivery_retire(struct pg *pg, int64_t before_ms, int64_t n, bool *ret_more) _must_use_;
