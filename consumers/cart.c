/*
 * Carts: one per user, a line per product. Adding is adding: parallel adds of one product sum up, of several
 * products keep all lines, since one thread writes a cart. Check-out empties the cart and asks orders for the
 * order in one transaction; an order that is refused or cancelled offers its lines back by a merge.
 */
#include "consumers/group.h"

#include "bus/base/json.h"

enum { CART_LINES_MAX = 200, CART_QUANTITY_MAX = 1000000 };

struct cart_line {
    struct row row;
    struct uuid id, user_id, product_id;
    int64_t quantity, created_ms, updated_ms;
};

static const struct table line_table = {
    .name = "cart_line",
    .size = sizeof(struct cart_line),
    .keys = 1,
    .columns = {COLUMN(UUID, cart_line, id), COLUMN(UUID, cart_line, user_id),
                COLUMN(UUID, cart_line, product_id), COLUMN(INT, cart_line, quantity),
                COLUMN(INT, cart_line, created_ms), COLUMN(INT, cart_line, updated_ms)},
};

/* What carts know of the catalogue: does the product exist, can it be bought. */
struct cart_product {
    struct row row;
    struct uuid product_id;
    bool is_active;
};

static const struct table product_table = {
    .name = "cart_product",
    .size = sizeof(struct cart_product),
    .keys = 1,
    .columns = {COLUMN(UUID, cart_product, product_id), COLUMN(BOOL, cart_product, is_active)},
};

/* ---- lines ---- */

#define each_line(line, b, user)                                                                             \
    struct cart_line *line = NULL;                                                                           \
    (line = rows_next((b), &line_table, "user_id", VALUE_UUID(user), line));

static void want_cart(struct batch *b, struct uuid user)
{
    want(b, &line_table, "user_id", VALUE_UUID(user));
}

static struct cart_line *line_of_product(struct batch *b, struct uuid user, struct uuid product)
{
    for (each_line(line, b, user))
        if (uuid_eq(line->product_id, product))
            return line;
    return NULL;
}

static struct cart_line *line_of_id(struct batch *b, struct uuid user, struct uuid id)
{
    for (each_line(line, b, user))
        if (uuid_eq(line->id, id))
            return line;
    return NULL;
}

static size_t count_lines(struct batch *b, struct uuid user)
{
    size_t n = 0;
    for (each_line(line, b, user))
        n++;
    return n;
}

/* The line of a product, made when the cart has none. The caller has checked the bounds. */
static struct cart_line *grow_line(struct batch *b, struct uuid user, struct uuid product, int64_t quantity)
{
    struct cart_line *line = line_of_product(b, user, product);
    if (!line) {
        line = row_new(b, &line_table);
        line->id = batch_uuid(b);
        line->user_id = user;
        line->product_id = product;
        line->created_ms = batch_now(b);
    }
    line->quantity += quantity;
    line->updated_ms = batch_now(b);
    row_save(b, line);
    return line;
}

static struct str line_json(struct batch *b, const struct cart_line *line)
{
    struct buf text = buf_new(batch_arena(b), 200);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "id", uuid_str(line->id, batch_arena(b)));
    json_kstr(&j, "product_id", uuid_str(line->product_id, batch_arena(b)));
    json_kint(&j, "quantity", line->quantity);
    json_close(&j, '}');
    return buf_view(&text);
}

static void emit_added(struct batch *b, const struct cart_line *line, int64_t added)
{
    emit_cart_item_added(b, uuid_str(line->user_id, batch_arena(b)),
                         &(struct cart_item_added){.user_id = line->user_id,
                                                   .item_id = line->id,
                                                   .product_id = line->product_id,
                                                   .quantity = line->quantity,
                                                   .added = added});
}

/* ---- commands ---- */

static void want_add(struct batch *b, const struct cart_add_item *c)
{
    want_cart(b, c->user_id);
    want(b, &product_table, "product_id", VALUE_UUID(c->product_id));
}

