/* Identity: accounts, sessions and their tokens, switching people off; handlers alone, without servers. */
#include <criterion/criterion.h>

#include "bus/base/json.h"
#include "tests/support/batch.h"

extern const struct group identity_group;

#define MEMORY _cleanup_(memory_freep) struct memory *memory = memory_new(&identity_group)
#define INDEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define INDEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)

static struct user_register ana(struct memory *memory, struct uuid id)
{
    static const uint8_t wrapped[SEAL_WRAPPED] = {7, 0, 255};
    return (struct user_register){
        .email = sealed(memory, id, "ana@example.org"),
        .name = sealed(memory, id, "Ana"),
        .email_index = STR(INDEX_A),
        .password_hash = STR("$argon2id$ana"),
        .person_key = base64url((struct str){(const char *)wrapped, sizeof(wrapped)}, memory->arena),
    };
}

static struct outcome register_as(struct memory *memory, struct uuid id, struct str role)
{
    struct user_register c = ana(memory, id);
    c.role = role;
    return handle(memory, USER_REGISTER, &c, .id = id);
}

static struct uuid registered(struct memory *memory, struct str role)
{
    struct uuid id = uuid_v7(memory->now);
    cr_assert_eq(register_as(memory, id, role).http, 201);
    return id;
}

static struct uuid logged_in(struct memory *memory, struct uuid user)
{
    struct user_log_in c = {.user_id = user, .session_id = uuid_v7(memory->now)};
    cr_assert_eq(handle(memory, USER_LOG_IN, &c).http, 200);
    return c.session_id;
}

static struct outcome refresh(struct memory *memory, struct uuid user, struct uuid session,
                              int64_t generation)
{
    struct user_refresh c = {.user_id = user, .session_id = session, .generation = generation};
    return handle(memory, USER_REFRESH, &c);
}

static const void *user_row(struct memory *memory, struct uuid id)
{
    return kept_row(memory, "app_user", "id", VALUE_UUID(id));
}

static const void *session_row(struct memory *memory, struct uuid id)
{
    return kept_row(memory, "session", "id", VALUE_UUID(id));
}

static const char *self(struct memory *memory, struct uuid id)
{
    return arena_printf(memory->arena, "user:%s", uuid_str(id, memory->arena).p).p;
}

Test(identity, a_person_registers_once)
{
    MEMORY;
    struct uuid id = uuid_v7(memory->now), other = uuid_v7(memory->now);
    struct outcome done = register_as(memory, id, STR_NONE);

    cr_assert_eq(done.http, 201);
    struct str user = json_member(done.result, "user", memory->arena);
    cr_assert(str_eq(json_member_str(user, "id", memory->arena), uuid_str(id, memory->arena)));
    cr_assert(seal_is(json_member_str(user, "email", memory->arena)), "personal data stays sealed");
    cr_assert(str_is(json_member_str(user, "role", memory->arena), "customer"));
    cr_assert_null(json_member(user, "phone", memory->arena).p);
    cr_assert_null(json_member(user, "password_hash", memory->arena).p);
    cr_assert_eq(row_int(user_row(memory, id), "version"), 1);
    const struct user_registered *e = told(memory, USER_REGISTERED, 0);
    cr_assert(uuid_eq(e->user_id, id));
    cr_assert(str_eq(told_key(memory, USER_REGISTERED, 0), uuid_str(id, memory->arena)));
    const void *key = kept_row(memory, "person_key", "person", VALUE_UUID(id));
    cr_assert_eq(row_text(key, "wrapped").n, SEAL_WRAPPED);

    struct outcome refused = register_as(memory, other, STR_NONE);
    cr_assert_eq(refused.answer, ANSWER_REJECTED);
    cr_assert_eq(refused.http, 409);
    cr_assert_eq(memory->batch.events.n, 0);
    cr_assert_eq(kept_count(memory, "app_user"), 1);
    cr_assert_eq(kept_count(memory, "person_key"), 1);
}

