/* See batch.h. */
#include "tests/support/batch.h"

#include <assert.h>

#include "bus/base/conf.h"

enum { ROUNDS = 4 };

struct kept {
    struct row *row; /* state CLEAN */
    struct kept *next;
};

struct memory *memory_new(const struct group *group)
{
    struct arena *arena = arena_new((size_t)64 << 20);
    struct memory *memory = arena_new_of(arena, struct memory);
    partitions_set(8);
    conf_set(SET_DEFAULT_CURRENCY, "CLP");
    memory->arena = arena;
    memory->now = INT64_C(1760000000000);
    memory->batch.group = group;
    memory->batch.arena = arena;
    return memory;
}

void memory_freep(struct memory **memory)
{
    if (*memory)
        arena_free((*memory)->arena);
}

/* ---- the tables ---- */

static const struct column *column_of(const struct table *table, const char *name)
{
    const struct column *c = table->columns;
    while (c->name && strcmp(c->name, name) != 0)
        c++;
    assert(c->name);
    return c;
}

static const void *column_at(const void *row, const char *name, enum column_type type)
{
    const struct column *c = column_of(((const struct row *)row)->table, name);
    assert(c->type == type || (type == COLUMN_TEXT && c->type == COLUMN_BYTES));
    return (const char *)row + c->offset;
}

int64_t row_int(const void *row, const char *column)
{
    return *(const int64_t *)column_at(row, column, COLUMN_INT);
}

bool row_bool(const void *row, const char *column)
{
    return *(const bool *)column_at(row, column, COLUMN_BOOL);
}

struct uuid row_uuid(const void *row, const char *column)
{
    return *(const struct uuid *)column_at(row, column, COLUMN_UUID);
}

struct str row_text(const void *row, const char *column)
{
    return *(const struct str *)column_at(row, column, COLUMN_TEXT);
}

static bool has_value(const struct row *row, const struct column *c, struct value value)
{
    if (c->type == COLUMN_UUID)
        return uuid_eq(row_uuid(row, c->name), value.uuid);
    return str_eq(row_text(row, c->name), value.text);
}

static bool same_column(const struct row *a, const struct row *b, const struct column *c)
{
    if (c->type == COLUMN_INT)
        return row_int(a, c->name) == row_int(b, c->name);
    if (c->type == COLUMN_UUID)
        return uuid_eq(row_uuid(a, c->name), row_uuid(b, c->name));
    return str_eq(row_text(a, c->name), row_text(b, c->name));
}

/* Where the row with the primary key of this one is kept; NULL: nowhere. */
static struct kept **kept_at(struct memory *memory, const struct row *row)
{
    for (struct kept **at = &memory->kept; *at; at = &(*at)->next) {
        bool same = (*at)->row->table == row->table;
        for (int i = 0; same && i < row->table->keys; i++)
            same = same_column((*at)->row, row, &row->table->columns[i]);
        if (same)
            return at;
    }
    return NULL;
}

const void *kept_row(const struct memory *memory, const char *table, const char *column, struct value value)
{
    for (const struct kept *k = memory->kept; k; k = k->next)
        if (strcmp(k->row->table->name, table) == 0 &&
            has_value(k->row, column_of(k->row->table, column), value))
            return k->row;
    return NULL;
}

size_t kept_count(const struct memory *memory, const char *table)
{
    size_t n = 0;
    for (const struct kept *k = memory->kept; k; k = k->next)
        n += strcmp(k->row->table->name, table) == 0;
    return n;
}

static struct row *copy_of(struct memory *memory, const struct row *row)
{
    struct row *copy = arena_alloc(memory->arena, row->table->size);
    memcpy(copy, row, row->table->size);
    copy->state = ROW_CLEAN;
    copy->next = NULL;
    return copy;
}

static void keep_row(struct memory *memory, const struct row *row)
{
    struct kept **at = kept_at(memory, row);
    switch (row->state) {
    case ROW_NEW: {
        assert(!at); /* the primary key */
        struct kept *k = arena_new_of(memory->arena, struct kept);
        *k = (struct kept){copy_of(memory, row), memory->kept};
        memory->kept = k;
        break;
    }
    case ROW_CHANGED:
        assert(at);
        (*at)->row = copy_of(memory, row);
        break;
    case ROW_DELETED:
        assert(at);
        *at = (*at)->next;
        break;
    case ROW_CLEAN:
    case ROW_GONE:
        break;
    }
}

/* What a flush does, in its order. Rows of tables the group does not list would never be written. */
static void keep_all(struct memory *memory)
{
    static const enum row_state order[] = {ROW_DELETED, ROW_CHANGED, ROW_NEW};
    for (const struct table *const *table = memory->batch.group->tables; *table; table++)
        for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
            for (const struct row *row = rows_first(&memory->batch, *table); row; row = row->next)
                if (row->state == order[i])
                    keep_row(memory, row);
}

