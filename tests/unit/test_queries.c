/* What can be read: products by filter, sort, page and cursor; the cart, orders, stock, people; who sees
 * what. Rows are written by SQL, as the groups would. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "bus/base/clock.h"
#include "tests/support/opened.h"

static struct opened *door;
static struct uuid user;
static const char *token, *admin_token;

static void setup(void)
{
    door = opened_start(1, 2);
    user = opened_person(door, "customer", "Ana", NULL, &token);
    opened_person(door, "admin", "Eva", NULL, &admin_token);
}

static void teardown(void)
{
    door = opened_stop(door);
}

TestSuite(queries, .init = setup, .fini = teardown, .timeout = 60);

static int get(const char *who, const char *path)
{
    return opened_ask(door, &(struct ask){.method = "GET", .path = path, .token = who});
}

static size_t rows(void)
{
    return json_array_size(reply_at(&door->reply, "data"));
}

/* Skus of the page, one word. */
static const char *skus(void)
{
    static char text[4096];
    text[0] = 0;
    for (size_t i = 0; i < rows(); i++) {
        char path[40];
        snprintf(path, sizeof(path), "data.%zu.sku", i);
        strncat(text, reply_str(&door->reply, path), 100);
    }
    return text;
}

/* a 1000, b 2000, c 3000 … in two categories; c has no stock. */
static void some_products(int n)
{
    for (int i = 0; i < n; i++) {
        char sku[8] = {(char)('a' + i), 0}, name[20];
        snprintf(name, sizeof(name), "Thing %c", 'z' - i);
        opened_product(door, name, sku, i % 2 ? "odd" : "even", 1000 * (i + 1), i == 2 ? 0 : 5);
        bus_sql(&door->bus, "UPDATE product SET created_ms = %d, rating_hundredths = %d WHERE sku = '%s'",
                i + 1, i % 3 * 100, sku);
    }
}

Test(queries, lists_are_sorted_filtered_and_counted)
{
    static const struct {
        const char *query, *skus;
        int total;
    } table[] = {
        {"", "fedcba", 6},
        {"?sort=newest", "fedcba", 6},
        {"?sort=price_asc", "abcdef", 6},
        {"?sort=price_desc", "fedcba", 6},
        {"?sort=name", "fedcba", 6},
        {"?category=even", "eca", 3},
        {"?category=Even&sort=price_asc", "ace", 3},
        {"?category=nothing", "", 0},
        {"?brand=none", "", 0},
        {"?min_price=2000&max_price=4000&sort=price_asc", "bcd", 3},
        {"?min_price=2000.01&sort=price_asc", "cdef", 4},
        {"?max_price=999.9999", "", 0},
        {"?in_stock=true&sort=price_asc", "abdef", 5},
        {"?in_stock=false", "c", 1},
        {"?search=thing+z", "a", 1},
        {"?search=THING+Y&category=odd", "b", 1},
        {"?search=%25", "", 0},
        {"?search=_", "", 0},
        {"?search=%5C", "", 0},
        {"?limit=2&sort=price_asc", "ab", 6},
        {"?limit=2&page=2&sort=price_asc", "cd", 6},
        {"?limit=2&page=4", "", 6},
        {"?limit=100&page=1&sort=price_desc&category=odd&brand=x", "", 0},
    };
    some_products(6);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        char path[200];
        snprintf(path, sizeof(path), "/api/v1/products%s", table[i].query);
        cr_assert_eq(get(NULL, path), 200, "%s", path);
        cr_expect_str_eq(skus(), table[i].skus, "%s: %s", path, skus());
        cr_expect_eq(reply_num(&door->reply, "pagination.total"), table[i].total, "%s", path);
    }
}

Test(queries, sorting_by_rating_has_a_tiebreak)
{
    some_products(6);
    cr_assert_eq(get(NULL, "/api/v1/products?sort=rating"), 200);
    cr_expect_str_eq(skus(), "fcebda");
}

Test(queries, a_cursor_walks_every_order_without_gap_or_repeat)
{
    static const char *const sorts[] = {"newest", "price_asc", "price_desc", "rating", "name"};
    some_products(7);
    for (size_t i = 0; i < sizeof(sorts) / sizeof(*sorts); i++) {
        char path[600], seen[64] = "", whole[64];
        snprintf(path, sizeof(path), "/api/v1/products?limit=100&sort=%s", sorts[i]);
        cr_assert_eq(get(NULL, path), 200);
        snprintf(whole, sizeof(whole), "%s", skus());
        snprintf(path, sizeof(path), "/api/v1/products?limit=3&sort=%s", sorts[i]);
        for (int pages = 0; pages < 5 && get(NULL, path) == 200; pages++) {
            strcat(seen, skus());
            cr_expect_eq(reply_num(&door->reply, "pagination.total"), 7);
            if (!*reply_str(&door->reply, "cursor"))
                break;
            snprintf(path, sizeof(path), "/api/v1/products?limit=3&sort=%s&cursor=%s", sorts[i],
                     reply_str(&door->reply, "cursor"));
        }
        cr_expect_str_eq(seen, whole, "%s", sorts[i]);
    }
}

