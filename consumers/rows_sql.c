/*
 * SQL from table descriptors. Names of tables and columns come from our own constants only; every value is a
 * parameter. Statements live as long as the process.
 */
#include "consumers/rows_sql.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct table_sql {
    const struct table *table;
    struct pg_stmt load[TABLE_COLUMNS_MAX], insert, update, delete;
};

static struct table_sql *tables[TABLES_MAX];
static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;
/* Outlives every batch by design: the statements' addresses are their identity. */
static struct arena *kept;

int rows_sql_columns(const struct table *table)
{
    int n = 0;
    while (n < TABLE_COLUMNS_MAX && table->columns[n].name)
        n++;
    return n;
}

enum pg_type rows_sql_type(enum column_type type)
{
    static const enum pg_type types[] = {[COLUMN_INT] = PG_INT8,
                                         [COLUMN_BOOL] = PG_BOOL,
                                         [COLUMN_UUID] = PG_UUID,
                                         [COLUMN_TEXT] = PG_TEXT,
                                         [COLUMN_BYTES] = PG_BYTEA};
    return types[type];
}

static const char *array_cast(enum column_type type)
{
    static const char *const casts[] = {[COLUMN_INT] = "bigint[]",
                                        [COLUMN_BOOL] = "boolean[]",
                                        [COLUMN_UUID] = "uuid[]",
                                        [COLUMN_TEXT] = "text[]",
                                        [COLUMN_BYTES] = "bytea[]"};
    return casts[type];
}

static void put_names(struct buf *b, const struct table *table, int from, int to)
{
    for (int i = from; i < to; i++)
        buf_printf(b, "%s%s", i > from ? ", " : "", table->columns[i].name);
}

/* unnest($1::uuid[], $2::text[]) AS x(id, name) */
static void put_unnest(struct buf *b, const struct table *table, int columns)
{
    buf_lit(b, "unnest(");
    for (int i = 0; i < columns; i++)
        buf_printf(b, "%s$%d::%s", i ? ", " : "", i + 1, array_cast(table->columns[i].type));
    buf_lit(b, ") AS x(");
    put_names(b, table, 0, columns);
    buf_lit(b, ")");
}

static void put_key_match(struct buf *b, const struct table *table)
{
    for (int i = 0; i < table->keys; i++)
        buf_printf(b, "%s t.%s = x.%s", i ? " AND" : "", table->columns[i].name, table->columns[i].name);
}

static struct pg_stmt statement(const struct table *table, const char *verb, const char *column,
                                struct buf *sql)
{
    return (struct pg_stmt){.name = arena_printf(kept, "%s_%s%s", verb, table->name, column).p,
                            .sql = arena_cstr(kept, buf_view(sql))};
}

static void make_load(struct table_sql *t, int column)
{
    const struct column *c = &t->table->columns[column];
    struct buf sql = buf_new(kept, 256);
    buf_lit(&sql, "SELECT ");
    put_names(&sql, t->table, 0, rows_sql_columns(t->table));
    buf_printf(&sql, " FROM %s WHERE %s = ANY($1::%s)", t->table->name, c->name, array_cast(c->type));
    if (t->table->where)
        buf_printf(&sql, " AND %s", t->table->where);
    buf_lit(&sql, " ORDER BY ");
    put_names(&sql, t->table, 0, t->table->keys);
    t->load[column] = statement(t->table, "load", arena_printf(kept, "_%s", c->name).p, &sql);
}

static void make_insert(struct table_sql *t)
{
    int columns = rows_sql_columns(t->table);
    struct buf sql = buf_new(kept, 256);
    buf_printf(&sql, "INSERT INTO %s (", t->table->name);
    put_names(&sql, t->table, 0, columns);
    buf_lit(&sql, ") SELECT * FROM ");
    put_unnest(&sql, t->table, columns);
    t->insert = statement(t->table, "insert", "", &sql);
}

static void make_update(struct table_sql *t)
{
    int columns = rows_sql_columns(t->table);
    struct buf sql = buf_new(kept, 256);
    buf_printf(&sql, "UPDATE %s t SET ", t->table->name);
    for (int i = t->table->keys; i < columns; i++)
        buf_printf(&sql, "%s%s = x.%s", i > t->table->keys ? ", " : "", t->table->columns[i].name,
                   t->table->columns[i].name);
    buf_lit(&sql, " FROM ");
    put_unnest(&sql, t->table, columns);
    buf_lit(&sql, " WHERE");
    put_key_match(&sql, t->table);
    t->update = statement(t->table, "update", "", &sql);
}

static void make_delete(struct table_sql *t)
{
    struct buf sql = buf_new(kept, 256);
    buf_printf(&sql, "DELETE FROM %s t USING ", t->table->name);
    put_unnest(&sql, t->table, t->table->keys);
    buf_lit(&sql, " WHERE");
    put_key_match(&sql, t->table);
    t->delete = statement(t->table, "delete", "", &sql);
}

static struct table_sql *make_table(const struct table *table)
{
    if (!kept)
        kept = arena_new((size_t)16 << 20);
    struct table_sql *t = arena_new_of(kept, struct table_sql);
    t->table = table;
    for (int i = 0; table->columns[i].name; i++)
        make_load(t, i);
    make_insert(t);
    make_update(t);
    make_delete(t);
    return t;
}

static struct table_sql *table_sql(const struct table *table)
{
    int i = 0;
    pthread_mutex_lock(&tables_lock);
    while (i < TABLES_MAX && tables[i] && tables[i]->table != table)
        i++;
    assert(i < TABLES_MAX);
    if (!tables[i])
        tables[i] = make_table(table);
    struct table_sql *t = tables[i];
    pthread_mutex_unlock(&tables_lock);
    return t;
}

const struct pg_stmt *rows_sql_load(const struct table *table, int column)
{
    return &table_sql(table)->load[column];
}

const struct pg_stmt *rows_sql_insert(const struct table *table)
{
    return &table_sql(table)->insert;
}

const struct pg_stmt *rows_sql_update(const struct table *table)
{
    return &table_sql(table)->update;
}

const struct pg_stmt *rows_sql_delete(const struct table *table)
{
    return &table_sql(table)->delete;
}
