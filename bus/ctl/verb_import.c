/*
 * import FILE: a product list through the ordinary commands, upserting by sku. The file is read once from
 * front to back, in windows of rows: look up their skus, publish creates, updates and stock adjustments, wait
 * for the results. A window never holds one sku twice, so a later row of the same product meets the effect of
 * the earlier one. Memory is bounded by the file (at most 64 MB, mapped) and one window.
 *
 * Stock is adjusted by a difference, which says nothing without the stock it was computed from: the command
 * names that stock's version, and is void for any other. Who runs the import again before the first one was
 * handled publishes the same command once more, or one of which at most one can have an effect.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/money.h"
#include "bus/ctl/import.h"

enum {
    FILE_MAX = 64 << 20,
    WINDOW = 64,
    WINDOW_MEMORY = 64 << 20,
    RESULT_MS = 30000,
    OPENED_MS = 10000,
    LOOK_MS = 100
};

struct import {
    struct ctl *ctl;
    struct str currency, file;
    struct arena *arena; /* of a window */
    struct import_row rows[WINDOW];
    size_t n;
    int64_t accepted, refused;
    int64_t patience_ms; /* for stock that is not opened yet */
    struct buf report;   /* --json */
    struct json json;
};

/* ---- what the shop has ---- */

static const struct pg_stmt select_products = {
    "ctl_import_products",
    "SELECT p.sku, p.id, s.version, s.quantity FROM product p LEFT JOIN stock s ON s.product_id = p.id"
    " WHERE NOT p.is_deleted AND p.sku = ANY($1::text[])"};

static void take_product(struct import_row *row, const struct pg_result *result, int at)
{
    row->existing = pg_get_uuid(result, at, 1);
    row->unopened = row->product.has_stock && pg_is_null(result, at, 2);
    if (!row->product.has_stock || row->unopened)
        return;
    row->stock_version = pg_get_int(result, at, 2);
    row->stock_difference = row->product.stock - pg_get_int(result, at, 3);
}

/* ret: there are products whose stock is not opened yet. */
static err look(struct import *import, bool *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array skus = pg_array(import->arena, PG_TEXT, (int)import->n);
    for (size_t i = 0; i < import->n; i++)
        if (!import->rows[i].refused.p)
            pg_array_text(&skus, import->rows[i].product.sku);
    const struct pg_param params[] = {pg_array_param(&skus)};
    TRY(pg_call(import->ctl->pg, &select_products, 1, params, &result));
    *ret = false;
    for (int at = 0; at < pg_rows(result); at++)
        for (size_t i = 0; i < import->n; i++) {
            struct import_row *row = &import->rows[i];
            if (row->refused.p || !str_eq(row->product.sku, pg_get_str(result, at, 0)))
                continue;
            take_product(row, result, at);
            *ret |= row->unopened;
        }
    return OK;
}

/* A product's stock is opened by an event of its creation, a moment after that was answered: what is not
 * there is not 0. Where the wait was in vain once, nobody opens stock now, and it is not waited for again. */
static err look_up(struct import *import)
{
    int64_t until = clock_mono_ms() + import->patience_ms;
    bool unopened;
    TRY(look(import, &unopened));
    while (unopened && !ctl_stop && clock_mono_ms() < until) {
        clock_sleep_ms(LOOK_MS);
        TRY(look(import, &unopened));
    }
    if (unopened)
        import->patience_ms = 0;
    for (size_t i = 0; i < import->n; i++)
        if (import->rows[i].unopened)
            import->rows[i].refused = STR("its stock is not opened yet; import it again later");
    return OK;
}

/* ---- commands ---- */

static const void *make_create(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena)
{
    (void)ctl;
    (void)id;
    (void)arena;
    return &((const struct import_row *)what)->product;
}

static const void *make_update(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena)
{
    const struct import_row *row = what;
    const struct product_create *p = &row->product;
    struct product_update *message = arena_new_of(arena, struct product_update);
    (void)ctl;
    (void)id;
    *message = (struct product_update){
        .product_id = row->existing,
        .name = p->name,
        .has_price = true,
        .price = p->price,
        .currency = p->currency,
        .description = p->description,
        .category = p->category,
        .brand = p->brand,
        .images = p->images,
        .images_n = p->images_n,
        .has_weight_grams = p->has_weight_grams,
        .weight_grams = p->weight_grams,
        .dimensions = p->dimensions,
        .has_rating_hundredths = p->has_rating_hundredths,
        .rating_hundredths = p->rating_hundredths,
        .has_reviews_count = p->has_reviews_count,
        .reviews_count = p->reviews_count,
    };
    return message;
}

