/*
 * Lists of the catalogue's labels and of the inventory.
 */
#include "api/listing.h"
#include "api/queries.h"

/* ---- categories and brands ---- */

static void put_category(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    (void)arena;
    json_open(j, '{');
    put_text(j, "id", rows, row, 1);
    put_text(j, "name", rows, row, 2);
    put_text(j, "slug", rows, row, 1);
    put_text(j, "description", rows, row, 3);
    put_time(j, "created_at", rows, row, 4);
    json_close(j, '}');
}

static const struct pg_stmt select_categories = {
    "door_list_categories", PAGE_OF("door_category", "slug, name, description, created_ms", "door_category",
                                    "name, slug", "$1::bigint", "$2::bigint")};

void list_categories(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_categories, 0, NULL, put_category);
}

static void put_brand(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    (void)arena;
    json_open(j, '{');
    put_text(j, "id", rows, row, 1);
    put_text(j, "name", rows, row, 2);
    put_text(j, "slug", rows, row, 1);
    put_time(j, "created_at", rows, row, 3);
    json_close(j, '}');
}

static const struct pg_stmt select_brands = {
    "door_list_brands",
    PAGE_OF("door_brand", "slug, name, created_ms", "door_brand", "name, slug", "$1::bigint", "$2::bigint")};

void list_brands(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_brands, 0, NULL, put_brand);
}

/* ---- stock ---- */

struct stock_query {
    struct paging paging;
    struct uuid product_id, warehouse_id, variant_id;
    bool has_product_id, has_warehouse_id, has_variant_id;
};
static const struct field stock_fields[] = {QUERY_PAGING(stock_query), QUERY_UUID(stock_query, product_id),
                                            QUERY_UUID(stock_query, warehouse_id),
                                            QUERY_UUID(stock_query, variant_id)};
const struct shape stock_params = {"stock", sizeof(struct stock_query), stock_fields,
                                   sizeof(stock_fields) / sizeof(*stock_fields)};

static struct pg_param optional(bool has, struct uuid id)
{
    return has ? pg_uuid(id) : pg_null();
}

static void put_stock(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "warehouse_id", pg_get_uuid(rows, row, 2), arena);
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 1), arena);
    json_kstr(j, "variant_id", STR_NONE);
    put_int(j, "quantity", rows, row, 3);
    put_int(j, "reserved_quantity", rows, row, 4);
    put_int(j, "version", rows, row, 5);
    put_time(j, "updated_at", rows, row, 6);
    json_close(j, '}');
}

#define STOCK_WHERE                                                                                          \
    "door_stock WHERE ($1::uuid IS NULL OR product_id = $1) AND ($2::uuid IS NULL OR warehouse_id = $2)"
#define STOCK_COLUMNS "product_id, warehouse_id, quantity, reserved, version, updated_ms"
static const struct pg_stmt select_stock = {
    "door_list_stock",
    PAGE_OF(STOCK_WHERE, STOCK_COLUMNS, STOCK_WHERE, "product_id", "$3::bigint", "$4::bigint")};
/* The usual question, by the primary key. */
static const struct pg_stmt select_stock_of = {
    "door_list_stock_of_product",
    PAGE_OF("door_stock WHERE product_id = $1::uuid AND ($2::uuid IS NULL OR warehouse_id = $2)",
            STOCK_COLUMNS,
            "door_stock WHERE product_id = $1::uuid AND ($2::uuid IS NULL OR warehouse_id = $2)",
            "product_id", "$3::bigint", "$4::bigint")};

void list_stock(struct request *req)
{
    struct stock_query q;
    if (!query_read(req, &stock_params, &q))
        return;
    struct pg_param params[] = {optional(q.has_product_id, q.product_id),
                                optional(q.has_warehouse_id, q.warehouse_id)};
    select_list(req, &q.paging, q.has_product_id ? &select_stock_of : &select_stock, 2, params, put_stock);
}

/* ---- low stock ---- */

enum { REORDER_POINT = 10 };

