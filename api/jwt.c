/*
 * Writing and checking access and refresh tokens.
 */
#include "api/jwt.h"

#include "bus/base/json.h"

static const char issuer[] = "daydream", audience[] = "daydream-api";

static struct str bytes_of(const void *p, size_t n)
{
    return (struct str){p, n};
}

static struct str sign(const struct jwt_key *key, struct str text, struct arena *arena)
{
    uint8_t digest[32];
    hmac256(key->bytes, text, digest);
    return base64url(bytes_of(digest, sizeof(digest)), arena);
}

struct str jwt_sign(const struct secrets *secrets, const struct claims *claims, struct arena *arena)
{
    struct buf b = buf_new(arena, 400);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "iss", str_of(issuer));
    json_kstr(&j, "aud", str_of(audience));
    json_kstr(&j, "sub", uuid_str(claims->user, arena));
    json_kstr(&j, "sid", uuid_str(claims->session, arena));
    json_kstr(&j, "jti", uuid_str(claims->id, arena));
    json_kstr(&j, "role", str_of(role_name(claims->role)));
    json_kint(&j, "iat", claims->issued);
    json_kint(&j, "nbf", claims->not_before);
    json_kint(&j, "exp", claims->expires);
    json_close(&j, '}');
    const struct jwt_key *key = &secrets->jwt[0];
    struct str payload = base64url(buf_view(&b), arena);
    struct str text = arena_printf(arena, "%s.%.*s", key->header, STR_ARG(payload));
    return arena_printf(arena, "%.*s.%.*s", STR_ARG(text), STR_ARG(sign(key, text, arena)));
}

/* ---- checking ---- */

static const struct jwt_key *find_key(const struct secrets *secrets, struct str header)
{
    for (size_t i = 0; i < secrets->n_jwt; i++)
        if (str_is(header, secrets->jwt[i].header))
            return &secrets->jwt[i];
    return NULL;
}

/* Which claims there are, how each is read, and where it goes. All must be there, once. */
enum claim_kind { CLAIM_ISSUER, CLAIM_AUDIENCE, CLAIM_UUID, CLAIM_ROLE, CLAIM_SECONDS };

static const struct {
    const char *name;
    enum claim_kind kind;
    size_t offset;
} table[] = {
    {"iss", CLAIM_ISSUER, 0},
    {"aud", CLAIM_AUDIENCE, 0},
    {"sub", CLAIM_UUID, offsetof(struct claims, user)},
    {"sid", CLAIM_UUID, offsetof(struct claims, session)},
    {"jti", CLAIM_UUID, offsetof(struct claims, id)},
    {"role", CLAIM_ROLE, offsetof(struct claims, role)},
    {"iat", CLAIM_SECONDS, offsetof(struct claims, issued)},
    {"nbf", CLAIM_SECONDS, offsetof(struct claims, not_before)},
    {"exp", CLAIM_SECONDS, offsetof(struct claims, expires)},
};
enum { CLAIMS = sizeof(table) / sizeof(*table) };

static err wrong(const char *what)
{
    return FAIL(UNAUTHENTICATED, "%s", what);
}

static err read_text_claim(enum claim_kind kind, struct str text, void *into)
{
    switch (kind) {
    case CLAIM_ISSUER:
        return str_is(text, issuer) ? OK : wrong("another issuer");
    case CLAIM_AUDIENCE:
        return str_is(text, audience) ? OK : wrong("another audience");
    case CLAIM_UUID:
        return failed(uuid_parse(text, into)) ? wrong("a claim is not a UUID") : OK;
    default:
        *(enum role *)into = role_of(text);
        return role_of(text) == ROLE_NONE ? wrong("an unknown role") : OK;
    }
}

static err read_claim(struct json_in *in, size_t i, struct claims *ret)
{
    void *into = (char *)ret + table[i].offset;
    struct str text;
    if (table[i].kind == CLAIM_SECONDS) {
        TRY(json_read_number(in, &text));
        return str_int64(text, into);
    }
    TRY(json_read_string(in, &text));
    return read_text_claim(table[i].kind, text, into);
}

static err read_member(struct json_in *in, struct str name, unsigned *seen, struct claims *ret)
{
    for (size_t i = 0; i < CLAIMS; i++) {
        if (!str_is(name, table[i].name))
            continue;
        if (*seen >> i & 1)
            return wrong("a claim stands twice");
        *seen |= 1U << i;
        return read_claim(in, i, ret);
    }
    return json_skip(in, NULL);
}

