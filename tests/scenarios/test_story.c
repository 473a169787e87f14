/* What happened to an order, and why: the tree that an operator reads by `bus show` and a manager over HTTP.
 */
#include <criterion/criterion.h>

#include "tests/support/verbs.h"

static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT];

static void open_shop(void)
{
    shop = shop_start(NULL);
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 5}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop_stop(shop);
}

TestSuite(story, .init = open_shop, .fini = close_shop, .timeout = 240);

static json_t *node_of_type(json_t *story, const char *type)
{
    json_t *nodes = json_object_get(story, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(nodes, i), "type")), type) == 0)
            return json_array_get(nodes, i);
    cr_assert_fail("%s is not in the story", type);
    return NULL;
}

static const char *text(json_t *node, const char *name)
{
    const char *value = json_string_value(json_object_get(node, name));
    return value ? value : "";
}

/* Types of the chain of causes from an event up to its root, the root last. */
static void expect_causes(json_t *story, const char *type, const char *const *causes)
{
    json_t *node = node_of_type(story, type);
    for (; *causes; causes++) {
        json_t *cause = node_of_type(story, *causes);
        cr_expect_str_eq(text(node, "causation_id"), text(cause, "id"), "%s is caused by %s",
                         text(node, "type"), *causes);
        cr_expect_eq(json_integer_value(json_object_get(node, "depth")),
                     json_integer_value(json_object_get(cause, "depth")) + 1);
        node = cause;
    }
    cr_expect_eq(json_integer_value(json_object_get(node, "depth")), 0);
}

static json_t *shown(const char *id)
{
    _cleanup_(freep) char *output = NULL;
    cr_assert_eq(shop_ctl(shop, &output, (const char *const[]){"bus", "show", id, "--json", NULL}), 0);
    json_t *story = json_loads(output, 0, NULL);
    cr_assert(story, "%s", output);
    return story;
}

Test(story, of_an_order_is_the_same_for_operators_and_managers)
{
    char order[ID_TEXT];
    place(ana, "tok_ok", &(struct line){cup, 2, 0}, 1, order);
    cr_assert_str_eq(how_it_ends(ana, order), "confirmed");
    cr_assert(shop_is_quiet(shop, 0));

    json_t *story = shown(order);
    expect_causes(story, "order.confirmed.v1",
                  (const char *const[]){
                      "order.payment-captured.v1", "payment.capture-answered.v1", "payment.capture",
                      "payment.capture-requested.v1", "order.stock-committed.v1", "stock.commit-requested.v1",
                      "order.payment-authorised.v1", "payment.authorise-answered.v1", "payment.authorise",
                      "payment.authorise-requested.v1", "order.stock-held.v1", "stock.hold-requested.v1",
                      "order.place.v1", NULL});
    expect_causes(story, "order.placed.v2", (const char *const[]){"order.place.v1", NULL});
    json_t *command = node_of_type(story, "order.place.v1");
    cr_expect_str_eq(text(command, "status"), "succeeded");
    cr_expect_eq(json_integer_value(json_object_get(command, "http_status")), 201);
    cr_expect_eq(json_array_size(json_object_get(node_of_type(story, "order.confirmed.v1"), "awaited_by")),
                 0);

    cr_assert_eq(get(boss, "/api/v1/why/order/%s", order), 200);
    cr_expect(json_equal(story, boss->reply.body), "bus show and /why differ: %s", boss->reply.text);
    cr_expect(!strstr(boss->reply.text, "Alameda") && !strstr(boss->reply.text, "sealed:"));
    cr_assert_eq(get(boss, "/api/v1/why/command/%s", order), 200, "a command's story is its correlation's");
    cr_assert_eq(
        get(boss, "/api/v1/why/event/%s", text(node_of_type(story, "stock.hold-requested.v1"), "id")), 200);
    cr_expect(json_equal(json_object_get(story, "nodes"), json_object_get(boss->reply.body, "nodes")));
    json_decref(story);
}

Test(story, of_what_stopped_says_what_it_waits_for)
{
    char order[ID_TEXT];
    cr_assert_eq(place_order(ana, "tok_ok", &(struct line){cup, 0, 0}, 1), 422,
                 "a story begins with a command");
    shop_end(shop, PROGRAM_PRODUCERS, 0);
    place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, order);
    cr_assert(shop_sql_becomes(shop, 1, 0, "SELECT count(*) FROM job WHERE key = '%s'", order));

    json_t *story = shown(order);
    cr_expect_str_eq(text(node_of_type(story, "payment.authorise"), "state"), "waiting");
    cr_expect_str_eq(text(node_of_type(story, "order.payment-timed-out.v1"), "kind"), "timer");
    json_decref(story);

    cr_assert_eq(get(ana, "/api/v1/why/order/%s", order), 403, "customers may not");
    cr_assert_eq(get(boss, "/api/v1/why/order/%s", ana->id), 404);
    cr_assert_eq(get(boss, "/api/v1/why/weather/%s", order), 404);
    cr_assert_eq(get(boss, "/api/v1/why/order/%s?limit=1001", order), 422);
    cr_assert_eq(get(boss, "/api/v1/why/order/%s?limit=2", order), 200);
    cr_expect(json_is_true(reply_at(&boss->reply, "truncated")));
    cr_expect_eq(said_number(boss, "events"), 2);
    _cleanup_(leavep) struct person *nobody = visitor(shop, 0);
    cr_assert_eq(get(nobody, "/api/v1/why/order/%s", order), 401);
}