static const void *make_adjust(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena)
{
    const struct import_row *row = what;
    struct stock_adjust *message = arena_new_of(arena, struct stock_adjust);
    (void)ctl;
    (void)id;
    *message = (struct stock_adjust){.product_id = row->existing,
                                     .movement_type = STR("ADJUSTMENT"),
                                     .quantity = row->stock_difference,
                                     .reason = STR("import")};
    return message;
}

/* One key for one difference of one state of the stock. */
static struct outgoing adjustment(const struct import_row *row, struct str product, struct arena *arena)
{
    return (struct outgoing){.message = STOCK_ADJUST,
                             .key = product,
                             .idempotencykey =
                                 arena_printf(arena, "import:%.*s:%" PRId64 ":%" PRId64, STR_ARG(product),
                                              row->stock_version, row->stock_difference),
                             .expected_version = row->stock_version,
                             .make = make_adjust,
                             .what = row};
}

/* What one row asks for. A row whose data the catalogue would not take is refused alone. */
static err publish_row(struct import *import, struct import_row *row)
{
    bool update = !uuid_is_nil(row->existing);
    struct outgoing list[2] = {{.message = update ? PRODUCT_UPDATE : PRODUCT_CREATE,
                                .key = update ? uuid_str(row->existing, import->arena) : STR_NONE,
                                .make = update ? make_update : make_create,
                                .what = row}};
    size_t n = update && row->stock_difference ? 2 : 1;
    if (n == 2)
        list[1] = adjustment(row, list[0].key, import->arena);
    err e = ctl_publish(import->ctl, list, n, import->arena);
    if (e.code == ERR_INVALID || e.code == ERR_MALFORMED)
        row->refused = arena_str(import->arena, str_of(err_text(e)));
    else if (failed(e))
        return e;
    row->command = list[0].id;
    row->adjustment = n == 2 ? list[1].id : (struct uuid){{0}};
    return OK;
}

static void note_outcome(struct import_row *row, const struct outcome_of *outcome, const char *what,
                         struct arena *arena)
{
    if (!outcome->done)
        row->refused = arena_printf(arena, "%s: no result in time", what);
    else if (!outcome->succeeded)
        row->refused = arena_printf(arena, "%s: %.*s", what, STR_ARG(outcome->detail));
    else
        row->accepted = true;
}

static err wait_window(struct import *import)
{
    struct outcome_of list[2 * WINDOW];
    struct import_row *of[2 * WINDOW];
    size_t n = 0;
    for (size_t i = 0; i < import->n; i++) {
        struct import_row *row = &import->rows[i];
        if (row->refused.p)
            continue;
        of[n] = row;
        list[n++] = (struct outcome_of){.id = row->command};
        of[n] = row;
        if (!uuid_is_nil(row->adjustment))
            list[n++] = (struct outcome_of){.id = row->adjustment};
    }
    err e = ctl_wait_results(import->ctl, list, n, RESULT_MS, import->arena);
    if (failed(e) && e.code != ERR_UNAVAILABLE)
        return e;
    for (size_t i = 0; i < n; i++)
        if (!of[i]->refused.p)
            note_outcome(of[i], &list[i], uuid_eq(list[i].id, of[i]->command) ? "product" : "stock",
                         import->arena);
    return e;
}

/* ---- the report ---- */

static void report_row(struct import *import, const struct import_row *row)
{
    const char *word = row->refused.p ? "refused" : uuid_is_nil(row->existing) ? "created" : "updated";
    if (!import->ctl->json) {
        printf("%-8s %5" PRId64 "  %.*s%s%.*s\n", word, row->n, STR_ARG(row->product.sku),
               row->refused.p ? ": " : "", STR_ARG(row->refused));
        return;
    }
    json_open(&import->json, '{');
    json_kint(&import->json, "row", row->n);
    json_kstr(&import->json, "sku", row->product.sku);
    json_kstr(&import->json, "outcome", str_of(word));
    json_kstr(&import->json, "detail", row->refused);
    json_close(&import->json, '}');
}

static err run_window(struct import *import)
{
    err e = look_up(import);
    for (size_t i = 0; i < import->n && !failed(e); i++)
        if (!import->rows[i].refused.p)
            e = publish_row(import, &import->rows[i]);
    if (!failed(e))
        e = wait_window(import);
    if (failed(e) && e.code != ERR_UNAVAILABLE)
        return e;
    for (size_t i = 0; i < import->n; i++) {
        import->refused += import->rows[i].refused.p != NULL;
        import->accepted += import->rows[i].refused.p == NULL;
        report_row(import, &import->rows[i]);
    }
    import->n = 0;
    arena_reset(import->arena);
    return e;
}

/* ---- the file ---- */

