/*
 * The decoder, by tables: bodies beside what a client is told about them. The shape here is made by hand and
 * has every kind of field, so that it stays put while the schemas of the shop grow.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "tests/support/thing.h"

#define ID "018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6"

static struct arena *arena;

static void open_arena(void)
{
    arena = arena_new(1 << 22);
    conf_set(SET_DEFAULT_CURRENCY, "CLP");
}

static void close_arena(void)
{
    arena = arena_free(arena);
}

TestSuite(codec, .init = open_arena, .fini = close_arena);

/* "field: sentence; field: sentence", "" when all is well, "malformed" when it is no JSON. */
static struct str verdict(enum codec_mode mode, struct str text, const struct codec_param *params, size_t n,
                          struct thing *ret)
{
    struct field_errors errors;
    struct buf b = buf_new(arena, 256);
    err e = codec_decode(&thing_shape, mode, text, params, n, arena, ret, &errors);
    if (e.code == ERR_MALFORMED)
        return STR("malformed");
    if (e.code == ERR_TOO_LARGE)
        return STR("too large");
    cr_assert(failed(e) == (errors.n > 0));
    for (size_t i = 0; i < errors.n; i++)
        buf_printf(&b, "%s%.*s: %.*s", i ? "; " : "", STR_ARG(errors.list[i].field),
                   STR_ARG(errors.list[i].message));
    return buf_view(&b);
}

static void expect(enum codec_mode mode, const char *body, const char *expected)
{
    struct thing thing;
    struct str told = verdict(mode, str_of(body), NULL, 0, &thing);
    cr_expect(str_is(told, expected), "%s\n  told     %.*s\n  expected %s", body, STR_ARG(told), expected);
}

/* A good body with one more member. */
#define WITH(member) "{\"name\":\"ball\",\"count\":1," member "}"
#define LINE "{\"product\":\"" ID "\",\"quantity\":2}"
#define TEN "0123456789"

