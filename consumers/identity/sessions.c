/*
 * Sessions: one per log-in, with a counter of its refresh tokens. Only the newest token is good; an older one
 * that comes again ends the session, whoever sent it.
 */
#include "consumers/identity/identity.h"

/* A session that was not refreshed for so long is over: the lifetime of a refresh token. */
#define SESSION_IDLE_MS (INT64_C(7) * 24 * 60 * 60 * 1000)

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

void end_sessions(struct batch *b, struct uuid user)
{
    struct session *session = NULL;
    while ((session = rows_next(b, &session_table, "user_id", VALUE_UUID(user), session)))
        if (!session->is_revoked) {
            session->is_revoked = true;
            save_session(b, session);
        }
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

void load_log_in(struct batch *b, const struct user_log_in *c)
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
enum answer log_in(struct batch *b, const struct user_log_in *c)
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

void load_refresh(struct batch *b, const struct user_refresh *c)
{
    want_user(b, c->user_id);
    want_session(b, c->session_id);
}

/* A token of an earlier generation was used before: it, or the one that replaced it, is in the wrong hands,
 * so the whole session ends. This revocation is committed although the command is refused: a refusal only
 * sets the answer, and rows and events of the batch are flushed all the same. */
enum answer refresh(struct batch *b, const struct user_refresh *c)
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

void load_log_out(struct batch *b, const struct user_log_out *c)
{
    want_session(b, c->session_id);
}

enum answer log_out(struct batch *b, const struct user_log_out *c)
{
    struct session *session = open_session(b, c->user_id, c->session_id);
    if (session)
        revoke(b, session, STR("logged-out"));
    return succeed(b, 200, STR("{}"));
}