struct low_query {
    struct paging paging;
    int64_t threshold;
    bool has_threshold;
};
static const struct field low_fields[] = {QUERY_PAGING(low_query),
                                          QUERY_INT(low_query, threshold, 0, 1000000)};
const struct shape low_stock_params = {"low-stock", sizeof(struct low_query), low_fields, 3};

static void put_low(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 1), arena);
    put_text(j, "name", rows, row, 2);
    put_text(j, "sku", rows, row, 3);
    put_uuid(j, "warehouse_id", pg_get_uuid(rows, row, 4), arena);
    put_int(j, "quantity", rows, row, 5);
    put_int(j, "reserved_quantity", rows, row, 6);
    put_int(j, "reorder_point", rows, row, 7);
    json_close(j, '}');
}

#define LOW_WHERE "door_low_stock WHERE quantity <= $1::bigint"
static const struct pg_stmt select_low = {
    "door_list_low_stock", PAGE_OF(LOW_WHERE, "id, name, sku, warehouse_id, quantity, reserved, $1::bigint",
                                   LOW_WHERE, "quantity, id", "$2::bigint", "$3::bigint")};

void list_low_stock(struct request *req)
{
    struct low_query q;
    if (!query_read(req, &low_stock_params, &q))
        return;
    struct pg_param threshold = pg_int(q.has_threshold ? q.threshold : REORDER_POINT);
    select_list(req, &q.paging, &select_low, 1, &threshold, put_low);
}

/* ---- movements and warehouses ---- */

struct movement_query {
    struct paging paging;
    struct uuid product_id;
    bool has_product_id;
};
static const struct field movement_fields[] = {QUERY_PAGING(movement_query),
                                               QUERY_UUID(movement_query, product_id)};
const struct shape movement_params = {"movements", sizeof(struct movement_query), movement_fields, 3};

static void put_movement(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, 1), arena);
    put_uuid(j, "product_id", pg_get_uuid(rows, row, 2), arena);
    put_uuid(j, "warehouse_id", pg_get_uuid(rows, row, 3), arena);
    put_text(j, "movement_type", rows, row, 4);
    put_int(j, "quantity", rows, row, 5);
    put_int(j, "balance", rows, row, 6);
    put_uuid(j, "order_id", pg_get_uuid(rows, row, 7), arena);
    put_text(j, "reason", rows, row, 8);
    put_text(j, "actor", rows, row, 9);
    put_time(j, "created_at", rows, row, 10);
    json_close(j, '}');
}

#define MOVEMENT_COLUMNS                                                                                     \
    "id, product_id, warehouse_id, movement_type, quantity, balance, order_id, reason, actor, created_ms"
static const struct pg_stmt select_movements = {
    "door_list_movements", PAGE_OF("door_movement", MOVEMENT_COLUMNS, "door_movement",
                                   "created_ms DESC, id DESC", "$1::bigint", "$2::bigint")};
static const struct pg_stmt select_movements_of = {
    "door_list_movements_of_product", PAGE_OF("door_movement WHERE product_id = $1::uuid", MOVEMENT_COLUMNS,
                                              "door_movement WHERE product_id = $1::uuid",
                                              "created_ms DESC, id DESC", "$2::bigint", "$3::bigint")};

void list_movements(struct request *req)
{
    struct movement_query q;
    if (!query_read(req, &movement_params, &q))
        return;
    struct pg_param product = pg_uuid(q.product_id);
    if (q.has_product_id)
        select_list(req, &q.paging, &select_movements_of, 1, &product, put_movement);
    else
        select_list(req, &q.paging, &select_movements, 0, NULL, put_movement);
}

static void put_warehouse(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, 1), arena);
    put_text(j, "code", rows, row, 2);
    put_text(j, "name", rows, row, 3);
    json_kbool(j, "is_default", pg_get_bool(rows, row, 4));
    json_close(j, '}');
}

static const struct pg_stmt select_warehouses = {
    "door_list_warehouses", PAGE_OF("door_warehouse", "id, code, name, is_default", "door_warehouse", "code",
                                    "$1::bigint", "$2::bigint")};

void list_warehouses(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_warehouses, 0, NULL, put_warehouse);
}
