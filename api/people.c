/*
 * People: oneself, and everybody for those who run users. Names and addresses come sealed and are opened on
 * the way out.
 */
#include "api/listing.h"
#include "api/queries.h"

#define USER_COLUMNS "id, email, name, phone, role, is_active, version, created_ms, updated_ms"

static void put_user(struct json *j, const struct pg_result *rows, int row, int from, struct arena *arena)
{
    json_open(j, '{');
    put_uuid(j, "id", pg_get_uuid(rows, row, from), arena);
    put_text(j, "email", rows, row, from + 1);
    put_text(j, "name", rows, row, from + 2);
    put_text(j, "phone", rows, row, from + 3);
    put_text(j, "role", rows, row, from + 4);
    json_kbool(j, "is_active", pg_get_bool(rows, row, from + 5));
    put_int(j, "version", rows, row, from + 6);
    put_time(j, "created_at", rows, row, from + 7);
    put_time(j, "updated_at", rows, row, from + 8);
    json_close(j, '}');
}

static const struct pg_stmt select_user = {"door_select_user",
                                           "SELECT " USER_COLUMNS " FROM door_user WHERE id = $1::uuid"};

static void on_user(struct request *req, const struct pg_result *rows, void *data)
{
    (void)data;
    if (!pg_rows(rows)) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct str etag = arena_printf(req->arena, "\"%lld\"", (long long)pg_get_int(rows, 0, 6));
    if (respond_unchanged(req, etag))
        return;
    struct buf b = buf_new(req->arena, 1024);
    struct json j = json_on(&b);
    put_user(&j, rows, 0, 0, req->arena);
    respond_opened(req, 200, buf_view(&b));
}

static void show_user(struct request *req, struct uuid id)
{
    struct pg_param param = pg_uuid(id);
    door_select(req, &select_user, 1, &param, on_user, NULL);
}

void get_me(struct request *req)
{
    show_user(req, who_of(req)->user);
}

void get_user(struct request *req)
{
    struct uuid id;
    const struct who *who = who_of(req);
    if (failed(uuid_parse(request_param(req, "user_id"), &id)) ||
        (!uuid_eq(id, who->user) && !role_may(who->role, RUN_USERS)))
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
    else
        show_user(req, id);
}

static void put_listed_user(struct json *j, const struct pg_result *rows, int row, struct arena *arena)
{
    put_user(j, rows, row, 1, arena);
}

static const struct pg_stmt select_users = {
    "door_list_users",
    PAGE_OF("door_user", USER_COLUMNS, "door_user", "created_ms DESC, id DESC", "$1::bigint", "$2::bigint")};

void list_users(struct request *req)
{
    struct plain_query q;
    if (query_read(req, &page_params, &q))
        select_list(req, &q.paging, &select_users, 0, NULL, put_listed_user);
}
