/*
 * Passwords: the policy, argon2id (19 MiB, 2 passes) on the worker threads, one job at a time per loop so
 * that a storm of logins neither starves the machine nor takes its memory. bcrypt hashes of imported people
 * verify too and are to be replaced.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/codec.h"

enum { PASSWORDS_WAITING_MAX = 128, PASSWORD_HASH_MAX = 128, PASSWORD_BYTES_MAX = 800 };

struct loop;
struct passwords;

struct passwords *passwords_new(struct loop *loop);
struct passwords *passwords_free(struct passwords *passwords);

/* Answers who waits for his turn, by UNAVAILABLE; what is on a thread is finished. */
void passwords_drain(struct passwords *passwords);

/* At least 8 characters with an upper and a lower case letter, a digit and a symbol. False: sentence says
 * what it needs. */
bool password_fits_policy(struct str password, const char **ret_sentence);

/* Told later on the loop. e: OK, or OVERLOADED and then the rest means nothing. ok: the hash was made, or the
 * password fits. hash is NUL-terminated and lives until fn returns. stale: it fits but should be stored as
 * `hash`, made anew. */
typedef void password_fn(void *data, err e, bool ok, const char *hash, bool stale);
/* Copies the password and wipes its copy. OVERLOADED: too many wait; fn is not called. */
err password_hash(struct passwords *passwords, struct str password, password_fn *fn, void *data) _must_use_;
/* Against a stored hash; absent: nobody's, which takes the same time and never fits. */
err password_verify(struct passwords *passwords, struct str password, struct str hash, password_fn *fn,
                    void *data) _must_use_;