static void bring_rows(void *data, struct batch *b, const struct table *table, int column, struct value value)
{
    const struct memory *memory = data;
    for (const struct kept *k = memory->kept; k; k = k->next)
        if (k->row->table == table && has_value(k->row, &table->columns[column], value))
            rows_bring(b, k->row);
}

/* ---- messages ---- */

static struct str key_of(struct memory *memory, const struct given *given, struct uuid id)
{
    const struct message_type *type = &message_types[given->type];
    for (const struct field *f = type->shape->fields; f < type->shape->fields + type->shape->n; f++) {
        const char *at = (const char *)given->data + f->offset;
        if (strcmp(f->name, type->key) == 0)
            return f->kind == FIELD_UUID ? uuid_str(*(const struct uuid *)(const void *)at, memory->arena)
                                         : *(const struct str *)(const void *)at;
    }
    return uuid_str(id, memory->arena); /* "self" */
}

static struct item *item_new(struct memory *memory, const struct given *given)
{
    struct item *item = arena_new_of(memory->arena, struct item);
    struct uuid id = uuid_is_nil(given->id) ? uuid_v7(memory->now) : given->id;
    item->message = (struct delivery){
        .type = given->type,
        .command = message_types[given->type].command,
        .final = given->final,
        .id = id,
        .key = key_of(memory, given, id),
        .correlation = uuid_str(id, memory->arena),
        .actor = str_of(given->actor),
        .client = STR("test"),
        .expected_version = given->expected_version,
        .data = given->data,
    };
    return item;
}

static void load(struct memory *memory, struct item *const *items, size_t n)
{
    struct batch *b = &memory->batch;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++) {
            b->current = items[i];
            handlers_load(&b->group->on, items[i]->message.type, b, items[i]->message.data);
        }
        if (!rows_pending(b))
            return;
        rows_load_from(b, bring_rows, memory);
    }
}

static struct outcome decide(struct batch *b, struct item *item)
{
    b->current = item;
    item->answer = handlers_handle(&b->group->on, item->message.type, b, item->message.data);
    return (struct outcome){item->answer, item->http, item->result};
}

static void begin(struct memory *memory)
{
    batch_restart(&memory->batch);
    memory->batch.now = memory->now;
}

struct outcome memory_handle(struct memory *memory, const struct given *given)
{
    struct item *item = item_new(memory, given);
    begin(memory);
    load(memory, &item, 1);
    struct outcome outcome = decide(&memory->batch, item);
    if (outcome.answer != ANSWER_NOT_YET && outcome.answer != ANSWER_POISON)
        keep_all(memory);
    return outcome;
}

void memory_handle_all(struct memory *memory, const struct given *given, size_t n, struct outcome *ret)
{
    struct item *items[MEMORY_TOGETHER_MAX];
    assert(n <= MEMORY_TOGETHER_MAX);
    for (size_t i = 0; i < n; i++)
        items[i] = item_new(memory, &given[i]);
    begin(memory);
    load(memory, items, n);
    for (size_t i = 0; i < n; i++) {
        ret[i] = decide(&memory->batch, items[i]);
        assert(ret[i].answer != ANSWER_NOT_YET && ret[i].answer != ANSWER_POISON);
    }
    keep_all(memory);
}

/* ---- events ---- */

static bool is_of(const struct event *event, enum message type)
{
    return str_is(event->envelope.type, message_types[type].name);
}

size_t told_count(const struct memory *memory, enum message type)
{
    size_t n = 0;
    for (size_t i = 0; i < memory->batch.events.n; i++)
        n += is_of(&memory->batch.events.p[i], type);
    return n;
}

/* The n-th of that type; must be there. */
static const struct event *event_at(const struct memory *memory, enum message type, size_t n)
{
    assert(n < told_count(memory, type));
    const struct event *event = memory->batch.events.p;
    while (!is_of(event, type) || n-- > 0)
        event++;
    return event;
}

/* Decoded again from its text, so that what is told is what a group would read. */
const void *told(const struct memory *memory, enum message type, size_t n)
{
    const struct shape *shape = message_types[type].shape;
    void *data = arena_alloc(memory->arena, shape->size);
    err e = codec_decode(shape, CODEC_BUS, event_at(memory, type, n)->envelope.data, NULL, 0, memory->arena,
                         data, NULL);
    assert(!failed(e));
    return data;
}

struct str told_key(const struct memory *memory, enum message type, size_t n)
{
    return event_at(memory, type, n)->envelope.partitionkey;
}

struct str sealed(struct memory *memory, struct uuid person, const char *text)
{
    struct seal_key key = seal_key_random();
    return seal_value(&key, person, arena_printf(memory->arena, "\"%s\"", text), memory->arena);
}
