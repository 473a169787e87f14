/*
 * The command lane: cmd:{topic.pp}, ids by Redis, written by the front door and by operators, read by the one
 * handling group through XREADGROUP. Holds open work only: after COMMIT the runner acknowledges and deletes,
 * so XLEN is the backlog.
 */
#pragma once

#include "bus/cmdid.h"
#include "bus/envelope.h"
#include "bus/topics.h"

/* Queues XADD of a command on its lane (envelope->id decides the lane, see cmdid.h). fn gets the entry id. */
void lane_publish(struct redis *redis, const struct envelope *command, redis_fn *fn, void *data);

/* Queues the keyed publish: maps (client, idempotency key) to the id and fingerprint for ttl_ms and appends,
 * in one script. fn gets an array: ["new", entry id] or ["known", id text, fingerprint] (nothing appended) or
 * ["full", length]. cap: lane length above which it refuses. instead: an id text; the key counts as new when
 * it maps to that command, which ended without having had a chance. STR_NONE: none. */
void lane_publish_keyed(struct redis *redis, const struct envelope *command, struct str instead, int64_t cap,
                        int64_t ttl_ms, redis_fn *fn, void *data);

/* An entry read from a lane or stream. */
struct entry {
    enum topic topic;
    int part;
    bool command;
    int64_t ms, seq;  /* of the entry id; 0 when it is beyond what these hold */
    struct str entry; /* its text */
    struct envelope envelope;
    bool broken; /* the entry's fields cannot be read as an envelope, or it has the id of no event */
};

/* Parses a reply of XREAD/XREADGROUP over several streams into entries (arena copies). Nil reply: n = 0. */
err lane_entries(const struct redis_reply *reply, struct arena *arena, struct entry **ret,
                 size_t *ret_n) _must_use_;
/* "ms-seq" → numbers. */
err entry_id_parse(struct str text, int64_t *ret_ms, int64_t *ret_seq) _must_use_;
