/*
 * superuser: the first super_admin, as an ordinary user.register command. It may be run at each start of the
 * shop: the key "superuser:<blind index of the e-mail>" gives it one effect, and nothing is published once
 * the row is there.
 */
#include <sodium.h>

#include "bus/base/conf.h"
#include "bus/ctl/publish.h"

enum { ARGON2_OPS = 2, ARGON2_BYTES = 19456 * 1024, PASSWORD_MIN = 8, PASSWORD_MAX = 200, WAIT_MS = 30000 };

static const struct pg_stmt select_superuser = {
    "ctl_superuser", "SELECT count(*) FROM app_user WHERE email_index = $1 AND role = 'super_admin'"};

struct superuser {
    struct seal_key master;
    struct str email, index;
    char hash[crypto_pwhash_STRBYTES];
};

static struct str json_string(struct str text, struct arena *arena)
{
    struct buf b = buf_new(arena, text.n + 2);
    struct json j = json_on(&b);
    json_str(&j, text);
    return buf_view(&b);
}

/* The person's id is the command's; the new person's key travels wrapped, this once. */
static const void *make_register(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena)
{
    const struct superuser *user = what;
    struct seal_key key = seal_key_random();
    uint8_t wrapped[SEAL_WRAPPED];
    (void)ctl;
    seal_wrap(&user->master, id, &key, wrapped);
    struct user_register *message = arena_new_of(arena, struct user_register);
    *message = (struct user_register){
        .email = json_string(user->email, arena),
        .name = json_string(STR("Administrator"), arena),
        .email_index = user->index,
        .password_hash = str_of(user->hash),
        .person_key = base64url((struct str){(const char *)wrapped, sizeof(wrapped)}, arena),
        .role = STR("super_admin"),
    };
    codec_seal(message_types[USER_REGISTER].shape, message, &key, id, arena);
    return message;
}

static err superuser_read(struct ctl *ctl, struct superuser *ret)
{
    TRY(conf_require(SET_SUPERUSER_EMAIL));
    TRY(conf_require(SET_SUPERUSER_PASSWORD));
    TRY(ctl_master_key(&ret->master));
    ret->email = str_trim(conf_str(SET_SUPERUSER_EMAIL));
    ret->index = seal_blind_index(&ret->master, ret->email, ctl->arena);
    size_t n = conf_str(SET_SUPERUSER_PASSWORD).n;
    if (n < PASSWORD_MIN || n > PASSWORD_MAX)
        return FAIL(CONFIG, "SUPERUSER_PASSWORD must have %d to %d characters", PASSWORD_MIN, PASSWORD_MAX);
    return OK;
}

static err superuser_exists(struct ctl *ctl, const struct superuser *user, bool *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param params[] = {pg_text(user->index)};
    TRY(pg_call(ctl->pg, &select_superuser, 1, params, &result));
    *ret = pg_get_int(result, 0, 0) > 0;
    return OK;
}

static err hash_password(struct superuser *user)
{
    struct str password = conf_str(SET_SUPERUSER_PASSWORD);
    if (sodium_init() < 0 ||
        crypto_pwhash_str(user->hash, password.p, password.n, ARGON2_OPS, ARGON2_BYTES) != 0)
        return FAIL(CONFIG, "the password cannot be hashed: out of memory");
    return OK;
}

static err superuser_publish(struct ctl *ctl, struct superuser *user, struct uuid *ret)
{
    TRY(hash_password(user));
    struct outgoing command = {.message = USER_REGISTER,
                               .idempotencykey =
                                   arena_printf(ctl->arena, "superuser:%.*s", STR_ARG(user->index)),
                               .make = make_register,
                               .what = user};
    TRY(ctl_publish(ctl, &command, 1, ctl->arena));
    *ret = command.id;
    return OK;
}

static enum ctl_exit say(const struct ctl *ctl, const char *what)
{
    if (ctl->json)
        printf("{\"superuser\":\"%s\"}\n", what);
    else
        printf("superuser: %s\n", what);
    return CTL_OK;
}

enum ctl_exit run_superuser(struct ctl *ctl)
{
    struct superuser user = {.index = STR_NONE};
    struct outcome_of outcome = {.done = false};
    bool exists = false;
    err e = superuser_read(ctl, &user);
    if (!failed(e))
        e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = superuser_exists(ctl, &user, &exists);
    if (!failed(e) && exists)
        return say(ctl, "exists");
    if (!failed(e))
        e = superuser_publish(ctl, &user, &outcome.id);
    if (!failed(e) && !ctl_option(ctl, "wait"))
        return say(ctl, "published");
    if (!failed(e))
        e = ctl_wait_results(ctl, &outcome, 1, WAIT_MS, ctl->arena);
    if (!failed(e) && !outcome.succeeded)
        e = FAIL(CONFLICT, "the command was refused: %.*s", STR_ARG(outcome.detail));
    return failed(e) ? ctl_fail(e) : say(ctl, "made");
}
