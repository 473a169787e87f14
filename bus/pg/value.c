/*
 * Binary values: parameters and arrays as PostgreSQL's receive functions read them, columns as its send
 * functions write them. All integers are big-endian.
 */
#include <endian.h>

#include "bus/pg/internal.h"

/* pg_type.oid of the integer types that pg_get_int reads. */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26, OID_JSONB = 3802 };

struct pg_param pg_int(int64_t v)
{
    return (struct pg_param){.n = 8, .in = true, .own.integer = (int64_t)htobe64((uint64_t)v)};
}

struct pg_param pg_bool(bool v)
{
    return (struct pg_param){.n = 1, .in = true, .own.bytes = {v}};
}

struct pg_param pg_uuid(struct uuid id)
{
    struct pg_param param = {.n = sizeof(id.b), .in = true};
    memcpy(param.own.bytes, id.b, sizeof(id.b));
    return param;
}

struct pg_param pg_text(struct str s)
{
    assert(s.n <= INT32_MAX);
    return s.p ? (struct pg_param){.p = s.p, .n = (int)s.n} : pg_null();
}

struct pg_param pg_null(void)
{
    return (struct pg_param){.n = -1};
}

/* The header of an array of one dimension: dimensions, has-nulls, element type, elements, lower bound. */
enum { ARRAY_HEADER = 20, ARRAY_HAS_NULLS = 4, ARRAY_N = 12 };

static void put32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_put(b, &v, sizeof(v));
}

static void patch32(struct buf *b, size_t at, uint32_t v)
{
    v = htobe32(v);
    memcpy(b->p + at, &v, sizeof(v));
}

struct pg_array pg_array(struct arena *arena, enum pg_type type, int expected)
{
    size_t each = 4 + (type == PG_BOOL ? 1u : type == PG_INT8 ? 8u : 16u);
    struct pg_array a = {.type = type, .b = buf_new(arena, ARRAY_HEADER + (size_t)expected * each)};
    put32(&a.b, 1);
    put32(&a.b, 0);
    put32(&a.b, type);
    put32(&a.b, 0);
    put32(&a.b, 1);
    return a;
}

static void put_element(struct pg_array *a, const void *p, size_t n)
{
    assert(n <= INT32_MAX);
    put32(&a->b, (uint32_t)n);
    buf_put(&a->b, p, n);
    a->n++;
}

void pg_array_int(struct pg_array *a, int64_t v)
{
    assert(a->type == PG_INT8);
    struct {
        uint32_t n;
        uint64_t v;
    } __attribute__((packed)) element = {htobe32(8), htobe64((uint64_t)v)};
    buf_put(&a->b, &element, sizeof(element));
    a->n++;
}

void pg_array_bool(struct pg_array *a, bool v)
{
    assert(a->type == PG_BOOL);
    put_element(a, &(uint8_t){v}, 1);
}

void pg_array_text(struct pg_array *a, struct str s)
{
    assert(a->type == PG_TEXT || a->type == PG_BYTEA);
    if (s.p)
        put_element(a, s.p, s.n);
    else
        pg_array_null(a);
}

void pg_array_uuid(struct pg_array *a, struct uuid id)
{
    assert(a->type == PG_UUID);
    put_element(a, id.b, sizeof(id.b));
}

void pg_array_null(struct pg_array *a)
{
    put32(&a->b, UINT32_MAX);
    patch32(&a->b, ARRAY_HAS_NULLS, 1);
    a->n++;
}

struct pg_param pg_array_param(struct pg_array *a)
{
    assert(a->b.n <= INT32_MAX);
    patch32(&a->b, ARRAY_N, (uint32_t)a->n);
    return (struct pg_param){.p = a->b.p, .n = (int)a->b.n};
}

int pg_rows(const struct pg_result *r)
{
    return PQntuples(r->pg);
}

int64_t pg_affected(const struct pg_result *r)
{
    int64_t n;
    PGresult *res = r->pg; /* PQcmdTuples takes it without const but only reads */
    return failed(str_int64(str_of(PQcmdTuples(res)), &n)) ? 0 : n;
}

bool pg_is_null(const struct pg_result *r, int row, int column)
{
    assert(row >= 0 && row < PQntuples(r->pg) && column >= 0 && column < PQnfields(r->pg));
    return PQgetisnull(r->pg, row, column);
}

int64_t pg_get_int(const struct pg_result *r, int row, int column)
{
    if (pg_is_null(r, row, column))
        return 0;
    const char *p = PQgetvalue(r->pg, row, column);
    uint16_t v2;
    uint32_t v4;
    uint64_t v8;
    switch (PQftype(r->pg, column)) {
    case OID_BOOL:
        return *p != 0;
    case OID_INT2:
        memcpy(&v2, p, sizeof(v2));
        return (int16_t)be16toh(v2);
    case OID_INT4:
        memcpy(&v4, p, sizeof(v4));
        return (int32_t)be32toh(v4);
    case OID_OID:
        memcpy(&v4, p, sizeof(v4));
        return be32toh(v4);
    case OID_INT8:
        memcpy(&v8, p, sizeof(v8));
        return (int64_t)be64toh(v8);
    default:
        assert(false && "an integer column was expected: cast it in the statement");
    }
    return 0;
}

bool pg_get_bool(const struct pg_result *r, int row, int column)
{
    return pg_get_int(r, row, column) != 0;
}

struct uuid pg_get_uuid(const struct pg_result *r, int row, int column)
{
    struct uuid id = {{0}};
    if (pg_is_null(r, row, column))
        return id;
    assert(PQftype(r->pg, column) == PG_UUID);
    memcpy(id.b, PQgetvalue(r->pg, row, column), sizeof(id.b));
    return id;
}

struct str pg_get_str(const struct pg_result *r, int row, int column)
{
    if (pg_is_null(r, row, column))
        return STR_NONE;
    struct str s = {PQgetvalue(r->pg, row, column), (size_t)PQgetlength(r->pg, row, column)};
    bool jsonb = PQftype(r->pg, column) == OID_JSONB; /* its text comes behind one byte of version */
    return jsonb ? str_slice(s, 1, s.n) : s;
}

struct pg_result *pg_result_free(struct pg_result *r)
{
    if (r)
        PQclear(r->pg);
    free(r);
    return NULL;
}

void pg_result_freep(struct pg_result **r)
{
    *r = pg_result_free(*r);
}

void pg_keep(void *data, err e, struct pg_result *result)
{
    struct pg_result **ret = data;
    *ret = NULL;
    if (failed(e) || !result)
        return;
    *ret = malloc(sizeof(**ret));
    if (!*ret)
        abort();
    (*ret)->pg = STEAL(result->pg); /* the pump clears what is left in its own, which is now nothing */
}
