/* The route table: literals before names, methods, what is no path at all. */
#include <criterion/criterion.h>

#include "api/route.h"

static void nothing(struct request *req)
{
    (void)req;
}

static const struct route first[] = {{GET, "/", .direct = nothing},
                                     {GET, "/products", .query = nothing},
                                     {POST, "/products", .command = PRODUCT_CREATE},
                                     {GET, "/products/{id}", .query = nothing},
                                     {PUT, "/products/{key}", .command = PRODUCT_UPDATE},
                                     {GET, "/products/low-stock", .query = nothing},
                                     {0}};
static const struct route second[] = {{GET, "/products/{id}/reviews/{n}", .query = nothing},
                                      {GET, "/products/low-stock/today", .query = nothing},
                                      {GET, "/api/inventario/products/", .query = nothing},
                                      {HEAD, "/only-head", .direct = nothing},
                                      {0}};
static const struct route *const tables[] = {first, second, NULL};
static struct router *router;
static struct request req;

static void set_up(void)
{
    router = router_new(tables);
}

static void tear_down(void)
{
    router_free(router);
}

static const struct route *find(enum method method, const char *path)
{
    req = (struct request){.method = method, .path = str_of(path)};
    router_find(router, &req);
    return req.route;
}

TestSuite(router, .init = set_up, .fini = tear_down);

Test(router, rows_are_found)
{
    cr_assert_eq(find(GET, "/"), &first[0]);
    cr_assert_eq(find(GET, "/products"), &first[1]);
    cr_assert_eq(find(POST, "/products"), &first[2]);
    cr_assert_eq(find(GET, "/products/42"), &first[3]);
    cr_assert(str_is(req.params[0].name, "id") && str_is(req.params[0].value, "42"));
    cr_assert_eq(find(PUT, "/products/42"), &first[4]);
    cr_assert(str_is(req.params[0].name, "key"), "each row has its own names");
    cr_assert_eq(find(HEAD, "/products/42"), &first[3]);
}

Test(router, literals_win_and_names_take_what_is_left)
{
    cr_assert_eq(find(GET, "/products/low-stock"), &first[5]);
    cr_assert_eq(req.params_n, 0);
    cr_assert_eq(find(GET, "/products/low-stock/today"), &second[1]);
    cr_assert_eq(find(GET, "/products/low-stock/reviews/3"), &second[0], "back from the literal to the name");
    cr_assert(str_is(req.params[0].value, "low-stock") && str_is(req.params[1].value, "3"));
}

Test(router, paths_are_exact)
{
    static const char *const none[] = {"/products/",
                                       "//products",
                                       "/Products",
                                       "/products/1/reviews",
                                       "/products//reviews/1",
                                       "/api/inventario/products",
                                       "/api",
                                       "/nowhere"};

    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        cr_expect_null(find(GET, none[i]), "%s", none[i]);
        cr_expect_eq(router_find(router, &req), 0, "%s", none[i]);
    }
    cr_assert_eq(find(GET, "/api/inventario/products/"), &second[2]);
}

Test(router, the_methods_of_a_path)
{
    cr_assert_null(find(DELETE, "/products"));
    cr_assert_eq(router_find(router, &req), 1u << GET | 1u << HEAD | 1u << POST | 1u << OPTIONS);
    cr_assert_null(find(METHOD_OTHER, "/products"));
    cr_assert_null(find(GET, "/only-head"));
    cr_assert_eq(find(HEAD, "/only-head"), &second[3]);
}
