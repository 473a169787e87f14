/* What the door answers when something is not as the client thinks: versions, prices, products, other people.
 */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

enum { SENDS = 40 };

static struct shop *shop;
static struct person *boss, *ana, *luis;
static char cup[ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(&(struct shop_options){.doors = 2});
    boss = admin(shop);
    ana = customer(shop);
    luis = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 10}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    leave(luis);
    shop_stop(shop);
}

TestSuite(answers, .init = open_shop, .fini = close_shop, .timeout = 240);

static const char nowhere[] = "0192a4b0-0000-7000-8000-000000000000";

Test(answers, a_product_that_does_not_exist_is_404)
{
    cr_expect_eq(place_order(ana, "tok_ok", &(struct line){nowhere, 1, 0}, 1), 404);
    cr_expect_eq(add_to_cart(ana, nowhere, 1), 404);
    cr_expect_eq(get(ana, "/api/v1/products/%s", nowhere), 404);
}

Test(answers, another_price_is_409_with_the_difference)
{
    cr_expect_eq(place_order(ana, "tok_ok", &(struct line){cup, 1, 10}, 1), 409);
    cr_expect_str_eq(said(ana, "differences.0.product_id"), cup);
    cr_expect_eq(said_number(ana, "differences.0.price"), 4990);
    cr_expect_eq(said_number(ana, "differences.0.sent"), 10);
    cr_expect_eq(place_order(ana, "tok_ok", &(struct line){cup, 1, 4990}, 1), 201);
}

static int rename_cup(const char *name)
{
    char path[100];

    snprintf(path, sizeof(path), "/api/v1/products/%s", cup);
    return ask(boss,
               &(struct ask){
                   .method = "PUT", .path = path, .body = json_pack("{ss}", "name", name), .wait_s = WAIT_S});
}

Test(answers, of_two_who_saw_one_version_only_the_first_changes_it)
{
    char etag[120];

    get(boss, "/api/v1/products/%s", cup);
    snprintf(etag, sizeof(etag), "%s", boss->reply.etag);
    cr_assert(*etag);
    boss->if_match = etag;
    cr_expect_eq(rename_cup("Taza azul"), 200);
    boss->if_match = etag;
    cr_expect_eq(rename_cup("Taza roja"), 412);
    get(boss, "/api/v1/products/%s", cup);
    cr_expect_str_eq(said(boss, "name"), "Taza azul");
}

Test(answers, a_command_is_polled_by_its_sender_alone)
{
    char location[160];
    json_t *body = json_pack("{sssi}", "product_id", cup, "quantity", 1);

    cr_assert_eq(
        ask(ana, &(struct ask){.method = "POST", .path = "/api/v1/cart/items", .body = body, .wait_s = -1}),
        202);
    cr_expect_str_eq(said(ana, "status"), "accepted");
    snprintf(location, sizeof(location), "%s", ana->reply.location);
    cr_assert(strstr(location, said(ana, "command_id")));
    cr_expect_eq(get(luis, "%s", location), 404);
    cr_expect_eq(ask(ana, &(struct ask){.method = "GET", .path = location, .wait_s = WAIT_S}), 200);
    cr_expect_str_eq(said(ana, "status"), "succeeded");
    cr_expect_eq(said_number(ana, "http_status"), 201);
    cr_expect_str_eq(said(ana, "result.product_id"), cup);
    cr_expect_eq(get(luis, "%s", location), 404);
}

/* The id of a person is the id of the command that registered him, and it stands in orders and events. */
Test(answers, what_is_personal_in_a_registration_is_shown_to_that_person_alone)
{
    char path[120];

    snprintf(path, sizeof(path), "/api/v1/commands/%s", ana->id);
    cr_expect_eq(get(ana, "%s", path), 200);
    cr_expect_str_eq(said(ana, "result.user.email"), ana->email);
    cr_expect_eq(get(luis, "%s", path), 200);
    cr_expect_str_eq(said(luis, "result.user.id"), ana->id);
    cr_expect(!strchr(luis->reply.text, '@'), "%s", luis->reply.text);
    cr_expect_eq(get(boss, "%s", path), 200, "admins have GET /users/{id}");
    cr_expect(!strchr(boss->reply.text, '@'), "%s", boss->reply.text);
    _cleanup_(leavep) struct person *nobody = visitor(shop, 0);
    cr_expect_eq(get(nobody, "%s", path), 200);
    cr_expect(!strchr(nobody->reply.text, '@') && !strstr(nobody->reply.text, "sealed"), "%s",
              nobody->reply.text);
}

Test(answers, a_command_without_a_result_is_polled_all_the_same)
{
    char location[160];

    cr_assert_eq(ask(ana, &(struct ask){.method = "DELETE", .path = "/api/v1/cart", .wait_s = -1}), 202);
    snprintf(location, sizeof(location), "%s", ana->reply.location);
    cr_expect_eq(ask(ana, &(struct ask){.method = "GET", .path = location, .wait_s = WAIT_S}), 200);
    cr_expect_str_eq(said(ana, "status"), "succeeded");
    cr_expect_eq(said_number(ana, "http_status"), 204);
}

Test(answers, somebody_elses_order_does_not_exist)
{
    char order[ID_TEXT];

    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    cr_expect_eq(get(luis, "/api/v1/orders/%s", order), 404);
    cr_expect_eq(cancel_order(luis, order), 404);
    cr_expect_str_eq(how_it_ends(ana, order), "confirmed");
}

Test(answers, a_cancel_follows_an_order_that_was_only_accepted)
{
    char order[ID_TEXT];
    json_t *body = order_body("tok_ok", (struct line[]){{cup, 11, 0}}, 1);

    for (int i = 0; i < 20; i++) {
        ask(ana, &(struct ask){
                     .method = "POST", .path = "/api/v1/orders", .body = json_incref(body), .wait_s = -1});
        snprintf(order, sizeof(order), "%s", said(ana, "command_id"));
        cr_expect(cancel_order(ana, order) != 404, "%s", ana->reply.text);
        cr_expect_eq(cancel_order(luis, order), 404);
        cr_expect_str_eq(how_it_ends(ana, order), "cancelled");
    }
    json_decref(body);
}

static struct person *senders[SENDS];

static void send_one_order(int i, void *data)
{
    (void)data;
    senders[i]->key = "pedido-1";
    place_order(senders[i], "tok_ok", &(struct line){cup, 1, 0}, 1);
}

Test(answers, forty_sends_of_one_key_at_two_doors_are_one_order)
{
    for (int i = 0; i < SENDS; i++)
        senders[i] = at_door(ana, i % 2);
    all_at_once(SENDS, send_one_order, NULL);
    for (int i = 0; i < SENDS; i++) {
        cr_expect_eq(senders[i]->reply.status, 201);
        cr_expect_str_eq(senders[i]->reply.text, senders[0]->reply.text);
    }
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM orders"), 1);
    cr_expect_eq(shop_sql(shop, "SELECT count(*) FROM event_log WHERE type = 'order.placed.v2'"), 1);
    for (int i = 0; i < SENDS; i++)
        leave(senders[i]);
}

Test(answers, what_is_read_after_a_write_shows_it)
{
    char position[1100];

    for (int i = 1; i <= 20; i++) {
        add_to_cart(ana, cup, 1);
        snprintf(position, sizeof(position), "X-Event-Position: %s\r\n", ana->reply.position);
        ask(ana, &(struct ask){.method = "GET", .path = "/api/v1/cart", .more = position});
        cr_expect_eq(said_number(ana, "items.0.quantity"), i);
    }
}
