/* Sealing: wrapping, sealed values that cannot be moved or changed, base64url, HMAC against RFC 4231. */
#include <criterion/criterion.h>

#include "bus/base/seal.h"

#define ARENA _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20)

Test(seal, a_value_opens_with_its_key_only)
{
    ARENA;
    struct uuid ana = uuid_v7(1), owner;
    struct seal_key key = seal_key_random(), other = seal_key_random();
    struct str value = STR("{\"street\":\"Av. Ñuñoa 12\"}"), sealed = seal_value(&key, ana, value, arena),
               opened;

    cr_assert(seal_is(sealed));
    cr_assert_not(failed(seal_person(sealed, &owner)));
    cr_assert(uuid_eq(owner, ana));
    cr_assert_null(memmem(sealed.p, sealed.n, "street", 6));
    cr_assert_not(failed(seal_open(&key, sealed, arena, &opened)));
    cr_assert(str_eq(opened, value));
    cr_assert_eq(seal_open(&other, sealed, arena, &opened).code, ERR_INVALID);
    cr_assert_not(str_eq(sealed, seal_value(&key, ana, value, arena)),
                  "every sealing has a nonce of its own");
}

Test(seal, any_changed_character_is_noticed)
{
    ARENA;
    struct seal_key key = seal_key_random();
    struct str sealed = seal_value(&key, uuid_v7(1), STR("\"ana@example.org\""), arena), opened;

    for (size_t i = 0; i < sealed.n; i++) {
        struct str copy = arena_str(arena, sealed);
        char *p = arena_grow(arena, NULL, 0, copy.n);

        memcpy(p, copy.p, copy.n);
        p[i] = p[i] == 'Z' ? 'Y' : 'Z';
        cr_assert_eq(seal_open(&key, (struct str){p, copy.n}, arena, &opened).code, ERR_INVALID, "at %zu", i);
    }
    for (size_t n = 0; n < sealed.n; n++)
        cr_assert(failed(seal_open(&key, str_slice(sealed, 0, n), arena, &opened)), "cut to %zu", n);
}

Test(seal, a_value_cannot_be_moved_to_another_person)
{
    ARENA;
    struct seal_key key = seal_key_random();
    struct str sealed = seal_value(&key, uuid_v7(1), STR("1"), arena), opened;
    struct str moved = arena_printf(arena, "sealed:1:%.*s%.*s", STR_ARG(uuid_str(uuid_v7(1), arena)),
                                    STR_ARG(str_slice(sealed, 45, sealed.n)));

    cr_assert(seal_is(moved));
    cr_assert(failed(seal_open(&key, moved, arena, &opened)));
}

Test(seal, the_empty_value_and_a_large_one)
{
    ARENA;
    struct seal_key key = seal_key_random();
    char *large = arena_alloc(arena, 65536);
    struct str opened;

    cr_assert_not(failed(seal_open(&key, seal_value(&key, uuid_v7(1), STR(""), arena), arena, &opened)));
    cr_assert_eq(opened.n, 0);
    memset(large, 'x', 65536);
    cr_assert_not(failed(
        seal_open(&key, seal_value(&key, uuid_v7(1), (struct str){large, 65536}, arena), arena, &opened)));
    cr_assert(str_eq(opened, (struct str){large, 65536}));
}

Test(seal, other_texts_are_not_sealed)
{
    cr_assert_not(seal_is(STR_NONE));
    cr_assert_not(seal_is(STR("sealed:1:")));
    cr_assert_not(seal_is(STR("sealed:2:0192f3a0-7b1c-7def-8123-456789abcdef:AAAA")));
    cr_assert_not(seal_is(STR("sealed:1:0192f3a0-7b1c-7def-8123-456789abcdeg:AAAA")));
    cr_assert_not(seal_is(STR("sealed:1:0192f3a0-7b1c-7def-8123-456789abcdef:")));
}

Test(seal, a_wrapped_key_is_its_persons)
{
    struct seal_key master = seal_key_random(), key = seal_key_random(), again, other = seal_key_random();
    struct uuid ana = uuid_v7(1), eva = uuid_v7(1);
    uint8_t wrapped[SEAL_WRAPPED];
    struct str text = {(const char *)wrapped, sizeof(wrapped)};

    seal_wrap(&master, ana, &key, wrapped);
    cr_assert_not(failed(seal_unwrap(&master, ana, text, &again)));
    cr_assert(bytes_eq(&key, &again, SEAL_KEY));
    cr_assert(failed(seal_unwrap(&master, eva, text, &again)));
    cr_assert(failed(seal_unwrap(&other, ana, text, &again)));
    cr_assert(failed(seal_unwrap(&master, ana, str_slice(text, 1, text.n), &again)));
    wrapped[20] ^= 1;
    cr_assert(failed(seal_unwrap(&master, ana, text, &again)));
}

