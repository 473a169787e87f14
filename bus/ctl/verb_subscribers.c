/*
 * Subscribers from outside, as operators deal with them: events grant lets a program read event streams by a
 * plain Redis group, bus subscribers ls shows all that are known, forget ends one. The groups themselves are
 * made, remembered and brought back by the relay (bus/relay_strangers.c) from the rows written here.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/base/uuid.h"
#include "bus/ctl/ctl.h"
#include "bus/topics.h"
#include "bus/type_filter.h"

enum { PASSWORD_BYTES = 24, RULES = 64 };

/* ---- events grant ---- */

/* A name of one of our groups would share its mirror. Kind and login of the library's rows stay theirs. */
static const struct pg_stmt register_group = {
    "ctl_grant",
    "INSERT INTO subscriber AS s (name, kind, owner, types, topics, keep)"
    " SELECT $1::text, 'redis', $2::text, $3::text, $4::text[], $5::bigint * interval '1 day'"
    " WHERE NOT EXISTS (SELECT FROM consumer_offset o WHERE o.grp IN ($1, 'ext:' || $1))"
    " ON CONFLICT (name) DO UPDATE SET kind = 'redis', owner = excluded.owner, types = excluded.types,"
    "  topics = excluded.topics, keep = excluded.keep, expired = NULL WHERE s.kind <> 'library'"
    " RETURNING name"};
static const struct pg_stmt begin_groups = {
    "ctl_grant_groups", "INSERT INTO subscriber_group (name, topic, part, ms, seq)"
                        " SELECT $1::text, t, n, coalesce(h.ms, 0), coalesce(h.seq, 0)"
                        " FROM unnest($2::text[]) t CROSS JOIN generate_series(0, $3::bigint - 1) n"
                        " LEFT JOIN stream_head h ON $4::boolean AND h.topic = t AND h.part = n"
                        " ON CONFLICT DO NOTHING"};

struct grant {
    struct ctl *ctl;
    const char *name;
    struct type_filter filter;
    struct str user;
    char password[2 * PASSWORD_BYTES + 1];
    bool kept; /* the access outlives a restart of Redis */
};

static bool good_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n <= 48 && name[n] == 0 && name[0] >= 'a';
}

static void make_password(char ret[static 2 * PASSWORD_BYTES + 1])
{
    unsigned char bytes[PASSWORD_BYTES];
    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* What reading and acknowledging takes, and nothing that writes entries, makes or moves groups, or looks at
 * another key. */
static const char *const allowed[] = {
    "+xreadgroup", "+xread",  "+xack",       "+xrange",         "+xrevrange",    "+xlen",
    "+xpending",   "+xclaim", "+xautoclaim", "+xinfo|stream",   "+xinfo|groups", "+xinfo|consumers",
    "+ping",       "+hello",  "+auth",       "+client|setname",
};

static err set_user(struct grant *grant)
{
    struct str words[RULES];
    size_t n = 0;
    words[n++] = STR("ACL");
    words[n++] = STR("SETUSER");
    words[n++] = grant->user;
    words[n++] = STR("reset");
    words[n++] = STR("on");
    words[n++] = arena_printf(grant->ctl->arena, ">%s", grant->password);
    words[n++] = STR("-@all");
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++)
        words[n++] = str_of(allowed[i]);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        if (topic_is(topic) && grant->filter.topics[topic])
            words[n++] = arena_printf(grant->ctl->arena, "~evt:{%s.*}", topic_name((enum topic)topic));
    TRY(redis_call(grant->ctl->redis, NULL, n, words));
    grant->kept = !failed(redis_callf(grant->ctl->redis, NULL, "ACL SAVE"));
    return OK;
}

static struct pg_array topics_of(const struct grant *grant)
{
    struct pg_array names = pg_array(grant->ctl->arena, PG_TEXT, TOPIC_COUNT);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        if (topic_is(topic) && grant->filter.topics[topic])
            pg_array_text(&names, str_of(topic_name((enum topic)topic)));
    return names;
}

