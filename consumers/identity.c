/*
 * Identity: who there is, with which role, and which sessions are open. Owns people, their sessions and their
 * wrapped keys. Personal columns hold sealed text, which this group stores and passes on without ever opening
 * it; passwords reach it as finished argon2id strings. Whether an actor may do what a command asks is the
 * door's to decide.
 */
#include "consumers/group.h"

#include <inttypes.h>

#include "bus/base/json.h"
#include "bus/base/seal.h"

/* A session that was not refreshed for so long is over: the lifetime of a refresh token. */
#define SESSION_IDLE_MS (INT64_C(7) * 24 * 60 * 60 * 1000)

struct app_user {
    struct row row;
    struct uuid id;
    struct str email; /* sealed, like name and phone */
    struct str email_index;
    struct str name, phone;
    struct str password_hash, role;
    bool is_active;
    int64_t version, created_ms, updated_ms;
};

static const struct table user_table = {
    .name = "app_user",
    .size = sizeof(struct app_user),
    .keys = 1,
    .columns = {COLUMN(UUID, app_user, id), COLUMN(TEXT, app_user, email),
                COLUMN(TEXT, app_user, email_index), COLUMN(TEXT, app_user, name),
                COLUMN(TEXT, app_user, phone), COLUMN(TEXT, app_user, password_hash),
                COLUMN(TEXT, app_user, role), COLUMN(BOOL, app_user, is_active),
                COLUMN(INT, app_user, version), COLUMN(INT, app_user, created_ms),
                COLUMN(INT, app_user, updated_ms)},
};

struct session {
    struct row row;
    struct uuid id, user_id;
    int64_t generation; /* of the one refresh token that is good */
    bool is_revoked;
    int64_t created_ms, updated_ms;
};

static const struct table session_table = {
    .name = "session",
    .size = sizeof(struct session),
    .keys = 1,
    .columns = {COLUMN(UUID, session, id), COLUMN(UUID, session, user_id), COLUMN(INT, session, generation),
                COLUMN(BOOL, session, is_revoked), COLUMN(INT, session, created_ms),
                COLUMN(INT, session, updated_ms)},
};

struct person_key {
    struct row row;
    struct uuid person;
    struct str wrapped;
    int64_t created_ms;
};

static const struct table key_table = {
    .name = "person_key",
    .size = sizeof(struct person_key),
    .keys = 1,
    .columns = {COLUMN(UUID, person_key, person), COLUMN(BYTES, person_key, wrapped),
                COLUMN(INT, person_key, created_ms)},
};

/* ---- people and sessions ---- */

static void want_user(struct batch *b, struct uuid id)
{
    want(b, &user_table, "id", VALUE_UUID(id));
}

static struct app_user *user_of(struct batch *b, struct uuid id)
{
    return row_find(b, &user_table, "id", VALUE_UUID(id));
}

static void want_session(struct batch *b, struct uuid id)
{
    want(b, &session_table, "id", VALUE_UUID(id));
}

/* An open session of that person. Another person's is none of this message's business: it is written
 * elsewhere. */
static struct session *open_session(struct batch *b, struct uuid user, struct uuid id)
{
    struct session *session = row_find(b, &session_table, "id", VALUE_UUID(id));
    return session && !session->is_revoked && uuid_eq(session->user_id, user) ? session : NULL;
}

static void save_session(struct batch *b, struct session *session)
{
    session->updated_ms = batch_now(b);
    row_save(b, session);
}

static void revoke(struct batch *b, struct session *session, struct str reason)
{
    session->is_revoked = true;
    save_session(b, session);
    emit_user_session_revoked(b, uuid_str(session->user_id, batch_arena(b)),
                              &(struct user_session_revoked){
                                  .user_id = session->user_id, .session_id = session->id, .reason = reason});
}

/* As the API shows a person; the door opens the sealed members. */
static void put_user(struct json *j, struct batch *b, const struct app_user *user)
{
    json_open(j, '{');
    json_kstr(j, "id", uuid_str(user->id, batch_arena(b)));
    json_kstr(j, "email", user->email);
    json_kstr(j, "name", user->name);
    if (user->phone.p)
        json_kstr(j, "phone", user->phone);
    json_kstr(j, "role", user->role);
    json_kbool(j, "is_active", user->is_active);
    json_kint(j, "version", user->version);
    json_ktime(j, "created_at", user->created_ms);
    json_ktime(j, "updated_at", user->updated_ms);
    json_close(j, '}');
}

static struct str user_json(struct batch *b, const struct app_user *user)
{
    struct buf text = buf_new(batch_arena(b), 1024);
    struct json j = json_on(&text);
    put_user(&j, b, user);
    return buf_view(&text);
}