/* A cursor is not moved by what is inserted before it. */
Test(queries, a_cursor_is_stable_under_inserts)
{
    char path[600];
    some_products(4);
    cr_assert_eq(get(NULL, "/api/v1/products?limit=2"), 200);
    cr_expect_str_eq(skus(), "dc");
    snprintf(path, sizeof(path), "/api/v1/products?limit=2&cursor=%s", reply_str(&door->reply, "cursor"));
    opened_product(door, "New", "new", "even", 1, 1);
    cr_assert_eq(get(NULL, path), 200);
    cr_expect_str_eq(skus(), "ba");
}

Test(queries, what_is_out_of_range_is_named)
{
    static const char *const wrong[] = {
        "limit=0",         "limit=101",         "limit=x",    "page=0",
        "page=-1",         "page=1.5",          "sort=price", "sort=",
        "foo=1",           "page=1&page=2",     "in_stock=1", "min_price=-1",
        "min_price=x",     "min_price=1e3",     "cursor=x",   "cursor=%00",
        "search=",         "max_price=1.00001", "category=",  "page=9999999999",
        "cursor=bmV3ZXN0", "limit=20&offset=3",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        char path[200];
        snprintf(path, sizeof(path), "/api/v1/products?%s", wrong[i]);
        int status = get(NULL, path);
        cr_expect(status == 422 || (strstr(wrong[i], "%00") && status == 400), "%s: %d", wrong[i], status);
    }
    cr_assert_eq(
        get(NULL,
            "/api/v1/products?sort=name&cursor=bmV3ZXN0CjAxOGYzYzJhLTdiMWUtN2MzZC04ZTRmLWExYjJjM2Q0ZTVmNgo1"),
        422);
    cr_expect_str_eq(reply_str(&door->reply, "errors.0.field"), "cursor");
}

/* Prices of several currencies are compared as the numbers they are. */
Test(queries, currencies_are_compared_as_printed)
{
    some_products(2);
    bus_sql(&door->bus, "UPDATE product SET currency = 'USD', price = 150050 WHERE sku = 'b'");
    cr_assert_eq(get(NULL, "/api/v1/products?min_price=1400&max_price=1600"), 200);
    cr_expect_str_eq(skus(), "b");
    cr_expect_eq(reply_num(&door->reply, "data.0.price"), 1500.5);
    cr_expect_not_null(strstr(door->reply.text, "\"price\":1500.50"));
}

/* ---- one product ---- */

static const char *product_path(struct uuid id)
{
    static char path[100];
    snprintf(path, sizeof(path), "/api/v1/products/%s", uuid_text(id));
    return path;
}

static int wait_for(const char *path, const char *member, double value)
{
    int64_t begun = clock_mono_ms();
    while (clock_mono_ms() - begun < 5000)
        if (get(NULL, path) == 200 && reply_num(&door->reply, member) == value)
            return (int)(clock_mono_ms() - begun);
        else
            clock_sleep_ms(2);
    return INT32_MAX;
}

Test(queries, a_product_has_an_etag_of_product_and_stock)
{
    struct uuid id = opened_product(door, "Thing", "t", "toys", 1990, 3);
    cr_assert_eq(get(NULL, product_path(id)), 200);
    cr_expect_str_eq(door->reply.etag, "\"1-1\"");
    cr_expect_str_eq(reply_str(&door->reply, "category.name"), "Toys");
    cr_expect_eq(reply_num(&door->reply, "stock"), 3);
    cr_expect_null(reply_at(&door->reply, "cost_price"), "what it costs the shop is nobody's business");
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "GET",
                                                .path = product_path(id),
                                                .more = "If-None-Match: \"1-1\"\r\n"}),
                 304);
    cr_expect_eq(get(NULL, "/api/v1/products/nonsense"), 404);
    cr_expect_eq(get(NULL, product_path(uuid_v7(1))), 404);
    bus_sql(&door->bus, "UPDATE product SET is_active = false");
    opened_event(door, PRODUCT_UPDATED, id, "{}", true);
    for (int i = 0; i < 500 && get(NULL, product_path(id)) == 200; i++)
        clock_sleep_ms(2);
    cr_expect_eq(get(NULL, product_path(id)), 404);
    cr_expect_eq(get(admin_token, product_path(id)), 200, "who edits products sees it still");
}

