/* The group reports, without servers: what was sold, in whatever batches its events come. */
#include <criterion/criterion.h>

#include "bus/topics.h"
#include "tests/support/batch.h"

extern const struct group reports_group;

#define MEMORY _cleanup_(memory_freep) struct memory *memory = memory_new(&reports_group)

static const struct uuid product = {{0x01, 0xa2, 7}};

static struct order_placed_v2 order(struct uuid id, int64_t quantity)
{
    static struct order_placed_v2_lines lines[16];
    static size_t n;
    struct order_placed_v2_lines *line = &lines[n++ % 16];
    *line = (struct order_placed_v2_lines){.product_id = product,
                                           .sku = STR("SKU"),
                                           .name = STR("Cosa"),
                                           .unit_price = 1000,
                                           .currency = STR("CLP"),
                                           .quantity = quantity,
                                           .line_total = 1000 * quantity};
    return (struct order_placed_v2){.order_id = id, .lines = line, .lines_n = 1};
}

static struct uuid order_id(uint8_t n)
{
    return (struct uuid){{0x01, 0xa3, n}};
}

static const void *sales(struct memory *memory)
{
    return kept_row(memory, "product_sales", "product_id", VALUE_UUID(product));
}

Test(groups_reports, an_order_counts_once_it_is_confirmed)
{
    MEMORY;
    partitions_set(1);
    struct order_placed_v2 placed = order(order_id(1), 2);

    handle(memory, ORDER_PLACED_V2, &placed);
    cr_assert_null(sales(memory));
    handle(memory, ORDER_CONFIRMED, &(struct order_confirmed){.order_id = order_id(1)});
    cr_assert_eq(row_int(sales(memory), "units"), 2);
    cr_assert_eq(kept_count(memory, "report_line"), 0);
}

/* As a group reads that is behind: a rebuild above all. Rows that are there already must be found. */
Test(groups_reports, orders_placed_and_confirmed_in_one_batch_add_to_what_was_sold)
{
    MEMORY;
    partitions_set(1);
    struct order_placed_v2 first = order(order_id(1), 2), second = order(order_id(2), 3);
    struct order_confirmed confirmed[] = {{.order_id = order_id(1)}, {.order_id = order_id(2)}};
    struct outcome outcomes[2];

    memory_handle_all(memory,
                      (struct given[]){{.type = ORDER_PLACED_V2, .data = &first},
                                       {.type = ORDER_CONFIRMED, .data = &confirmed[0]}},
                      2, outcomes);
    memory_handle_all(memory,
                      (struct given[]){{.type = ORDER_PLACED_V2, .data = &second},
                                       {.type = ORDER_CONFIRMED, .data = &confirmed[1]}},
                      2, outcomes);
    cr_assert_eq(kept_count(memory, "product_sales"), 1);
    cr_assert_eq(row_int(sales(memory), "orders"), 2);
    cr_assert_eq(row_int(sales(memory), "units"), 5);
}