Test(identity, two_registrations_in_one_batch_make_one_account)
{
    MEMORY;
    struct uuid ids[] = {uuid_v7(1), uuid_v7(1)};
    struct user_register a = ana(memory, ids[0]), b = ana(memory, ids[1]);
    struct given given[] = {{.type = USER_REGISTER, .data = &a, .id = ids[0]},
                            {.type = USER_REGISTER, .data = &b, .id = ids[1]}};
    struct outcome outcomes[2];

    memory_handle_all(memory, given, 2, outcomes);
    cr_assert_eq(outcomes[0].http, 201);
    cr_assert_eq(outcomes[1].http, 409);
    cr_assert_eq(kept_count(memory, "app_user"), 1);
}

Test(identity, a_key_that_is_none_is_refused)
{
    MEMORY;
    struct user_register c = ana(memory, uuid_v7(1));

    c.person_key = STR("AAAA");
    cr_assert_eq(handle(memory, USER_REGISTER, &c).http, 422);
    c.person_key = STR("not base64 !");
    cr_assert_eq(handle(memory, USER_REGISTER, &c).http, 422);
    cr_assert_eq(kept_count(memory, "app_user"), 0);
}

Test(identity, a_log_in_opens_a_session_and_renews_an_old_hash)
{
    MEMORY;
    struct uuid user = registered(memory, STR("employee"));
    struct user_log_in c = {.user_id = user, .session_id = uuid_v7(1), .rehashed = STR("$argon2id$new")};
    struct outcome done = handle(memory, USER_LOG_IN, &c);

    cr_assert_eq(done.http, 200);
    cr_assert_eq(json_member_int(done.result, "generation", 0, memory->arena), 1);
    cr_assert(str_is(json_member_str(json_member(done.result, "user", memory->arena), "role", memory->arena),
                     "employee"));
    cr_assert(str_is(row_text(user_row(memory, user), "password_hash"), "$argon2id$new"));
    cr_assert_eq(row_int(user_row(memory, user), "version"), 1, "what the client sees has not changed");
    cr_assert_eq(told_count(memory, USER_LOGGED_IN), 1);

    cr_assert_eq(handle(memory, USER_LOG_IN, &c).http, 409, "a session's id is used once");
    c.user_id = uuid_v7(2);
    c.session_id = uuid_v7(2);
    cr_assert_eq(handle(memory, USER_LOG_IN, &c).http, 401, "nobody");
}

Test(identity, a_refresh_moves_the_generation_and_reuse_ends_the_session)
{
    MEMORY;
    struct uuid user = registered(memory, STR_NONE), session = logged_in(memory, user);

    struct outcome done = refresh(memory, user, session, 1);
    cr_assert_eq(done.http, 200);
    cr_assert_eq(json_member_int(done.result, "generation", 0, memory->arena), 2);
    cr_assert_eq(refresh(memory, user, session, 3).http, 401, "a generation that never was");
    cr_assert_not(row_bool(session_row(memory, session), "is_revoked"));

    struct outcome reused = refresh(memory, user, session, 1);
    cr_assert_eq(reused.answer, ANSWER_REJECTED);
    cr_assert_eq(reused.http, 401);
    const struct user_session_revoked *e = told(memory, USER_SESSION_REVOKED, 0);
    cr_assert(uuid_eq(e->session_id, session));
    cr_assert(str_is(e->reason, "reused"));
    cr_assert(row_bool(session_row(memory, session), "is_revoked"), "kept although the command was refused");
    cr_assert_eq(refresh(memory, user, session, 2).http, 401, "the thief and the owner are both out");
    cr_assert_eq(told_count(memory, USER_SESSION_REVOKED), 0);
}

Test(identity, a_session_nobody_used_for_a_week_is_over)
{
    MEMORY;
    struct uuid user = registered(memory, STR_NONE), session = logged_in(memory, user);

    memory->now += 6 * DAY_MS;
    cr_assert_eq(refresh(memory, user, session, 1).http, 200);
    memory->now += 6 * DAY_MS;
    cr_assert_eq(refresh(memory, user, session, 2).http, 200, "a week from the last use");
    memory->now += 8 * DAY_MS;
    cr_assert_eq(refresh(memory, user, session, 3).http, 401);
}

