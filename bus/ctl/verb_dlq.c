/*
 * bus dlq ls, bus dlq show: what is parked. They only look. Data is shown as it is stored: personal fields
 * are sealed.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/dlq.h"

enum { SHOWN = 100 };

/* ---- ls ---- */

static const struct pg_stmt select_keys = {
    "ctl_dlq_ls",
    "SELECT grp, topic, key, n, reason, type, first, last, attempts, build FROM"
    " (SELECT grp, topic, key, count(*) AS n, (array_agg(reason ORDER BY n))[1] AS reason,"
    "   (array_agg(type ORDER BY n))[1] AS type, min(parked_ms) AS first, max(parked_ms) AS last,"
    "   (array_agg(attempts ORDER BY n))[1]::bigint AS attempts, (array_agg(build ORDER BY n))[1] AS build"
    "  FROM dead_letter WHERE state = 'parked' AND ($1::text IS NULL OR grp = $1)"
    "   AND ($2::text IS NULL OR topic = $2) AND ($3::text IS NULL OR key = $3) GROUP BY grp, topic, key) k"
    " WHERE $4::text IS NULL OR reason = $4 ORDER BY first, grp, topic, key LIMIT $5::bigint"};

struct parked {
    struct str grp, topic, key, reason, type, build;
    int64_t n, first_ms, last_ms, attempts;
};

static struct parked parked_of(const struct pg_result *r, int row)
{
    return (struct parked){.grp = pg_get_str(r, row, 0),
                           .topic = pg_get_str(r, row, 1),
                           .key = pg_get_str(r, row, 2),
                           .n = pg_get_int(r, row, 3),
                           .reason = pg_get_str(r, row, 4),
                           .type = pg_get_str(r, row, 5),
                           .first_ms = pg_get_int(r, row, 6),
                           .last_ms = pg_get_int(r, row, 7),
                           .attempts = pg_get_int(r, row, 8),
                           .build = pg_get_str(r, row, 9)};
}

static void print_key(const struct parked *p)
{
    char first[25], last[25];
    clock_print(p->first_ms, first);
    clock_print(p->last_ms, last);
    printf("%-10.*s %-10.*s %-36.*s %8" PRId64 " %8" PRId64 "  %-19.*s %-24s %-24s %.*s (%.*s)\n",
           STR_ARG(p->grp), STR_ARG(p->topic), STR_ARG(p->key), p->n, p->attempts, STR_ARG(p->reason), first,
           last, STR_ARG(p->type), STR_ARG(p->build));
}

static void put_key(struct json *j, const struct parked *p)
{
    json_open(j, '{');
    json_kstr(j, "group", p->grp);
    json_kstr(j, "topic", p->topic);
    json_kint(j, "part", partition_of(p->key));
    json_kstr(j, "key", p->key);
    json_kint(j, "waiting", p->n);
    json_kint(j, "attempts", p->attempts);
    json_kstr(j, "reason", p->reason);
    json_kstr(j, "type", p->type);
    json_ktime(j, "first", p->first_ms);
    json_ktime(j, "last", p->last_ms);
    json_kstr(j, "build", p->build);
    json_close(j, '}');
}

static void print_keys(struct ctl *ctl, const struct pg_result *r)
{
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    int64_t messages = 0;
    if (!ctl->json && pg_rows(r))
        printf("%-10s %-10s %-36s %8s %8s  %-19s %-24s %-24s %s\n", "group", "topic", "key", "waiting",
               "attempts", "reason", "first", "last", "type (build)");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(r); i++) {
        struct parked p = parked_of(r, i);
        messages += p.n;
        if (ctl->json)
            put_key(&j, &p);
        else
            print_key(&p);
    }
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    else
        printf("%d keys, %" PRId64 " messages wait\n", pg_rows(r), messages);
}

enum ctl_exit run_dlq_ls(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    int64_t limit;
    err e = ctl_option_int(ctl, "limit", 1, 1000000, SHOWN, &limit);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    struct pg_param params[] = {pg_text(dlq_text(ctl, "group")), pg_text(dlq_text(ctl, "topic")),
                                pg_text(dlq_text(ctl, "key")), pg_text(dlq_text(ctl, "reason")),
                                pg_int(limit)};
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &select_keys, 5, params, &r);
    if (failed(e))
        return ctl_fail(e);
    print_keys(ctl, r);
    return CTL_OK;
}

