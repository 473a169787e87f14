/*
 * Access tokens: JWT (RFC 7519) signed by HS256 and nothing else. The header of a token is never interpreted:
 * it must be, byte for byte, the header this shop writes for one of its keys, which rules out `none`, other
 * algorithms, foreign keys and extensions at once. The signature is compared in constant time before the
 * claims are read.
 */
#pragma once

#include "api/roles.h"
#include "api/secrets.h"
#include "bus/base/uuid.h"

enum { JWT_MAX = 1024, JWT_LIFETIME_S = 3600 };

struct claims {
    struct uuid user, session, id; /* sub, sid, jti */
    enum role role;
    int64_t issued, not_before, expires; /* seconds since 1970 */
};

/* "header.claims.signature", in the arena. */
struct str jwt_sign(const struct secrets *secrets, const struct claims *claims, struct arena *arena);
/* UNAUTHENTICATED for whatever is not a token of ours that is valid at now_s, give or take leeway_s seconds.
 */
err jwt_verify(const struct secrets *secrets, struct str token, int64_t now_s, int64_t leeway_s,
               struct arena *arena, struct claims *ret) _must_use_;

/* Refresh tokens: base64url(session ‖ generation ‖ HMAC(key, session ‖ generation)). Which generation is
 * current is known to the identity group alone. */
struct str refresh_token_make(const struct secrets *secrets, struct uuid session, int64_t generation,
                              struct arena *arena);
/* UNAUTHENTICATED when it is not one of ours. */
err refresh_token_read(const struct secrets *secrets, struct str token, struct arena *arena,
                       struct uuid *ret_session, int64_t *ret_generation) _must_use_;