static const struct {
    const char *body, *expected;
} at_the_door[] = {
    /* good ones */
    {"{\"name\":\"ball\",\"count\":1}", ""},
    {" \t\r\n{ \"count\" : -5 , \"name\" : \"ab\" } \n", ""},
    {"{\"name\":\"\\u00f1and\\u00fa\",\"count\":9223372036854775807}", ""},
    {"{\"na\\u006de\":\"ball\",\"count\":1}", ""},
    {"{\"name\":\"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\",\"count\":0}", ""},
    {WITH("\"kind\":\"toy\""), ""},
    {WITH("\"active\":false"), ""},
    {WITH("\"active\":null,\"kind\":null,\"lines\":null,\"price\":null,\"phone\":null"), ""},
    {WITH("\"price\":12990"), ""},
    {WITH("\"price\":12990.00"), ""},
    {WITH("\"price\":599.99,\"currency\":\"USD\""), ""},
    {WITH("\"currency\":\"KWD\",\"price\":1.125"), ""},
    {WITH("\"price\":1000000000000000"), ""},
    {WITH("\"email\":\"maria.munoz+shop@correo.example.cl\""), ""},
    {WITH("\"day\":\"2024-02-29\""), ""},
    {WITH("\"moment\":\"2026-11-22T20:30:00.123-03:00\""), ""},
    {WITH("\"slug\":\"mesa-de-centro-2\""), ""},
    {WITH("\"link\":\"https://shop.example/a?b=c#d\""), ""},
    {WITH("\"lines\":[" LINE "," LINE "," LINE "," LINE "," LINE "]"), ""},
    {WITH("\"tags\":[]"), ""},
    {WITH("\"tags\":[\"a\",\"bb\",\"ccc\"]"), ""},
    {WITH("\"owner\":{\"street\":\"Av. Alemania 1\",\"city\":\"Temuco\"}"), ""},
    {WITH("\"box\":{\"height\":1}"), ""},
    {WITH("\"extra\":{\"a\":[1,2.5,null,{\"b\":\"c\"}]}"), ""},
    {WITH("\"extra\":null"), ""},
    {WITH("\"phone\":\"+56 9 1234\""), ""},
    {WITH("\"password\":\"correct horse\""), ""},
    {WITH("\"boss\":\"018F3C2A-7B1E-7C3D-8E4F-A1B2C3D4E5F6\""), ""},

    /* missing, unknown, not the client's to set */
    {"{}", "name: is required; count: is required"},
    {"{\"name\":null,\"count\":1}", "name: is required"},
    {WITH("\"nam\":1"), "nam: is not known here"},
    {WITH("\"\":1"), ": is not known here"},
    {WITH("\"Name\":\"x\""), "Name: is not known here"},
    {WITH("\"id\":\"" ID "\""), "id: is not known here"},
    {WITH("\"lines\":[{\"product\":\"" ID "\"}]"), "lines[0].quantity: is required"},
    {WITH("\"box\":{}"), "box.height: is required"},
    {WITH("\"" TEN TEN TEN TEN TEN TEN TEN "\":1"), TEN TEN TEN TEN TEN TEN "0123: is not known here"},

    /* of another type */
    {"[]", ": must be an object"},
    {"\"x\"", ": must be an object"},
    {"{\"name\":1,\"count\":\"1\"}", "name: must be a string; count: must be a whole number"},
    {WITH("\"active\":1"), "active: must be true or false"},
    {WITH("\"price\":\"1\""), "price: must be a number"},
    {WITH("\"lines\":{}"), "lines: must be a list"},
    {WITH("\"lines\":[1]"), "lines[0]: must be an object"},
    {WITH("\"tags\":[\"a\",null]"), "tags[1]: must be a string"},
    {WITH("\"owner\":\"x\""), "owner: must be an object"},
    {WITH("\"box\":[]"), "box: must be an object"},
    {WITH("\"boss\":7"), "boss: must be a UUID"},

    /* out of range */
    {"{\"name\":\"a\",\"count\":1}", "name: must have at least 2 characters"},
    {"{\"name\":\"123456789\",\"count\":1}", "name: must have at most 8 characters"},
    {"{\"name\":\"\xc3\xb1\",\"count\":1}", "name: must have at least 2 characters"},
    {"{\"name\":\"ball\",\"count\":-6}", "count: must be at least -5"},
    {"{\"name\":\"ball\",\"count\":9223372036854775808}", "count: must be at most 9223372036854775807"},
    {"{\"name\":\"ball\",\"count\":-9223372036854775809}", "count: must be at least -5"},
    {"{\"name\":\"ball\",\"count\":1.0}", "count: must be a whole number"},
    {"{\"name\":\"ball\",\"count\":1e2}", "count: must be a whole number"},
    {WITH("\"kind\":\"TOY\""), "kind: must be one of book, toy"},
    {WITH("\"lines\":[]"), "lines: must have at least 1 item"},
    {WITH("\"lines\":[" LINE "," LINE "," LINE "," LINE "," LINE "," LINE "," LINE "]"),
     "lines: must have at most 6 items"},
    {WITH("\"lines\":[" LINE ",{\"product\":\"" ID "\",\"quantity\":11}]"),
     "lines[1].quantity: must be at most 10"},
    {WITH("\"tags\":[\"\",\"123456\"]"),
     "tags[0]: must not be empty; tags[1]: must have at most 5 characters"},
    {WITH("\"owner\":{\"city\":\"" TEN TEN "0\"}"),
     "owner.city: must have at most 20 characters; owner.street: is required"},
    {WITH("\"phone\":\"123\""), "phone: must have at least 5 characters"},
    {WITH("\"extra\":\"" TEN TEN TEN TEN TEN TEN "\""), "extra: must have at most 60 bytes"},
    {WITH("\"extra\":[1e308,-1.5E-308]"), ""},
    {WITH("\"extra\":[1e309]"), "extra: has a number that is too large or too small"},
    {WITH("\"extra\":1E-99999999999999999"), "extra: has a number that is too large or too small"},

    /* money */
    {WITH("\"price\":0.5"), "price: has more decimals than CLP allows"},
    {WITH("\"price\":1.999,\"currency\":\"USD\""), "price: has more decimals than USD allows"},
    {WITH("\"price\":-1"), "price: must be at least 0"},
    {WITH("\"price\":-0.01,\"currency\":\"EUR\""), "price: must be at least 0.00"},
    {WITH("\"price\":1e3"), "price: must be written without an exponent"},
    {WITH("\"price\":1000000000000001"), "price: is too large"},
    {WITH("\"price\":1,\"currency\":\"XXQ\""), "currency: must be a currency code like CLP"},
    {WITH("\"currency\":\"usd\",\"price\":0.5"), "currency: must be a currency code like CLP"},
    {WITH("\"lines\":[{\"product\":\"" ID "\",\"quantity\":1,\"price\":0.12345}]"),
     "lines[0].price: must have at most 4 decimals"},

    /* formats */
    {WITH("\"email\":\"maria\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@b@c.cl\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@localhost\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a b@c.cl\""), "email: must be an e-mail address"},
    {WITH("\"email\":\".a@c.cl\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@c..cl\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@-c.cl\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@127.0.0.1\""), "email: must be an e-mail address"},
    {WITH("\"email\":\"a@b.cl\\r\\nBcc: x@y.cl\""), "email: must be an e-mail address"},
    {WITH("\"day\":\"2025-02-29\""), "day: must be a date like 2026-11-22"},
    {WITH("\"day\":\"22-11-2026\""), "day: must be a date like 2026-11-22"},
    {WITH("\"moment\":\"2026-11-22\""), "moment: must be a time like 2026-11-22T20:30:00Z"},
    {WITH("\"moment\":\"2026-11-22T25:00:00Z\""), "moment: must be a time like 2026-11-22T20:30:00Z"},
    {WITH("\"slug\":\"Mesa\""), "slug: must be lower case letters and digits, joined by single hyphens"},
    {WITH("\"slug\":\"a--b\""), "slug: must be lower case letters and digits, joined by single hyphens"},
    {WITH("\"slug\":\"\""), "slug: must be lower case letters and digits, joined by single hyphens"},
    {WITH("\"link\":\"javascript:alert(1)\""), "link: must be an http or https address"},
    {WITH("\"link\":\"https://\""), "link: must be an http or https address"},
    {WITH("\"link\":\"https://a b\""), "link: must be an http or https address"},
    {WITH("\"boss\":\"not-a-uuid\""), "boss: must be a UUID"},

    /* no strict JSON */
    {"", "malformed"},
    {"{", "malformed"},
    {"{\"name\":\"ball\",\"count\":1}x", "malformed"},
    {"{\"name\":\"ball\",\"count\":1,}", "malformed"},
    {"{\"name\":\"ball\" \"count\":1}", "malformed"},
    {"{'name':'ball','count':1}", "malformed"},
    {"{\"name\":\"ball\",\"count\":01}", "malformed"},
    {"{\"name\":\"ball\",\"count\":+1}", "malformed"},
    {"{\"name\":\"ball\",\"count\":NaN}", "malformed"},
    {"{\"name\":\"ball\",\"count\":1,\"name\":\"ball\"}", "malformed"},
    {"{\"name\":\"ball\",\"count\":1,\"n\\u0061me\":\"ball\"}", "malformed"},
    {WITH("\"kind\":null,\"kind\":\"toy\""), "malformed"},
    {WITH("\"box\":{\"height\":1,\"height\":1}"), "malformed"},
    {WITH("\"owner\":{\"street\":\"a\",\"street\":\"b\"}"), "malformed"},
    {WITH("\"extra\":{\"a\":1,\"b\":2,\"a\":1}"), "malformed"},
    {WITH("\"extra\":[[{\"a\":{\"x\":0,\"\\u0078\":0}}]]"), "malformed"},
    {WITH("\"extra\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"), "malformed"},
    {WITH("\"kind\":\"\\ud800\""), "malformed"},
    {WITH("\"kind\":\"a\\u0000b\""), "malformed"},
    {WITH("\"kind\":\"\xc0\xaf\""), "malformed"},
    {WITH("\"kind\":\"\xed\xa0\x80\""), "malformed"},
    {WITH("\"kind\":\"a\nb\""), "malformed"},
    {WITH("\"kind\":\"\\x\""), "malformed"},
    {WITH("\"unknown\":{\"a\":tru}"), "malformed"},
    {WITH("\"lines\":[1,2,3,4,5,6,7,{]"), "malformed"},
    {"\xef\xbb\xbf{}", "malformed"},
};