Test(queries, a_cached_product_follows_its_events)
{
    struct uuid id = opened_product(door, "Thing", "t", "toys", 1990, 3);
    cr_assert_eq(get(NULL, product_path(id)), 200);
    bus_sql(&door->bus, "UPDATE product SET price = 5000");
    cr_assert_eq(get(NULL, product_path(id)), 200);
    cr_expect_eq(reply_num(&door->reply, "price"), 1990, "from the cache: nobody told");
    opened_event(door, PRODUCT_UPDATED, id, "{}", true);
    cr_expect_leq(wait_for(product_path(id), "price", 5000), 1000);
    bus_sql(&door->bus, "UPDATE stock SET quantity = 1, version = 2");
    opened_event(door, STOCK_CHANGED, id, "{}", true);
    cr_expect_leq(wait_for(product_path(id), "stock", 1), 1000);
    cr_expect_str_eq(door->reply.etag, "\"1-2\"");
}

/* An event that Redis never gets is found in the log. */
Test(queries, a_silent_redis_does_not_make_the_cache_lie)
{
    struct uuid id = opened_product(door, "Thing", "t", "toys", 1990, 3);
    cr_assert_eq(get(NULL, product_path(id)), 200);
    bus_sql(&door->bus, "UPDATE product SET price = 5000");
    opened_event(door, PRODUCT_UPDATED, id, "{}", false);
    int took = wait_for(product_path(id), "price", 5000);
    cr_expect_leq(took, 1000);
    servers_kill(door->bus.servers, SERVER_REDIS);
    bus_sql(&door->bus, "UPDATE product SET price = 6000");
    opened_event(door, PRODUCT_UPDATED, id, "{}", false);
    cr_expect_leq(wait_for(product_path(id), "price", 6000), 1000);
    servers_restart(door->bus.servers, SERVER_REDIS);
    bus_must(redis_reopen(door->bus.redis));
    bus_sql(&door->bus, "UPDATE product SET price = 7000");
    opened_event(door, PRODUCT_UPDATED, id, "{}",
                 true); /* a stream that begins late: a gap for who reads it */
    cr_expect_leq(wait_for(product_path(id), "price", 7000), 2000);
}

/* PostgreSQL came back without its last event, whose number goes to another one. */
Test(queries, a_log_that_lost_its_end_does_not_make_the_cache_lie)
{
    struct uuid id = opened_product(door, "Thing", "t", "toys", 1990, 3);
    cr_assert_eq(get(NULL, product_path(id)), 200);
    for (int price = 2000; price < 2003; price++) {
        bus_sql(&door->bus, "UPDATE product SET price = %d", price);
        opened_event(door, PRODUCT_UPDATED, id, "{}", true);
        cr_assert_leq(wait_for(product_path(id), "price", price), 1000);
    }
    bus_sql(&door->bus, "DELETE FROM event_log WHERE seq = 3");
    bus_sql(&door->bus, "UPDATE stream_head h SET seq = 2, ms = l.ms FROM event_log l WHERE l.seq = 2");
    clock_sleep_ms(200);
    bus_sql(&door->bus, "UPDATE product SET price = 5000");
    opened_event(door, PRODUCT_UPDATED, id, "{}", false);
    cr_expect_leq(wait_for(product_path(id), "price", 5000), 1000);
}

/* All of that while nobody looked: whatever is in memory may be of another log. */
Test(queries, a_database_that_was_away_is_read_anew)
{
    struct uuid id = opened_product(door, "Thing", "t", "toys", 1990, 3);
    cr_assert_eq(get(NULL, product_path(id)), 200);
    bus_sql(&door->bus, "UPDATE product SET price = 5000");
    servers_end(door->bus.servers, SERVER_POSTGRES);
    clock_sleep_ms(200);
    servers_restart(door->bus.servers, SERVER_POSTGRES);
    cr_expect_leq(wait_for(product_path(id), "price", 5000), 3000);
}

/* ---- the cart and orders ---- */