static enum answer add_item(struct batch *b, const struct cart_add_item *c)
{
    const struct cart_product *product = row_find(b, &product_table, "product_id", VALUE_UUID(c->product_id));
    if (!product && !batch_message(b)->final)
        return not_yet(b, TOPIC_CATALOG, uuid_str(c->product_id, batch_arena(b)));
    if (!product)
        return reject(b, ERR_NOT_FOUND, "There is no such product.");
    if (!product->is_active)
        return reject(b, ERR_CONFLICT, "This product is not sold at present.");
    if (c->has_variant_id)
        return reject_field(b, "variant_id", "this product has no variants");
    const struct cart_line *line = line_of_product(b, c->user_id, c->product_id);
    if (!line && count_lines(b, c->user_id) >= CART_LINES_MAX)
        return reject(b, ERR_CONFLICT, "A cart holds at most %d different products.", CART_LINES_MAX);
    if ((line ? line->quantity : 0) + c->quantity > CART_QUANTITY_MAX)
        return reject_field(b, "quantity", "makes the line larger than a cart can hold");
    line = grow_line(b, c->user_id, c->product_id, c->quantity);
    emit_added(b, line, c->quantity);
    return succeed(b, 201, line_json(b, line));
}

static enum answer remove_line(struct batch *b, struct cart_line *line)
{
    emit_cart_item_removed(b, uuid_str(line->user_id, batch_arena(b)),
                           &(struct cart_item_removed){.user_id = line->user_id,
                                                       .item_id = line->id,
                                                       .product_id = line->product_id});
    row_delete(b, line);
    return succeed(b, 204, STR(""));
}

static void want_set(struct batch *b, const struct cart_set_item *c)
{
    want_cart(b, c->user_id);
}

static enum answer set_item(struct batch *b, const struct cart_set_item *c)
{
    struct cart_line *line = line_of_id(b, c->user_id, c->item_id);
    if (!line)
        return reject(b, ERR_NOT_FOUND, "There is no such line in the cart.");
    if (c->quantity == 0)
        return remove_line(b, line);
    line->quantity = c->quantity;
    line->updated_ms = batch_now(b);
    row_save(b, line);
    emit_cart_item_set(b, uuid_str(c->user_id, batch_arena(b)),
                       &(struct cart_item_set){.user_id = c->user_id,
                                               .item_id = line->id,
                                               .product_id = line->product_id,
                                               .quantity = line->quantity});
    return succeed(b, 200, line_json(b, line));
}

static void want_remove(struct batch *b, const struct cart_remove_item *c)
{
    want_cart(b, c->user_id);
}

static enum answer remove_item(struct batch *b, const struct cart_remove_item *c)
{
    struct cart_line *line = line_of_id(b, c->user_id, c->item_id);
    if (!line)
        return reject(b, ERR_NOT_FOUND, "There is no such line in the cart.");
    return remove_line(b, line);
}

static void empty_cart(struct batch *b, struct uuid user)
{
    for (each_line(line, b, user))
        row_delete(b, line);
}

static void want_clear(struct batch *b, const struct cart_clear *c)
{
    want_cart(b, c->user_id);
}

static enum answer clear_cart(struct batch *b, const struct cart_clear *c)
{
    if (count_lines(b, c->user_id) > 0) {
        empty_cart(b, c->user_id);
        emit_cart_cleared(b, uuid_str(c->user_id, batch_arena(b)),
                          &(struct cart_cleared){.user_id = c->user_id});
    }
    return succeed(b, 204, STR(""));
}

/* ---- check-out ---- */

static void want_check_out(struct batch *b, const struct cart_check_out *c)
{
    want_cart(b, c->user_id);
}

