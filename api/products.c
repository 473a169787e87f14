/*
 * The cache of products. An event of a product drops its body; a body that was being read meanwhile is
 * answered but not kept: marks count the changes per slot of ids, and whoever reads compares the mark before
 * and after.
 */
#include "api/products.h"

#include <stdlib.h>

#include "api/idmap.h"
#include "api/product_view.h"
#include "api/products_internal.h"
#include "api/tail.h"

static void drop_body(struct idmap_node *node)
{
    struct body *body = (struct body *)node;
    blob_drop(body->blob);
    free(body);
}

struct products *products_new(void)
{
    struct products *products = calloc(1, sizeof(*products));
    if (!products)
        abort();
    idmap_init(&products->bodies, PRODUCTS_KEPT, drop_body);
    return products;
}

struct products *products_free(struct products *products)
{
    if (!products)
        return NULL;
    idmap_deinit(&products->bodies);
    for (size_t i = 0; i < TOTALS_KEPT; i++)
        free(products->totals[i].filter);
    free(products);
    return NULL;
}

static uint64_t *mark_of(struct products *products, struct uuid id)
{
    return &products->marks[id.b[15] % PRODUCT_MARKS];
}

void products_changed(struct products *products, enum topic topic, struct uuid id)
{
    (*mark_of(products, id))++;
    products->changes[topic == TOPIC_STOCK]++;
    idmap_remove(&products->bodies, id);
}

void products_forget(struct products *products)
{
    for (size_t i = 0; i < PRODUCT_MARKS; i++)
        products->marks[i]++;
    products->changes[0]++;
    products->changes[1]++;
    while (products->bodies.oldest)
        idmap_remove(&products->bodies, products->bodies.oldest->id);
}

/* ---- one product ---- */

struct reading {
    struct uuid id;
    uint64_t mark;
    bool staff;
};

static void keep(struct products *products, struct uuid id, struct blob *blob)
{
    idmap_remove(&products->bodies, id);
    struct body *body = calloc(1, sizeof(*body));
    if (!body)
        abort();
    body->node.id = id;
    body->blob = blob_hold(blob);
    idmap_put(&products->bodies, &body->node);
}

static void on_product(struct request *req, const struct pg_result *rows, void *data)
{
    const struct reading *reading = data;
    struct door *door = door_of(req);
    if (!pg_rows(rows) || (!reading->staff && !pg_get_bool(rows, 0, P_IS_ACTIVE))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct buf b = buf_new(req->arena, 2048);
    struct json j = json_on(&b);
    product_put(&j, rows, 0, reading->staff, req->arena);
    struct blob *blob = blob_new(buf_view(&b), product_etag(rows, 0, req->arena));
    if (!reading->staff && reading->mark == *mark_of(door->products, reading->id) && tail_is_live(door->tail))
        keep(door->products, reading->id, blob);
    respond_blob(req, blob);
    blob_drop(blob);
}

static const struct pg_stmt select_product = {
    "door_select_product", "SELECT " PRODUCT_COLUMNS " FROM door_product WHERE id = $1::uuid"};

void get_product(struct request *req)
{
    struct products *products = door_of(req)->products;
    struct reading *reading = arena_new_of(req->arena, struct reading);
    reading->staff = role_may(who_of(req)->role, EDIT_PRODUCTS);
    if (failed(uuid_parse(request_param(req, "product_id"), &reading->id))) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    const struct body *body = reading->staff ? NULL : idmap_use(&products->bodies, reading->id);
    if (body) {
        respond_blob(req, body->blob);
        return;
    }
    reading->mark = *mark_of(products, reading->id);
    struct pg_param id = pg_uuid(reading->id);
    door_select(req, &select_product, 1, &id, on_product, reading);
}
