/*
 * Signing up, in, on and out. Passwords end here: the bus gets an argon2id string. The door verifies a
 * password against the row it sees, the identity group decides; tokens are made here from the result and
 * never travel.
 */
#include "api/auth.h"

#include "api/jwt.h"
#include "api/passwords.h"
#include "bus/base/clock.h"
#include "bus/base/json.h"

#define TEXT_FIELD(owner, member, least, most, bits)                                                         \
    {                                                                                                        \
        .name = #member, .kind = FIELD_STRING, .flags = (bits), .offset = offsetof(struct owner, member),    \
        .has_offset = SIZE_MAX, .min = (least), .max = (most)                                                \
    }

/* One sentence for all that is wrong, so that nobody learns which addresses have an account. */
static const char wrong[] = "The e-mail address or the password is wrong.";
static const char over[] = "This session has ended; log in again.";

static void refuse_credentials(struct call *call, const char *sentence)
{
    call_refuse(call, FAIL(UNAUTHENTICATED, "%s", sentence));
}

/* ---- registering ---- */

/* The key is wrapped for the person, whose id is the command's. */
static void wrap_key(struct call *call)
{
    uint8_t wrapped[SEAL_WRAPPED];
    struct user_register *c = call->message;
    seal_wrap(&call->door->shop->secrets.master, call->id, &call->person_key, wrapped);
    c->person_key = base64url((struct str){(const char *)wrapped, sizeof(wrapped)}, call->req->arena);
}

static void on_hashed(void *data, err e, bool ok, const char *hash, bool stale)
{
    (void)stale;
    struct call *call = data;
    struct user_register *c = call->message;
    if (failed(e) || !ok) {
        call_refuse(call, failed(e) ? e : FAIL(OVERLOADED, "no memory for a password"));
        return;
    }
    c->password_hash = arena_str(call->req->arena, str_of(hash));
    call->person_is_self = true;
    call->person_key = seal_key_random();
    call->on_id = wrap_key;
    call_publish(call);
}

static void prepare_register(struct call *call)
{
    struct user_register *c = call->message;
    const char *sentence;
    if (!c->password.p || !password_fits_policy(c->password, &sentence)) {
        call_refuse_field(call, "password", c->password.p ? sentence : "is required");
        return;
    }
    struct str email = codec_clear_string(c->email, call->req->arena);
    c->email_index = seal_blind_index(&call->door->shop->secrets.master, email, call->req->arena);
    err e = password_hash(call->door->passwords, c->password, on_hashed, call);
    if (failed(e))
        call_refuse(call, e);
}

const struct command_spec register_spec = {.prepare = prepare_register};

/* ---- tokens ---- */

static struct str access_token(struct call *call, struct uuid user, struct uuid session, enum role role)
{
    int64_t now_s = clock_ms() / 1000;
    return jwt_sign(&call->door->shop->secrets,
                    &(struct claims){.user = user,
                                     .session = session,
                                     .id = uuid_v7(clock_ms()),
                                     .role = role,
                                     .issued = now_s,
                                     .not_before = now_s,
                                     .expires = now_s + JWT_LIFETIME_S},
                    call->req->arena);
}

/* The result names the session and its generation: a repeat gets tokens of the session that its first try
 * opened. */
static void put_tokens(struct json *j, struct call *call, struct str result, enum role role)
{
    struct arena *arena = call->req->arena;
    struct uuid user = {{0}}, session = {{0}};
    bool fits = !failed(uuid_parse(json_member_str(result, "user_id", arena), &user)) &&
                !failed(uuid_parse(json_member_str(result, "session_id", arena), &session));
    if (!fits)
        return; /* a result of another shape: no token for nobody */
    int64_t generation = json_member_int(result, "generation", 0, arena);
    json_kstr(j, "access_token", access_token(call, user, session, role));
    json_kstr(j, "refresh_token", refresh_token_make(&call->door->shop->secrets, session, generation, arena));
    json_kstr(j, "token_type", STR("Bearer"));
    json_kint(j, "expires_in", JWT_LIFETIME_S);
}

/* ---- logging in ---- */

struct credentials {
    struct str email, password;
};
static const struct field credential_fields[] = {TEXT_FIELD(credentials, email, 1, 254, FIELD_REQUIRED),
                                                 TEXT_FIELD(credentials, password, 1, 200, FIELD_REQUIRED)};
static const struct shape credentials_shape = {"credentials", sizeof(struct credentials), credential_fields,
                                               2};

struct candidate {
    struct uuid id; /* nil: there is nobody of that address */
    bool active;
};

static void on_verified(void *data, err e, bool ok, const char *hash, bool stale)
{
    struct call *call = data;
    const struct candidate *candidate = call->own;
    struct user_log_in *c = call->message;
    if (failed(e)) {
        call_refuse(call, e);
        return;
    }
    if (!ok || uuid_is_nil(candidate->id) || !candidate->active) {
        refuse_credentials(call, wrong);
        return;
    }
    c->user_id = candidate->id;
    c->session_id = uuid_v7(clock_ms());
    if (stale)
        c->rehashed = arena_str(call->req->arena, str_of(hash));
    call_act_as(call, candidate->id);
    call_publish(call);
}

/* id, password_hash, is_active */
static const struct pg_stmt select_login = {
    "door_select_login", "SELECT id, password_hash, is_active FROM door_login WHERE email_index = $1"};