static bool in_window(const struct import *import, struct str sku)
{
    for (size_t i = 0; i < import->n; i++)
        if (str_eq(import->rows[i].product.sku, sku))
            return true;
    return false;
}

static err take_row(struct import *import, struct str object, int64_t n)
{
    if (import->n == WINDOW)
        TRY(run_window(import));
    struct str sku = json_member_str(object, "sku", import->arena);
    if (sku.p && in_window(import, str_trim(sku)))
        TRY(run_window(import));
    struct import_row *row = &import->rows[import->n];
    *row = (struct import_row){.n = n};
    err e = import_row_read(object, import->currency, import->arena, row);
    if (failed(e))
        row->refused = arena_str(import->arena, str_of(err_text(e)));
    import->n++;
    return OK;
}

/* Goes to the list: the whole text, or the member "products" of an object. */
static err enter_list(struct json_in *in)
{
    enum json_kind kind;
    bool first = true, more;
    struct str name;
    TRY(json_peek(in, &kind));
    if (kind == JSON_ARRAY)
        return json_enter(in, JSON_ARRAY);
    if (kind != JSON_OBJECT)
        return FAIL(MALFORMED, "the file holds neither a list nor an object with \"products\"");
    TRY(json_enter(in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(in, &first, &more, &name));
        if (!more)
            return FAIL(MALFORMED, "the object in the file has no \"products\"");
        if (str_is(name, "products"))
            return json_enter(in, JSON_ARRAY);
        TRY(json_skip(in, NULL));
    }
}

static err import_file(struct import *import)
{
    _cleanup_(arena_freep) struct arena *names = arena_new(1 << 20);
    struct json_in in = json_in(import->file, names);
    bool first = true, more;
    struct str object;
    enum json_kind kind;
    TRY(enter_list(&in));
    for (int64_t n = 1;; n++) {
        if (ctl_stop)
            return FAIL(UNAVAILABLE, "stopped before row %" PRId64 "; import the file again",
                        n - (int64_t)import->n);
        TRY(json_next(&in, &first, &more, NULL));
        if (!more)
            break;
        TRY(json_peek(&in, &kind));
        TRY(json_skip(&in, &object));
        arena_reset(names);
        if (kind != JSON_OBJECT)
            return FAIL(MALFORMED, "row %" PRId64 " is not an object", n);
        TRY(take_row(import, object, n));
        ctl_progress("import", (int64_t)in.at, (int64_t)in.text.n);
    }
    return import->n ? run_window(import) : OK;
}

static err file_map(const char *path, struct str *ret)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(NOT_FOUND, "cannot read %s", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > FILE_MAX) {
        close(fd);
        return FAIL(TOO_LARGE, "%s is not a file of 1 byte to %d MB", path, FILE_MAX >> 20);
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return FAIL(TOO_LARGE, "%s cannot be mapped", path);
    *ret = (struct str){p, (size_t)st.st_size};
    return OK;
}

static void print_summary(struct import *import)
{
    if (!import->ctl->json) {
        printf("%" PRId64 " accepted, %" PRId64 " refused\n", import->accepted, import->refused);
        return;
    }
    json_close(&import->json, ']');
    json_kint(&import->json, "accepted", import->accepted);
    json_kint(&import->json, "refused", import->refused);
    json_close(&import->json, '}');
    ctl_print_json(&import->report);
}

enum ctl_exit run_import(struct ctl *ctl)
{
    struct import *import = arena_new_of(ctl->arena, struct import);
    _cleanup_(arena_freep) struct arena *arena = arena_new(WINDOW_MEMORY);
    const char *currency = ctl_option(ctl, "currency");
    *import = (struct import){
        .ctl = ctl, .arena = arena, .patience_ms = OPENED_MS, .report = buf_new(ctl->arena, 4096)};
    import->currency = currency ? str_of(currency) : conf_str(SET_DEFAULT_CURRENCY);
    import->json = json_on(&import->report);
    json_open(&import->json, '{');
    json_key(&import->json, "rows");
    json_open(&import->json, '[');
    if (money_decimals(import->currency) < 0)
        return ctl_usage(ctl, "the currency %.*s is not known", STR_ARG(import->currency));
    err e = file_map(ctl->args[0], &import->file);
    if (!failed(e))
        e = ctl_connect(ctl, CTL_BUS);
    ctl_catch_signals();
    if (!failed(e))
        e = import_file(import);
    if (!failed(e) || import->accepted || import->refused)
        print_summary(import);
    if (import->file.p)
        munmap((void *)(uintptr_t)import->file.p, import->file.n);
    if (failed(e))
        return ctl_fail(e);
    return import->refused ? CTL_FINDINGS : CTL_OK;
}
