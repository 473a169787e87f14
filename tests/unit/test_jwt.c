/* Access and refresh tokens: a table of what must not pass, and that what we make does. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "api/jwt.h"
#include "bus/base/conf.h"

enum { NOW = 1800000000, LEEWAY = 30 };
#define KEY "0123456789abcdef0123456789abcdef"
#define OTHER_KEY "fedcba9876543210fedcba9876543210"
#define SUB "018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6"
#define CLAIMS_BUT(iss, aud, sub, role, iat, nbf, exp)                                                       \
    "{\"iss\":" iss ",\"aud\":" aud ",\"sub\":" sub ",\"sid\":\"" SUB "\",\"jti\":\"" SUB                    \
    "\",\"role\":" role ",\"iat\":" iat ",\"nbf\":" nbf ",\"exp\":" exp "}"
#define GOOD                                                                                                 \
    CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000",              \
               "1800000000", "1800003600")

static struct arena *arena;
static struct secrets secrets;

static void load(const char *jwt_key, struct secrets *ret)
{
    conf_set(SET_ENCRYPTION_KEY, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    conf_set(SET_JWT_SECRET_KEY, jwt_key);
    cr_assert(!failed(secrets_load(ret)));
}

static void setup(void)
{
    arena = arena_new(1 << 20);
    cr_assert(!failed(conf_load("test")));
    load(KEY, &secrets);
}

static void teardown(void)
{
    arena_free(arena);
}

TestSuite(jwt, .init = setup, .fini = teardown);

static struct str b64(const char *text)
{
    return base64url(str_of(text), arena);
}

static struct str signed_with(const char *key, struct str header, struct str payload)
{
    uint8_t digest[32];
    struct str text = arena_printf(arena, "%.*s.%.*s", STR_ARG(header), STR_ARG(payload));
    hmac256(str_of(key), text, digest);
    struct str mac = base64url((struct str){(const char *)digest, 32}, arena);
    return arena_printf(arena, "%.*s.%.*s", STR_ARG(text), STR_ARG(mac));
}

static struct str own_header(void)
{
    return str_of(secrets.jwt[0].header);
}

static err verify(struct str token, int64_t now)
{
    struct claims claims;
    return jwt_verify(&secrets, token, now, LEEWAY, arena, &claims);
}

/* Payloads under our header and our key: what is wrong is in the claims. */
static const struct {
    const char *what, *claims;
    bool passes;
} payloads[] = {
    {"as we make it", GOOD, true},
    {"unknown claims are nobody's business",
     "{\"x\":{\"y\":[1]},"
     "\"iss\":\"daydream\",\"aud\":\"daydream-api\",\"sub\":\"" SUB "\",\"sid\":\"" SUB "\",\"jti\":\"" SUB
     "\",\"role\":\"admin\",\"iat\":1800000000,\"nbf\":1800000000,\"exp\":1800003600}",
     true},
    {"another issuer",
     CLAIMS_BUT("\"evil\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000000",
                "1800003600"),
     false},
    {"another audience",
     CLAIMS_BUT("\"daydream\"", "\"other\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000000",
                "1800003600"),
     false},
    {"a list as audience",
     CLAIMS_BUT("\"daydream\"", "[\"daydream-api\"]", "\"" SUB "\"", "\"customer\"", "1800000000",
                "1800000000", "1800003600"),
     false},
    {"a subject that is no UUID",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"root\"", "\"customer\"", "1800000000", "1800000000",
                "1800003600"),
     false},
    {"an unknown role",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"god\"", "1800000000", "1800000000",
                "1800003600"),
     false},
    {"expired",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1799990000", "1799990000",
                "1799999970"),
     false},
    {"expired within the leeway",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1799990000", "1799990000",
                "1799999971"),
     true},
    {"not yet valid",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000031",
                "1800003600"),
     false},
    {"issued in the future",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000031", "1800000000",
                "1800003600"),
     false},
    {"a time as text",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000000",
                "\"1800003600\""),
     false},
    {"a time with a fraction",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000000",
                "1800003600.5"),
     false},
    {"an absurd time",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "1800000000", "1800000000",
                "9223372036854775807"),
     false},
    {"a time before time",
     CLAIMS_BUT("\"daydream\"", "\"daydream-api\"", "\"" SUB "\"", "\"customer\"", "-1", "1800000000",
                "1800003600"),
     false},
    {"a claim twice",
     "{\"sub\":\"" SUB "\",\"iss\":\"daydream\",\"aud\":\"daydream-api\",\"sub\":\"" SUB "\",\"sid\":\"" SUB
     "\",\"jti\":\"" SUB "\",\"role\":\"admin\",\"iat\":1800000000,\"nbf\":1800000000,\"exp\":1800003600}",
     false},
    {"a claim missing",
     "{\"iss\":\"daydream\",\"aud\":\"daydream-api\",\"sub\":\"" SUB "\",\"sid\":\"" SUB
     "\",\"role\":\"admin\",\"iat\":1800000000,\"nbf\":1800000000,\"exp\":1800003600}",
     false},
    {"no object", "[]", false},
    {"no JSON", "hello", false},
    {"something behind it", GOOD " {}", false},
};

