#include "tests/support/history.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOGETHER = 256 }; /* orders per transaction */

static void must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "tests/support/history: %s\n", err_text(e));
    abort();
}

/* splitmix64 */
static uint64_t next(struct history *h)
{
    uint64_t x = h->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static struct uuid made_id(uint64_t high, uint64_t low)
{
    struct uuid id;
    memcpy(id.b, &high, sizeof(high));
    memcpy(id.b + sizeof(high), &low, sizeof(low));
    return id;
}

static struct order_placed_lines made_line(struct history *h)
{
    uint64_t product = next(h) % HISTORY_PRODUCTS;
    int64_t price = 1000 + (int64_t)product * 10, quantity = 1 + (int64_t)(next(h) % 3);
    return (struct order_placed_lines){
        .product_id = made_id(UINT64_C(0xbeef), product + 1),
        .sku = arena_printf(h->arena, "SKU-%03d", (int)product),
        .name = arena_printf(h->arena, "Lámpara de prueba número %d", (int)product),
        .unit_price = price,
        .currency = STR("CLP"),
        .quantity = quantity,
        .line_total = price * quantity,
        .product_version = 1,
    };
}

struct making {
    struct history *h;
    struct event *events;
    size_t n;
};

static void add(struct making *m, enum message type, struct uuid key, const void *data)
{
    struct arena *arena = m->h->arena;
    const struct message_type *t = &message_types[type];
    struct event *event = &m->events[m->n++];
    *event = event_new(t, STR("orders"), uuid_str(key, arena), codec_encode(t->shape, data, arena), arena);
    event->envelope.correlationid = uuid_str(key, arena);
}

static void add_order(struct making *m)
{
    struct history *h = m->h;
    size_t n = 1 + next(h) % 3;
    struct uuid order = made_id(next(h), next(h)), user = made_id(1, next(h) % 1000);
    struct str number = arena_printf(h->arena, "DS-%lld", (long long)++h->orders);
    struct order_placed_lines *lines = arena_array(h->arena, struct order_placed_lines, n);
    struct order_placed placed = {
        .order_id = order, .user_id = user, .order_number = number, .currency = STR("CLP")};
    for (size_t i = 0; i < n; i++) {
        lines[i] = made_line(h);
        for (size_t k = 0; k < i; k++)
            if (uuid_eq(lines[k].product_id, lines[i].product_id))
                n = i; /* one line per product */
        placed.subtotal = placed.total_amount += i < n ? lines[i].line_total : 0;
    }
    placed.lines = lines;
    placed.lines_n = n;
    placed.payment_method = STR("test");
    add(m, ORDER_PLACED, order, &placed);
    add(m, ORDER_STOCK_HELD, order,
        &(struct order_stock_held){.order_id = order, .product_id = lines[0].product_id});
    add(m, ORDER_STOCK_COMMITTED, order,
        &(struct order_stock_committed){.order_id = order, .product_id = lines[0].product_id});
    if (next(h) % 8 == 0)
        add(m, ORDER_CANCELLED, order, &(struct order_cancelled){order, user, number, STR("customer")});
    else
        add(m, ORDER_CONFIRMED, order,
            &(struct order_confirmed){order, user, number, placed.total_amount, STR("CLP")});
    if (next(h) % 64 == 0)
        add(m, STOCK_RAN_LOW, lines[0].product_id,
            &(struct stock_ran_low){lines[0].product_id, (int64_t)(next(h) % 5), 5});
}

void history_add(struct history *h, int64_t orders)
{
    for (int64_t done = 0; done < orders;) {
        arena_reset(h->arena);
        struct making m = {h, arena_array(h->arena, struct event, (size_t)TOGETHER * (HISTORY_PER_ORDER + 1)),
                           0};
        for (int i = 0; i < TOGETHER && done < orders; i++, done++)
            add_order(&m);
        eventlog_queue(h->pg, m.events, m.n, h->arena);
        pg_sync(h->pg, NULL, NULL);
        must(pg_wait(h->pg, 30000));
        h->events += (int64_t)m.n;
    }
}
