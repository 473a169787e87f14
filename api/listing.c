/*
 * See listing.h.
 */
#include "api/listing.h"

#include <assert.h>

#include "api/queries.h"
#include "bus/base/money.h"

bool query_read(struct request *req, const struct shape *shape, void *ret)
{
    struct codec_param params[REQUEST_QUERY];
    assert(req->route->more == shape);
    struct field_errors *errors = arena_new_of(req->arena, struct field_errors);
    for (size_t i = 0; i < req->query_n; i++)
        params[i] = (struct codec_param){req->query[i].name, req->query[i].value};
    err e = codec_decode(shape, CODEC_DOOR, STR_NONE, params, req->query_n, req->arena, ret, errors);
    struct paging *paging = ret;
    if (failed(e)) {
        size_t most = sizeof(errors->list) / sizeof(*errors->list);
        respond_problem(req, &(struct problem){.code = ERR_INVALID,
                                               .detail = STR("Some parameters are not valid."),
                                               .errors = errors->list,
                                               .errors_n = errors->n < most ? errors->n : most});
        return false;
    }
    if (!paging->has_page)
        paging->page = 1;
    if (!paging->has_limit)
        paging->limit = LIST_LIMIT;
    return true;
}

struct pg_param page_limit(const struct paging *paging)
{
    return pg_int(paging->limit);
}

struct pg_param page_offset(const struct paging *paging)
{
    return pg_int((paging->page - 1) * paging->limit);
}

void put_pagination(struct json *j, const struct paging *paging, int64_t total)
{
    json_key(j, "pagination");
    json_open(j, '{');
    json_kint(j, "page", paging->page);
    json_kint(j, "limit", paging->limit);
    json_kint(j, "total", total);
    json_kint(j, "pages", (total + paging->limit - 1) / paging->limit);
    json_close(j, '}');
}

void respond_list(struct request *req, const struct paging *paging, const struct pg_result *rows,
                  put_row_fn *put)
{
    struct buf b = buf_new(req->arena, 4096);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_key(&j, "data");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(rows); i++)
        if (!pg_is_null(rows, i, 1))
            put(&j, rows, i, req->arena);
    json_close(&j, ']');
    put_pagination(&j, paging, pg_rows(rows) ? pg_get_int(rows, 0, 0) : 0);
    json_close(&j, '}');
    respond_opened(req, 200, buf_view(&b));
}

/* ---- whole lists ---- */

static const struct field plain_fields[] = {QUERY_PAGING(plain_query)};
const struct shape page_params = {"list", sizeof(struct plain_query), plain_fields, 2};

struct listed {
    struct paging paging;
    put_row_fn *put;
};

static void on_list(struct request *req, const struct pg_result *rows, void *data)
{
    const struct listed *listed = data;
    respond_list(req, &listed->paging, rows, listed->put);
}

void select_list(struct request *req, const struct paging *paging, const struct pg_stmt *stmt, int n,
                 const struct pg_param *params, put_row_fn *put)
{
    struct listed *listed = arena_new_of(req->arena, struct listed);
    struct pg_param all[8];
    assert(n + 2 <= (int)(sizeof(all) / sizeof(*all)));
    *listed = (struct listed){*paging, put};
    for (int i = 0; i < n; i++)
        all[i] = params[i];
    all[n] = page_limit(paging);
    all[n + 1] = page_offset(paging);
    door_select(req, stmt, n + 2, all, on_list, listed);
}

/* ---- values ---- */

void put_uuid(struct json *j, const char *key, struct uuid id, struct arena *arena)
{
    json_kstr(j, key, uuid_is_nil(id) ? STR_NONE : uuid_str(id, arena));
}

void put_text(struct json *j, const char *key, const struct pg_result *rows, int row, int column)
{
    json_kstr(j, key, pg_get_str(rows, row, column));
}

void put_int(struct json *j, const char *key, const struct pg_result *rows, int row, int column)
{
    json_kint(j, key, pg_get_int(rows, row, column));
}

void put_time(struct json *j, const char *key, const struct pg_result *rows, int row, int column)
{
    json_ktime(j, key, pg_get_int(rows, row, column));
}

void put_money(struct json *j, const char *key, int64_t minor, struct str currency)
{
    int decimals = money_decimals(currency);
    json_key(j, key);
    json_decimal(j, minor, decimals < 0 ? 0 : decimals);
}
