/*
 * The decoder: walks a JSON text and the field table of a shape side by side, in one pass. It owns no memory
 * but what it takes from the caller's arena, and its work is linear in the text: each object has one bit per
 * field (duplicates, what is missing), lists stop growing at their limit, nesting stops at JSON_DEPTH.
 *
 * Money at the door is read last in its object, because the currency that says how many decimals it has may
 * stand behind it.
 */
#include <assert.h>
#include <inttypes.h>

#include "bus/base/conf.h"
#include "bus/base/money.h"
#include "bus/codec_read.h"

enum {
    MONEY_FIELDS = 16,      /* per object; gen.py refuses more */
    LIST_ROOM = 4,          /* items a list has room for at first */
    BUS_MAX = 4 * CODEC_MAX /* sealing and escapes make a message larger than its body was */
};

/* An object that is being read. */
struct object {
    const struct shape *shape;
    const struct place *at; /* NULL: the outermost */
    char *into;
    uint64_t seen;    /* bit i: field i stood in the text */
    uint64_t given;   /* … came as a parameter */
    uint64_t present; /* … has a value */
    size_t next;      /* where the next member's field probably is */
    size_t money_n;
    struct {
        const struct field *field;
        struct str text;
    } money[MONEY_FIELDS];
};

static err read_value(struct reader *r, const struct field *f, const struct place *at, void *into, void *has);
static err read_object(struct reader *r, struct object *o);

/* ---- single values ---- */

static err read_string(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)has;
    struct str text;
    TRY(json_read_string(&r->in, &text));
    codec_take_string(r, f, at, text, into);
    return OK;
}

static err read_uuid(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)f, (void)has;
    struct str text;
    TRY(json_read_string(&r->in, &text));
    codec_take_uuid(r, at, text, into);
    return OK;
}

static err read_int(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)has;
    struct str text;
    TRY(json_read_number(&r->in, &text));
    codec_take_int(r, f, at, text, into);
    return OK;
}

static err read_bool(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)f, (void)at, (void)has;
    enum json_kind kind;
    TRY(json_peek(&r->in, &kind));
    *(bool *)into = kind == JSON_TRUE;
    return json_read_literal(&r->in, kind);
}

static err read_raw(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)has;
    return codec_read_raw(r, f, at, into);
}

static err read_inner(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    (void)has;
    struct object o;
    memset(&o, 0, offsetof(struct object, money));
    o.shape = f->shape;
    o.at = at;
    o.into = into;
    return read_object(r, &o);
}

/* ---- lists ---- */

size_t codec_item_size(const struct field *item)
{
    static const size_t sizes[] = {
        [FIELD_STRING] = sizeof(struct str),
        [FIELD_INT] = sizeof(int64_t),
        [FIELD_BOOL] = sizeof(bool),
        [FIELD_UUID] = sizeof(struct uuid),
    };
    return item->kind == FIELD_OBJECT ? item->shape->size : sizes[item->kind];
}

/* into is the pointer to the first item, has their number. */
static err read_list(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    size_t size = codec_item_size(f->item), room = LIST_ROOM, n = 0;
    char *items = arena_alloc(r->arena, room * size);
    struct place here = {.up = at};
    bool first = true, more;
    TRY(json_enter(&r->in, JSON_ARRAY));
    for (;; n++) {
        TRY(json_next(&r->in, &first, &more, NULL));
        if (!more)
            break;
        if (n >= (size_t)f->max) { /* counted and checked as JSON, no longer kept */
            TRY(json_skip(&r->in, NULL));
            continue;
        }
        if (n == room) {
            items = arena_grow(r->arena, items, room * size, 2 * room * size);
            memset(items + room * size, 0, room * size);
            room *= 2;
        }
        here.index = n;
        TRY(read_value(r, f->item, &here, items + n * size, NULL));
    }
    if ((int64_t)n < f->min)
        codec_complain(r, at, "must have at least %" PRId64 " item%s", f->min, f->min == 1 ? "" : "s");
    else if ((int64_t)n > f->max)
        codec_complain(r, at, "must have at most %" PRId64 " item%s", f->max, f->max == 1 ? "" : "s");
    memcpy(into, &items, sizeof(items));
    *(size_t *)has = n;
    return OK;
}