Test(jwt, claims_are_checked_one_by_one)
{
    for (size_t i = 0; i < sizeof(payloads) / sizeof(*payloads); i++) {
        err e = verify(signed_with(KEY, own_header(), b64(payloads[i].claims)), NOW);
        cr_expect_eq(!failed(e), payloads[i].passes, "%s", payloads[i].what);
        if (failed(e))
            cr_expect_eq(e.code, ERR_UNAUTHENTICATED, "%s", payloads[i].what);
    }
}

/* Headers and signatures: what is around good claims. */
Test(jwt, no_other_header_or_signature_passes)
{
    static const char kid[] = "\"kid\":\"0011223344556677\"";
    struct str good = b64(GOOD), token = signed_with(KEY, own_header(), good);
    const struct {
        const char *what;
        struct str token;
    } rows[] = {
        {"alg none without a signature", arena_printf(arena, "%s.%s.", b64("{\"alg\":\"none\"}").p, good.p)},
        {"alg none with ours", signed_with(KEY, b64("{\"alg\":\"none\",\"typ\":\"JWT\"}"), good)},
        {"alg None", signed_with(KEY, b64("{\"alg\":\"None\"}"), good)},
        {"HS512", signed_with(KEY, b64("{\"alg\":\"HS512\",\"typ\":\"JWT\"}"), good)},
        {"RS256: the confusion of keys", signed_with(KEY, b64("{\"alg\":\"RS256\",\"typ\":\"JWT\"}"), good)},
        {"no kid", signed_with(KEY, b64("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"), good)},
        {"another kid",
         signed_with(KEY, b64(arena_printf(arena, "{\"alg\":\"HS256\",\"typ\":\"JWT\",%s}", kid).p), good)},
        {"a key in the header",
         signed_with(KEY, b64("{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}"), good)},
        {"crit", signed_with(KEY, b64("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}"), good)},
        {"another key", signed_with(OTHER_KEY, own_header(), good)},
        {"no signature", arena_printf(arena, "%s.%s.", own_header().p, good.p)},
        {"truncated", str_slice(token, 0, token.n - 1)},
        {"half", str_slice(token, 0, token.n / 2)},
        {"one more letter", arena_printf(arena, "%sA", token.p)},
        {"padded", arena_printf(arena, "%s=", token.p)},
        {"two segments", arena_printf(arena, "%s.%s", own_header().p, good.p)},
        {"four segments", arena_printf(arena, "%s.x", token.p)},
        {"dots", STR("..")},
        {"empty", STR("")},
        {"a space in front", arena_printf(arena, " %s", token.p)},
        {"a line end behind", arena_printf(arena, "%s\n", token.p)},
        {"NUL inside", {arena_printf(arena, "%s%c.", own_header().p, 0).p, own_header().n + 2}},
    };
    cr_assert(!failed(verify(token, NOW)));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        cr_expect_eq(verify(rows[i].token, NOW).code, ERR_UNAUTHENTICATED, "%s", rows[i].what);
}