Test(queries, a_cart_shows_todays_prices)
{
    struct uuid a = opened_product(door, "Thing", "a", "toys", 1990, 3),
                b = opened_product(door, "Other", "b", "toys", 10, 3);
    cr_assert_eq(get(token, "/api/v1/cart"), 200);
    cr_expect_str_eq(door->reply.text, "{\"items\":[],\"subtotal\":0,\"currency\":\"CLP\"}");
    bus_sql(&door->bus,
            "INSERT INTO cart_line VALUES (gen_random_uuid(), '%s', '%s', 2, 1, 0), (gen_random_uuid(), "
            "'%s', '%s', 3, 2, 0)",
            uuid_text(user), uuid_text(a), uuid_text(user), uuid_text(b));
    cr_assert_eq(get(token, "/api/v1/cart"), 200);
    cr_expect_eq(json_array_size(reply_at(&door->reply, "items")), 2);
    cr_expect_eq(reply_num(&door->reply, "subtotal"), 4010);
    cr_expect_eq(reply_num(&door->reply, "items.0.line_total"), 3980);
    bus_sql(&door->bus, "UPDATE product SET currency = 'USD' WHERE sku = 'b'");
    cr_assert_eq(get(token, "/api/v1/cart"), 200);
    cr_expect(json_is_null(reply_at(&door->reply, "subtotal")), "two currencies have no sum");
    cr_expect_eq(get(NULL, "/api/v1/cart"), 401);
}

static struct uuid order_of(struct uuid whose)
{
    struct uuid id = uuid_v7(clock_ms());
    bus_sql(&door->bus,
            "INSERT INTO orders (id, order_number, user_id, status, payment_status, step, payment_method, "
            "shipping_address, "
            "currency, subtotal, discount_amount, shipping_amount, tax_amount, total_amount, from_cart, "
            "void_asked, void_done, "
            "version, created_ms, updated_ms) VALUES ('%s', 'N-%s', '%s', 'pending', 'pending', 'holding', "
            "'test', "
            "(SELECT name FROM app_user WHERE id = '%s'), 'CLP', 100, 0, 0, 16, 100, true, false, false, 3, "
            "5, 6)",
            uuid_text(id), uuid_text(id), uuid_text(whose), uuid_text(whose));
    bus_sql(&door->bus, "INSERT INTO order_line VALUES ('%s', '%s', 0, 's', 'Thing', 50, 2, 100, 1, 'asked')",
            uuid_text(id), uuid_text(uuid_v7(1)));
    bus_sql(
        &door->bus,
        "INSERT INTO order_timeline VALUES ('%s', 1, 'placed', NULL, 5), ('%s', 2, 'stock-asked', 'x', 6)",
        uuid_text(id), uuid_text(id));
    return id;
}

Test(queries, an_order_is_its_owners_and_the_staffs)
{
    const char *other;
    char path[100];
    struct uuid stranger = opened_person(door, "customer", "Zoe", NULL, &other), id = order_of(user);
    order_of(stranger);
    snprintf(path, sizeof(path), "/api/v1/orders/%s", uuid_text(id));
    cr_assert_eq(get(token, path), 200);
    cr_expect_str_eq(reply_str(&door->reply, "shipping_address"), "Ana", "opened for him who may see it");
    cr_expect_eq(reply_num(&door->reply, "items.0.line_total"), 100);
    cr_expect_eq(json_array_size(reply_at(&door->reply, "timeline")), 2);
    cr_expect_str_eq(reply_str(&door->reply, "timeline.1.detail"), "x");
    cr_expect_str_eq(door->reply.etag, "\"3\"");
    cr_expect_null(reply_at(&door->reply, "payment_token"));
    cr_expect_eq(get(other, path), 404);
    cr_expect_eq(get(NULL, path), 401);
    cr_expect_eq(get(admin_token, path), 200);
    cr_assert_eq(get(token, "/api/v1/orders"), 200);
    cr_expect_eq(reply_num(&door->reply, "pagination.total"), 1);
    cr_assert_eq(get(admin_token, "/api/v1/orders?status=pending"), 200);
    cr_expect_eq(reply_num(&door->reply, "pagination.total"), 2);
    cr_assert_eq(get(admin_token, "/api/v1/orders?status=shipped"), 200);
    cr_expect_eq(rows(), 0);
    cr_expect_eq(get(token, "/api/v1/orders?status=eaten"), 422);
}