/* ---- any value ---- */

/* What a field of each kind is called, which JSON it takes (bits of json_kind), who reads it. */
static const struct {
    const char *noun;
    unsigned takes;
    err (*read)(struct reader *r, const struct field *f, const struct place *at, void *into, void *has);
} kinds[] = {
    [FIELD_STRING] = {"a string", 1 << JSON_STRING, read_string},
    [FIELD_INT] = {"a whole number", 1 << JSON_NUMBER, read_int},
    [FIELD_BOOL] = {"true or false", 1 << JSON_TRUE | 1 << JSON_FALSE, read_bool},
    [FIELD_UUID] = {"a UUID", 1 << JSON_STRING, read_uuid},
    [FIELD_MONEY] = {"a number", 1 << JSON_NUMBER, read_int},
    [FIELD_OBJECT] = {"an object", 1 << JSON_OBJECT, read_inner},
    [FIELD_LIST] = {"a list", 1 << JSON_ARRAY, read_list},
    [FIELD_RAW] = {"JSON", ~0U, read_raw},
};

static err read_value(struct reader *r, const struct field *f, const struct place *at, void *into, void *has)
{
    enum json_kind kind;
    TRY(json_peek(&r->in, &kind));
    if (kinds[f->kind].takes & 1U << kind)
        return kinds[f->kind].read(r, f, at, into, has);
    codec_complain(r, at, "must be %s", kinds[f->kind].noun);
    return json_skip(&r->in, NULL);
}

/* In clear at the door: read into a scratch value as its schema says, but what is kept is the text. */
static err read_clear(struct reader *r, const struct field *f, const struct place *at, struct str *ret)
{
    size_t start = r->in.at, n;
    union {
        struct str text;
        struct uuid uuid;
        int64_t integer;
        bool yes;
        void *list;
    } scratch;
    void *into = f->shape ? arena_alloc(r->arena, f->shape->size) : (void *)&scratch;
    TRY(read_value(r, f, at, into, &n));
    *ret = str_trim(str_slice(r->in.text, start, r->in.at));
    return OK;
}

static err read_sealed(struct reader *r, const struct place *at, struct str *ret)
{
    enum json_kind kind;
    TRY(json_peek(&r->in, &kind));
    if (kind != JSON_STRING) {
        codec_complain(r, at, "must be sealed");
        return json_skip(&r->in, NULL);
    }
    TRY(json_read_string(&r->in, ret));
    if (!seal_is(*ret))
        codec_complain(r, at, "must be sealed");
    return OK;
}

/* ---- objects ---- */

/* Members mostly come in the order of the schema, so the search begins behind the last one found. NULL:
 * unknown. */
static const struct field *find_field(const struct shape *shape, struct str name, size_t *next)
{
    size_t i = *next;
    for (size_t k = 0; k < shape->n; k++, i++) {
        if (i >= shape->n)
            i = 0;
        const char *candidate = shape->fields[i].name;
        if (strncmp(candidate, name.p, name.n) == 0 && candidate[name.n] == '\0') {
            *next = i + 1;
            return &shape->fields[i];
        }
    }
    return NULL;
}

static void *has_of(struct object *o, const struct field *f)
{
    return f->has_offset == SIZE_MAX ? NULL : o->into + f->has_offset;
}

static void mark_present(struct object *o, const struct field *f)
{
    o->present |= UINT64_C(1) << (f - o->shape->fields);
    if (f->has_offset != SIZE_MAX && f->kind != FIELD_LIST)
        *(bool *)has_of(o, f) = true;
}

static void keep_money(struct object *o, const struct field *f, struct str text)
{
    assert(o->money_n < MONEY_FIELDS);
    o->money[o->money_n].field = f;
    o->money[o->money_n++].text = text;
}