/* ---- show ---- */

static const struct pg_stmt select_messages = {
    "ctl_dlq_show",
    "SELECT n, lane, coalesce(entry, ''), coalesce(seq, 0), state, reason, coalesce(detail, ''),"
    " attempts::bigint, build, parked_ms, coalesce(done_ms, 0), envelope FROM dead_letter WHERE grp = $1 AND"
    " topic = $2 AND key = $3 AND ($4::boolean OR state = 'parked') ORDER BY n LIMIT $5::bigint"};

static const struct pg_stmt select_corrections = {
    "ctl_dlq_corrections", "SELECT c.n, c.data, a.actor, a.reason, a.asked_ms FROM parked_correction c"
                           " JOIN parked_action a ON a.id = c.action"
                           " WHERE c.grp = $1 AND c.topic = $2 AND c.key = $3 ORDER BY c.n, c.corrected"};

static const struct pg_stmt select_actions = {
    "ctl_dlq_actions",
    "SELECT action, coalesce(n, 0), actor, reason, asked_ms, coalesce(done_ms, 0), handled,"
    " remain FROM parked_action WHERE grp = $1 AND topic = $2 AND key = $3 ORDER BY id"};

struct shown {
    struct pg_result *messages, *corrections, *actions;
};

static void shown_free(struct shown *s)
{
    pg_result_free(s->messages);
    pg_result_free(s->corrections);
    pg_result_free(s->actions);
}

static err select_shown(struct ctl *ctl, const struct dlq_key *key, int64_t limit, struct shown *ret)
{
    struct pg_param params[] = {pg_text(key->grp), pg_text(key->topic), pg_text(key->key),
                                pg_bool(ctl_option(ctl, "all")), pg_int(limit)};
    TRY(pg_call(ctl->pg, &select_messages, 5, params, &ret->messages));
    TRY(pg_call(ctl->pg, &select_corrections, 3, params, &ret->corrections));
    return pg_call(ctl->pg, &select_actions, 3, params, &ret->actions);
}

static void print_corrections(const struct pg_result *r, int64_t n)
{
    char at[25];
    for (int i = 0; i < pg_rows(r); i++) {
        if (pg_get_int(r, i, 0) != n)
            continue;
        clock_print(pg_get_int(r, i, 4), at);
        printf("     corrected %s by %.*s (%.*s): %.*s\n", at, STR_ARG(pg_get_str(r, i, 2)),
               STR_ARG(pg_get_str(r, i, 3)), STR_ARG(pg_get_str(r, i, 1)));
    }
}

static void print_message(struct ctl *ctl, const struct shown *s, int row)
{
    const struct pg_result *r = s->messages;
    struct str envelope = pg_get_str(r, row, 11);
    char at[25], done[25] = "";
    clock_print(pg_get_int(r, row, 9), at);
    if (pg_get_int(r, row, 10))
        clock_print(pg_get_int(r, row, 10), done);
    printf("%4" PRId64 " %.*s %.*s, id %.*s, entry %.*s\n", pg_get_int(r, row, 0),
           STR_ARG(pg_get_str(r, row, 1)), STR_ARG(json_member_str(envelope, "type", ctl->arena)),
           STR_ARG(json_member_str(envelope, "id", ctl->arena)), STR_ARG(pg_get_str(r, row, 2)));
    printf("     %.*s%s%s: %.*s %.*s\n", STR_ARG(pg_get_str(r, row, 4)), *done ? " " : "", done,
           STR_ARG(pg_get_str(r, row, 5)), STR_ARG(pg_get_str(r, row, 6)));
    printf("     parked %s, attempts %" PRId64 ", build %.*s, correlation %.*s, cause %.*s, actor %.*s\n", at,
           pg_get_int(r, row, 7), STR_ARG(pg_get_str(r, row, 8)),
           STR_ARG(json_member_str(envelope, "correlationid", ctl->arena)),
           STR_ARG(json_member_str(envelope, "causationid", ctl->arena)),
           STR_ARG(json_member_str(envelope, "actor", ctl->arena)));
    printf("     data %.*s\n", STR_ARG(json_member_str(envelope, "data", ctl->arena)));
    print_corrections(s->corrections, pg_get_int(r, row, 0));
}