Test(queries, only_ones_own_order_can_be_cancelled)
{
    const char *other;
    char path[100];
    opened_person(door, "customer", "Zoe", NULL, &other);
    snprintf(path, sizeof(path), "/api/v1/orders/%s/cancel", uuid_text(order_of(user)));
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "POST", .path = path, .token = other}), 404);
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "POST", .path = path, .token = token}), 202);
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "POST", .path = path, .token = admin_token}), 202);
    struct entry *entries;
    cr_assert_eq(opened_entries(door, TOPIC_ORDERS, &entries), 2);
    cr_expect_not_null(memmem(entries[0].envelope.data.p, entries[0].envelope.data.n, "user_id", 7));
    cr_expect_null(memmem(entries[1].envelope.data.p, entries[1].envelope.data.n, "user_id", 7));
    /* What is not here yet may stand in its lane: orders decides, and knows who asks. */
    snprintf(path, sizeof(path), "/api/v1/orders/%s/cancel", uuid_text(uuid_v7(9)));
    cr_expect_eq(opened_ask(door, &(struct ask){.method = "POST", .path = path, .token = token}), 202);
}

/* ---- the inventory, people, aliases ---- */

Test(queries, stock_movements_and_warehouses)
{
    char path[100];
    struct uuid id = opened_product(door, "Thing", "a", "toys", 1990, 3);
    opened_product(door, "Many", "b", "toys", 1990, 300);
    snprintf(path, sizeof(path), "/api/v1/inventory/stock?product_id=%s", uuid_text(id));
    cr_assert_eq(get(NULL, path), 200);
    cr_expect_eq(rows(), 1);
    cr_expect_eq(reply_num(&door->reply, "data.0.quantity"), 3);
    cr_expect_eq(reply_num(&door->reply, "data.0.reserved_quantity"), 0);
    cr_expect_eq(get(NULL, "/api/v1/inventory/stock?product_id=x"), 422);
    cr_assert_eq(get(NULL, "/api/v1/inventory/stock?limit=1"), 200);
    cr_expect_eq(reply_num(&door->reply, "pagination.total"), 2);
    cr_assert_eq(get(admin_token, "/api/v1/products/low-stock"), 200);
    cr_expect_eq(rows(), 1);
    cr_expect_eq(get(token, "/api/v1/products/low-stock"), 403);
    cr_assert_eq(get(admin_token, "/api/v1/inventory/warehouses"), 200);
    cr_expect_str_eq(reply_str(&door->reply, "data.0.code"), "MAIN");
    cr_expect_eq(get(token, "/api/v1/inventory/movements"), 403);
    cr_assert_eq(get(admin_token, "/api/v1/inventory/movements"), 200);
    cr_expect_eq(reply_num(&door->reply, "pagination.total"), 0);
    cr_assert_eq(get(NULL, "/api/v1/categories"), 200);
    cr_expect_str_eq(reply_str(&door->reply, "data.0.id"), "toys");
    cr_assert_eq(get(NULL, "/api/v1/brands?page=2"), 200);
    cr_expect_eq(rows(), 0);
}

Test(queries, people_are_opened_for_those_who_may)
{
    char path[100];
    cr_assert_eq(get(token, "/api/v1/auth/me"), 200);
    cr_expect_str_eq(reply_str(&door->reply, "name"), "Ana");
    cr_expect_str_eq(reply_str(&door->reply, "id"), uuid_text(user));
    cr_expect_eq(get(token, "/api/v1/users"), 403);
    cr_assert_eq(get(admin_token, "/api/v1/users"), 200);
    cr_expect_eq(rows(), 2);
    cr_expect_null(strstr(door->reply.text, "sealed:"));
    cr_expect_null(strstr(door->reply.text, "password"));
    snprintf(path, sizeof(path), "/api/v1/users/%s", uuid_text(user));
    cr_expect_eq(get(admin_token, path), 200);
    bus_sql(&door->bus, "DELETE FROM person_key WHERE person = '%s'", uuid_text(user));
    cr_assert_eq(get(NULL, "/health"), 200);
    snprintf(path, sizeof(path), "/api/v1/users/%s", uuid_text(uuid_v7(1)));
    cr_expect_eq(get(token, path), 404);
}

Test(queries, paths_of_the_four_systems_lead_to_the_same_shelves)
{
    static const char *const paths[] = {"/api/inventario/products/", "/api/v1/products/", "/products",
                                        "/api/v1/products"};
    opened_product(door, "Thing", "a", "toys", 1990, 3);
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        cr_assert_eq(get(NULL, paths[i]), 200, "%s", paths[i]);
        cr_expect_str_eq(skus(), "a");
    }
    cr_expect_eq(get(admin_token, "/api/users/"), 200);
    cr_expect_eq(get(token, "/auth/me"), 200);
    cr_expect_eq(get(token, "/api/ventas/orders/"), 200);
}
