/* JSON: what the writer prints, what the reader takes and refuses, with jansson as the oracle for mutated
 * texts. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "bus/base/json.h"
#include "bus/base/uuid.h"
#include "tests/support/oracle.h"

#define ARENA _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20)

/* ---- writing ---- */

Test(json_write, places_commas)
{
    ARENA;
    struct buf b = buf_new(arena, 0);
    struct json j = json_on(&b);

    json_open(&j, '{');
    json_kstr(&j, "name", STR("té"));
    json_key(&j, "list");
    json_open(&j, '[');
    json_int(&j, -1);
    json_open(&j, '[');
    json_close(&j, ']');
    json_open(&j, '{');
    json_close(&j, '}');
    json_nil(&j);
    json_close(&j, ']');
    json_kbool(&j, "yes", true);
    json_kstr(&j, "none", STR_NONE);
    json_kstr(&j, "empty", STR(""));
    json_kraw(&j, "raw", STR("[1]"));
    json_kint(&j, "n", INT64_MIN);
    json_ktime(&j, "at", 1795379400123);
    json_close(&j, '}');
    cr_assert_str_eq(b.p,
                     "{\"name\":\"té\",\"list\":[-1,[],{},null],\"yes\":true,\"none\":null,\"empty\":\"\","
                     "\"raw\":[1],\"n\":-9223372036854775808,\"at\":\"2026-11-22T20:30:00.123Z\"}");
    cr_assert_not(failed(json_check(buf_view(&b), arena)));
}

static const char *written(struct arena *arena, struct str s)
{
    struct buf b = buf_new(arena, 0);
    struct json j = json_on(&b);

    json_str(&j, s);
    return b.p;
}

Test(json_write, escapes_and_mends)
{
    ARENA;

    cr_assert_str_eq(written(arena, STR("\"\\/\b\f\n\r\t")), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    cr_assert_str_eq(written(arena, (struct str){"a\0b\x1f", 4}), "\"a\\u0000b\\u001f\"");
    cr_assert_str_eq(written(arena, STR("😀\x7f")), "\"😀\x7f\"");
    cr_assert_str_eq(written(arena, STR("a\xffz\xe2\x82")), "\"a\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\"");
}

Test(json_write, prints_money_exactly)
{
    static const struct {
        int64_t minor;
        int decimals;
        const char *text;
    } rows[] = {{59999, 2, "599.99"},
                {12990, 0, "12990"},
                {5, 2, "0.05"},
                {-5, 2, "-0.05"},
                {0, 2, "0.00"},
                {1000, 3, "1.000"},
                {INT64_MIN, 2, "-92233720368547758.08"},
                {INT64_MIN, 0, "-9223372036854775808"}};
    ARENA;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct buf b = buf_new(arena, 0);
        struct json j = json_on(&b);

        json_decimal(&j, rows[i].minor, rows[i].decimals);
        cr_assert_str_eq(b.p, rows[i].text);
    }
}

/* ---- reading ---- */

static bool accepts(struct str text)
{
    ARENA;

    return !failed(json_check(text, arena));
}

