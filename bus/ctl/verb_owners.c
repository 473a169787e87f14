/*
 * bus owners: who owns which partitions, who is alive, and what the next lease turns would move. The rules
 * are those of consumers/lease.c: everybody's share is ceil(partitions / members), who has more gives the
 * highest back, who has less takes what is free.
 */
#include <inttypes.h>

#include "bus/ctl/ctl.h"

/* grp, instance, ms until it counts as gone (NULL: it is no member), partitions, free ones of the group, all
 * of it, members alive, topics and parts owned, the highest epoch of them, the shortest lease left in ms */
static const struct pg_stmt select_owners = {
    "ctl_owners",
    "WITH o AS (SELECT grp, owner, topic, part, epoch, lease_until, owner IS NULL OR lease_until < now() AS "
    "free"
    "  FROM consumer_offset),"
    " m AS (SELECT grp, instance, until FROM member WHERE until > now()),"
    " g AS (SELECT grp, count(*) AS parts, count(*) FILTER (WHERE free) AS free FROM o GROUP BY 1),"
    " a AS (SELECT grp, count(*) AS alive FROM m GROUP BY 1),"
    " h AS (SELECT grp, owner, count(*) AS n, count(*) FILTER (WHERE free) AS over, max(epoch) AS epoch,"
    "  min(lease_until) AS until, string_agg(format('%s.%s', topic, lpad(part::text, 2, '0')), ' '"
    "  ORDER BY topic, part) AS lanes FROM o WHERE owner IS NOT NULL GROUP BY 1, 2)"
    " SELECT g.grp, x.instance, (extract(epoch FROM m.until - now()) * 1000)::bigint, coalesce(h.n, 0), "
    "g.free,"
    "  g.parts, coalesce(a.alive, 0), h.lanes, h.epoch, (extract(epoch FROM h.until - now()) * 1000)::bigint,"
    "  coalesce(h.over, 0)"
    " FROM g LEFT JOIN a ON a.grp = g.grp"
    " LEFT JOIN (SELECT grp, instance FROM m UNION SELECT grp, owner FROM h) x ON x.grp = g.grp"
    " LEFT JOIN m ON m.grp = g.grp AND m.instance = x.instance"
    " LEFT JOIN h ON h.grp = g.grp AND h.owner = x.instance ORDER BY 1, 2"};

struct owner {
    struct str grp, instance, lanes;
    bool alive;
    int64_t member_ms, has, lost; /* lost: its lease is over, whoever is alive may take them */
    int64_t free, parts, members, epoch, lease_ms;
};

static struct owner owner_of(const struct pg_result *r, int i)
{
    return (struct owner){.grp = pg_get_str(r, i, 0),
                          .instance = pg_get_str(r, i, 1),
                          .alive = !pg_is_null(r, i, 2),
                          .member_ms = pg_get_int(r, i, 2),
                          .has = pg_get_int(r, i, 3),
                          .free = pg_get_int(r, i, 4),
                          .parts = pg_get_int(r, i, 5),
                          .members = pg_get_int(r, i, 6),
                          .lanes = pg_get_str(r, i, 7),
                          .epoch = pg_get_int(r, i, 8),
                          .lease_ms = pg_get_int(r, i, 9),
                          .lost = pg_get_int(r, i, 10)};
}

/* What it has too much (it will give that many back) or, negative, how many it would take if they were free.
 */
static int64_t surplus(const struct owner *o)
{
    if (!o->alive || o->members == 0)
        return 0;
    return o->has - (o->parts + o->members - 1) / o->members;
}

static void print_moves(const struct owner *o)
{
    int64_t more = surplus(o);
    if (!o->instance.p)
        printf("nobody is alive; %" PRId64 " partitions wait", o->free);
    else if (!o->alive)
        printf("not alive: its %" PRId64 " partitions are taken by others", o->has);
    else if (more > 0)
        printf("gives %" PRId64 " back", more);
    else if (more < 0 && o->free > 0)
        printf("takes up to %" PRId64 ", %" PRId64 " free now", -more, o->free);
    else
        printf("nothing moves");
}

static void print_owner(const struct owner *o)
{
    printf("%-12.*s %-20.*s %4" PRId64 " of %-4" PRId64 " %6" PRId64, STR_ARG(o->grp),
           STR_ARG(o->instance.p ? o->instance : STR("-")), o->has, o->parts, o->epoch);
    if (o->has)
        printf(" %8.1f s", (double)o->lease_ms / 1000);
    else
        printf(" %10s", "-");
    printf("  %-6s ", o->alive ? "alive" : "-");
    print_moves(o);
    printf("\n");
    if (o->lanes.n)
        printf("%13s%.*s\n", "", STR_ARG(o->lanes));
}

static void put_owner(struct json *j, const struct owner *o)
{
    int64_t more = surplus(o);
    json_open(j, '{');
    json_kstr(j, "group", o->grp);
    json_kstr(j, "instance", o->instance);
    json_kbool(j, "alive", o->alive);
    json_kint(j, "owns", o->has);
    json_kint(j, "partitions", o->parts);
    json_kint(j, "members", o->members);
    json_kint(j, "free", o->free);
    json_kint(j, "epoch", o->epoch);
    json_kint(j, "lease_ms", o->lease_ms);
    json_kint(j, "lease_over", o->lost);
    json_kint(j, "gives_back", more > 0 ? more : 0);
    json_kint(j, "may_take", more < 0 ? -more : 0);
    json_kstr(j, "lanes", o->lanes);
    json_close(j, '}');
}

static err owners(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    TRY(ctl_connect(ctl, CTL_BUS));
    TRY(pg_call(ctl->pg, &select_owners, 0, NULL, &r));
    if (!ctl->json)
        printf("%-12s %-20s %12s %6s %10s  %-6s %s\n", "group", "instance", "partitions", "epoch", "lease",
               "member", "the next turn");
    json_open(&j, '[');
    for (int i = 0; i < pg_rows(r); i++) {
        struct owner owner = owner_of(r, i);
        if (ctl->json)
            put_owner(&j, &owner);
        else
            print_owner(&owner);
    }
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return OK;
}

enum ctl_exit run_bus_owners(struct ctl *ctl)
{
    err e = owners(ctl);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}
