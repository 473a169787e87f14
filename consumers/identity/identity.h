/* Identity's tables and what its files share. Private to consumers/identity/. */
#pragma once

#include "bus/base/json.h"
#include "consumers/group.h"

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

extern const struct table user_table;

struct session {
    struct row row;
    struct uuid id, user_id;
    int64_t generation; /* of the one refresh token that is good */
    bool is_revoked;
    int64_t created_ms, updated_ms;
};

extern const struct table session_table;

struct person_key {
    struct row row;
    struct uuid person;
    struct str wrapped;
    int64_t created_ms;
};

extern const struct table key_table;

/* ---- people.c ---- */
void want_user(struct batch *b, struct uuid id);
/* NULL when there is no such person. */
struct app_user *user_of(struct batch *b, struct uuid id);
/* As the API shows a person; the door opens the sealed members. */
void put_user(struct json *j, struct batch *b, const struct app_user *user);

void load_register(struct batch *b, const struct user_register *c);
enum answer register_user(struct batch *b, const struct user_register *c);
void load_update(struct batch *b, const struct user_update *c);
enum answer update_user(struct batch *b, const struct user_update *c);

/* ---- sessions.c ---- */
/* Revokes every open session of that person, which was wanted by user_id, without a word. */
void end_sessions(struct batch *b, struct uuid user);

void load_log_in(struct batch *b, const struct user_log_in *c);
enum answer log_in(struct batch *b, const struct user_log_in *c);
void load_refresh(struct batch *b, const struct user_refresh *c);
enum answer refresh(struct batch *b, const struct user_refresh *c);
void load_log_out(struct batch *b, const struct user_log_out *c);
enum answer log_out(struct batch *b, const struct user_log_out *c);