Test(json_read, takes_strict_json)
{
    static const struct str good[] = {
        STR("null"),
        STR(" true "),
        STR("\t[\r\n]"),
        STR("{}"),
        STR("0"),
        STR("-0"),
        STR("10.50"),
        STR("1e5"),
        STR("1.5E-7"),
        STR("\"\""),
        STR("\"\\ud83d\\ude00\""),
        STR("{\"a\":{\"a\":[1,{\"b\":null}]},\"a\":2}"),
        STR("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
        STR("123456789012345678901234567890"),
        STR("\"12345678901234567890 ñandú 12345678 \x7f\""),
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_assert(accepts(good[i]), "%s", good[i].p);
}

Test(json_read, refuses_the_rest)
{
    static const struct str bad[] = {
        STR(""),
        STR(" "),
        STR_NONE,
        STR("nul"),
        STR("nulls"),
        STR("True"),
        STR("NaN"),
        STR("Infinity"),
        STR("01"),
        STR("-"),
        STR("-01"),
        STR("+1"),
        STR(".5"),
        STR("1."),
        STR("1.e1"),
        STR("1e"),
        STR("1e+"),
        STR("0x1"),
        STR("[1,]"),
        STR("[,1]"),
        STR("[1 2]"),
        STR("[1"),
        STR("["),
        STR("]"),
        STR("[}"),
        STR("[1}"),
        STR("{\"a\":1,}"),
        STR("{\"a\"}"),
        STR("{\"a\" 1}"),
        STR("{a:1}"),
        STR("{'a':1}"),
        STR("{1:1}"),
        STR("{\"a\":}"),
        STR("{"),
        STR("{\"a\":1"),
        STR("{\"a\":1]"),
        STR("1 1"),
        STR("{}x"),
        STR("// x\n1"),
        STR("\""),
        STR("\"a"),
        STR("\"\\\""),
        STR("\"\\x\""),
        STR("\"\\u12\""),
        STR("\"\\u12g4\""),
        STR("\"a\nb\""),
        STR("\"\\u0000\""),
        STR("\"\\ud800\""),
        STR("\"\\ud800x\""),
        STR("\"\\ud800\\u0041\""),
        STR("\"\\udc00\""),
        STR("\"\xff\""),
        STR("\"\xc3\""),
        STR("\"\xed\xa0\x80\""),
        STR("\xef\xbb\xbf{}"),
        {"1\0", 2},
        {"\"a\0b\"", 5},
        {"[1]\0", 4},
        STR("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"),
        STR("{\"\\ud800\":1}"),
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_not(accepts(bad[i]), "row %zu: %.*s", i, STR_ARG(bad[i]));
}

Test(json_read, walks_an_object)
{
    ARENA;
    struct json_in in = json_in(STR(" {\"pro\\u0064uct\" : \"p\\n\\u00e9\\ud83d\\ude00\", \"lines\":[1, "
                                    "2.5],\"x\":{}, \"ok\":true} "),
                                arena);
    struct str name, text;
    bool first = true, first_line = true, more;
    enum json_kind kind;

    cr_assert_not(failed(json_enter(&in, JSON_OBJECT)));
    cr_assert_not(failed(json_next(&in, &first, &more, &name)));
    cr_assert(more && str_is(name, "product"));
    cr_assert_not(failed(json_read_string(&in, &text)));
    cr_assert(str_is(text, "p\né😀"));

    cr_assert_not(failed(json_next(&in, &first, &more, &name)));
    cr_assert_not(failed(json_enter(&in, JSON_ARRAY)));
    for (int i = 0; i < 2; i++) {
        cr_assert_not(failed(json_next(&in, &first_line, &more, NULL)));
        cr_assert(more);
        cr_assert_not(failed(json_read_number(&in, &text)));
    }
    cr_assert(str_is(text, "2.5"));
    cr_assert_not(failed(json_next(&in, &first_line, &more, NULL)));
    cr_assert_not(more);

    cr_assert_not(failed(json_next(&in, &first, &more, &name)));
    cr_assert_not(failed(json_skip(&in, &text)));
    cr_assert(str_is(name, "x") && str_is(text, "{}"));
    cr_assert_not(failed(json_next(&in, &first, &more, &name)));
    cr_assert_not(failed(json_peek(&in, &kind)));
    cr_assert_eq(kind, JSON_TRUE);
    cr_assert_not(failed(json_read_literal(&in, kind)));
    cr_assert_not(failed(json_next(&in, &first, &more, &name)));
    cr_assert_not(more);
    cr_assert_not(failed(json_end(&in)));
}

Test(json_read, an_unescaped_string_is_a_view)
{
    ARENA;
    struct str text = STR("\"borrowed\""), s;
    struct json_in in = json_in(text, arena);

    cr_assert_not(failed(json_read_string(&in, &s)));
    cr_assert_eq(s.p, text.p + 1);
}

Test(json_member, reads_single_members)
{
    ARENA;
    struct str o = STR("{\"id\":\"a\\tb\",\"n\":42,\"f\":1.5,\"o\":{\"n\":1},\"nothing\":null}");

    cr_assert(str_is(json_member_str(o, "id", arena), "a\tb"));
    cr_assert_eq(json_member_int(o, "n", -1, arena), 42);
    cr_assert_eq(json_member_int(o, "f", -1, arena), -1);
    cr_assert_eq(json_member_int(o, "absent", -1, arena), -1);
    cr_assert(str_is(json_member(o, "o", arena), "{\"n\":1}"));
    cr_assert(str_is(json_member(o, "nothing", arena), "null"));
    cr_assert_null(json_member_str(o, "n", arena).p);
    cr_assert_null(json_member(STR("[1]"), "n", arena).p);
    cr_assert_null(json_member(STR("{\"n\":"), "n", arena).p);
    cr_assert_null(json_member(STR_NONE, "n", arena).p);
}

/* ---- the oracle ---- */

Test(json_read, agrees_with_jansson_on_mutated_texts)
{
    static const char seed[] = "{\"id\":\"0192\\u00e9\\ud83d\\ude00\",\"n\":-12.50e+3,\"l\":[true,false,null,"
                               "0,\"\xc3\xb1\xf0\x9f\x98\x80\"],\"o\":{\"a\\\"\":{}}}";
    static const char spice[] = "{}[]\",:\\u0d8eE+-.019 tn\x1f\x80\xc3\xed\xff";
    char text[sizeof(seed)];
    int accepted = 0;

    for (int round = 0; round < 200000; round++) {
        size_t n = sizeof(seed) - 1;
        bool overflow, mine, theirs;

        memcpy(text, seed, n);
        for (uint64_t k = random_u64() % 3; k-- > 0;)
            text[random_u64() % n] = spice[random_u64() % (sizeof(spice) - 1)];
        mine = accepts((struct str){text, n});
        theirs = oracle_accepts(text, n, &overflow);
        cr_assert(mine == theirs || overflow, "%.*s: we %d, jansson %d", (int)n, text, mine, theirs);
        accepted += mine;
    }
    cr_assert_gt(accepted, 60000);
    cr_assert_lt(accepted, 199000);
}

Test(json, what_we_write_jansson_and_we_read_the_same)
{
    for (int round = 0; round < 20000; round++) {
        ARENA;
        char bytes[24];
        size_t n = random_u64() % sizeof(bytes);
        struct buf b = buf_new(arena, 0);
        struct json j = json_on(&b);
        struct str mine;
        char *theirs;

        for (size_t i = 0; i < n; i++) /* many controls, quotes and broken UTF-8, no NUL */
            bytes[i] = (char)(1 + random_u64() % 255);
        json_open(&j, '{');
        json_kstr(&j, "s", (struct str){bytes, n});
        json_close(&j, '}');
        mine = json_member_str(buf_view(&b), "s", arena);
        theirs = oracle_member(b.p, b.n, "s");
        cr_assert(theirs && mine.p, "%s", b.p);
        cr_assert(str_is(mine, theirs), "%s", b.p);
        free(theirs);
    }
}

Test(json, compacting_keeps_strings_and_drops_white_space)
{
    struct arena *arena = arena_new(1 << 16);
    struct str text = STR("{ \"a b\" : [ 1 ,\n 2 ] , \"q\" : \"\\\" x \" }");
    struct str compact = json_compact(text, arena);
    cr_assert(str_is(compact, "{\"a b\":[1,2],\"q\":\"\\\" x \"}"), "%.*s", STR_ARG(compact));
    arena_free(arena);
}
