/*
 * The flash sale: 10,000 buyers want one of 100 units at once. A decision is an answer of inventory to a
 * stock.hold-requested; exactly the first 100 in line must get theirs.
 */
#include <poll.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "tests/bench/support/rows.h"

enum { BUYERS = 10000, UNITS = 100, CONNECTIONS = 64, BATCH = 1000 };

static const struct pg_stmt insert_keys = {"bench_insert_keys",
                                           "INSERT INTO person_key (person, wrapped, created_ms) SELECT p, "
                                           "w, $1::bigint FROM unnest($2::uuid[], $3::bytea[])"
                                           " AS x(p, w)"};

/* Registered the short way: the keys that their addresses are sealed with, without passwords. */
static void insert_buyers(struct bench *b, const struct uuid *buyers, struct arena *arena)
{
    for (int from = 0; from < BUYERS; from += BATCH) {
        struct pg_array ids = pg_array(arena, PG_UUID, BATCH), wrapped = pg_array(arena, PG_BYTEA, BATCH);
        for (int i = from; i < from + BATCH; i++) {
            uint8_t bytes[SEAL_WRAPPED];
            struct seal_key key = seal_key_random();
            seal_wrap(&b->secrets.master, buyers[i], &key, bytes);
            pg_array_uuid(&ids, buyers[i]);
            pg_array_text(&wrapped, (struct str){(const char *)bytes, sizeof(bytes)});
        }
        struct pg_param params[] = {pg_int(clock_ms()), pg_array_param(&ids), pg_array_param(&wrapped)};
        bench_must(pg_call(b->pg, &insert_keys, 3, params, NULL));
    }
}

static struct str *make_requests(struct bench *b, const char *product, struct arena *arena)
{
    struct uuid *buyers = arena_array(arena, struct uuid, BUYERS);
    struct str *requests = arena_array(arena, struct str, BUYERS);
    struct str body =
        arena_printf(arena,
                     "{\"items\":[{\"product_id\":\"%s\",\"quantity\":1}],\"shipping_address\":{"
                     "\"street\":\"Alameda 1\",\"city\":\"Santiago\",\"postal_code\":\"8320000\","
                     "\"country\":\"CL\"},\"payment_method\":\"test\",\"payment_token\":\"tok_ok\"}",
                     product);
    for (int i = 0; i < BUYERS; i++) {
        buyers[i] = uuid_v7(clock_ms());
        requests[i] =
            bench_request(arena, "POST", "/api/v1/orders", bench_token(b, buyers[i], arena), "", body);
    }
    insert_buyers(b, buyers, arena);
    return requests;
}

/* Decisions about the product: a hold-requested stands in the product's partition, its answer in the order's.
 */
#define DECISIONS                                                                                            \
    "WITH asked AS (SELECT data::json->>'order_id' AS o, row_number() OVER (ORDER BY seq) AS place"          \
    "  FROM event_log WHERE type = 'stock.hold-requested.v1' AND partitionkey = '%s'),"                      \
    " decided AS (SELECT a.place, e.type, e.ms FROM asked a JOIN event_log e ON e.topic = 'orders' AND"      \
    "  e.partitionkey = a.o AND e.type IN ('order.stock-held.v1', 'order.stock-refused.v1'))"

/* Until every order is decided and told, seen by counting what costs little to count. */
static void until_settled(struct bench *b)
{
    while (bench_backlog(b, "orders") > 0 ||
           shop_sql(b->shop, "SELECT count(*) FROM orders WHERE step <> 'done'") > 0)
        poll(NULL, 0, 100);
    if (!shop_is_quiet(b->shop, 0))
        shop_die(b->shop, "the flash sale does not end");
}

void row_sale(struct bench *b)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)256 << 20);
    char product[ID_TEXT];
    struct load_result r;
    create_product(b->admin, &(struct goods){.name = "Oferta", .price = 1990, .stock = UNITS}, product);
    shop_is_quiet(b->shop, 0);
    struct str *requests = make_requests(b, product, arena);
    struct spent since = spent_now(b);
    load_run(&(struct load){.port = shop_port(b->shop, 0),
                            .connections = CONNECTIONS,
                            .requests = requests,
                            .n_requests = BUYERS,
                            .total = BUYERS,
                            .expected = 202},
             &r);
    if (r.good != BUYERS)
        shop_die(b->shop, "%lld of %d orders were accepted; one was answered %d", (long long)r.good, BUYERS,
                 r.other_status);
    until_settled(b);
    struct str spent = spent_text(b, since, BUYERS, arena);
    int64_t took = shop_sql(b->shop, DECISIONS " SELECT max(ms) - min(ms) FROM decided", product);
    int64_t decided = shop_sql(b->shop, DECISIONS " SELECT count(*) FROM decided", product);
    int64_t first = shop_sql(b->shop,
                             DECISIONS " SELECT count(*) FROM decided WHERE type = 'order.stock-held.v1' AND"
                                       " place <= %d",
                             product, UNITS);
    int64_t held = shop_sql(
        b->shop, DECISIONS " SELECT count(*) FROM decided WHERE type = 'order.stock-held.v1'", product);
    int64_t confirmed = shop_sql(b->shop,
                                 "SELECT count(*) FROM orders o JOIN order_line l ON l.order_id = o.id WHERE"
                                 " l.product_id = '%s' AND o.status = 'confirmed'",
                                 product);
    if (decided != BUYERS || held != UNITS || first != UNITS || confirmed != UNITS)
        shop_die(b->shop, "flash sale: %lld decided, %lld held, %lld of them first in line, %lld confirmed",
                 (long long)decided, (long long)held, (long long)first, (long long)confirmed);
    table_add(ROW_SALE, (double)decided * 1000 / (double)(took > 0 ? took : 1), 0,
              arena_printf(arena, "accepted at %.0f/s; %s", (double)BUYERS / r.seconds, spent.p).p);
    table_add(ROW_SOLD, (double)confirmed, 0, NULL);
}