static err read_money(struct reader *r, struct object *o, const struct field *f, const struct place *at)
{
    enum json_kind kind;
    struct str text;
    TRY(json_peek(&r->in, &kind));
    if (kind != JSON_NUMBER) {
        codec_complain(r, at, "must be a number");
        return json_skip(&r->in, NULL);
    }
    TRY(json_read_number(&r->in, &text));
    keep_money(o, f, text);
    return OK;
}

static err read_field(struct reader *r, struct object *o, const struct field *f, const struct place *at)
{
    enum json_kind kind;
    TRY(json_peek(&r->in, &kind));
    if (kind == JSON_NULL && f->kind != FIELD_RAW)
        return json_read_literal(&r->in, kind); /* null is absent */
    mark_present(o, f);
    char *into = o->into + f->offset;
    if (f->flags & FIELD_PERSONAL)
        return r->mode == CODEC_BUS ? read_sealed(r, at, (struct str *)(void *)into)
                                    : read_clear(r, f, at, (struct str *)(void *)into);
    if (f->kind == FIELD_MONEY && r->mode == CODEC_DOOR)
        return read_money(r, o, f, at);
    return read_value(r, f, at, into, has_of(o, f));
}

/* A name that is not ours, cut at a whole code point, may stand in an error. */
static struct str short_name(struct str name)
{
    size_t n = 0, step;
    while (n < name.n && (step = utf8_sequence(str_slice(name, n, name.n))) > 0 && n + step <= CODEC_NAME)
        n += step;
    return str_slice(name, 0, n);
}

static err read_member(struct reader *r, struct object *o, struct str name)
{
    bool door = r->mode == CODEC_DOOR;
    const struct field *f = find_field(o->shape, name, &o->next);
    struct place here = {o->at, f ? str_of(f->name) : short_name(name), 0};
    uint64_t bit = f ? UINT64_C(1) << (f - o->shape->fields) : 0;
    if (o->seen & bit)
        return FAIL(MALFORMED, "a member stands twice in one object");
    o->seen |= bit;
    if (o->given & bit)
        codec_complain(r, &here, "is given by the address and must not be in the body");
    else if (f && !(f->flags & (door ? FIELD_INTERNAL : FIELD_SECRET)))
        return read_field(r, o, f, &here);
    else if (door)
        codec_complain(r, &here, "is not known here");
    return json_skip(&r->in, NULL);
}

/* Internal fields are set behind the door, secrets never pass it. */
static void check_required(struct reader *r, struct object *o)
{
    unsigned excused = r->mode == CODEC_DOOR ? FIELD_INTERNAL : FIELD_SECRET;
    for (size_t i = 0; i < o->shape->n; i++) {
        const struct field *f = &o->shape->fields[i];
        if ((f->flags & FIELD_REQUIRED) && !(f->flags & excused) && !(o->present >> i & 1)) {
            struct place here = {o->at, str_of(f->name), 0};
            codec_complain(r, &here, "is required");
        }
    }
}

static void convert_money(struct reader *r, struct object *o)
{
    for (size_t i = 0; i < o->money_n; i++) {
        const struct field *f = o->money[i].field;
        struct place here = {o->at, str_of(f->name), 0};
        struct str currency = STR_NONE;
        if (f->currency) {
            memcpy(&currency, o->into + f->currency->offset, sizeof(currency));
            if (!currency.p)
                currency = conf_str(SET_DEFAULT_CURRENCY);
        }
        codec_take_money(r, f, &here, o->money[i].text, currency, (int64_t *)(void *)(o->into + f->offset));
    }
}

static void finish_object(struct reader *r, struct object *o)
{
    check_required(r, o);
    convert_money(r, o);
}

static err read_object(struct reader *r, struct object *o)
{
    bool first = true, more;
    struct str name;
    TRY(json_enter(&r->in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(&r->in, &first, &more, &name));
        if (!more)
            break;
        TRY(read_member(r, o, name));
    }
    finish_object(r, o);
    return OK;
}

