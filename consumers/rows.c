/*
 * The identity map behind rows.h. Each (table, column) that is wanted or searched has an index: a hash of
 * values to the rows that have them. An index only ever gains entries; a row whose value changed gets a
 * second entry and the first is passed over, because look-ups compare the row's present value.
 */
#include <assert.h>

#include "consumers/batch.h"
#include "consumers/rows_sql.h"

enum { SLOTS = 512 };

struct entry_of {
    uint64_t hash;
    struct row *row;
    struct entry_of *next;
};

struct wanted {
    uint64_t hash;
    struct value value;
    bool loaded;
    struct wanted *next;
};

struct index {
    const struct table *table;
    int column;
    size_t waiting; /* wanted and not loaded */
    struct entry_of *entries[SLOTS], *last[SLOTS];
    struct wanted *wanted[SLOTS];
    struct pg_result *result; /* between queue and loaded */
    struct index *next;
};

struct table_rows {
    const struct table *table;
    struct row *first, *last;
    struct table_rows *next;
};

struct rows {
    struct arena *arena;
    struct index *indexes;
    struct table_rows *tables;
};

struct rows *rows_new(struct arena *arena)
{
    struct rows *rows = arena_new_of(arena, struct rows);
    rows->arena = arena;
    return rows;
}

static int column_of(const struct table *table, const char *name)
{
    for (int i = 0; table->columns[i].name; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return i;
    assert(false && "a column that the table does not have");
    return 0;
}

static uint64_t value_hash(struct value v)
{
    return v.type == COLUMN_UUID ? str_hash((struct str){(const char *)v.uuid.b, 16}) : str_hash(v.text);
}

static bool value_eq(struct value a, struct value b)
{
    return a.type == COLUMN_UUID ? uuid_eq(a.uuid, b.uuid) : str_eq(a.text, b.text);
}

/* The present value of a row's column; only uuid and text columns can be searched. */
static struct value value_of(const struct row *row, int column)
{
    const struct column *c = &row->table->columns[column];
    const char *at = (const char *)row + c->offset;
    assert(c->type == COLUMN_UUID || c->type == COLUMN_TEXT);
    if (c->type == COLUMN_UUID)
        return VALUE_UUID(*(const struct uuid *)(const void *)at);
    return VALUE_TEXT(*(const struct str *)(const void *)at);
}

static struct table_rows *table_rows(struct rows *rows, const struct table *table)
{
    struct table_rows **at = &rows->tables;
    while (*at && (*at)->table != table)
        at = &(*at)->next;
    if (!*at) {
        *at = arena_new_of(rows->arena, struct table_rows);
        (*at)->table = table;
    }
    return *at;
}

static void index_add(struct rows *rows, struct index *index, struct row *row)
{
    uint64_t hash = value_hash(value_of(row, index->column));
    size_t slot = hash % SLOTS;
    for (struct entry_of *e = index->entries[slot]; e; e = e->next)
        if (e->row == row && e->hash == hash)
            return;
    struct entry_of *e = arena_new_of(rows->arena, struct entry_of);
    *e = (struct entry_of){hash, row, NULL};
    if (index->last[slot])
        index->last[slot]->next = e;
    else
        index->entries[slot] = e;
    index->last[slot] = e;
}

static struct index *index_of(struct rows *rows, const struct table *table, int column)
{
    struct index **at = &rows->indexes;
    while (*at && ((*at)->table != table || (*at)->column != column))
        at = &(*at)->next;
    if (*at)
        return *at;
    *at = arena_new_of(rows->arena, struct index);
    (*at)->table = table;
    (*at)->column = column;
    for (struct row *row = table_rows(rows, table)->first; row; row = row->next)
        index_add(rows, *at, row);
    return *at;
}

/* ---- wanting and loading ---- */

void want(struct batch *b, const struct table *table, const char *column, struct value value)
{
    struct index *index = index_of(b->rows, table, column_of(table, column));
    uint64_t hash = value_hash(value);
    struct wanted **at = &index->wanted[hash % SLOTS];
    for (struct wanted *w = *at; w; w = w->next)
        if (w->hash == hash && value_eq(w->value, value))
            return;
    struct wanted *w = arena_new_of(b->arena, struct wanted);
    *w = (struct wanted){hash, value, false, *at};
    *at = w;
    index->waiting++;
}

bool rows_pending(const struct batch *b)
{
    for (const struct index *index = b->rows->indexes; index; index = index->next)
        if (index->waiting)
            return true;
    return false;
}

static void queue_index(struct batch *b, struct pg *pg, struct index *index)
{
    bool by_uuid = index->table->columns[index->column].type == COLUMN_UUID;
    struct pg_array values = pg_array(b->arena, by_uuid ? PG_UUID : PG_TEXT, (int)index->waiting);
    for (size_t slot = 0; slot < SLOTS; slot++)
        for (struct wanted *w = index->wanted[slot]; w; w = w->next) {
            if (w->loaded)
                continue;
            w->loaded = true;
            if (by_uuid)
                pg_array_uuid(&values, w->value.uuid);
            else
                pg_array_text(&values, w->value.text);
        }
    index->waiting = 0;
    struct pg_param param = pg_array_param(&values);
    pg_queue(pg, rows_sql_load(index->table, index->column), 1, &param, pg_keep, &index->result);
}

void rows_queue_load(struct batch *b, struct pg *pg)
{
    for (struct index *index = b->rows->indexes; index; index = index->next)
        if (index->waiting)
            queue_index(b, pg, index);
}

static void read_column(struct batch *b, const struct pg_result *r, int n, int i, const struct column *c,
                        char *row)
{
    char *at = row + c->offset;
    switch (c->type) {
    case COLUMN_INT:
        *(int64_t *)(void *)at = pg_get_int(r, n, i);
        break;
    case COLUMN_BOOL:
        *(bool *)(void *)at = pg_get_bool(r, n, i);
        break;
    case COLUMN_UUID:
        *(struct uuid *)(void *)at = pg_get_uuid(r, n, i);
        break;
    case COLUMN_TEXT:
    case COLUMN_BYTES:
        if (!pg_is_null(r, n, i))
            *(struct str *)(void *)at = arena_str(b->arena, pg_get_str(r, n, i));
        break;
    }
}

static bool same_key(const struct table *table, const struct row *a, const struct row *b)
{
    for (int i = 0; i < table->keys; i++) {
        size_t at = table->columns[i].offset;
        bool same = table->columns[i].type == COLUMN_INT
                        ? memcmp((const char *)a + at, (const char *)b + at, sizeof(int64_t)) == 0
                        : value_eq(value_of(a, i), value_of(b, i));
        if (!same)
            return false;
    }
    return true;
}

/* A row that came by another column already stays the one object it is. */
static bool known(struct rows *rows, const struct row *row)
{
    const struct index *index = index_of(rows, row->table, 0);
    uint64_t hash = value_hash(value_of(row, 0));
    for (const struct entry_of *e = index->entries[hash % SLOTS]; e; e = e->next)
        if (e->hash == hash && same_key(row->table, e->row, row))
            return true;
    return false;
}

static void add_row(struct rows *rows, struct row *row)
{
    struct table_rows *t = table_rows(rows, row->table);
    if (t->last)
        t->last->next = row;
    else
        t->first = row;
    t->last = row;
    for (struct index *index = rows->indexes; index; index = index->next)
        if (index->table == row->table)
            index_add(rows, index, row);
}

static void load_result(struct batch *b, const struct table *table, const struct pg_result *r)
{
    for (int n = 0; n < pg_rows(r); n++) {
        struct row *row = arena_alloc(b->arena, table->size);
        row->table = table;
        for (int i = 0; table->columns[i].name; i++)
            read_column(b, r, n, i, &table->columns[i], (char *)row);
        if (!known(b->rows, row))
            add_row(b->rows, row);
    }
}

void rows_loaded(struct batch *b)
{
    for (struct index *index = b->rows->indexes; index; index = index->next)
        if (index->result) {
            load_result(b, index->table, index->result);
            index->result = pg_result_free(index->result);
        }
}

/* ---- rows that come from elsewhere ---- */

void rows_load_from(struct batch *b, rows_source *fn, void *data)
{
    for (struct index *index = b->rows->indexes; index; index = index->next)
        for (size_t slot = 0; index->waiting && slot < SLOTS; slot++)
            for (struct wanted *w = index->wanted[slot]; w; w = w->next)
                if (!w->loaded) {
                    w->loaded = true;
                    index->waiting--;
                    fn(data, b, index->table, index->column, w->value);
                }
}

void rows_bring(struct batch *b, const struct row *row)
{
    struct row *copy = arena_alloc(b->arena, row->table->size);
    memcpy(copy, row, row->table->size);
    copy->state = ROW_CLEAN;
    copy->next = NULL;
    if (!known(b->rows, copy))
        add_row(b->rows, copy);
}

const struct row *rows_first(struct batch *b, const struct table *table)
{
    return table_rows(b->rows, table)->first;
}

/* ---- finding and changing ---- */

static bool there(const struct row *row)
{
    return row->state != ROW_DELETED && row->state != ROW_GONE;
}

void *rows_next(struct batch *b, const struct table *table, const char *column, struct value value,
                void *previous)
{
    int c = column_of(table, column);
    uint64_t hash = value_hash(value);
    const struct entry_of *e = index_of(b->rows, table, c)->entries[hash % SLOTS];
    if (previous) {
        while (e && e->row != previous)
            e = e->next;
        e = e ? e->next : NULL;
    }
    for (; e; e = e->next)
        if (e->hash == hash && there(e->row) && value_eq(value_of(e->row, c), value))
            return e->row;
    return NULL;
}

void *row_find(struct batch *b, const struct table *table, const char *column, struct value value)
{
    return rows_next(b, table, column, value, NULL);
}

void *row_new(struct batch *b, const struct table *table)
{
    struct row *row = arena_alloc(b->arena, table->size);
    row->table = table;
    row->state = ROW_GONE; /* until it is saved for the first time */
    return row;
}

static bool linked(struct rows *rows, const struct row *row)
{
    return row->next || table_rows(rows, row->table)->last == row;
}

void row_save(struct batch *b, void *p)
{
    struct row *row = p;
    b->changes++;
    if (row->state == ROW_GONE) {
        row->state = ROW_NEW;
        if (!linked(b->rows, row)) {
            add_row(b->rows, row);
            return;
        }
    } else if (row->state == ROW_CLEAN) {
        row->state = ROW_CHANGED;
    }
    for (struct index *index = b->rows->indexes; index; index = index->next)
        if (index->table == row->table)
            index_add(b->rows, index, row);
}

void row_delete(struct batch *b, void *p)
{
    struct row *row = p;
    b->changes++;
    row->state = row->state == ROW_NEW ? ROW_GONE : ROW_DELETED;
}

/* ---- writing ---- */

static void put_column(struct pg_array *a, const struct column *c, const struct row *row)
{
    const char *at = (const char *)row + c->offset;
    switch (c->type) {
    case COLUMN_INT:
        pg_array_int(a, *(const int64_t *)(const void *)at);
        break;
    case COLUMN_BOOL:
        pg_array_bool(a, *(const bool *)(const void *)at);
        break;
    case COLUMN_UUID: {
        struct uuid id = *(const struct uuid *)(const void *)at;
        if (uuid_is_nil(id))
            pg_array_null(a);
        else
            pg_array_uuid(a, id);
        break;
    }
    case COLUMN_TEXT:
    case COLUMN_BYTES:
        pg_array_text(a, *(const struct str *)(const void *)at);
        break;
    }
}

static void queue_writes(struct batch *b, struct pg *pg, const struct table_rows *t, enum row_state state,
                         const struct pg_stmt *stmt, int columns)
{
    int n = 0;
    for (const struct row *row = t->first; row; row = row->next)
        n += row->state == state;
    if (n == 0)
        return;
    struct pg_param params[TABLE_COLUMNS_MAX];
    for (int i = 0; i < columns; i++) {
        struct pg_array a = pg_array(b->arena, rows_sql_type(t->table->columns[i].type), n);
        for (const struct row *row = t->first; row; row = row->next)
            if (row->state == state)
                put_column(&a, &t->table->columns[i], row);
        params[i] = pg_array_param(&a);
    }
    pg_queue(pg, stmt, columns, params, NULL, NULL);
}

/* Deletes first, so that a unique value can move from one row to another within a batch. */
void rows_queue_writes(struct batch *b, struct pg *pg, const struct table *const *order)
{
    for (; *order; order++) {
        const struct table_rows *t = table_rows(b->rows, *order);
        int columns = rows_sql_columns(*order);
        queue_writes(b, pg, t, ROW_DELETED, rows_sql_delete(*order), (*order)->keys);
        queue_writes(b, pg, t, ROW_CHANGED, rows_sql_update(*order), columns);
        queue_writes(b, pg, t, ROW_NEW, rows_sql_insert(*order), columns);
    }
}