Test(codec, a_body_is_taken_or_every_fault_is_named)
{
    for (size_t i = 0; i < sizeof(at_the_door) / sizeof(*at_the_door); i++)
        expect(CODEC_DOOR, at_the_door[i].body, at_the_door[i].expected);
}

#define SEALED "\"sealed:1:" ID ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""
#define ON_BUS(member) "{\"id\":\"" ID "\",\"name\":\"ball\",\"count\":1" member "}"

static const struct {
    const char *body, *expected;
} on_the_bus[] = {
    {ON_BUS(""), ""},
    {ON_BUS(",\"a_field_of_1_7\":{\"x\":[1,2]}"), ""},
    {ON_BUS(",\"price\":59999,\"currency\":\"USD\""), ""},
    {ON_BUS(",\"phone\":" SEALED ",\"owner\":" SEALED), ""},
    {ON_BUS(",\"password\":7"), ""},
    {"{\"name\":\"ball\",\"count\":1}", "id: is required"},
    {ON_BUS(",\"price\":599.99"), "price: must be a whole number"},
    {ON_BUS(",\"price\":-1"), "price: must be at least 0"},
    {ON_BUS(",\"phone\":\"+56 9 1234\""), "phone: must be sealed"},
    {ON_BUS(",\"owner\":{\"street\":\"a\"}"), "owner: must be sealed"},
    {ON_BUS(",\"kind\":\"cat\""), "kind: must be one of book, toy"},
    {ON_BUS(",\"count\":1"), "malformed"},
};

