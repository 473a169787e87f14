/*
 * People: registering and changing them. A person's key arrives wrapped, once, in the registering command,
 * and is stored in the same transaction as the first row it protects.
 */
#include "consumers/identity/identity.h"

#include <inttypes.h>

#include "bus/base/seal.h"

void want_user(struct batch *b, struct uuid id)
{
    want(b, &user_table, "id", VALUE_UUID(id));
}

struct app_user *user_of(struct batch *b, struct uuid id)
{
    return row_find(b, &user_table, "id", VALUE_UUID(id));
}

void put_user(struct json *j, struct batch *b, const struct app_user *user)
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

/* ---- registering ---- */

void load_register(struct batch *b, const struct user_register *c)
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
enum answer register_user(struct batch *b, const struct user_register *c)
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

/* ---- changing a person ---- */

void load_update(struct batch *b, const struct user_update *c)
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
    end_sessions(b, user->id);
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

enum answer update_user(struct batch *b, const struct user_update *c)
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
