/* One order as a collector of traces sees it: the door, the command, the saga through stock and payment, in
 * one trace, each span below what caused it; and a shop whose collector is dead. */
#include <criterion/criterion.h>

#include "tests/support/collector.h"
#include "tests/support/verbs.h"

static struct collector *collector;
static struct shop *shop;
static struct person *boss, *ana;
static char cup[ID_TEXT], endpoint[128];

static void open_with(const char *url, const char *ratio)
{
    static char share[64];
    const char *const settings[] = {endpoint, share, NULL};

    snprintf(endpoint, sizeof(endpoint), "OTEL_EXPORTER_OTLP_ENDPOINT=%s", url);
    snprintf(share, sizeof(share), "OTEL_TRACES_SAMPLER_ARG=%s", ratio);
    shop = shop_start(&(struct shop_options){.settings = settings});
    boss = admin(shop);
    ana = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 5}, cup);
}

static void close_shop(void)
{
    leave(boss);
    leave(ana);
    shop = shop_stop(shop);
    collector = collector_stop(collector);
}

TestSuite(traces, .fini = close_shop, .timeout = 240);

/* Each row is caused by the row whose number it names. */
static const struct step {
    int below;
    const char *name, *service;
    int kind;
} order[] = {
    {-1, "POST /api/v1/orders", "daydream-api", 2},
    {0, "orders order.place.v1", "daydream-consumers", 5},
    {1, "inventory stock.hold-requested.v1", "daydream-consumers", 5},
    {2, "orders order.stock-held.v1", "daydream-consumers", 5},
    {3, "payments payment.authorise-requested.v1", "daydream-consumers", 5},
    {4, "payment.authorise", "daydream-producers", 3},
    {5, "payments payment.authorise-answered.v1", "daydream-consumers", 5},
    {6, "orders order.payment-authorised.v1", "daydream-consumers", 5},
    {7, "inventory stock.commit-requested.v1", "daydream-consumers", 5},
    {8, "orders order.stock-committed.v1", "daydream-consumers", 5},
    {9, "payments payment.capture-requested.v1", "daydream-consumers", 5},
    {10, "payment.capture", "daydream-producers", 3},
};
enum { STEPS = sizeof(order) / sizeof(*order) };

Test(traces, one_order_is_one_trace)
{
    char id[ID_TEXT];
    struct collected spans[STEPS] = {0}, batch;
    json_t *body;

    collector = collector_start();
    open_with(collector_url(collector), "0"); /* the client decides */
    body = order_body("tok_ok", &(struct line){cup, 2, 0}, 1);
    cr_assert_eq(ask(ana,
                     &(struct ask){
                         .method = "POST",
                         .path = "/api/v1/orders",
                         .body = body,
                         .wait_s = WAIT_S,
                         .token = ana->access,
                         .more = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"}),
                 201);
    snprintf(id, sizeof(id), "%s", said(ana, "id"));
    cr_assert_str_eq(how_it_ends(ana, id), "confirmed");
    for (int i = 0; i < STEPS; i++) {
        const char *parent = order[i].below < 0 ? "b7ad6b7169203331" : spans[order[i].below].span;

        cr_assert(
            collector_await(collector, "0af7651916cd43dd8448eb211c80319c", parent, order[i].name, &spans[i]),
            "%s is not there below %s", order[i].name, parent);
        cr_expect_str_eq(spans[i].service, order[i].service);
        cr_expect_eq(spans[i].kind, order[i].kind);
        cr_expect_not(spans[i].failed);
    }
    cr_assert(collector_await(collector, NULL, "", "orders batch", &batch));
    cr_expect_gt(batch.links, 0);
    cr_expect_not(collector_find(collector, NULL, "", "GET /api/v1/orders/{order_id}", &batch),
                  "at ratio 0 only what the client asked for is kept");
    cr_expect_null(collector_fault(collector), "%s", collector_fault(collector));
    cr_expect_not(collector_holds(collector, ana->email));
    cr_expect_not(collector_holds(collector, "tok_ok"));
    cr_expect_not(collector_holds(collector, "Providencia"));
}

/* The door ends after its last answer: what it still has leaves within the drain. */
Test(traces, what_is_in_the_ring_leaves_at_the_end)
{
    struct collected span;

    collector = collector_start();
    open_with(collector_url(collector), "1");
    cr_expect_eq(get(ana, "/api/v1/cart"), 200);
    cr_expect_lt(shop_end(shop, PROGRAM_API, 0), 5000);
    cr_expect(collector_find(collector, NULL, "", "GET /api/v1/cart", &span));
    cr_expect_eq(span.kind, 2);
    cr_expect_null(collector_fault(collector), "%s", collector_fault(collector));
}

/* Nobody listens on port 1 of the loopback. */
Test(traces, a_dead_collector_stops_nobody)
{
    char id[ID_TEXT];

    open_with("http://127.0.0.1:1", "1");
    for (int i = 0; i < 3; i++) {
        place(ana, "tok_ok", &(struct line){cup, 1, 0}, 1, id);
        cr_expect_str_eq(how_it_ends(ana, id), "confirmed");
    }
    cr_assert(shop_is_quiet(shop, 0));
    for (int program = 0; program < PROGRAMS; program++)
        cr_expect_lt(shop_end(shop, (enum program)program, 0), 5000);
    cr_expect_eq(shop_crashed(shop), 0);
}