/* ---- parameters ---- */

static struct str quoted(struct str text, struct arena *arena)
{
    struct buf b = buf_new(arena, text.n + 2);
    struct json j = json_on(&b);
    json_str(&j, text);
    return buf_view(&b);
}

static void take_bool(struct reader *r, const struct place *at, struct str text, bool *ret)
{
    *ret = str_eq(text, STR("true"));
    if (!*ret && !str_eq(text, STR("false")))
        codec_complain(r, at, "must be true or false");
}

static void take_param(struct reader *r, struct object *o, const struct field *f, const struct place *at,
                       struct str value)
{
    void *into = o->into + f->offset;
    switch (f->kind) {
    case FIELD_STRING:
        codec_take_string(r, f, at, value, into);
        if (f->flags & FIELD_PERSONAL)
            *(struct str *)into = quoted(value, r->arena);
        break;
    case FIELD_UUID:
        codec_take_uuid(r, at, value, into);
        break;
    case FIELD_INT:
        codec_take_int(r, f, at, value, into);
        break;
    case FIELD_BOOL:
        take_bool(r, at, value, into);
        break;
    case FIELD_MONEY:
        keep_money(o, f, value);
        break;
    default:
        codec_complain(r, at, "cannot be given in the address");
    }
}

/* Parameters are texts out of an address: percent-decoded, of any bytes. */
static void merge_param(struct reader *r, struct object *o, const struct codec_param *param)
{
    const struct field *f = find_field(o->shape, param->name, &o->next);
    struct place here = {NULL, f ? str_of(f->name) : short_name(param->name), 0};
    uint64_t bit = f ? UINT64_C(1) << (f - o->shape->fields) : 0;
    if (!f)
        codec_complain(r, &here, "is not known here");
    else if (o->given & bit)
        codec_complain(r, &here, "is given twice");
    else if (utf8_length(param->value) == SIZE_MAX || memchr(param->value.p, '\0', param->value.n))
        codec_complain(r, &here, "must be UTF-8 text");
    else
        take_param(r, o, f, &here, param->value);
    o->given |= bit;
    if (f)
        mark_present(o, f);
}

/* ---- the whole text ---- */

static err read_text(struct reader *r, struct object *top)
{
    enum json_kind kind;
    TRY(json_peek(&r->in, &kind));
    if (kind == JSON_OBJECT) {
        TRY(read_object(r, top));
    } else {
        codec_complain(r, NULL, "must be an object");
        TRY(json_skip(&r->in, NULL));
    }
    return json_end(&r->in);
}

err codec_decode(const struct shape *shape, enum codec_mode mode, struct str text,
                 const struct codec_param *params, size_t n_params, struct arena *arena, void *ret,
                 struct field_errors *errors)
{
    struct reader r = {
        .mode = mode, .in = json_in(text.p ? text : STR("{}"), arena), .arena = arena, .errors = errors};
    struct object top;
    if (errors)
        errors->n = 0;
    if (text.n > (mode == CODEC_DOOR ? CODEC_MAX : BUS_MAX))
        return FAIL(TOO_LARGE, "a message of %zu bytes", text.n);
    memset(ret, 0, shape->size);
    memset(&top, 0, offsetof(struct object, money));
    top.shape = shape;
    top.into = ret;
    for (size_t i = 0; i < n_params; i++)
        if (params[i].value.p)
            merge_param(&r, &top, &params[i]);
    TRY(read_text(&r, &top));
    if (r.wrong == 0)
        return OK;
    if (mode == CODEC_DOOR) /* names of members may be the client's: they stay out of what loops log */
        return FAIL(INVALID, "%s: %zu wrong", shape->name, r.wrong);
    return FAIL(INVALID, "%s: %.*s (%zu wrong)", shape->name, STR_ARG(r.first), r.wrong);
}