static void print_actions(const struct pg_result *r)
{
    char at[25];
    for (int i = 0; i < pg_rows(r); i++) {
        clock_print(pg_get_int(r, i, 4), at);
        printf("%s %.*s by %.*s", at, STR_ARG(pg_get_str(r, i, 0)), STR_ARG(pg_get_str(r, i, 2)));
        if (pg_get_int(r, i, 1))
            printf(", message %" PRId64, pg_get_int(r, i, 1));
        if (pg_get_str(r, i, 3).n)
            printf(" (%.*s)", STR_ARG(pg_get_str(r, i, 3)));
        if (!pg_get_int(r, i, 5))
            printf(": under way\n");
        else if (str_is(pg_get_str(r, i, 0), "edit"))
            putchar('\n');
        else
            printf(": %" PRId64 " done, %" PRId64 " wait\n", pg_get_int(r, i, 6), pg_get_int(r, i, 7));
    }
}

static void put_message(struct json *j, const struct pg_result *r, int row)
{
    json_open(j, '{');
    json_kint(j, "n", pg_get_int(r, row, 0));
    json_kstr(j, "lane", pg_get_str(r, row, 1));
    json_kstr(j, "entry", pg_get_str(r, row, 2));
    json_kstr(j, "state", pg_get_str(r, row, 4));
    json_kstr(j, "reason", pg_get_str(r, row, 5));
    json_kstr(j, "detail", pg_get_str(r, row, 6));
    json_kint(j, "attempts", pg_get_int(r, row, 7));
    json_kstr(j, "build", pg_get_str(r, row, 8));
    json_ktime(j, "parked", pg_get_int(r, row, 9));
    json_kraw(j, "envelope", pg_get_str(r, row, 11));
    json_close(j, '}');
}

static void put_corrections(struct json *j, const struct pg_result *r)
{
    json_key(j, "corrections");
    json_open(j, '[');
    for (int i = 0; i < pg_rows(r); i++) {
        json_open(j, '{');
        json_kint(j, "n", pg_get_int(r, i, 0));
        json_kstr(j, "data", pg_get_str(r, i, 1));
        json_kstr(j, "actor", pg_get_str(r, i, 2));
        json_kstr(j, "reason", pg_get_str(r, i, 3));
        json_ktime(j, "at", pg_get_int(r, i, 4));
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void put_actions(struct json *j, const struct pg_result *r)
{
    json_key(j, "actions");
    json_open(j, '[');
    for (int i = 0; i < pg_rows(r); i++) {
        json_open(j, '{');
        json_kstr(j, "action", pg_get_str(r, i, 0));
        if (pg_get_int(r, i, 1))
            json_kint(j, "n", pg_get_int(r, i, 1));
        json_kstr(j, "actor", pg_get_str(r, i, 2));
        json_kstr(j, "reason", pg_get_str(r, i, 3));
        json_ktime(j, "at", pg_get_int(r, i, 4));
        json_kbool(j, "done", pg_get_int(r, i, 5) != 0);
        json_kint(j, "handled", pg_get_int(r, i, 6));
        json_kint(j, "remain", pg_get_int(r, i, 7));
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void print_shown(struct ctl *ctl, const struct shown *s)
{
    struct buf b = buf_new(ctl->arena, 8192);
    struct json j = json_on(&b);
    if (!ctl->json) {
        for (int i = 0; i < pg_rows(s->messages); i++)
            print_message(ctl, s, i);
        print_actions(s->actions);
        return;
    }
    json_open(&j, '{');
    json_key(&j, "messages");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(s->messages); i++)
        put_message(&j, s->messages, i);
    json_close(&j, ']');
    put_corrections(&j, s->corrections);
    put_actions(&j, s->actions);
    json_close(&j, '}');
    ctl_print_json(&b);
}

enum ctl_exit run_dlq_show(struct ctl *ctl)
{
    _cleanup_(shown_free) struct shown s = {.corrections = NULL};
    struct dlq_key key;
    int64_t limit;
    err e = dlq_key(ctl, &key);
    if (!failed(e))
        e = ctl_option_int(ctl, "limit", 1, 1000000, SHOWN, &limit);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = select_shown(ctl, &key, limit, &s);
    if (failed(e))
        return ctl_fail(e);
    print_shown(ctl, &s);
    return pg_rows(s.messages) ? CTL_OK : CTL_FINDINGS;
}