static void on_login_row(struct call *call, const struct pg_result *rows)
{
    const struct credentials *given = call->body;
    struct candidate *candidate = arena_new_of(call->req->arena, struct candidate);
    bool there = pg_rows(rows) > 0;
    if (there)
        *candidate = (struct candidate){pg_get_uuid(rows, 0, 0), pg_get_bool(rows, 0, 2)};
    call->own = candidate;
    err e = password_verify(call->door->passwords, given->password, there ? pg_get_str(rows, 0, 1) : STR_NONE,
                            on_verified, call);
    if (failed(e))
        call_refuse(call, e);
}

static void prepare_log_in(struct call *call)
{
    const struct credentials *given = call->body;
    struct str index = seal_blind_index(&call->door->shop->secrets.master, given->email, call->req->arena);
    struct pg_param param = pg_text(index);
    call_select(call, &select_login, 1, &param, on_login_row);
}

static struct str finish_log_in(struct call *call, struct str result)
{
    struct arena *arena = call->req->arena;
    struct buf b = buf_new(arena, 2048);
    struct json j = json_on(&b);
    struct str user = json_member(result, "user", arena);
    json_open(&j, '{');
    put_tokens(&j, call, result, role_of(json_member_str(user, "role", arena)));
    json_kraw(&j, "user", user);
    json_close(&j, '}');
    return buf_view(&b);
}

const struct command_spec log_in_spec = {
    .body = &credentials_shape, .prepare = prepare_log_in, .finish = finish_log_in, .needs_result = true};

/* ---- refreshing ---- */

struct refresh_body {
    struct str refresh_token;
};
static const struct field refresh_fields[] = {
    TEXT_FIELD(refresh_body, refresh_token, 1, 400, FIELD_REQUIRED)};
static const struct shape refresh_shape = {"refresh", sizeof(struct refresh_body), refresh_fields, 1};

/* user_id, role, is_active */
static const struct pg_stmt select_session = {
    "door_select_session", "SELECT user_id, role, is_active FROM door_session WHERE id = $1::uuid"};

static void on_session_row(struct call *call, const struct pg_result *rows)
{
    struct user_refresh *c = call->message;
    enum role *role = arena_new_of(call->req->arena, enum role);
    if (!pg_rows(rows) || !pg_get_bool(rows, 0, 2)) {
        refuse_credentials(call, over);
        return;
    }
    c->user_id = pg_get_uuid(rows, 0, 0);
    *role = role_of(pg_get_str(rows, 0, 1));
    call->own = role;
    call_act_as(call, c->user_id);
    call_publish(call);
}

/* Whether the generation is the current one is decided by the group: an older one ends the session. */
static void prepare_refresh(struct call *call)
{
    const struct refresh_body *given = call->body;
    struct user_refresh *c = call->message;
    if (failed(refresh_token_read(&call->door->shop->secrets, given->refresh_token, call->req->arena,
                                  &c->session_id, &c->generation))) {
        refuse_credentials(call, "The refresh token is not valid.");
        return;
    }
    struct pg_param param = pg_uuid(c->session_id);
    call_select(call, &select_session, 1, &param, on_session_row);
}

static struct str finish_refresh(struct call *call, struct str result)
{
    struct buf b = buf_new(call->req->arena, 1024);
    struct json j = json_on(&b);
    json_open(&j, '{');
    put_tokens(&j, call, result, *(const enum role *)call->own);
    json_close(&j, '}');
    return buf_view(&b);
}

const struct command_spec refresh_spec = {
    .body = &refresh_shape, .prepare = prepare_refresh, .finish = finish_refresh, .needs_result = true};

/* ---- logging out ---- */

/* Clients like to send the refresh token along; the session is the access token's. */
static const struct field log_out_fields[] = {TEXT_FIELD(refresh_body, refresh_token, 0, 400, 0)};
static const struct shape log_out_shape = {"log-out", sizeof(struct refresh_body), log_out_fields, 1};

static void prepare_log_out(struct call *call)
{
    struct user_log_out *c = call->message;
    const struct who *who = who_of(call->req);
    c->user_id = who->user;
    c->session_id = who->session;
    call_publish(call);
}

const struct command_spec log_out_spec = {.body = &log_out_shape, .prepare = prepare_log_out};

/* ---- changing a person ---- */

/* role */
static const struct pg_stmt select_role = {"door_select_role",
                                           "SELECT role FROM door_user WHERE id = $1::uuid"};

static void on_role_row(struct call *call, const struct pg_result *rows)
{
    const struct user_update *c = call->message;
    enum role by = who_of(call->req)->role;
    bool self = uuid_eq(who_of(call->req)->user, c->user_id);
    if (!pg_rows(rows))
        call_refuse(call, FAIL(NOT_FOUND, "There is no such person."));
    else if ((!self && !role_may_manage(by, role_of(pg_get_str(rows, 0, 0)))) ||
             (c->role.p && !role_may_manage(by, role_of(c->role))))
        call_refuse(call, FAIL(FORBIDDEN, "Insufficient permissions."));
    else
        call_publish(call);
}

/* Oneself: name and phone. Who runs users: everything, of people who are not above. */
static void prepare_update(struct call *call)
{
    const struct user_update *c = call->message;
    const struct who *who = who_of(call->req);
    bool self = uuid_eq(who->user, c->user_id), plain = self && !c->role.p && !c->has_is_active;
    struct pg_param param = pg_uuid(c->user_id);
    call->person = c->user_id;
    if (plain)
        call_publish(call);
    else if (!role_may(who->role, RUN_USERS))
        call_refuse(call, FAIL(FORBIDDEN, "Insufficient permissions."));
    else
        call_select(call, &select_role, 1, &param, on_role_row);
}

const struct command_spec update_user_spec = {.prepare = prepare_update};
const struct command_spec update_profile_spec = {.own = true, .prepare = prepare_update};
