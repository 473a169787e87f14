/* The SQL of a table descriptor, made once per process and kept for ever: statements are prepared by their
 * address. */
#pragma once

#include "consumers/rows.h"

enum { TABLES_MAX = 64 };

int rows_sql_columns(const struct table *table);
enum pg_type rows_sql_type(enum column_type type);
const struct pg_stmt *rows_sql_load(const struct table *table, int column); /* $1: values of that column */
const struct pg_stmt *rows_sql_insert(const struct table *table);           /* one array per column */
const struct pg_stmt *rows_sql_update(const struct table *table);           /* one array per column */
const struct pg_stmt *rows_sql_delete(const struct table *table);           /* one array per key column */