/* Rows first: the relay makes the groups from them within a second or so. */
static err write_rows(const struct grant *grant, int64_t keep_days, bool now)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct ctl *ctl = grant->ctl;
    const char *owner = ctl_option(ctl, "owner"), *types = ctl_option(ctl, "types");
    struct pg_array names = topics_of(grant);
    const struct pg_param row[] = {pg_text(str_of(grant->name)), pg_text(str_of(owner ? owner : "")),
                                   pg_text(str_of(types ? types : "*")), pg_array_param(&names),
                                   pg_int(keep_days)};
    const struct pg_param groups[] = {pg_text(str_of(grant->name)), pg_array_param(&names),
                                      pg_int(partitions()), pg_bool(now)};
    TRY(pg_call(ctl->pg, &register_group, 5, row, &result));
    if (pg_rows(result) == 0)
        return FAIL(CONFLICT, "%s is the name of a group or subscriber that is there already", grant->name);
    return pg_call(ctl->pg, &begin_groups, 4, groups, NULL);
}

static void print_grant(const struct grant *grant)
{
    struct buf b = buf_new(grant->ctl->arena, 512);
    struct json j = json_on(&b);
    json_open(&j, '{');
    json_kstr(&j, "group", str_of(grant->name));
    json_kstr(&j, "user", grant->user);
    json_kstr(&j, "password", str_of(grant->password));
    json_kint(&j, "partitions", partitions());
    json_kbool(&j, "kept", grant->kept);
    json_key(&j, "streams");
    json_open(&j, '[');
    if (!grant->ctl->json)
        printf("user      %.*s\npassword  %s   (shown once)\ngroup     %s\n", STR_ARG(grant->user),
               grant->password, grant->name);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && grant->filter.topics[topic] && part < partitions(); part++) {
            char name[STREAM_NAME];
            stream_name((enum topic)topic, part, name);
            json_str(&j, str_of(name));
            if (!grant->ctl->json)
                printf("stream    %s\n", name);
        }
    json_close(&j, ']');
    json_close(&j, '}');
    if (grant->ctl->json)
        ctl_print_json(&b);
    else if (!grant->kept)
        printf("This Redis has no aclfile: after it restarts the grant must be repeated.\n");
}

enum ctl_exit run_events_grant(struct ctl *ctl)
{
    struct grant grant = {.ctl = ctl, .name = ctl->args[0]};
    const char *from = ctl_option(ctl, "from");
    int64_t keep_days;
    err e = ctl_option_int(ctl, "keep-days", 1, 36500, 7, &keep_days);
    if (!failed(e))
        e = type_filter_parse(str_of(ctl_option(ctl, "types")), &grant.filter);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    if (!good_name(grant.name) || (from && strcmp(from, "now") != 0 && strcmp(from, "earliest") != 0))
        return ctl_usage(ctl, "NAME is a-z, then a-z 0-9 -, at most 48; --from is now or earliest");
    make_password(grant.password);
    grant.user = arena_printf(ctl->arena, "sub:%s", grant.name);
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = write_rows(&grant, keep_days, !from || strcmp(from, "now") == 0);
    if (!failed(e))
        e = set_user(&grant);
    if (!failed(e))
        print_grant(&grant);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}

/* ---- bus subscribers ls ---- */

static const struct pg_stmt select_subscribers = {
    "ctl_subscribers",
    "SELECT s.name, s.kind, s.owner, s.types, s.login, (extract(epoch FROM s.created) * 1000)::bigint,"
    " (extract(epoch FROM s.seen) * 1000)::bigint, s.expired IS NOT NULL,"
    " coalesce(sum(greatest(h.seq - at.seq, 0)), 0)::bigint,"
    " (SELECT count(*) FROM member m WHERE m.grp = 'ext:' || s.name AND m.until > now())"
    " FROM subscriber s LEFT JOIN (SELECT name, topic, part, seq FROM subscriber_group UNION ALL"
    "  SELECT substr(grp, 5), topic, part, seq FROM consumer_offset WHERE grp LIKE 'ext:%') at"
    "  ON at.name = s.name"
    " LEFT JOIN stream_head h ON h.topic = at.topic AND h.part = at.part GROUP BY s.name ORDER BY s.name"};

