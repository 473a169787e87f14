/*
 * The identity group: who there is, with which role, and which sessions are open. Owns people, their sessions
 * and their wrapped keys. Personal columns hold sealed text, which this group stores and passes on without
 * ever opening it; passwords reach it as finished argon2id strings. Whether an actor may do what a command
 * asks is the door's to decide.
 */
#include "consumers/identity/identity.h"

const struct table user_table = {
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

const struct table session_table = {
    .name = "session",
    .size = sizeof(struct session),
    .keys = 1,
    .columns = {COLUMN(UUID, session, id), COLUMN(UUID, session, user_id), COLUMN(INT, session, generation),
                COLUMN(BOOL, session, is_revoked), COLUMN(INT, session, created_ms),
                COLUMN(INT, session, updated_ms)},
};

const struct table key_table = {
    .name = "person_key",
    .size = sizeof(struct person_key),
    .keys = 1,
    .columns = {COLUMN(UUID, person_key, person), COLUMN(BYTES, person_key, wrapped),
                COLUMN(INT, person_key, created_ms)},
};

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
