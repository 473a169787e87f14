/*
 * Every table descriptor against the migrated schema, as the role of its group: what rows.c would send is
 * prepared and run, with nothing in it. A column misspelt, of another type or not granted is found here and
 * not in a flush.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bus/pg/pg.h"
#include "consumers/group.h"
#include "consumers/rows_sql.h"
#include "tests/support/bus.h"

static void must_run(struct pg *pg, const struct table *table, const struct pg_stmt *stmt, int columns,
                     int first)
{
    struct pg_param params[TABLE_COLUMNS_MAX];
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    for (int i = 0; i < columns; i++) {
        struct pg_array none = pg_array(arena, rows_sql_type(table->columns[first + i].type), 0);
        params[i] = pg_array_param(&none);
    }
    err e = pg_call(pg, stmt, columns, params, NULL);
    cr_expect(!failed(e), "%s: %s", stmt->name, err_text(e));
}

static void must_fit(struct pg *pg, const struct table *table)
{
    int columns = rows_sql_columns(table);
    for (int i = 0; i < columns; i++)
        must_run(pg, table, rows_sql_load(table, i), 1, i);
    must_run(pg, table, rows_sql_insert(table), columns, 0);
    if (columns > table->keys)
        must_run(pg, table, rows_sql_update(table), columns, 0);
    must_run(pg, table, rows_sql_delete(table), table->keys, 0);
}

Test(tables, every_table_fits_the_schema_and_the_grants)
{
    struct bus bus = bus_start(2);
    for (const struct group *const *group = groups; *group; group++) {
        char role[64];
        struct pg *pg;
        snprintf(role, sizeof(role), "dd_%s", (*group)->name);
        bus_must(pg_open_within(servers_database_url(bus.servers), role, NULL, PG_PATIENT_MS, &pg));
        for (const struct table *const *table = (*group)->tables; *table; table++)
            must_fit(pg, *table);
        pg_close(pg);
    }
    bus_stop(&bus);
}

static const struct table *table_named(const char *name)
{
    for (const struct group *const *group = groups; *group; group++)
        for (const struct table *const *table = (*group)->tables; *table; table++)
            if (strcmp((*table)->name, name) == 0)
                return *table;
    cr_assert(false, "no group has a table %s", name);
    return NULL;
}

/* Does the plan of that load name the index? */
static bool loads_by(struct bus *bus, const struct table *table, int column, const char *index)
{
    struct pg_stmt *explain = arena_new_of(bus->arena, struct pg_stmt); /* its address is its identity */
    const struct pg_stmt *load = rows_sql_load(table, column);
    explain->name = arena_printf(bus->arena, "explain_%s", load->name).p;
    explain->sql = arena_printf(bus->arena, "EXPLAIN %s", load->sql).p;
    struct pg_array one =
        pg_array(bus->arena, PG_TEXT, 1); /* of none it would follow that no row is withdrawn */
    pg_array_text(&one, STR("x"));
    struct pg_param param = pg_array_param(&one);
    _cleanup_(pg_result_freep) struct pg_result *plan = NULL;
    bus_must(pg_call(bus->pg, explain, 1, &param, &plan));
    bool found = false;
    for (int row = 0; row < pg_rows(plan); row++)
        found |= strstr(arena_cstr(bus->arena, pg_get_str(plan, row, 0)), index) != NULL;
    return found;
}

/* The unique indexes leave withdrawn products out, so a look-up must say so too, or it reads the whole
 * catalogue. */
Test(tables, skus_and_slugs_are_found_by_their_indexes)
{
    struct bus bus = bus_start(2);
    const struct table *product = table_named("product");
    bus_sql(&bus, "SET enable_seqscan = off");
    for (int i = 0; product->columns[i].name; i++) {
        const char *column = product->columns[i].name;
        if (strcmp(column, "sku") == 0 || strcmp(column, "slug") == 0)
            cr_expect(loads_by(&bus, product, i, arena_printf(bus.arena, "product_%s", column).p), "%s",
                      column);
    }
    bus_stop(&bus);
}