Test(jwt, oversized_tokens_are_not_looked_at)
{
    char big[2000];
    memset(big, ' ', sizeof(big));
    memcpy(big, GOOD, sizeof(GOOD) - 1);
    struct str payload = base64url((struct str){big, sizeof(big)}, arena);
    cr_expect_eq(verify(signed_with(KEY, own_header(), payload), NOW).code, ERR_UNAUTHENTICATED);
}

Test(jwt, every_changed_letter_is_noticed)
{
    struct str token = signed_with(KEY, own_header(), b64(GOOD));
    for (size_t i = 0; i < token.n; i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, token).p;
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        cr_expect_eq(verify((struct str){copy, token.n}, NOW).code, ERR_UNAUTHENTICATED, "letter %zu", i);
    }
}

Test(jwt, what_is_signed_is_read_back)
{
    struct claims made = {.user = uuid_v7(1),
                          .session = uuid_v7(2),
                          .id = uuid_v7(3),
                          .role = ROLE_MANAGER,
                          .issued = NOW,
                          .not_before = NOW,
                          .expires = NOW + 3600},
                  read;
    struct str token = jwt_sign(&secrets, &made, arena);
    cr_assert(!failed(jwt_verify(&secrets, token, NOW + 3600, LEEWAY, arena, &read)));
    cr_expect(uuid_eq(read.user, made.user) && uuid_eq(read.session, made.session) &&
              uuid_eq(read.id, made.id));
    cr_expect_eq(read.role, ROLE_MANAGER);
    cr_expect(failed(jwt_verify(&secrets, token, NOW + 3630, LEEWAY, arena, &read)));
}

/* While a key is replaced both are good, and the first one signs. */
Test(jwt, two_keys_live_side_by_side)
{
    struct secrets both, after;
    struct str old = signed_with(KEY, own_header(), b64(GOOD));
    struct claims claims;
    load(OTHER_KEY "," KEY, &both);
    load(OTHER_KEY, &after);
    cr_expect(!failed(jwt_verify(&both, old, NOW, LEEWAY, arena, &claims)));
    cr_expect(failed(jwt_verify(&after, old, NOW, LEEWAY, arena, &claims)));
    struct str fresh = jwt_sign(&both, &claims, arena);
    (void)fresh;
    cr_expect_str_eq(both.jwt[0].header, after.jwt[0].header);
    cr_expect_str_neq(both.jwt[0].header, both.jwt[1].header);
}

Test(jwt, weak_keys_are_refused)
{
    struct secrets s;
    static const char *const weak[] = {"", "short", KEY ",short", KEY "," OTHER_KEY "," KEY};
    for (size_t i = 0; i < sizeof(weak) / sizeof(*weak); i++) {
        conf_set(SET_JWT_SECRET_KEY, weak[i]);
        cr_expect_eq(secrets_load(&s).code, ERR_CONFIG, "%s", weak[i]);
    }
}

Test(jwt, refresh_tokens_are_ours_or_nothing)
{
    struct uuid session = uuid_v7(5), read;
    int64_t generation;
    struct str token = refresh_token_make(&secrets, session, 7, arena);
    cr_assert(!failed(refresh_token_read(&secrets, token, arena, &read, &generation)));
    cr_expect(uuid_eq(read, session));
    cr_expect_eq(generation, 7);
    for (size_t i = 0; i < token.n; i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, token).p;
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        cr_expect(
            failed(refresh_token_read(&secrets, (struct str){copy, token.n}, arena, &read, &generation)),
            "letter %zu", i);
    }
    cr_expect(
        failed(refresh_token_read(&secrets, str_slice(token, 0, token.n - 1), arena, &read, &generation)));
    cr_expect(failed(refresh_token_read(&secrets, STR(""), arena, &read, &generation)));
    cr_expect(failed(refresh_token_read(&secrets, arena_printf(arena, "%s%s", token.p, token.p), arena, &read,
                                        &generation)));
}