Test(codec, the_bus_skips_what_it_does_not_know_and_takes_nothing_in_clear)
{
    for (size_t i = 0; i < sizeof(on_the_bus) / sizeof(*on_the_bus); i++)
        expect(CODEC_BUS, on_the_bus[i].body, on_the_bus[i].expected);
}

Test(codec, on_the_bus_the_error_names_the_first_fault_itself)
{
    struct thing t;
    err e = codec_decode(&thing_shape, CODEC_BUS, STR("{\"id\":7}"), NULL, 0, arena, &t, NULL);
    cr_expect_eq(e.code, ERR_INVALID);
    cr_expect_str_eq(err_text(e), "thing: id must be a UUID (3 wrong)");
}

Test(codec, values_arrive_in_the_struct)
{
    struct thing t;
    struct str told =
        verdict(CODEC_DOOR,
                STR("{\"count\":-3,\"name\":\"\\u00d1and\\u00fa\",\"active\":true,\"price\":599.9,"
                    "\"currency\":\"USD\",\"lines\":[" LINE ",{\"quantity\":3,\"price\":12.5,"
                    "\"product\":\"" ID "\"}],\"tags\":[\"a\\/b\",\"c\",\"d\",\"e\",\"f\"],"
                    "\"owner\": {\"street\":\"x\"} ,\"phone\" : \"\\u002b569\\t1\" ,"
                    "\"box\":{\"height\":4,\"width\":5},\"extra\": [1, 2] }"),
                NULL, 0, &t);
    cr_assert(str_empty(told), "%.*s", STR_ARG(told));
    cr_expect(str_is(t.name, "\xc3\x91"
                             "and\xc3\xba"));
    cr_expect(t.count == -3 && t.has_active && t.active && t.has_price && t.price == 59990);
    cr_expect(str_is(t.currency, "USD"));
    cr_assert_eq(t.lines_n, 2);
    cr_expect(t.lines[0].quantity == 2 && !t.lines[0].has_price);
    cr_expect(t.lines[1].quantity == 3 && t.lines[1].price == 125000, "x-decimal counts ten-thousandths");
    cr_expect(t.tags_n == 5 && str_is(t.tags[0], "a/b") && str_is(t.tags[4], "f"));
    cr_expect(str_is(t.owner, "{\"street\":\"x\"}"), "personal values keep their JSON text");
    cr_expect(str_is(codec_clear_string(t.phone, arena), "+569\t1"));
    cr_expect(t.has_box && t.box.height == 4 && t.box.has_width && t.box.width == 5);
    cr_expect(str_is(t.extra, "[1,2]"));
    cr_expect(!t.kind.p && !t.has_boss && !t.password.p && uuid_is_nil(t.id));
}