static struct str registered_json(struct batch *b, const struct app_user *user)
{
    struct buf text = buf_new(batch_arena(b), 1024);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_key(&j, "user");
    put_user(&j, b, user);
    json_close(&j, '}');
    return buf_view(&text);
}

/* What the door makes tokens of; user may be NULL. */
static struct str session_json(struct batch *b, const struct session *session, const struct app_user *user)
{
    struct buf text = buf_new(batch_arena(b), 1024);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "user_id", uuid_str(session->user_id, batch_arena(b)));
    json_kstr(&j, "session_id", uuid_str(session->id, batch_arena(b)));
    json_kint(&j, "generation", session->generation);
    if (user) {
        json_key(&j, "user");
        put_user(&j, b, user);
    }
    json_close(&j, '}');
    return buf_view(&text);
}

/* ---- registering ---- */

static void load_register(struct batch *b, const struct user_register *c)
{
    want(b, &user_table, "email_index", VALUE_TEXT(c->email_index));
}

static void add_key(struct batch *b, struct uuid person, struct str wrapped)
{
    struct person_key *key = row_new(b, &key_table);
    key->person = person;
    key->wrapped = wrapped;
    key->created_ms = batch_now(b);
    row_save(b, key);
}

/* The person's id is the command's: the personal members were sealed for it, and a repeat meets itself. */
static struct app_user *add_user(struct batch *b, const struct user_register *c)
{
    struct app_user *user = row_new(b, &user_table);
    user->id = batch_message(b)->id;
    user->email = c->email;
    user->email_index = c->email_index;
    user->name = c->name;
    user->phone = c->phone;
    user->password_hash = c->password_hash;
    user->role = c->role.p ? c->role : STR("customer");
    user->is_active = true;
    user->version = 1;
    user->created_ms = user->updated_ms = batch_now(b);
    row_save(b, user);
    return user;
}

/* Two at once meet at the unique index: the later batch is decided anew and finds the first one's row. */
static enum answer register_user(struct batch *b, const struct user_register *c)
{
    struct str wrapped;
    if (row_find(b, &user_table, "email_index", VALUE_TEXT(c->email_index)))
        return reject(b, ERR_CONFLICT, "This e-mail address has an account.");
    if (failed(base64url_decode(c->person_key, batch_arena(b), &wrapped)) || wrapped.n != SEAL_WRAPPED)
        return reject(b, ERR_INVALID, "The person's key is not a wrapped key.");
    const struct app_user *user = add_user(b, c);
    add_key(b, user->id, wrapped);
    emit_user_registered(b, uuid_str(user->id, batch_arena(b)),
                         &(struct user_registered){.user_id = user->id,
                                                   .email = user->email,
                                                   .name = user->name,
                                                   .phone = user->phone,
                                                   .email_index = user->email_index,
                                                   .role = user->role});
    return succeed(b, 201, registered_json(b, user));
}

/* ---- sessions ---- */

static void load_log_in(struct batch *b, const struct user_log_in *c)
{
    want_user(b, c->user_id);
    want_session(b, c->session_id);
}

static struct session *add_session(struct batch *b, struct uuid user, struct uuid id)
{
    struct session *session = row_new(b, &session_table);
    session->id = id;
    session->user_id = user;
    session->generation = 1;
    session->created_ms = batch_now(b);
    save_session(b, session);
    return session;
}

/* The door has verified the password against the row it saw; only here is it certain that the person is
 * active still. */
static enum answer log_in(struct batch *b, const struct user_log_in *c)
{
    struct app_user *user = user_of(b, c->user_id);
    if (!user || !user->is_active)
        return reject(b, ERR_UNAUTHENTICATED, "This account cannot log in.");
    if (row_find(b, &session_table, "id", VALUE_UUID(c->session_id)))
        return reject(b, ERR_CONFLICT, "This session exists already.");
    if (c->rehashed.p) {
        user->password_hash = c->rehashed;
        user->updated_ms = batch_now(b);
        row_save(b, user);
    }
    const struct session *session = add_session(b, user->id, c->session_id);
    emit_user_logged_in(b, uuid_str(user->id, batch_arena(b)),
                        &(struct user_logged_in){.user_id = user->id, .session_id = session->id});
    return succeed(b, 200, session_json(b, session, user));
}

static void load_refresh(struct batch *b, const struct user_refresh *c)
{
    want_user(b, c->user_id);
    want_session(b, c->session_id);
}

/* A token of an earlier generation was used before: it, or the one that replaced it, is in the wrong hands,
 * so the whole session ends. This revocation is committed although the command is refused: a refusal only
 * sets the answer, and rows and events of the batch are flushed all the same. */
