/*
 * The unit of work of a batch: rows of the tables a group owns, loaded by one `= ANY` per table and column,
 * changed in the arena by pure handlers, written by set-based statements in the flush. A table is a
 * descriptor; its SQL is made from it once. Rows found by a column that was not wanted in the load phase are
 * not there: want everything first.
 *
 * Each row struct begins with `struct row row;` and each column names the offset of its value:
 *   COLUMN_INT int64_t · COLUMN_BOOL bool · COLUMN_UUID struct uuid (nil is NULL) · COLUMN_TEXT, COLUMN_BYTES
 * struct str (STR_NONE is NULL).
 */
#pragma once

#include "bus/base/uuid.h"
#include "bus/pg/pg.h"

struct batch;

enum column_type { COLUMN_INT, COLUMN_BOOL, COLUMN_UUID, COLUMN_TEXT, COLUMN_BYTES };

struct column {
    const char *name;
    enum column_type type;
    size_t offset;
};

enum { TABLE_COLUMNS_MAX = 40 };

struct table {
    const char *name;
    size_t size; /* of the row struct */
    int keys;    /* the first `keys` columns are the primary key */
    const char
        *where; /* NULL, or SQL that rows must meet to be loaded at all, so that partial indexes serve */
    const struct column columns[TABLE_COLUMNS_MAX]; /* ends with a NULL name */
};

#define COLUMN(type, owner, member)                                                                          \
    {                                                                                                        \
#member, COLUMN_##type, offsetof(struct owner, member)                                               \
    }

enum row_state { ROW_CLEAN, ROW_NEW, ROW_CHANGED, ROW_DELETED, ROW_GONE };

struct row {
    const struct table *table;
    enum row_state state;
    struct row *next; /* of the same table in this batch */
};

/* A key value: VALUE_UUID(id) or VALUE_TEXT(s). */
struct value {
    enum column_type type;
    struct uuid uuid;
    struct str text;
};
#define VALUE_UUID(id) ((struct value){.type = COLUMN_UUID, .uuid = (id)})
#define VALUE_TEXT(s) ((struct value){.type = COLUMN_TEXT, .text = (s)})

/* ---- in the load phase: idempotent, may be called many times ----
 * All rows of the table whose column (an exact member name) equals the value shall be there when handlers
 * run. The load functions are called again after each round as long as a round wanted something new, so that
 * what is to be loaded may depend on what was (a cart's lines, then their products); at most four rounds. */
void want(struct batch *b, const struct table *table, const char *column, struct value value);

/* ---- in handlers (and in later rounds of load) ---- */
/* The row whose column equals the value, NULL when there is none. With several, the first in order of
 * loading. */
void *row_find(struct batch *b, const struct table *table, const char *column, struct value value);
/* Iterates rows whose column equals the value, rows made in this batch included, deleted ones not:
 * for (struct cart_line *l = NULL; (l = rows_next(b, &cart_line_table, "user_id", value, l));) */
void *rows_next(struct batch *b, const struct table *table, const char *column, struct value value,
                void *previous);
/* A new zeroed row; set all its columns, then row_save(). */
void *row_new(struct batch *b, const struct table *table);
/* After every change of a row (also of key columns used by row_find). */
void row_save(struct batch *b, void *row);
void row_delete(struct batch *b, void *row);

/* ---- for the runner ---- */
/* true when something is wanted that was not loaded yet. */
bool rows_pending(const struct batch *b);
/* Queues the loads / writes; rows_loaded() must be called after pg_wait. */
void rows_queue_load(struct batch *b, struct pg *pg);
void rows_loaded(struct batch *b);
void rows_queue_writes(struct batch *b, struct pg *pg, const struct table *const *order);

/* ---- rows that come from elsewhere than a database (tests) ---- */
typedef void rows_source(void *data, struct batch *b, const struct table *table, int column,
                         struct value value);
/* Asks fn for the rows of every value that is wanted and not loaded yet; fn hands them over by rows_bring. */
void rows_load_from(struct batch *b, rows_source *fn, void *data);
/* Takes a copy of the row as a loaded one, unless a row with that key is there. Its strings are borrowed. */
void rows_bring(struct batch *b, const struct row *row);
/* All rows of a table in this batch, deleted ones too: the first, then ->next. NULL: none. */
const struct row *rows_first(struct batch *b, const struct table *table);
