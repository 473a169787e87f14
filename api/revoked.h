/*
 * Tokens that are void before they expire: sessions that ended, people that were switched off or changed
 * their role. Kept in memory per loop, rebuilt from PostgreSQL at start and after a gap, fed by the events of
 * `users`. Whatever is older than the lifetime of an access token is forgotten: no token of that time is
 * valid any more.
 */
#pragma once

#include "api/jwt.h"
#include "bus/eventlog.h"

struct door;
struct revoked;

struct revoked *revoked_new(struct door *door);
struct revoked *revoked_free(struct revoked *revoked);

/* Reads PostgreSQL; done(data, e) when it is known, or why not. What events told meanwhile stays. */
void revoked_load(struct revoked *revoked, void (*done)(void *data, err e), void *data);
/* An event of the topic `users`. data is its JSON. */
void revoked_event(struct revoked *revoked, enum message type, struct str data, int64_t ms);
/* UNAUTHENTICATED when the token is void; else *role is what that person is today. */
err revoked_check(const struct revoked *revoked, const struct claims *claims, enum role *ret_role) _must_use_;
