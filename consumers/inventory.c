/*
 * Inventory: what is on hand, what is held for whom, and the ledger of movements whose sum is what is on
 * hand. One hold per (order, product); requests about one product are decided in the order in which they
 * stand in its partition, which is what fair means when many want the last unit. A release undoes whatever
 * the pair has: held goes free, committed comes back.
 */
#include "consumers/group.h"

#include "bus/base/json.h"

struct stock {
    struct row row;
    struct uuid product_id, warehouse_id;
    int64_t quantity, reserved, version, updated_ms;
    int64_t before; /* no column: what was free before the message in hand */
};

static const struct table stock_table = {
    .name = "stock",
    .size = sizeof(struct stock),
    .keys = 1,
    .columns = {COLUMN(UUID, stock, product_id), COLUMN(UUID, stock, warehouse_id),
                COLUMN(INT, stock, quantity), COLUMN(INT, stock, reserved), COLUMN(INT, stock, version),
                COLUMN(INT, stock, updated_ms)},
};

struct stock_movement {
    struct row row;
    struct uuid id, product_id, warehouse_id, order_id;
    struct str movement_type, reason, actor;
    int64_t quantity, balance, created_ms;
};

static const struct table movement_table = {
    .name = "stock_movement",
    .size = sizeof(struct stock_movement),
    .keys = 1,
    .columns = {COLUMN(UUID, stock_movement, id), COLUMN(UUID, stock_movement, product_id),
                COLUMN(UUID, stock_movement, warehouse_id), COLUMN(TEXT, stock_movement, movement_type),
                COLUMN(INT, stock_movement, quantity), COLUMN(INT, stock_movement, balance),
                COLUMN(UUID, stock_movement, order_id), COLUMN(TEXT, stock_movement, reason),
                COLUMN(TEXT, stock_movement, actor), COLUMN(INT, stock_movement, created_ms)},
};

struct stock_hold {
    struct row row;
    struct uuid order_id, product_id;
    int64_t quantity, created_ms, updated_ms;
    struct str state, lines;
};

static const struct table hold_table = {
    .name = "stock_hold",
    .size = sizeof(struct stock_hold),
    .keys = 2,
    .columns = {COLUMN(UUID, stock_hold, order_id), COLUMN(UUID, stock_hold, product_id),
                COLUMN(INT, stock_hold, quantity), COLUMN(TEXT, stock_hold, state),
                COLUMN(TEXT, stock_hold, lines), COLUMN(INT, stock_hold, created_ms),
                COLUMN(INT, stock_hold, updated_ms)},
};

/* The one warehouse of migration 0002. */
static const struct uuid default_warehouse = {{0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}};

/* Free units at or below which a product should be ordered again. */
enum { REORDER_POINT = 10 };

static struct stock *find_stock(struct batch *b, struct uuid product)
{
    struct stock *stock = row_find(b, &stock_table, "product_id", VALUE_UUID(product));
    if (stock)
        stock->before = stock->quantity - stock->reserved;
    return stock;
}

static struct stock_hold *find_hold(struct batch *b, struct uuid order, struct uuid product)
{
    struct stock_hold *hold = NULL;
    while ((hold = rows_next(b, &hold_table, "order_id", VALUE_UUID(order), hold)))
        if (uuid_eq(hold->product_id, product))
            return hold;
    return NULL;
}

/* ---- changes: the row, its movement in the ledger, and the event ---- */

/* Told once, when the line is crossed downwards; not again while it stays below. */
static void tell_low(struct batch *b, const struct stock *stock, int64_t before)
{
    int64_t available = stock->quantity - stock->reserved;
    if (before <= REORDER_POINT || available > REORDER_POINT)
        return;
    emit_stock_ran_low(b, uuid_str(stock->product_id, batch_arena(b)),
                       &(struct stock_ran_low){.product_id = stock->product_id,
                                               .available = available,
                                               .reorder_point = REORDER_POINT});
}

static void save_stock(struct batch *b, struct stock *stock, const char *cause)
{
    stock->version++;
    stock->updated_ms = batch_now(b);
    row_save(b, stock);
    tell_low(b, stock, stock->before);
    emit_stock_changed(b, uuid_str(stock->product_id, batch_arena(b)),
                       &(struct stock_changed){.product_id = stock->product_id,
                                               .quantity = stock->quantity,
                                               .reserved_quantity = stock->reserved,
                                               .version = stock->version,
                                               .cause = str_of(cause)});
}

/* Moves the quantity on hand by a signed difference; the caller has checked that neither stock nor holds
 * break. */
static struct stock_movement *move_stock(struct batch *b, struct stock *stock, int64_t difference,
                                         struct str type, struct uuid order, struct str reason)
{
    struct stock_movement *m = row_new(b, &movement_table);
    stock->quantity += difference;
    m->id = batch_uuid(b);
    m->product_id = stock->product_id;
    m->warehouse_id = stock->warehouse_id;
    m->movement_type = type;
    m->quantity = difference;
    m->balance = stock->quantity;
    m->order_id = order;
    m->reason = reason;
    m->actor = batch_message(b)->actor;
    m->created_ms = batch_now(b);
    row_save(b, m);
    return m;
}

