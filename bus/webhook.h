/*
 * What a webhook is to whoever makes one known and whoever sends it: its secret and its signature, by
 * Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks, spec). A secret is never stored: it
 * is HMAC(ENCRYPTION_KEY, id ‖ generation), so the door can tell it again and the sender can use it, and a
 * dump of the database tells nobody.
 */
#pragma once

#include "bus/base/seal.h"

enum { WEBHOOK_SECRET = 32 }; /* bytes; the spec asks for 24 to 64 */

struct webhook_secret {
    uint8_t b[WEBHOOK_SECRET];
};

/* master: ENCRYPTION_KEY. generation counts from 1. */
struct webhook_secret webhook_secret_of(const struct seal_key *master, struct uuid id, int64_t generation);
/* "whsec_" and base64, as its owner gets it. */
struct str webhook_secret_text(const struct webhook_secret *secret, struct arena *arena);

/* One signature "v1,<base64>" over "id.timestamp.body"; key: the raw bytes of a secret. timestamp: seconds
 * since 1970. */
struct str webhook_sign(struct str key, struct str id, int64_t timestamp, struct str body,
                        struct arena *arena);
/* The value of webhook-signature: by that generation, and while it is not over also by the one before,
 * separated by a blank. */
struct str webhook_signatures(const struct seal_key *master, struct uuid webhook, int64_t generation,
                              bool previous, struct str id, int64_t timestamp, struct str body,
                              struct arena *arena);
/* base64 with padding (RFC 4648 §4). */
struct str base64(struct str bytes, struct arena *arena);
