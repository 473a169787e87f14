/*
 * bus lag: where every group stands on every partition. Lag is head minus offset, both from PostgreSQL; what
 * XINFO says about lag is wrong after a restart of Redis.
 */
#include <inttypes.h>

#include "bus/ctl/ctl.h"
#include "bus/eventlog.h"
#include "bus/lane.h"

static const struct pg_stmt select_lag = {
    "ctl_lag", "SELECT coalesce(o.topic, h.topic), coalesce(o.part, h.part), o.grp, coalesce(h.seq, 0),"
               " coalesce(o.seq, 0), o.owner, o.lease_until > now(), d.reason"
               " FROM consumer_offset o FULL JOIN stream_head h ON h.topic = o.topic AND h.part = o.part"
               " LEFT JOIN group_detached d ON d.grp = o.grp AND d.topic = o.topic AND d.part = o.part"
               " ORDER BY 1, 2, 3"};

struct lane_state {
    int64_t backlog; /* -1: not known */
    bool shown;
    char last[48]; /* last id of the event stream, "" when there is none */
};

static void on_backlog(void *data, const struct redis_reply *reply)
{
    struct lane_state *state = data;
    state->backlog = reply && reply->kind == REDIS_INTEGER ? reply->integer : -1;
}

static void on_stream(void *data, const struct redis_reply *reply)
{
    struct lane_state *state = data;
    for (size_t i = 0; reply && reply->kind == REDIS_ARRAY && i + 1 < reply->n; i += 2)
        if (str_is(reply->items[i].text, "last-generated-id"))
            snprintf(state->last, sizeof(state->last), "%.*s", STR_ARG(reply->items[i + 1].text));
}

static err ask_redis(struct ctl *ctl, struct lane_state *states)
{
    char name[STREAM_NAME];
    for (int topic = TOPIC_NONE + 1; topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            struct lane_state *state = &states[topic * partitions() + part];
            lane_name((enum topic)topic, part, name);
            redis_sendf(ctl->redis, on_backlog, state, "XLEN %s", name);
            stream_name((enum topic)topic, part, name);
            redis_sendf(ctl->redis, on_stream, state, "XINFO STREAM %s", name);
        }
    return redis_wait(ctl->redis, 10000);
}

struct lag {
    struct str topic, grp, owner;
    struct str detached; /* why; STR_NONE: attached */
    int part;
    int64_t head, offset;
    bool lease_over;
};

static void print_lag(const struct ctl *ctl, struct json *j, const struct lag *l,
                      const struct lane_state *state)
{
    if (!ctl->json) {
        printf("%.*s.%02d%*s %-12.*s %10" PRId64 " %10" PRId64 " %8" PRId64 "  %-26s %8" PRId64
               "  %.*s%s%s%.*s\n",
               STR_ARG(l->topic), l->part, (int)(12 - (l->topic.n < 12 ? l->topic.n : 12)), "",
               STR_ARG(l->grp.p ? l->grp : STR("-")), l->head, l->offset, l->grp.p ? l->head - l->offset : 0,
               *state->last ? state->last : "-", state->backlog, STR_ARG(l->owner.p ? l->owner : STR("-")),
               l->lease_over ? " (lease is over)" : "", l->detached.p ? " detached: " : "",
               STR_ARG(l->detached));
        return;
    }
    json_open(j, '{');
    json_kstr(j, "topic", l->topic);
    json_kint(j, "part", l->part);
    json_kstr(j, "group", l->grp);
    json_kint(j, "head", l->head);
    json_kint(j, "offset", l->offset);
    json_kint(j, "lag", l->grp.p ? l->head - l->offset : 0);
    json_kstr(j, "redis_last_id", *state->last ? str_of(state->last) : STR_NONE);
    json_kint(j, "command_backlog", state->backlog);
    json_kstr(j, "owner", l->owner);
    json_kbool(j, "attached", !l->detached.p);
    json_kstr(j, "detached", l->detached);
    json_close(j, '}');
}

static void print_rows(const struct ctl *ctl, struct json *j, const struct pg_result *r,
                       struct lane_state *states)
{
    for (int i = 0; i < pg_rows(r); i++) {
        struct lane_state unknown = {.backlog = -1}, *state = &unknown;
        const struct lag l = {.topic = pg_get_str(r, i, 0),
                              .part = (int)pg_get_int(r, i, 1),
                              .grp = pg_get_str(r, i, 2),
                              .head = pg_get_int(r, i, 3),
                              .offset = pg_get_int(r, i, 4),
                              .owner = pg_get_str(r, i, 5),
                              .lease_over = !pg_is_null(r, i, 6) && !pg_get_bool(r, i, 6),
                              .detached = pg_get_str(r, i, 7)};
        enum topic topic = topic_find(l.topic);
        if (topic != TOPIC_NONE && l.part < partitions())
            state = &states[(int)topic * partitions() + l.part];
        print_lag(ctl, j, &l, state);
        state->shown = true;
    }
}

/* Commands that wait where no group has ever been. */
static void print_unattended(const struct ctl *ctl, struct json *j, const struct lane_state *states)
{
    for (int i = 0; i < TOPIC_COUNT * partitions(); i++)
        if (!states[i].shown && states[i].backlog > 0) {
            const struct lag l = {.topic = str_of(topic_name((enum topic)(i / partitions()))),
                                  .part = i % partitions()};
            print_lag(ctl, j, &l, &states[i]);
        }
}

static err lag(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct lane_state *states = arena_array(ctl->arena, struct lane_state, TOPIC_COUNT * partitions());
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    TRY(ask_redis(ctl, states));
    TRY(pg_call(ctl->pg, &select_lag, 0, NULL, &result));
    if (!ctl->json)
        printf("%-15s %-12s %10s %10s %8s  %-26s %8s  %s\n", "partition", "group", "head", "offset", "lag",
               "last id in Redis", "commands", "owner");
    json_open(&j, '[');
    print_rows(ctl, &j, result, states);
    print_unattended(ctl, &j, states);
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return OK;
}

enum ctl_exit run_bus_lag(struct ctl *ctl)
{
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = lag(ctl);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}
