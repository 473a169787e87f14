/* The guard's pure functions: targets, hosts, ids. The heads are in hostile.def. */
#include <criterion/criterion.h>

#include "api/guard.h"

static struct arena *arena;

static void set_up(void)
{
    arena = arena_new(1 << 20);
}

static void tear_down(void)
{
    arena_free(arena);
}

static const char *path(const char *raw)
{
    struct str decoded;

    return guard_path(str_of(raw), arena, &decoded) == ERR_NONE ? decoded.p : NULL;
}

static const char *query(const char *raw)
{
    struct str decoded;

    return guard_query(str_of(raw), arena, &decoded) == ERR_NONE ? decoded.p : NULL;
}

static const char *host(const char *raw)
{
    struct str name;

    return guard_host(str_of(raw), &name) == ERR_NONE ? arena_cstr(arena, name) : NULL;
}

TestSuite(guard, .init = set_up, .fini = tear_down);

Test(guard, paths_are_decoded_once)
{
    cr_assert_str_eq(path("/"), "/");
    cr_assert_str_eq(path("/a/b.c/..d/e..;v=1"), "/a/b.c/..d/e..;v=1");
    cr_assert_str_eq(path("/caf%C3%A9"), "/caf\xc3\xa9");
    cr_assert_str_eq(path("/100%2525"), "/100%25", "what a %%25 hides stays hidden");
    cr_assert_str_eq(path("/a%20b+c"), "/a b+c");
    cr_assert_str_eq(path("//a//"), "//a//", "never normalised");
}

Test(guard, paths_that_are_none)
{
    static const char *const bad[] = {
        "",     "a",     "/a b",      "/a%",     "/%0",        "/%gg",   "/%00",  "/%1f",     "/%7f",
        "/%2f", "/%5C",  "/a\\b",     "/a?b",    "/a#b",       "/\"a\"", "/<a>",  "/{a}",     "/|",
        "/^",   "/`",    "/[a]",      "/.",      "/..",        "/a/.",   "/a/..", "/a/../b",  "/./a",
        "/%2e", "/%2E.", "/a/%2e%2e", "/%c0%80", "/%f5%80%80", "/%80",   "/%c3",  "/\xc3\xa9"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_null(path(bad[i]), "%s", bad[i]);
}

Test(guard, queries)
{
    cr_assert_str_eq(query("a+b%2Bc"), "a b+c");
    cr_assert_str_eq(query("ni%C3%B1o"), "ni\xc3\xb1o");
    cr_assert_str_eq(query("a%0Ab"), "a\nb");
    cr_assert_str_eq(query(""), "");
    cr_assert_null(query("%00"));
    cr_assert_null(query("%c0%af"));
    cr_assert_null(query("a#b"));
    cr_assert_null(query("%"));
}

Test(guard, hosts)
{
    cr_assert_str_eq(host("localhost"), "localhost");
    cr_assert_str_eq(host("Shop.Example:8000"), "Shop.Example");
    cr_assert_str_eq(host("127.0.0.1:1"), "127.0.0.1");
    cr_assert_str_eq(host("[::1]:8000"), "[::1]");
    cr_assert_str_eq(host("[::ffff:1.2.3.4]"), "[::ffff:1.2.3.4]");
    static const char *const bad[] = {"",    ":80",  "a:", "a:b", "a:65536", "a:080000", "a b",   "a/b",
                                      "u@a", "[::1", "[]", "[x]", "[::1]a",  "a,b",      "a:1:2", "\xc3\xb1"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_null(host(bad[i]), "%s", bad[i]);
}

Test(guard, ids)
{
    cr_assert(guard_request_id(STR("a.B-9_")));
    cr_assert_not(guard_request_id(STR("")));
    cr_assert_not(guard_request_id(STR("a b")));
    cr_assert_not(guard_request_id(STR("0123456789012345678901234567890123456789012345678901234567890123x")));
    cr_assert(guard_traceparent(STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(guard_traceparent(STR("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(guard_traceparent(STR("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(guard_traceparent(STR("00-00000000000000000000000000000000-b7ad6b7169203331-01")));
    cr_assert_not(guard_traceparent(STR("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")));
}
