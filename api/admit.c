/*
 * Who sends a request, and may he? Access tokens are verified once and remembered per loop (their time and
 * whether they were revoked is asked each time).
 */
#include <stdlib.h>

#include "api/admit.h"
#include "api/door.h"
#include "api/jwt.h"
#include "api/revoked.h"
#include "api/tail.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"

enum { TOKENS_KEPT = 512 };

struct token {
    struct str text; /* p is ours */
    struct claims claims;
};

struct tokens {
    struct token kept[TOKENS_KEPT];
};

struct tokens *tokens_new(void)
{
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    if (!tokens)
        abort();
    return tokens;
}

struct tokens *tokens_free(struct tokens *tokens)
{
    for (size_t i = 0; tokens && i < TOKENS_KEPT; i++)
        free((char *)(uintptr_t)tokens->kept[i].text.p);
    free(tokens);
    return NULL;
}

static void keep_token(struct token *kept, struct str text, const struct claims *claims)
{
    char *copy = malloc(text.n);
    if (!copy)
        abort();
    memcpy(copy, text.p, text.n);
    free((char *)(uintptr_t)kept->text.p);
    *kept = (struct token){{copy, text.n}, *claims};
}

/* A hit was verified before; only time has passed. */
static err verify(struct door *door, struct str text, struct arena *arena, struct claims *ret)
{
    int64_t now_s = clock_ms() / 1000, leeway_s = conf_int(SET_JWT_LEEWAY_S);
    struct token *kept = &door->tokens->kept[str_hash(text) % TOKENS_KEPT];
    if (str_eq(kept->text, text) && text.n) {
        *ret = kept->claims;
        return now_s < ret->expires + leeway_s ? OK : FAIL(UNAUTHENTICATED, "expired");
    }
    TRY(jwt_verify(&door->shop->secrets, text, now_s, leeway_s, arena, ret));
    keep_token(kept, text, ret);
    return OK;
}

/* The token of "Authorization: Bearer …"; absent: no such header; empty: another scheme. */
static struct str bearer(const struct request *req)
{
    struct str value = request_header(req, "authorization");
    if (!value.p)
        return STR_NONE;
    if (value.n < 7 || !str_ieq(str_slice(value, 0, 7), STR("Bearer ")))
        return STR("");
    return str_trim(str_slice(value, 7, value.n));
}

static err identify(struct door *door, struct request *req, struct who *ret)
{
    struct claims claims;
    struct str token = bearer(req);
    *ret = (struct who){0};
    if (!token.p)
        return FAIL(UNAUTHENTICATED, "A bearer token is needed.");
    TRY(verify(door, token, req->arena, &claims));
    if (!tail_is_live(door->tail))
        return FAIL(UNAVAILABLE, "it is not known yet which tokens were revoked");
    TRY(revoked_check(door->revoked, &claims, &ret->role));
    ret->user = claims.user;
    ret->session = claims.session;
    ret->known = true;
    return OK;
}

/* The detail of a 401 is the same for all that is wrong with a token: nobody learns how near he came. */
static void refuse(struct request *req, err e)
{
    if (e.code == ERR_UNAUTHENTICATED)
        respond_problem(req, &(struct problem){.code = e.code});
    else
        respond_error(req, e);
}

bool door_admit(struct request *req)
{
    struct door *door = door_of(req);
    struct visit *visit = arena_new_of(req->arena, struct visit);
    req->data = visit;
    if (!door->ready) {
        respond_problem(req,
                        &(struct problem){.code = ERR_UNAVAILABLE, .detail = STR("The shop is starting.")});
        return false;
    }
    enum permission may = (enum permission)req->route->may;
    err e = identify(door, req, &visit->who);
    if (failed(e) && may != PUBLIC) {
        refuse(req, e);
        return false;
    }
    if (failed(e)) { /* a stale token must not keep anybody from signing in */
        visit->who = (struct who){0};
        visit->refused = request_header(req, "authorization").p ? e.code : ERR_NONE;
    }
    if (!role_may(visit->who.role, may)) {
        respond_problem(req, &(struct problem){.code = ERR_FORBIDDEN});
        return false;
    }
    return true;
}

/* Works in memory of its own: a request that lasts for hours would fill its arena. */
bool admit_again(const struct request *req)
{
    struct who now;
    struct arena *arena = arena_new(64 << 10);
    struct request asked = *req;
    asked.arena = arena;
    bool same = !failed(identify(door_of(req), &asked, &now)) && now.role == who_of(req)->role;
    arena_free(arena);
    return same;
}

const struct who *who_of(const struct request *req)
{
    return &((const struct visit *)req->data)->who;
}