static const struct {
    const char *name, *value, *body, *expected;
} by_address[] = {
    {"id", ID, "{\"name\":\"ball\",\"count\":1}", ""},
    {"id", "x", "{\"name\":\"ball\",\"count\":1}", "id: must be a UUID"},
    {"count", "7", "{\"name\":\"ball\"}", ""},
    {"count", "07", "{\"name\":\"ball\"}", "count: must be a whole number"},
    {"count", "", "{\"name\":\"ball\"}", "count: must be a whole number"},
    {"count", "-", "{\"name\":\"ball\"}", "count: must be a whole number"},
    {"count", "-99999999999999999999", "{\"name\":\"ball\"}", "count: must be at least -5"},
    {"count", "7", "{\"name\":\"ball\",\"count\":7}",
     "count: is given by the address and must not be in the body"},
    {"name", "ball\xff", "{\"count\":1}", "name: must be UTF-8 text"},
    {"active", "true", "{\"name\":\"ball\",\"count\":1}", ""},
    {"active", "yes", "{\"name\":\"ball\",\"count\":1}", "active: must be true or false"},
    {"price", "12.5", "{\"currency\":\"USD\",\"name\":\"ball\",\"count\":1}", ""},
    {"price", "12.5", "{\"name\":\"ball\",\"count\":1}", "price: has more decimals than CLP allows"},
    {"price", "", "{\"name\":\"ball\",\"count\":1}", "price: must be a decimal number"},
    {"phone", "\"quoted\"", "{\"name\":\"ball\",\"count\":1}", ""},
    {"lines", "1", "{\"name\":\"ball\",\"count\":1}", "lines: cannot be given in the address"},
    {"colour", "red", "{\"name\":\"ball\",\"count\":1}", "colour: is not known here"},
};

Test(codec, parameters_of_the_address_are_converted_and_merged)
{
    for (size_t i = 0; i < sizeof(by_address) / sizeof(*by_address); i++) {
        struct codec_param param = {str_of(by_address[i].name), str_of(by_address[i].value)};
        struct thing t;
        struct str told = verdict(CODEC_DOOR, str_of(by_address[i].body), &param, 1, &t);
        cr_expect(str_is(told, by_address[i].expected), "%s=%s: %.*s", by_address[i].name,
                  by_address[i].value, STR_ARG(told));
        if (str_is(param.name, "phone"))
            cr_expect(str_eq(codec_clear_string(t.phone, arena), param.value));
    }
}

Test(codec, no_body_is_an_empty_object)
{
    struct codec_param params[] = {{STR("name"), STR("ball")},
                                   {STR("count"), STR("1")},
                                   {STR("kind"), STR_NONE},
                                   {STR("count"), STR("2")}};
    struct thing t;
    cr_expect(str_empty(verdict(CODEC_DOOR, STR_NONE, params, 3, &t)));
    cr_expect(t.count == 1 && !t.kind.p);
    cr_expect(str_is(verdict(CODEC_DOOR, STR_NONE, params, 4, &t), "count: is given twice"));
}

Test(codec, errors_beyond_32_are_counted_but_not_kept)
{
    struct buf b = buf_new(arena, 1024);
    struct field_errors errors;
    struct thing t;
    buf_lit(&b, "{\"name\":\"ball\",\"count\":1");
    for (int i = 0; i < 100; i++)
        buf_printf(&b, ",\"x%d\":%d", i, i);
    buf_char(&b, '}');
    err e = codec_decode(&thing_shape, CODEC_DOOR, buf_view(&b), NULL, 0, arena, &t, &errors);
    cr_expect_eq(e.code, ERR_INVALID);
    cr_expect_eq(errors.n, 32);
    cr_expect(str_is(errors.list[31].field, "x31"));
    cr_expect_str_eq(err_text(e), "thing: 100 wrong");
}

Test(codec, a_message_above_its_size_is_refused_unread)
{
    char *text = arena_alloc(arena, CODEC_MAX + 1);
    struct thing t;
    memset(text, ' ', CODEC_MAX + 1);
    cr_expect(str_is(verdict(CODEC_DOOR, (struct str){text, CODEC_MAX + 1}, NULL, 0, &t), "too large"));
    cr_expect(str_is(verdict(CODEC_DOOR, (struct str){text, CODEC_MAX}, NULL, 0, &t), "malformed"));
}