static enum answer refresh(struct batch *b, const struct user_refresh *c)
{
    static const char over[] = "This session has ended; log in again.";
    struct session *session = open_session(b, c->user_id, c->session_id);
    const struct app_user *user = user_of(b, c->user_id);
    if (!session || !user || !user->is_active || c->generation > session->generation)
        return reject(b, ERR_UNAUTHENTICATED, over);
    if (batch_now(b) - session->updated_ms > SESSION_IDLE_MS)
        return reject(b, ERR_UNAUTHENTICATED, over);
    if (c->generation < session->generation) {
        revoke(b, session, STR("reused"));
        return reject(b, ERR_UNAUTHENTICATED, over);
    }
    session->generation++;
    save_session(b, session);
    return succeed(b, 200, session_json(b, session, NULL));
}

static void load_log_out(struct batch *b, const struct user_log_out *c)
{
    want_session(b, c->session_id);
}

static enum answer log_out(struct batch *b, const struct user_log_out *c)
{
    struct session *session = open_session(b, c->user_id, c->session_id);
    if (session)
        revoke(b, session, STR("logged-out"));
    return succeed(b, 200, STR("{}"));
}

/* ---- changing a person ---- */

static void load_update(struct batch *b, const struct user_update *c)
{
    want_user(b, c->user_id);
    if (c->has_is_active && !c->is_active)
        want(b, &session_table, "user_id", VALUE_UUID(c->user_id));
}

/* A super_admin is switched off or demoted by another one only, so that there is always one left. */
static bool resigns(struct batch *b, const struct app_user *user, const struct user_update *c)
{
    bool loses = (c->has_is_active && !c->is_active) || (c->role.p && !str_is(c->role, "super_admin"));
    struct str self = arena_printf(batch_arena(b), "user:%s", uuid_str(user->id, batch_arena(b)).p);
    return loses && str_is(user->role, "super_admin") && str_eq(batch_message(b)->actor, self);
}

/* One event voids them all: a door that hears user.deactivated refuses whatever token that person had before.
 */
static void deactivate(struct batch *b, const struct app_user *user)
{
    struct session *session = NULL;
    while ((session = rows_next(b, &session_table, "user_id", VALUE_UUID(user->id), session)))
        if (!session->is_revoked) {
            session->is_revoked = true;
            save_session(b, session);
        }
    emit_user_deactivated(b, uuid_str(user->id, batch_arena(b)),
                          &(struct user_deactivated){.user_id = user->id});
}

/* Roles were checked against the schema's list when the command was read. */
static void apply(struct batch *b, struct app_user *user, const struct user_update *c)
{
    if (c->name.p)
        user->name = c->name;
    if (c->phone.p)
        user->phone = c->phone;
    if (c->role.p)
        user->role = c->role;
    if (c->has_is_active)
        user->is_active = c->is_active;
    user->version++;
    user->updated_ms = batch_now(b);
    row_save(b, user);
}

static enum answer update_user(struct batch *b, const struct user_update *c)
{
    struct app_user *user = user_of(b, c->user_id);
    int64_t expected = batch_message(b)->expected_version;
    if (!user)
        return reject(b, ERR_NOT_FOUND, "There is no such person.");
    if (expected && expected != user->version)
        return reject(b, ERR_STALE, "The person was changed meanwhile; the version is %" PRId64 " now.",
                      user->version);
    if (resigns(b, user, c))
        return reject(b, ERR_CONFLICT,
                      "A super_admin can be switched off or demoted by another super_admin only.");
    bool was_active = user->is_active;
    apply(b, user, c);
    emit_user_updated(b, uuid_str(user->id, batch_arena(b)),
                      &(struct user_updated){.user_id = user->id,
                                             .name = user->name,
                                             .phone = user->phone,
                                             .role = user->role,
                                             .is_active = user->is_active,
                                             .version = user->version});
    if (was_active && !user->is_active)
        deactivate(b, user);
    return succeed(b, 200, user_json(b, user));
}

/* Sessions refer to people, so people are written first. */
static const struct table *const tables[] = {&user_table, &session_table, &key_table, NULL};

extern const struct group identity_group;
const struct group identity_group = {
    .name = "identity",
    .effects = EFFECTS_INTERNAL,
    .start = START_EARLIEST,
    .tables = tables,
    .on =
        {
            .user_register = {load_register, register_user},
            .user_log_in = {load_log_in, log_in},
            .user_refresh = {load_refresh, refresh},
            .user_log_out = {load_log_out, log_out},
            .user_update = {load_update, update_user},
        },
};