Test(seal, the_master_key_is_32_bytes_of_base64)
{
    struct seal_key key;

    cr_assert_not(failed(seal_key_parse(STR("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), &key)));
    for (int i = 0; i < SEAL_KEY; i++)
        cr_assert_eq(key.b[i], i);
    cr_assert_not(failed(seal_key_parse(STR("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"), &key)));
    cr_assert_eq(seal_key_parse(STR("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="), &key).code, ERR_CONFIG);
    cr_assert_eq(seal_key_parse(STR("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj"), &key).code,
                 ERR_CONFIG);
    cr_assert_eq(seal_key_parse(STR("secret"), &key).code, ERR_CONFIG);
    cr_assert_eq(seal_key_parse(STR_NONE, &key).code, ERR_CONFIG);
}

static void expect_hmac(struct str key, struct str data, const char *digest)
{
    ARENA;
    uint8_t bytes[32];

    hmac256(key, data, bytes);
    cr_assert(str_is(hex((struct str){(const char *)bytes, 32}, arena), digest));
}

Test(hmac, vectors_of_rfc_4231)
{
    char key[131], data[50];

    memset(key, 0x0b, 20);
    expect_hmac((struct str){key, 20}, STR("Hi There"),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    expect_hmac(STR("Jefe"), STR("what do ya want for nothing?"),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    memset(data, 0xdd, 50);
    expect_hmac((struct str){key, 20}, (struct str){data, 50},
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    expect_hmac((struct str){key, 131}, STR("Test Using Larger Than Block-Size Key - Hash Key First"),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    expect_hmac(STR(""), STR_NONE, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

Test(hmac, purposes_and_indexes_are_kept_apart)
{
    ARENA;
    struct seal_key master = seal_key_random(), other = seal_key_random();
    struct seal_key ids = seal_derive(&master, "command-id"), again = seal_derive(&master, "command-id");
    struct seal_key index = seal_derive(&master, "fingerprint");
    struct str ana = seal_blind_index(&master, STR("Ana@Example.org"), arena);

    cr_assert(bytes_eq(&ids, &again, SEAL_KEY));
    cr_assert_not(bytes_eq(&ids, &index, SEAL_KEY));
    cr_assert_eq(ana.n, 64);
    cr_assert(str_eq(ana, seal_blind_index(&master, STR(" ana@example.ORG\n"), arena)));
    cr_assert_not(str_eq(ana, seal_blind_index(&master, STR("eva@example.org"), arena)));
    cr_assert_not(str_eq(ana, seal_blind_index(&other, STR("ana@example.org"), arena)));
}

Test(base64url, vectors_of_rfc_4648)
{
    static const struct {
        struct str bytes, text, padded;
    } rows[] = {
        {STR(""), STR(""), STR("")},
        {STR("f"), STR("Zg"), STR("Zg==")},
        {STR("fo"), STR("Zm8"), STR("Zm8=")},
        {STR("foo"), STR("Zm9v"), STR("Zm9v")},
        {STR("foob"), STR("Zm9vYg"), STR("Zm9vYg==")},
        {STR("fooba"), STR("Zm9vYmE"), STR("Zm9vYmE=")},
        {STR("foobar"), STR("Zm9vYmFy"), STR("Zm9vYmFy")},
        {STR("\xfb\xff\xfe"), STR("-__-"), STR("+//+")},
    };
    ARENA;
    struct str back;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        cr_assert(str_eq(base64url(rows[i].bytes, arena), rows[i].text));
        cr_assert_not(failed(base64url_decode(rows[i].text, arena, &back)));
        cr_assert(str_eq(back, rows[i].bytes));
        cr_assert_not(failed(base64url_decode(rows[i].padded, arena, &back)));
        cr_assert(str_eq(back, rows[i].bytes));
    }
    cr_assert_not(failed(base64url_decode(STR_NONE, arena, &back)));
    cr_assert(back.p && back.n == 0);
}

Test(base64url, refuses_what_it_would_not_write)
{
    static const char *const bad[] = {"Z",    "Zg=", "Zg===", "Zm9v=", "Zm9v====", "=",
                                      "====", "Zh",  "Zm9",   "Z g",   "Zm9v\n",   "Zg==Zg=="};
    ARENA;
    struct str back;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(base64url_decode(str_of(bad[i]), arena, &back).code, ERR_INVALID, "%s", bad[i]);
}
