/*
 * Lists: reading their query parameters by a field table, like the body of a command (what is unknown, twice
 * or out of range is a 422 that names it), and writing {"data","pagination"}.
 */
#pragma once

#include "api/door.h"
#include "bus/base/json.h"

enum { LIST_LIMIT = 20, LIST_LIMIT_MAX = 100, LIST_PAGE_MAX = 1000000 };

/* Rows of a field table for a struct of query parameters. Integers have `has_x` beside them. */
#define QUERY_INT(owner, member, least, most)                                                                \
    {                                                                                                        \
        .name = #member, .kind = FIELD_INT, .offset = offsetof(struct owner, member),                        \
        .has_offset = offsetof(struct owner, has_##member), .min = (least), .max = (most)                    \
    }
#define QUERY_BOOL(owner, member)                                                                            \
    {                                                                                                        \
        .name = #member, .kind = FIELD_BOOL, .offset = offsetof(struct owner, member),                       \
        .has_offset = offsetof(struct owner, has_##member)                                                   \
    }
#define QUERY_UUID(owner, member)                                                                            \
    {                                                                                                        \
        .name = #member, .kind = FIELD_UUID, .offset = offsetof(struct owner, member),                       \
        .has_offset = offsetof(struct owner, has_##member)                                                   \
    }
#define QUERY_TEXT(owner, member, most, words)                                                               \
    {                                                                                                        \
        .name = #member, .kind = FIELD_STRING, .offset = offsetof(struct owner, member),                     \
        .has_offset = SIZE_MAX, .min = 1, .max = (most), .values = (words)                                   \
    }
/* An amount, in ten-thousandths. */
#define QUERY_AMOUNT(owner, member)                                                                          \
    {                                                                                                        \
        .name = #member, .kind = FIELD_MONEY, .offset = offsetof(struct owner, member),                      \
        .has_offset = offsetof(struct owner, has_##member), .min = 0, .max = INT64_C(1000000000000000)       \
    }

/* The first member of every struct of parameters. */
struct paging {
    int64_t page, limit;
    bool has_page, has_limit;
};
#define QUERY_PAGING(owner)                                                                                  \
    {.name = "page",                                                                                         \
     .kind = FIELD_INT,                                                                                      \
     .offset = offsetof(struct owner, paging.page),                                                          \
     .has_offset = offsetof(struct owner, paging.has_page),                                                  \
     .min = 1,                                                                                               \
     .max = LIST_PAGE_MAX},                                                                                  \
    {                                                                                                        \
        .name = "limit", .kind = FIELD_INT, .offset = offsetof(struct owner, paging.limit),                  \
        .has_offset = offsetof(struct owner, paging.has_limit), .min = 1, .max = LIST_LIMIT_MAX              \
    }

/* Fills ret (shape->size bytes, beginning with a struct paging) and the defaults of paging. False: answered
 * by 422. The shape is the one that the row of the route names, so that /openapi.json says what is read. */
bool query_read(struct request *req, const struct shape *shape, void *ret);
/* limit and offset of a page, as parameters. */
struct pg_param page_limit(const struct paging *paging);
struct pg_param page_offset(const struct paging *paging);

/* Writes one row of a result as a JSON value. */
typedef void put_row_fn(struct json *j, const struct pg_result *rows, int row, struct arena *arena);
/* Answers with a list. Column 0 of each row is the total, and column 1 is NULL in the one row of an empty
 * page (the total LEFT JOIN the page). Sealed values are opened. */
void respond_list(struct request *req, const struct paging *paging, const struct pg_result *rows,
                  put_row_fn *put);
/* ,"pagination":{…} */
void put_pagination(struct json *j, const struct paging *paging, int64_t total);

/* The total beside a page: one row even when the page is empty. */
#define PAGE_OF(total, columns, from, order, limit, offset)                                                  \
    "SELECT t.n, x.* FROM (SELECT count(*) AS n FROM " total ") t LEFT JOIN LATERAL (SELECT " columns        \
    " FROM " from " ORDER BY " order " LIMIT " limit " OFFSET " offset ") x ON true"

/* Runs a statement made by PAGE_OF and answers with its list; params are followed by limit and offset. */
void select_list(struct request *req, const struct paging *paging, const struct pg_stmt *stmt, int n,
                 const struct pg_param *params, put_row_fn *put);
/* A query with nothing but paging: what page_params (queries.h) reads. */
struct plain_query {
    struct paging paging;
};

/* ---- values ---- */
void put_uuid(struct json *j, const char *key, struct uuid id, struct arena *arena);
/* null when it is NULL */
void put_text(struct json *j, const char *key, const struct pg_result *rows, int row, int column);
void put_int(struct json *j, const char *key, const struct pg_result *rows, int row, int column);
void put_time(struct json *j, const char *key, const struct pg_result *rows, int row, int column);
/* Minor units as the decimal number that they are in that currency. */
void put_money(struct json *j, const char *key, int64_t minor, struct str currency);