static err read_claims(struct str text, struct arena *arena, struct claims *ret)
{
    struct json_in in = json_in(text, arena);
    bool first = true, more;
    struct str name;
    unsigned seen = 0;
    TRY(json_enter(&in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(&in, &first, &more, &name));
        if (!more)
            break;
        TRY(read_member(&in, name, &seen, ret));
    }
    TRY(json_end(&in));
    return seen == (1U << CLAIMS) - 1 ? OK : wrong("a claim is missing");
}

static err check_times(const struct claims *claims, int64_t now_s, int64_t leeway_s)
{
    const int64_t far = INT64_C(1) << 40; /* keeps the sums below away from overflow */
    if (claims->expires < 0 || claims->expires > far || claims->not_before < 0 || claims->not_before > far ||
        claims->issued < 0 || claims->issued > far)
        return wrong("an absurd time");
    if (now_s >= claims->expires + leeway_s)
        return wrong("expired");
    if (now_s + leeway_s < claims->not_before || now_s + leeway_s < claims->issued)
        return wrong("not yet valid");
    return OK;
}

/* A segment as base64url writes it: no padding, none of the letters of plain base64. */
static err decode_segment(struct str segment, struct arena *arena, struct str *ret)
{
    for (size_t i = 0; i < segment.n; i++)
        if (strchr("+/=\r\n ", segment.p[i]))
            return wrong("not base64url");
    return base64url_decode(segment, arena, ret);
}

static err verify(const struct secrets *secrets, struct str token, struct arena *arena, struct claims *ret)
{
    if (token.n > JWT_MAX || memchr(token.p, '\0', token.n))
        return wrong("too long or not text");
    size_t dot = str_find(token, '.');
    const char *last = memrchr(token.p, '.', token.n);
    size_t end = last ? (size_t)(last - token.p) : 0;
    if (dot == token.n || end <= dot)
        return wrong("not three segments");
    struct str header = str_slice(token, 0, dot), payload = str_slice(token, dot + 1, end);
    const struct jwt_key *key = find_key(secrets, header);
    if (!key || str_find(payload, '.') < payload.n)
        return wrong("not a header of ours");

    struct str given = str_slice(token, end + 1, token.n), made = sign(key, str_slice(token, 0, end), arena),
               json;
    if (given.n != made.n || !bytes_eq(given.p, made.p, made.n))
        return wrong("wrong signature");
    TRY(decode_segment(payload, arena, &json));
    return read_claims(json, arena, ret);
}

err jwt_verify(const struct secrets *secrets, struct str token, int64_t now_s, int64_t leeway_s,
               struct arena *arena, struct claims *ret)
{
    *ret = (struct claims){0};
    if (str_empty(token) || failed(verify(secrets, token, arena, ret)))
        return wrong("The token is not valid.");
    return check_times(ret, now_s, leeway_s);
}

/* ---- refresh tokens ---- */

enum { REFRESH_BODY = 16 + 8, REFRESH_BYTES = REFRESH_BODY + 32 };

static void refresh_mac(const struct secrets *secrets, uint8_t token[static REFRESH_BYTES],
                        uint8_t ret[static 32])
{
    hmac256(bytes_of(secrets->refresh.b, SEAL_KEY), bytes_of(token, REFRESH_BODY), ret);
}

struct str refresh_token_make(const struct secrets *secrets, struct uuid session, int64_t generation,
                              struct arena *arena)
{
    uint8_t token[REFRESH_BYTES];
    memcpy(token, session.b, 16);
    for (size_t i = 0; i < 8; i++)
        token[16 + i] = (uint8_t)((uint64_t)generation >> (56 - 8 * i));
    refresh_mac(secrets, token, token + REFRESH_BODY);
    return base64url(bytes_of(token, sizeof(token)), arena);
}

err refresh_token_read(const struct secrets *secrets, struct str token, struct arena *arena,
                       struct uuid *ret_session, int64_t *ret_generation)
{
    struct str bytes;
    uint8_t copy[REFRESH_BYTES], mac[32];
    if (token.n > 2 * REFRESH_BYTES || failed(decode_segment(token, arena, &bytes)) ||
        bytes.n != REFRESH_BYTES)
        return wrong("The refresh token is not valid.");
    memcpy(copy, bytes.p, REFRESH_BYTES);
    refresh_mac(secrets, copy, mac);
    if (!bytes_eq(mac, copy + REFRESH_BODY, sizeof(mac)))
        return wrong("The refresh token is not valid.");
    uint64_t generation = 0;
    for (size_t i = 0; i < 8; i++)
        generation = generation << 8 | copy[16 + i];
    memcpy(ret_session->b, copy, 16);
    *ret_generation = (int64_t)generation;
    return OK;
}