static void set_hold(struct batch *b, struct stock_hold *hold, const char *state)
{
    hold->state = str_of(state);
    hold->updated_ms = batch_now(b);
    row_save(b, hold);
}

/* ---- a new product ---- */

static void want_opened(struct batch *b, const struct stock_opened *e)
{
    want(b, &stock_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer open_stock(struct batch *b, const struct stock_opened *e)
{
    struct stock *stock = find_stock(b, e->product_id);
    if (stock)
        return ANSWER_DONE;
    stock = row_new(b, &stock_table);
    stock->product_id = e->product_id;
    stock->warehouse_id = default_warehouse;
    if (e->quantity > 0)
        move_stock(b, stock, e->quantity, STR("ENTRY"), (struct uuid){{0}}, STR("opening stock"));
    save_stock(b, stock, "opened");
    return ANSWER_DONE;
}

/* ---- movements booked by people ---- */

/* What a movement type does with its quantity: ADJUSTMENT is a signed difference, the others only take
 * positive ones. */
static const struct movement_type {
    const char *name;
    int sign;
    bool is_signed;
} movement_types[] = {
    {"ENTRY", 1, false}, {"EXIT", -1, false}, {"RETURN", 1, false}, {"ADJUSTMENT", 1, true}};

static const struct movement_type *movement_type(struct str name)
{
    for (size_t i = 0; i < sizeof(movement_types) / sizeof(*movement_types); i++)
        if (str_is(name, movement_types[i].name))
            return &movement_types[i];
    return NULL;
}

static struct str movement_json(struct batch *b, const struct stock_movement *m, const struct stock *stock)
{
    struct buf text = buf_new(batch_arena(b), 400);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "id", uuid_str(m->id, batch_arena(b)));
    json_kstr(&j, "product_id", uuid_str(m->product_id, batch_arena(b)));
    json_kstr(&j, "warehouse_id", uuid_str(m->warehouse_id, batch_arena(b)));
    json_kstr(&j, "movement_type", m->movement_type);
    json_kint(&j, "quantity", m->quantity);
    json_kint(&j, "balance", m->balance);
    json_kint(&j, "reserved_quantity", stock->reserved);
    json_kstr(&j, "reason", m->reason);
    json_ktime(&j, "created_at", m->created_ms);
    json_close(&j, '}');
    return buf_view(&text);
}

static void want_adjust(struct batch *b, const struct stock_adjust *c)
{
    want(b, &stock_table, "product_id", VALUE_UUID(c->product_id));
}

static enum answer check_adjust(struct batch *b, const struct stock_adjust *c,
                                const struct movement_type *type)
{
    if (!type)
        return reject_field(b, "movement_type", "must be one of ENTRY, EXIT, ADJUSTMENT, RETURN");
    if (c->quantity == 0 || (c->quantity < 0 && !type->is_signed))
        return reject_field(b, "quantity", type->is_signed ? "must not be 0" : "must be at least 1");
    if (c->has_variant_id)
        return reject_field(b, "variant_id", "this product has no variants");
    if (c->has_warehouse_id && !uuid_eq(c->warehouse_id, default_warehouse))
        return reject_field(b, "warehouse_id", "is not known here");
    return ANSWER_DONE;
}

/* Stock of a product opens with the event that its creation emitted into this very partition, but a command
 * has a lane of its own and may come first: wait for what the partition holds before saying that there is no
 * such product. */
static enum answer adjust_stock(struct batch *b, const struct stock_adjust *c)
{
    const struct movement_type *type = movement_type(c->movement_type);
    struct stock *stock = find_stock(b, c->product_id);
    int64_t expected = batch_message(b)->expected_version;
    enum answer refused = check_adjust(b, c, type);
    if (refused != ANSWER_DONE)
        return refused;
    if (!stock && !batch_message(b)->final)
        return not_yet(b, TOPIC_STOCK, batch_message(b)->key);
    if (!stock)
        return reject(b, ERR_NOT_FOUND, "There is no such product.");
    if (expected && expected != stock->version)
        return reject(b, ERR_STALE, "The stock has changed meanwhile; its version is %lld now.",
                      (long long)stock->version);
    int64_t difference = c->quantity * type->sign;
    if (stock->quantity + difference < stock->reserved)
        return reject(b, ERR_CONFLICT, "On hand are %lld, of which %lld are held for orders.",
                      (long long)stock->quantity, (long long)stock->reserved);
    struct stock_movement *m =
        move_stock(b, stock, difference, c->movement_type, (struct uuid){{0}}, c->reason);
    save_stock(b, stock, type->name);
    return succeed(b, 201, movement_json(b, m, stock));
}

/* ---- what orders ask for ---- */

static void want_hold(struct batch *b, const struct stock_hold_requested *e)
{
    want(b, &stock_table, "product_id", VALUE_UUID(e->product_id));
    want(b, &hold_table, "order_id", VALUE_UUID(e->order_id));
}

static void want_commit(struct batch *b, const struct stock_commit_requested *e)
{
    want(b, &stock_table, "product_id", VALUE_UUID(e->product_id));
    want(b, &hold_table, "order_id", VALUE_UUID(e->order_id));
}

static void want_release(struct batch *b, const struct stock_release_requested *e)
{
    want(b, &stock_table, "product_id", VALUE_UUID(e->product_id));
    want(b, &hold_table, "order_id", VALUE_UUID(e->order_id));
}

static struct str lines_json(struct batch *b, const struct stock_hold_requested *e)
{
    struct buf text = buf_new(batch_arena(b), 128);
    struct json j = json_on(&text);
    json_open(&j, '[');
    for (size_t i = 0; i < e->lines_n; i++) {
        json_open(&j, '{');
        if (e->lines[i].has_variant_id)
            json_kstr(&j, "variant_id", uuid_str(e->lines[i].variant_id, batch_arena(b)));
        json_kint(&j, "quantity", e->lines[i].quantity);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    return buf_view(&text);
}

static enum answer refuse_hold(struct batch *b, const struct stock_hold_requested *e, int64_t asked,
                               int64_t available)
{
    emit_order_stock_refused(b, uuid_str(e->order_id, batch_arena(b)),
                             &(struct order_stock_refused){.order_id = e->order_id,
                                                           .product_id = e->product_id,
                                                           .has_requested = true,
                                                           .requested = asked,
                                                           .has_available = true,
                                                           .available = available});
    return ANSWER_DONE;
}

static enum answer hold_stock(struct batch *b, const struct stock_hold_requested *e)
{
    struct stock *stock = find_stock(b, e->product_id);
    int64_t asked = 0, available = stock ? stock->quantity - stock->reserved : 0;
    for (size_t i = 0; i < e->lines_n; i++)
        asked += e->lines[i].quantity;
    if (find_hold(b, e->order_id, e->product_id))
        return ANSWER_POISON; /* the saga asks once per product */
    if (available < asked)
        return refuse_hold(b, e, asked, available);
    struct stock_hold *hold = row_new(b, &hold_table);
    hold->order_id = e->order_id;
    hold->product_id = e->product_id;
    hold->quantity = asked;
    hold->lines = lines_json(b, e);
    hold->created_ms = batch_now(b);
    set_hold(b, hold, "held");
    stock->reserved += asked;
    save_stock(b, stock, "held");
    emit_order_stock_held(b, uuid_str(e->order_id, batch_arena(b)),
                          &(struct order_stock_held){.order_id = e->order_id, .product_id = e->product_id});
    return ANSWER_DONE;
}

static enum answer commit_stock(struct batch *b, const struct stock_commit_requested *e)
{
    struct stock *stock = find_stock(b, e->product_id);
    struct stock_hold *hold = find_hold(b, e->order_id, e->product_id);
    if (!stock || !hold || !str_is(hold->state, "held"))
        return ANSWER_POISON; /* the saga commits only what it was told is held */
    stock->reserved -= hold->quantity;
    move_stock(b, stock, -hold->quantity, STR("EXIT"), e->order_id, STR("order"));
    set_hold(b, hold, "committed");
    save_stock(b, stock, "committed");
    emit_order_stock_committed(
        b, uuid_str(e->order_id, batch_arena(b)),
        &(struct order_stock_committed){.order_id = e->order_id, .product_id = e->product_id});
    return ANSWER_DONE;
}

/* Releases are asked for every product ever asked, also for what was refused: then there is nothing to undo.
 */
static enum answer release_stock(struct batch *b, const struct stock_release_requested *e)
{
    struct stock *stock = find_stock(b, e->product_id);
    struct stock_hold *hold = find_hold(b, e->order_id, e->product_id);
    bool held = hold && str_is(hold->state, "held"), committed = hold && str_is(hold->state, "committed");
    if (held)
        stock->reserved -= hold->quantity;
    if (committed)
        move_stock(b, stock, hold->quantity, STR("RETURN"), e->order_id, STR("order undone"));
    if (held || committed) {
        set_hold(b, hold, "released");
        save_stock(b, stock, "released");
    }
    emit_order_stock_released(
        b, uuid_str(e->order_id, batch_arena(b)),
        &(struct order_stock_released){.order_id = e->order_id, .product_id = e->product_id});
    return ANSWER_DONE;
}

static const struct table *const inventory_tables[] = {&stock_table, &movement_table, &hold_table, NULL};

const struct group inventory_group = {
    .name = "inventory",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = inventory_tables,
    .on =
        {
            .stock_adjust = {want_adjust, adjust_stock},
            .stock_opened = {want_opened, open_stock},
            .stock_hold_requested = {want_hold, hold_stock},
            .stock_commit_requested = {want_commit, commit_stock},
            .stock_release_requested = {want_release, release_stock},
        },
};
