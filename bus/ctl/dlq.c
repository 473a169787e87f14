/*
 * Which parked message is meant, and who acts.
 */
#include "bus/ctl/dlq.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

static const struct pg_stmt select_message = {
    "ctl_dlq_message",
    "SELECT n, corrected, coalesce(type, ''), lane = 'command' FROM dead_letter WHERE grp = $1 AND topic = $2"
    " AND key = $3 AND state = 'parked' AND ($4::bigint IS NULL OR n = $4::bigint) ORDER BY n LIMIT 1"};

err dlq_key(const struct ctl *ctl, struct dlq_key *ret)
{
    *ret = (struct dlq_key){str_of(ctl->args[0]), str_of(ctl->args[1]), str_of(ctl->args[2])};
    if (topic_find(ret->topic) == TOPIC_NONE)
        return FAIL(INVALID, "there is no topic %s", ctl->args[1]);
    return OK;
}

/* sudo does not hide who it was. */
struct str dlq_actor(const struct ctl *ctl)
{
    char host[65] = "";
    const char *given = ctl_option(ctl, "actor"), *sudo = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(getuid());
    if (given)
        return str_of(given);
    gethostname(host, sizeof(host) - 1);
    return arena_printf(ctl->arena, "%s@%s", sudo && *sudo ? sudo : user ? user->pw_name : "?", host);
}

struct str dlq_text(const struct ctl *ctl, const char *option)
{
    return str_of(ctl_option(ctl, option));
}

err dlq_message(struct ctl *ctl, const struct dlq_key *key, struct dlq_message *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    int64_t n;
    TRY(ctl_option_int(ctl, "n", 1, INT64_MAX, 0, &n));
    struct pg_param params[] = {pg_text(key->grp), pg_text(key->topic), pg_text(key->key),
                                n ? pg_int(n) : pg_null()};
    TRY(pg_call(ctl->pg, &select_message, 4, params, &r));
    if (pg_rows(r) == 0 && n)
        return FAIL(INVALID, "message %" PRId64 " does not wait under that key", n);
    if (pg_rows(r) == 0)
        return FAIL(INVALID, "nothing waits for %.*s under %.*s %.*s", STR_ARG(key->grp), STR_ARG(key->topic),
                    STR_ARG(key->key));
    *ret = (struct dlq_message){pg_get_int(r, 0, 0), (int)pg_get_int(r, 0, 1),
                                arena_str(ctl->arena, pg_get_str(r, 0, 2)), pg_get_bool(r, 0, 3)};
    return OK;
}
