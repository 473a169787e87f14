/*
 * What was sold, from the reports group's read model.
 */
#include "api/listing.h"
#include "api/queries.h"

static void put_sales(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    struct str currency = pg_get_str(rows, row, 4);
    json_open(j, '{');
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 1), arena);
    put_text(j, "sku", rows, row, 2);
    put_text(j, "name", rows, row, 3);
    put_int(j, "orders", rows, row, 5);
    put_int(j, "units", rows, row, 6);
    put_money(j, "revenue", pg_get_int(rows, row, 7), currency);
    json_kstr(j, "currency", currency);
    json_close(j, '}');
}

static const struct pg_stmt select_sales = {
    "door_list_sales", PAGE_OF("door_sales", "product_id, sku, name, currency, orders, units, revenue",
                               "door_sales", "units DESC, product_id, currency", "$1::bigint", "$2::bigint")};

void list_sales(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_sales, 0, NULL, put_sales);
}
