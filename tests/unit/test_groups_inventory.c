/* The inventory: handlers alone, without servers. */
#include <criterion/criterion.h>

#include "bus/topics.h"
#include "tests/support/batch.h"

extern const struct group inventory_group;

#define MEMORY _cleanup_(memory_freep) struct memory *memory = memory_new(&inventory_group)

static const struct uuid product = {{0x01, 0xa2, 7}};

static const void *stock(const struct memory *memory)
{
    return kept_row(memory, "stock", "product_id", VALUE_UUID(product));
}

/* Who computed a difference from what he saw means no other stock than that. */
Test(groups_inventory, a_difference_is_void_for_another_version)
{
    MEMORY;
    struct stock_adjust more = {
        .product_id = product, .movement_type = STR("ADJUSTMENT"), .quantity = 50, .reason = STR("import")};
    const struct stock_opened opened = {.product_id = product, .quantity = 50};
    partitions_set(1);
    handle(memory, STOCK_OPENED, &opened);
    int64_t seen = row_int(stock(memory), "version");

    cr_assert_eq(handle(memory, STOCK_ADJUST, &more, .expected_version = seen + 1).http, 412);
    cr_assert_eq(row_int(stock(memory), "quantity"), 50);
    cr_assert_eq(told_count(memory, STOCK_CHANGED), 0);
    cr_assert_eq(handle(memory, STOCK_ADJUST, &more, .expected_version = seen).http, 201);
    cr_assert_eq(handle(memory, STOCK_ADJUST, &more, .expected_version = seen).http, 412);
    cr_assert_eq(row_int(stock(memory), "quantity"), 100);
    cr_assert_eq(handle(memory, STOCK_ADJUST, &more).http, 201, "nobody has to say what he saw");
}