/* The order's id is the command's; orders completes this command when the order is placed or refused. */
static enum answer check_out(struct batch *b, const struct cart_check_out *c)
{
    size_t n = count_lines(b, c->user_id), i = 0;
    struct uuid order = batch_message(b)->id;
    if (n == 0)
        return reject(b, ERR_CONFLICT, "The cart is empty.");
    struct order_place_requested_lines *asked =
        arena_array(batch_arena(b), struct order_place_requested_lines, n);
    struct cart_checked_out_lines *gone = arena_array(batch_arena(b), struct cart_checked_out_lines, n);
    for (each_line(line, b, c->user_id)) {
        asked[i].product_id = gone[i].product_id = line->product_id;
        asked[i].quantity = gone[i].quantity = line->quantity;
        i++;
    }
    empty_cart(b, c->user_id);
    emit_cart_checked_out(
        b, uuid_str(c->user_id, batch_arena(b)),
        &(struct cart_checked_out){.user_id = c->user_id, .order_id = order, .lines = gone, .lines_n = n});
    emit_order_place_requested(b, uuid_str(order, batch_arena(b)),
                               &(struct order_place_requested){.order_id = order,
                                                               .user_id = c->user_id,
                                                               .lines = asked,
                                                               .lines_n = n,
                                                               .shipping_address = c->shipping_address,
                                                               .payment_method = c->payment_method,
                                                               .payment_token = c->payment_token});
    return run_on(b);
}

static void want_merge(struct batch *b, const struct cart_merge_requested *e)
{
    want_cart(b, e->user_id);
}

/* What was in the cart comes back beside what was added since. What a cart cannot hold stays out. */
static enum answer merge_lines(struct batch *b, const struct cart_merge_requested *e)
{
    for (size_t i = 0; i < e->lines_n; i++) {
        const struct cart_line *line = line_of_product(b, e->user_id, e->lines[i].product_id);
        int64_t room = CART_QUANTITY_MAX - (line ? line->quantity : 0);
        int64_t quantity = e->lines[i].quantity < room ? e->lines[i].quantity : room;
        if (quantity > 0 && (line || count_lines(b, e->user_id) < CART_LINES_MAX))
            emit_added(b, grow_line(b, e->user_id, e->lines[i].product_id, quantity), quantity);
    }
    return ANSWER_DONE;
}

/* ---- the projection of the catalogue ---- */

static void set_product(struct batch *b, struct uuid id, bool is_active)
{
    struct cart_product *product = row_find(b, &product_table, "product_id", VALUE_UUID(id));
    if (!product)
        product = row_new(b, &product_table);
    product->product_id = id;
    product->is_active = is_active;
    row_save(b, product);
}

static void want_created(struct batch *b, const struct product_created *e)
{
    want(b, &product_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer product_created(struct batch *b, const struct product_created *e)
{
    set_product(b, e->product_id, e->is_active);
    return ANSWER_DONE;
}

static void want_updated(struct batch *b, const struct product_updated *e)
{
    want(b, &product_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer product_updated(struct batch *b, const struct product_updated *e)
{
    set_product(b, e->product_id, e->is_active);
    return ANSWER_DONE;
}

static void want_deleted(struct batch *b, const struct product_deleted *e)
{
    want(b, &product_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer product_deleted(struct batch *b, const struct product_deleted *e)
{
    set_product(b, e->product_id, false);
    return ANSWER_DONE;
}

static const struct table *const cart_tables[] = {&product_table, &line_table, NULL};

const struct group cart_group = {
    .name = "cart",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = cart_tables,
    .on =
        {
            .cart_add_item = {want_add, add_item},
            .cart_set_item = {want_set, set_item},
            .cart_remove_item = {want_remove, remove_item},
            .cart_clear = {want_clear, clear_cart},
            .cart_check_out = {want_check_out, check_out},
            .cart_merge_requested = {want_merge, merge_lines},
            .product_created = {want_created, product_created},
            .product_updated = {want_updated, product_updated},
            .product_deleted = {want_deleted, product_deleted},
        },
};
