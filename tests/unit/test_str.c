/* Strings: comparing, numbers, hashing, UTF-8, and the partition hash against the vectors of RFC 3720 §B.4.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "bus/base/arena.h"

Test(str, absent_and_empty_are_different_but_equal_in_length)
{
    cr_assert_null(STR_NONE.p);
    cr_assert_not_null(STR("").p);
    cr_assert(str_eq(STR_NONE, STR("")));
    cr_assert(str_starts(STR_NONE, STR_NONE));
    cr_assert_null(str_slice(STR_NONE, 0, 0).p);
}

Test(str, compares_like_memcmp_shorter_first)
{
    cr_assert_lt(str_cmp(STR("ab"), STR("abc")), 0);
    cr_assert_gt(str_cmp(STR("b"), STR("abc")), 0);
    cr_assert_gt(str_cmp(STR("\xff"), STR("a")), 0);
    cr_assert_eq(str_cmp(STR_NONE, STR("")), 0);
    cr_assert(str_ieq(STR("Content-TYPE"), STR("content-type")));
    cr_assert_not(str_ieq(STR("@"), STR("`")));
}

Test(str, finds_slices_and_trims)
{
    struct str s = STR("a=b=c");

    cr_assert_eq(str_find(s, '='), 1);
    cr_assert_eq(str_find(s, '?'), s.n);
    cr_assert_eq(str_find(STR_NONE, '?'), 0);
    cr_assert(str_is(str_slice(s, 2, s.n), "b=c"));
    cr_assert(str_is(str_trim(STR(" \t x y\r\n")), "x y"));
    cr_assert(str_is(str_trim(STR(" \t ")), ""));
}

Test(str, reads_whole_numbers_strictly)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"7", 7},
                {"-7", -7},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "-0",
                                      "-01",
                                      "1a",
                                      "0x1",
                                      "1.0",
                                      "1e3",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999"};
    int64_t v = 42;

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        cr_assert_not(failed(str_int64(str_of(good[i].text), &v)), "%s", good[i].text);
        cr_assert_eq(v, good[i].value);
    }
    v = 42;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(str_int64(str_of(bad[i]), &v).code, ERR_INVALID, "%s", bad[i]);
    cr_assert_eq(str_int64(STR_NONE, &v).code, ERR_INVALID);
    cr_assert_eq(v, 42, "a failure leaves the result alone");
}

Test(str, hash_depends_on_every_byte_and_the_length)
{
    char text[64] = {0};
    struct str s = {text, sizeof(text)};
    uint64_t plain = str_hash(s);

    cr_assert_eq(str_hash(s), plain);
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = 1;
        cr_assert_neq(str_hash(s), plain);
        text[i] = 0;
        cr_assert_neq(str_hash(str_slice(s, 0, i)), plain);
    }
    cr_assert_neq(str_hash(STR("")), str_hash((struct str){"\0", 1}));
}

static void expect_crc(const void *bytes, size_t n, uint32_t crc)
{
    struct str s = {bytes, n};

    cr_assert_eq(crc32c(s), crc, "%08x", crc32c(s));
    cr_assert_eq(crc32c_table(s), crc, "%08x", crc32c_table(s));
}

Test(crc32c, vectors_of_rfc_3720)
{
    static const unsigned char read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0};
    unsigned char bytes[32];

    memset(bytes, 0, 32);
    expect_crc(bytes, 32, 0x8a9136aa);
    memset(bytes, 0xff, 32);
    expect_crc(bytes, 32, 0x62a8ab43);
    for (unsigned char i = 0; i < 32; i++)
        bytes[i] = i;
    expect_crc(bytes, 32, 0x46dd794e);
    for (unsigned char i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    expect_crc(bytes, 32, 0x113fdb5c);
    expect_crc(read_command, 48, 0xd9963a56);
    expect_crc("123456789", 9, 0xe3069283);
    expect_crc("", 0, 0);
    expect_crc(NULL, 0, 0);
}

Test(crc32c, instruction_and_table_agree_on_every_length_and_alignment)
{
    char bytes[300];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 131 + i / 7);
    for (size_t from = 0; from < 9; from++)
        for (size_t to = from; to <= sizeof(bytes); to++) {
            struct str s = {bytes + from, to - from};

            cr_assert_eq(crc32c(s), crc32c_table(s));
        }
}

Test(utf8, takes_what_rfc_3629_takes)
{
    static const struct {
        struct str text;
        size_t sequence;
    } rows[] = {
        {STR("a"), 1},
        {STR("\x7f"), 1},
        {STR("ñ"), 2},
        {STR("€"), 3},
        {STR("\xed\x9f\xbf"), 3},     /* U+D7FF, the last before the surrogates */
        {STR("\xf4\x8f\xbf\xbf"), 4}, /* U+10FFFF */
        {STR("\x80"), 0},
        {STR("\xc0\x80"), 0}, /* overlong NUL */
        {STR("\xc1\xbf"), 0},
        {STR("\xe0\x9f\xbf"), 0},
        {STR("\xed\xa0\x80"), 0}, /* U+D800 */
        {STR("\xf0\x8f\xbf\xbf"), 0},
        {STR("\xf4\x90\x80\x80"), 0}, /* beyond Unicode */
        {STR("\xf5\x80\x80\x80"), 0},
        {STR("\xe2\x82"), 0}, /* cut */
        {STR("\xe2(\xac"), 0},
        {STR(""), 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        cr_assert_eq(utf8_sequence(rows[i].text), rows[i].sequence, "row %zu", i);
    cr_assert_eq(utf8_length(STR("año €")), 5);
    cr_assert_eq(utf8_length(STR_NONE), 0);
    cr_assert_eq(utf8_length(STR("a\xff")), SIZE_MAX);
}
