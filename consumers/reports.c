/*
 * Reports: a read model of what was sold, and of what ran low. Lines of an order wait until it is confirmed
 * and then count for their products; a cancelled order's lines are forgotten. It has no effects but its own
 * tables, so it can be emptied and built anew from the log at any time.
 */
#include "bus/topics.h"
#include "consumers/group.h"

struct report_line {
    struct row row;
    struct uuid order_id, product_id;
    struct str sku, name, currency;
    int64_t quantity, line_total;
};

static const struct table line_table = {
    .name = "report_line",
    .size = sizeof(struct report_line),
    .keys = 2,
    .columns = {COLUMN(UUID, report_line, order_id), COLUMN(UUID, report_line, product_id),
                COLUMN(TEXT, report_line, sku), COLUMN(TEXT, report_line, name),
                COLUMN(TEXT, report_line, currency), COLUMN(INT, report_line, quantity),
                COLUMN(INT, report_line, line_total)},
};

/* Orders of one product lie in many partitions, which may have several owners: a row for each, so that every
 * row has one writer. Whoever reads adds them up. */
struct product_sales {
    struct row row;
    struct uuid product_id;
    struct str currency, sku, name;
    int64_t part, orders, units, revenue, updated_ms;
};

static const struct table sales_table = {
    .name = "product_sales",
    .size = sizeof(struct product_sales),
    .keys = 3,
    .columns = {COLUMN(UUID, product_sales, product_id), COLUMN(TEXT, product_sales, currency),
                COLUMN(INT, product_sales, part), COLUMN(TEXT, product_sales, sku),
                COLUMN(TEXT, product_sales, name), COLUMN(INT, product_sales, orders),
                COLUMN(INT, product_sales, units), COLUMN(INT, product_sales, revenue),
                COLUMN(INT, product_sales, updated_ms)},
};

/* The order may be confirmed in this same batch, which a group that is behind reads: what its products have
 * sold must be loaded then, and its lines are in no table yet that would tell which they are. */
static void want_placed(struct batch *b, const struct order_placed_v2 *e)
{
    for (size_t i = 0; i < e->lines_n; i++)
        want(b, &sales_table, "product_id", VALUE_UUID(e->lines[i].product_id));
}

static enum answer order_placed(struct batch *b, const struct order_placed_v2 *e)
{
    for (size_t i = 0; i < e->lines_n; i++) {
        struct report_line *line = row_new(b, &line_table);
        line->order_id = e->order_id;
        line->product_id = e->lines[i].product_id;
        line->sku = e->lines[i].sku;
        line->name = e->lines[i].name;
        line->currency = e->lines[i].currency;
        line->quantity = e->lines[i].quantity;
        line->line_total = e->lines[i].line_total;
        row_save(b, line);
    }
    return ANSWER_DONE;
}

static struct product_sales *sales_of(struct batch *b, const struct report_line *line)
{
    struct product_sales *sales = NULL;
    int64_t part = partition_of(batch_message(b)->key);
    while ((sales = rows_next(b, &sales_table, "product_id", VALUE_UUID(line->product_id), sales)))
        if (sales->part == part && str_eq(sales->currency, line->currency))
            return sales;
    sales = row_new(b, &sales_table);
    sales->part = part;
    sales->product_id = line->product_id;
    sales->currency = line->currency;
    return sales;
}

/* An order that was parked counts later than those that were confirmed after it. */
static void note_latest(struct product_sales *sales, const struct report_line *line, int64_t ms)
{
    if (ms < sales->updated_ms)
        return;
    sales->sku = line->sku;
    sales->name = line->name;
    sales->updated_ms = ms;
}

/* The lines first; once they are there, the products they name. */
static void want_confirmed(struct batch *b, const struct order_confirmed *e)
{
    struct value order = VALUE_UUID(e->order_id);
    want(b, &line_table, "order_id", order);
    for (struct report_line *line = NULL; (line = rows_next(b, &line_table, "order_id", order, line));)
        want(b, &sales_table, "product_id", VALUE_UUID(line->product_id));
}

static enum answer order_confirmed(struct batch *b, const struct order_confirmed *e)
{
    struct value order = VALUE_UUID(e->order_id);
    for (struct report_line *line = NULL; (line = rows_next(b, &line_table, "order_id", order, line));) {
        struct product_sales *sales = sales_of(b, line);
        note_latest(sales, line, batch_time(b));
        sales->orders++;
        sales->units += line->quantity;
        sales->revenue += line->line_total;
        row_save(b, sales);
        row_delete(b, line);
    }
    return ANSWER_DONE;
}

static void want_cancelled(struct batch *b, const struct order_cancelled *e)
{
    want(b, &line_table, "order_id", VALUE_UUID(e->order_id));
}

static enum answer order_cancelled(struct batch *b, const struct order_cancelled *e)
{
    struct value order = VALUE_UUID(e->order_id);
    for (struct report_line *line = NULL; (line = rows_next(b, &line_table, "order_id", order, line));)
        row_delete(b, line);
    return ANSWER_DONE;
}

/* ---- what ran low ---- */

struct low_stock {
    struct row row;
    struct uuid product_id;
    int64_t available, times, last_ms;
};

static const struct table low_table = {
    .name = "low_stock",
    .size = sizeof(struct low_stock),
    .keys = 1,
    .columns = {COLUMN(UUID, low_stock, product_id), COLUMN(INT, low_stock, available),
                COLUMN(INT, low_stock, times), COLUMN(INT, low_stock, last_ms)},
};

static void want_low(struct batch *b, const struct stock_ran_low *e)
{
    want(b, &low_table, "product_id", VALUE_UUID(e->product_id));
}

static enum answer stock_ran_low(struct batch *b, const struct stock_ran_low *e)
{
    struct low_stock *low = row_find(b, &low_table, "product_id", VALUE_UUID(e->product_id));
    if (!low)
        low = row_new(b, &low_table);
    low->product_id = e->product_id;
    low->available = e->available;
    low->times++;
    low->last_ms = batch_time(b);
    row_save(b, low);
    return ANSWER_DONE;
}

static const struct table *const reports_tables[] = {&line_table, &sales_table, &low_table, NULL};

const struct group reports_group = {
    .name = "reports",
    .effects = EFFECTS_NONE,
    .start = START_EARLIEST,
    .tables = reports_tables,
    .on =
        {
            .order_placed_v2 = {want_placed, order_placed},
            .order_confirmed = {want_confirmed, order_confirmed},
            .order_cancelled = {want_cancelled, order_cancelled},
            .stock_ran_low = {want_low, stock_ran_low},
        },
};