static void print_subscriber(const struct ctl *ctl, struct json *j, const struct pg_result *r, int row)
{
    static const char *const names[] = {"name", "kind", "owner", "types", "login"};
    struct str text[5], seen = clock_text(pg_get_int(r, row, 6), ctl->arena);
    for (int i = 0; i < 5; i++)
        text[i] = pg_get_str(r, row, i);
    bool expired = pg_get_bool(r, row, 7);
    if (!ctl->json) {
        printf("%-20.*s %-8.*s %9" PRId64 " %9" PRId64 "  %.*s  %-7s %-24.*s %.*s\n", STR_ARG(text[0]),
               STR_ARG(text[1]), pg_get_int(r, row, 8), pg_get_int(r, row, 9), STR_ARG(seen),
               expired ? "expired" : "alive", STR_ARG(text[3]), STR_ARG(text[2]));
        return;
    }
    json_open(j, '{');
    for (int i = 0; i < 5; i++)
        json_kstr(j, names[i], text[i]);
    json_ktime(j, "created", pg_get_int(r, row, 5));
    json_ktime(j, "seen", pg_get_int(r, row, 6));
    json_kbool(j, "expired", expired);
    json_kint(j, "lag", pg_get_int(r, row, 8));
    json_kint(j, "instances", pg_get_int(r, row, 9));
    json_close(j, '}');
}

enum ctl_exit run_subscribers_ls(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct buf b = buf_new(ctl->arena, 1024);
    struct json j = json_on(&b);
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = pg_call(ctl->pg, &select_subscribers, 0, NULL, &result);
    if (failed(e))
        return ctl_fail(e);
    if (!ctl->json)
        printf("%-20s %-8s %9s %9s  %-24s  %-7s %-24s %s\n", "name", "kind", "lag", "instances", "last seen",
               "state", "types", "owner");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(result); i++)
        print_subscriber(ctl, &j, result, i);
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return CTL_OK;
}

/* ---- bus subscribers forget ---- */

static const struct pg_stmt forget_rows = {
    "ctl_forget", "WITH s AS (DELETE FROM subscriber WHERE name = $1::text RETURNING name),"
                  " o AS (DELETE FROM consumer_offset WHERE grp = 'ext:' || (SELECT name FROM s)),"
                  " m AS (DELETE FROM member WHERE grp = 'ext:' || (SELECT name FROM s)),"
                  " d AS (DELETE FROM group_detached WHERE grp IN (SELECT n FROM s, unnest(ARRAY[name,"
                  "  'ext:' || name]) n))"
                  " SELECT count(*) FROM s"};

static void no_matter(void *data, const struct redis_reply *reply)
{
    (void)data;
    (void)reply;
}

/* Rows are gone already, so the relay brings nothing back. */
static err forget_groups(struct ctl *ctl, const char *name)
{
    char stream[STREAM_NAME];
    struct str mirror = arena_printf(ctl->arena, "ext:%s", name);
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            stream_name((enum topic)topic, part, stream);
            redis_sendf(ctl->redis, no_matter, NULL, "XGROUP DESTROY %s %s", stream, name);
            redis_sendf(ctl->redis, no_matter, NULL, "XGROUP DESTROY %s %b", stream, mirror);
        }
    struct str user = arena_printf(ctl->arena, "sub:%s", name);
    redis_sendf(ctl->redis, no_matter, NULL, "ACL DELUSER %b", user);
    redis_sendf(ctl->redis, no_matter, NULL, "ACL SAVE");
    return redis_wait(ctl->redis, 10000);
}

enum ctl_exit run_subscribers_forget(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param name = pg_text(str_of(ctl->args[0]));
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &forget_rows, 1, &name, &result);
    if (!failed(e) && pg_get_int(result, 0, 0) == 0)
        e = FAIL(NOT_FOUND, "there is no subscriber %s", ctl->args[0]);
    if (!failed(e))
        e = forget_groups(ctl, ctl->args[0]);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}
