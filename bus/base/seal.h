/*
 * Personal data at rest. Each person has a key of 32 bytes, kept wrapped (AES-256-GCM) by ENCRYPTION_KEY in
 * the table person_key; destroying the row makes every copy of that person's data unreadable. A sealed value
 * is text that is safe inside JSON: "sealed:1:<person uuid>:<base64url(nonce 12 ‖ ciphertext ‖ tag 16)>". Its
 * plaintext is one JSON value, so that an opened value is put back into a document where the sealed string
 * stood.
 */
#pragma once

#include "bus/base/uuid.h"

enum { SEAL_KEY = 32, SEAL_WRAPPED = 12 + SEAL_KEY + 16 };

struct seal_key {
    uint8_t b[SEAL_KEY];
};

/* ENCRYPTION_KEY as configured: base64 or base64url of exactly 32 bytes, else CONFIG. */
err seal_key_parse(struct str base64, struct seal_key *ret) _must_use_;
struct seal_key seal_key_random(void);
/* Wrap/unwrap a person's key under the master key; the person's id is authenticated with it. */
void seal_wrap(const struct seal_key *master, struct uuid person, const struct seal_key *key,
               uint8_t ret[static SEAL_WRAPPED]);
/* INVALID when it was wrapped by another key, for another person, or changed. */
err seal_unwrap(const struct seal_key *master, struct uuid person, struct str wrapped,
                struct seal_key *ret) _must_use_;
struct str seal_value(const struct seal_key *key, struct uuid person, struct str json_value,
                      struct arena *arena);
/* INVALID when the text is not sealed, or was changed, or the key is another person's. */
err seal_open(const struct seal_key *key, struct str sealed, struct arena *arena,
              struct str *ret_json) _must_use_;
bool seal_is(struct str text);
/* The person in a sealed text. */
err seal_person(struct str sealed, struct uuid *ret) _must_use_;

/* HMAC-SHA-256. Purposes are kept apart by deriving one key per purpose from the master key. */
void hmac256(struct str key, struct str data, uint8_t ret[static 32]);
struct seal_key seal_derive(const struct seal_key *master, const char *purpose);
/* Blind index of an e-mail address: HMAC over its trimmed, lower-cased form, as 64 hex characters. */
struct str seal_blind_index(const struct seal_key *master, struct str text, struct arena *arena);
/* Constant time. */
bool bytes_eq(const void *a, const void *b, size_t n);
struct str base64url(struct str bytes, struct arena *arena); /* without padding */
/* Also takes base64, padding optional. INVALID for anything else, and for set bits beyond the last byte. */
err base64url_decode(struct str text, struct arena *arena, struct str *ret) _must_use_;
struct str hex(struct str bytes, struct arena *arena); /* lower case */