Test(identity, logging_out_may_be_repeated_and_touches_ones_own_sessions_only)
{
    MEMORY;
    struct uuid user = registered(memory, STR_NONE), session = logged_in(memory, user);
    struct user_log_out stranger = {.user_id = uuid_v7(9), .session_id = session};
    struct user_log_out own = {.user_id = user, .session_id = session};

    cr_assert_eq(handle(memory, USER_LOG_OUT, &stranger).http, 200);
    cr_assert_not(row_bool(session_row(memory, session), "is_revoked"));
    cr_assert_eq(handle(memory, USER_LOG_OUT, &own).http, 200);
    cr_assert_eq(told_count(memory, USER_SESSION_REVOKED), 1);
    cr_assert_eq(handle(memory, USER_LOG_OUT, &own).http, 200);
    cr_assert_eq(told_count(memory, USER_SESSION_REVOKED), 0);
    cr_assert_eq(refresh(memory, user, session, 1).http, 401);
}

Test(identity, a_person_is_changed_in_the_version_that_was_seen)
{
    MEMORY;
    struct uuid user = registered(memory, STR_NONE);
    struct user_update c = {
        .user_id = user, .name = sealed(memory, user, "Ana María"), .role = STR("manager")};

    cr_assert_eq(handle(memory, USER_UPDATE, &c, .expected_version = 1).http, 200);
    const struct user_updated *e = told(memory, USER_UPDATED, 0);
    cr_assert_eq(e->version, 2);
    cr_assert(str_is(e->role, "manager"));
    cr_assert(str_eq(e->name, c.name));
    cr_assert(e->is_active);
    struct outcome stale = handle(memory, USER_UPDATE, &c, .expected_version = 1);
    cr_assert_eq(stale.http, 412);
    cr_assert_eq(row_int(user_row(memory, user), "version"), 2);
    c.user_id = uuid_v7(3);
    cr_assert_eq(handle(memory, USER_UPDATE, &c).http, 404);
}

Test(identity, switching_off_ends_every_session_and_keeps_the_person_out)
{
    MEMORY;
    struct uuid user = registered(memory, STR_NONE), first = logged_in(memory, user),
                second = logged_in(memory, user);
    struct user_update off = {.user_id = user, .has_is_active = true}, on = off;
    struct user_log_in again = {.user_id = user, .session_id = uuid_v7(5)};

    on.is_active = true;
    cr_assert_eq(handle(memory, USER_UPDATE, &off).http, 200);
    cr_assert_eq(told_count(memory, USER_DEACTIVATED), 1);
    cr_assert_eq(told_count(memory, USER_UPDATED), 1);
    cr_assert(row_bool(session_row(memory, first), "is_revoked"));
    cr_assert(row_bool(session_row(memory, second), "is_revoked"));
    cr_assert_eq(handle(memory, USER_LOG_IN, &again).http, 401);
    cr_assert_eq(handle(memory, USER_UPDATE, &off).http, 200);
    cr_assert_eq(told_count(memory, USER_DEACTIVATED), 0, "once");
    cr_assert_eq(handle(memory, USER_UPDATE, &on).http, 200);
    cr_assert_eq(refresh(memory, user, first, 1).http, 401, "old sessions stay closed");
    cr_assert_eq(handle(memory, USER_LOG_IN, &again).http, 200);
}

Test(identity, a_super_admin_cannot_resign)
{
    MEMORY;
    struct uuid root = registered(memory, STR("super_admin"));
    struct user_update off = {.user_id = root, .has_is_active = true};
    struct user_update demoted = {.user_id = root, .role = STR("admin")};
    struct user_update renamed = {
        .user_id = root, .name = sealed(memory, root, "Root"), .role = STR("super_admin")};

    cr_assert_eq(handle(memory, USER_UPDATE, &off, .actor = self(memory, root)).http, 409);
    cr_assert_eq(handle(memory, USER_UPDATE, &demoted, .actor = self(memory, root)).http, 409);
    cr_assert_eq(handle(memory, USER_UPDATE, &renamed, .actor = self(memory, root)).http, 200);
    cr_assert_eq(handle(memory, USER_UPDATE, &demoted, .actor = self(memory, uuid_v7(8))).http, 200);
}
