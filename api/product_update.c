/*
 * PUT /products/{id}: an amount without a currency is in the product's own, which must be known before the
 * body is read, since it says how many decimals the amount may have.
 */
#include "api/product_update.h"

#include "bus/base/json.h"

/* currency */
static const struct pg_stmt select_currency = {"door_select_currency",
                                               "SELECT currency FROM door_product WHERE id = $1::uuid"};

static void on_currency(struct call *call, const struct pg_result *rows)
{
    if (pg_rows(rows))
        call_param(call, "currency", arena_str(call->req->arena, pg_get_str(rows, 0, 0)));
    call_read(call); /* of nobody's product the group will tell */
}

static bool names_amount(struct str body, struct arena *arena)
{
    return json_member(body, "price", arena).p || json_member(body, "compare_price", arena).p ||
           json_member(body, "cost_price", arena).p;
}

static void before_update(struct call *call)
{
    struct arena *arena = call->req->arena;
    struct uuid id;
    if (json_member(call->req->body, "currency", arena).p || !names_amount(call->req->body, arena) ||
        failed(uuid_parse(request_param(call->req, "product_id"), &id))) {
        call_read(call);
        return;
    }
    struct pg_param param = pg_uuid(id);
    call_select(call, &select_currency, 1, &param, on_currency);
}

const struct command_spec update_product_spec = {.before = before_update};
const struct command_spec create_product_spec = {.location = "/api/v1/products"};
