/*
 * Ownership of partitions. A member says it is alive; each takes free partitions up to ceil(partitions /
 * members) and gives surplus back between batches. A restarted instance has its old name and takes its own
 * partitions back at once. Taking bumps the epoch, so a former owner that was only slow finds its next flush
 * void.
 */
#include <stdlib.h>

#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "consumers/worker.h"

/* Only what is missing is inserted: a conflict would wait for whoever has the row in hand, and he may stand
 * still. */
static const struct pg_stmt insert_offsets = {
    "insert_offsets",
    "INSERT INTO consumer_offset (grp, topic, part, seq, ms)"
    " SELECT $1, x.topic, x.part::int, coalesce(h.seq, 0), coalesce(h.ms, 0)"
    " FROM unnest($2::text[], $3::bigint[]) AS x(topic, part)"
    " LEFT JOIN stream_head h ON $4::boolean AND h.topic = x.topic AND h.part = x.part"
    " WHERE NOT EXISTS (SELECT FROM consumer_offset o WHERE o.grp = $1 AND o.topic = x.topic"
    "  AND o.part = x.part) ORDER BY 2, 3 ON CONFLICT DO NOTHING"};

static const struct pg_stmt heartbeat = {"heartbeat",
                                         "INSERT INTO member (grp, instance, until)"
                                         " VALUES ($1, $2, now() + $3::bigint * interval '1 millisecond')"
                                         " ON CONFLICT (grp, instance) DO UPDATE SET until = excluded.until"};

static const struct pg_stmt forget_members = {
    "forget_members", "DELETE FROM member WHERE grp = $1 AND until < now() - interval '1 minute'"};

static const struct pg_stmt count_members = {"count_members",
                                             "SELECT count(*) FROM member WHERE grp = $1 AND until > now()"};

/* The counters ride on the renewal, as whole numbers and not as increments: a renewal whose reply was lost
 * may be repeated. What the last period before a crash counted is lost with it. */
static const struct pg_stmt renew_leases = {
    "renew_leases",
    "UPDATE consumer_offset o SET lease_until = now() + $2::bigint * interval '1 millisecond',"
    "  gap_fetches = x.gap_fetches, repeats = x.repeats"
    " FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])"
    "  AS x(topic, part, epoch, gap_fetches, repeats)"
    " WHERE o.grp = $1 AND o.topic = x.topic AND o.part = x.part AND o.epoch = x.epoch"
    " RETURNING o.topic, o.part"};

static const struct pg_stmt take_leases = {
    "take_leases",
    "WITH free AS (SELECT topic, part, owner AS was FROM consumer_offset"
    "  WHERE grp = $1 AND (owner IS NULL OR lease_until < now() OR owner = $2)"
    "  AND (topic, part::bigint) NOT IN (SELECT * FROM unnest($5::text[], $6::bigint[]))"
    "  ORDER BY owner = $2 DESC NULLS LAST, part, topic LIMIT $4::bigint FOR UPDATE SKIP LOCKED)"
    " UPDATE consumer_offset o SET epoch = epoch + 1, owner = $2,"
    "  lease_until = now() + $3::bigint * interval '1 millisecond', taken = now(),"
    "  crashes = CASE WHEN f.was IS NULL THEN 0 WHEN o.taken > now() - interval '5 minutes' THEN crashes + 1"
    "   ELSE 1 END"
    " FROM free f WHERE o.grp = $1 AND o.topic = f.topic AND o.part = f.part"
    " RETURNING o.topic, o.part, o.epoch, o.flush, o.seq, o.ms, o.gap_fetches, o.repeats, o.crashes,"
    "  coalesce((SELECT h.seq FROM stream_head h WHERE h.topic = o.topic AND h.part = o.part), 0)"};

static const struct pg_stmt break_leases = {"break_leases", "SELECT lease_break($1, $2::bigint)"};

static const struct pg_stmt read_leases = {"read_leases",
                                           "SELECT topic, part, epoch, flush, seq, ms, gap_fetches, repeats "
                                           "FROM consumer_offset WHERE grp = $1 AND owner = $2"};

static const struct pg_stmt release_leases = {
    "release_leases", "UPDATE consumer_offset o SET owner = NULL, lease_until = NULL,"
                      "  gap_fetches = x.gap_fetches, repeats = x.repeats"
                      " FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])"
                      "  AS x(topic, part, epoch, gap_fetches, repeats)"
                      " WHERE o.grp = $1 AND o.topic = x.topic AND o.part = x.part AND o.epoch = x.epoch"};

static const struct pg_stmt leave_members = {"leave_members",
                                             "DELETE FROM member WHERE grp = $1 AND instance = $2"};

struct lease_list {
    struct pg_array topics, parts, epochs, gap_fetches, repeats;
};

static struct lease_list lease_list(struct arena *arena, size_t n)
{
    return (struct lease_list){pg_array(arena, PG_TEXT, (int)n), pg_array(arena, PG_INT8, (int)n),
                               pg_array(arena, PG_INT8, (int)n), pg_array(arena, PG_INT8, (int)n),
                               pg_array(arena, PG_INT8, (int)n)};
}

static void lease_list_add(struct lease_list *list, const struct partition *p)
{
    pg_array_text(&list->topics, str_of(topic_name(p->topic)));
    pg_array_int(&list->parts, p->part);
    pg_array_int(&list->epochs, p->epoch);
    pg_array_int(&list->gap_fetches, p->gap_fetches);
    pg_array_int(&list->repeats, p->repeats);
}

static struct pg_param group_name(const struct worker *w)
{
    return pg_text(str_of(w->group->name));
}

/* For readers who wait until this group has seen something, see migration 0014. */
static const struct pg_stmt insert_listens = {
    "insert_listens",
    "INSERT INTO group_listens (grp, type) SELECT $1, type FROM unnest($2::text[]) AS x(type)"
    " ON CONFLICT DO NOTHING"};

static void queue_listens(struct worker *w)
{
    struct pg_array types = pg_array(w->arena, PG_TEXT, MESSAGE_COUNT);
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        if (!message_types[m].command && handlers_has(&w->group->on, (enum message)m))
            pg_array_text(&types, str_of(message_types[m].name));
    struct pg_param params[] = {group_name(w), pg_array_param(&types)};
    pg_queue(w->pg, &insert_listens, 2, params, NULL, NULL);
}

err lease_init(struct worker *w)
{
    struct lease_list all = lease_list(w->arena, w->n_parts);
    for (size_t i = 0; i < w->n_parts; i++)
        lease_list_add(&all, &w->parts[i]);
    struct pg_param params[] = {group_name(w), pg_array_param(&all.topics), pg_array_param(&all.parts),
                                pg_bool(w->group->start == START_NOW)};
    queue_listens(w);
    return pg_call(w->pg, &insert_offsets, 4, params, NULL);
}

static size_t owned(const struct worker *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        n += w->parts[i].owned;
    return n;
}

static struct lease_list owned_list(struct worker *w)
{
    struct lease_list list = lease_list(w->arena, w->n_parts);
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].owned)
            lease_list_add(&list, &w->parts[i]);
    return list;
}

/* Our own count when it has not been written yet, the row's when others have counted meanwhile. */
static int64_t more(int64_t ours, int64_t row)
{
    return ours > row ? ours : row;
}

/* A partition's state as the row says it; reading starts anew behind what is committed. */
static void set_partition(struct partition *p, const struct pg_result *r, int row)
{
    p->owned = true;
    p->history = p->claim = p->commands;
    p->epoch = pg_get_int(r, row, 2);
    p->flush = pg_get_int(r, row, 3);
    p->seq = p->skipped = pg_get_int(r, row, 4);
    p->ms = p->skipped_ms = pg_get_int(r, row, 5);
    p->shown = 0;
    p->gap_fetches = more(p->gap_fetches, pg_get_int(r, row, 6));
    p->repeats = more(p->repeats, pg_get_int(r, row, 7));
}

static struct partition *partition_of_row(struct worker *w, const struct pg_result *r, int row)
{
    return worker_partition(w, topic_find(pg_get_str(r, row, 0)), (int)pg_get_int(r, row, 1));
}

static err take(struct worker *w, size_t n, bool *ret_taken)
{
    struct lease_list mine = owned_list(w);
    struct pg_param params[] = {
        group_name(w),      pg_text(str_of(w->instance)), pg_int(conf_int(SET_LEASE_MS)),
        pg_int((int64_t)n), pg_array_param(&mine.topics), pg_array_param(&mine.parts)};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &take_leases, 6, params, &r));
    for (int i = 0; i < pg_rows(r); i++) {
        struct partition *p = partition_of_row(w, r, i);
        if (!p)
            continue;
        set_partition(p, r, i);
        suspect_begin(p, pg_get_int(r, i, 8), pg_get_int(r, i, 9));
    }
    *ret_taken = pg_rows(r) > 0;
    return OK;
}

/* Rows that are locked are not taken, so that nobody waits for a flush. Their owner may stand still in the
 * middle of one, though, and then nobody would ever take them: migration 0022. */
static err break_frozen(struct worker *w)
{
    struct pg_param params[] = {group_name(w), pg_int(conf_int(SET_LEASE_MS))};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &break_leases, 2, params, &r));
    int64_t ended = pg_get_int(r, 0, 0);
    if (ended > 0)
        log_warn("an owner stands still in the middle of a flush and was cut off",
                 kv("group", w->group->name), kv("transactions", ended));
    else if (ended < 0)
        log_warn("an owner stands still in the middle of a flush and the database's role may not cut it off",
                 kv("group", w->group->name));
    return OK;
}

static err release(struct worker *w, struct lease_list *list)
{
    struct pg_param params[] = {group_name(w),
                                pg_array_param(&list->topics),
                                pg_array_param(&list->parts),
                                pg_array_param(&list->epochs),
                                pg_array_param(&list->gap_fetches),
                                pg_array_param(&list->repeats)};
    return pg_call(w->pg, &release_leases, 6, params, NULL);
}

/* Gives back what exceeds the fair share, highest partitions first. Nothing of theirs is in hand between
 * batches. */
static err release_surplus(struct worker *w, size_t surplus)
{
    struct lease_list list = lease_list(w->arena, surplus);
    for (size_t i = w->n_parts; i-- > 0 && surplus > 0;)
        if (w->parts[i].owned) {
            w->parts[i].owned = false;
            lease_list_add(&list, &w->parts[i]);
            surplus--;
        }
    return release(w, &list);
}

/* What could not be renewed has another epoch: somebody took it while we were silent. The fence would say so
 * with the next flush, but while all is idle there is none, and who counts what he lost as his share takes
 * nothing else. */
static void drop_lost(struct worker *w, const struct pg_result *renewed)
{
    size_t had = owned(w);
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].renewed = false;
    for (int i = 0; i < pg_rows(renewed); i++) {
        struct partition *p = partition_of_row(w, renewed, i);
        if (p)
            p->renewed = true;
    }
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].owned = w->parts[i].owned && w->parts[i].renewed;
    if (owned(w) < had)
        log_warn("leases ran out and were taken by others", kv("group", w->group->name),
                 kv("lost", (int64_t)(had - owned(w))));
}

static err alive(struct worker *w, size_t *ret_members)
{
    struct pg_param beat[] = {group_name(w), pg_text(str_of(w->instance)), pg_int(conf_int(SET_LEASE_MS))};
    struct lease_list mine = owned_list(w);
    struct pg_param renew[] = {group_name(w),
                               pg_int(conf_int(SET_LEASE_MS)),
                               pg_array_param(&mine.topics),
                               pg_array_param(&mine.parts),
                               pg_array_param(&mine.epochs),
                               pg_array_param(&mine.gap_fetches),
                               pg_array_param(&mine.repeats)};
    struct pg_param name = group_name(w);
    _cleanup_(pg_result_freep) struct pg_result *members = NULL, *renewed = NULL;
    pg_queue(w->pg, &heartbeat, 3, beat, NULL, NULL);
    pg_queue(w->pg, &forget_members, 1, &name, NULL, NULL);
    pg_queue(w->pg, &renew_leases, 7, renew, pg_keep, &renewed);
    pg_queue(w->pg, &count_members, 1, &name, pg_keep, &members);
    pg_sync(w->pg, NULL, NULL);
    TRY(pg_wait(w->pg, 5000));
    *ret_members = (size_t)pg_get_int(members, 0, 0);
    drop_lost(w, renewed);
    return OK;
}

int64_t lease_period_ms(void)
{
    return conf_int(SET_LEASE_MS) / 5;
}

err lease_turn(struct worker *w)
{
    size_t members = 1;
    TRY(alive(w, &members));
    if (members < w->siblings)
        members = w->siblings; /* who starts first does not take what it would give back a moment later */
    size_t share = (w->n_parts + members - 1) / members;
    size_t have = owned(w);
    bool taken = false;
    if (have > share)
        TRY(release_surplus(w, have - share));
    else if (have < share) {
        TRY(take(w, share - have, &taken));
        if (!taken)
            TRY(break_frozen(w));
    }
    if (taken) {
        read_make_groups(w);
        log_info("partitions taken", kv("group", w->group->name), kv("owned", (int64_t)owned(w)));
        if (FAULT(RUNNER_AFTER_CLAIM))
            return FAIL(PG_DOWN, "fault injected after taking leases");
    }
    TRY(replay_load(w));
    return parked_load(w);
}

err lease_refresh(struct worker *w)
{
    struct pg_param params[] = {group_name(w), pg_text(str_of(w->instance))};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &read_leases, 2, params, &r));
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].owned = false;
    for (int i = 0; i < pg_rows(r); i++) {
        struct partition *p = partition_of_row(w, r, i);
        /* An epoch we did not take ourselves belongs to a take whose reply was lost: take it again, properly.
         */
        if (p && p->epoch == pg_get_int(r, i, 2))
            set_partition(p, r, i);
    }
    w->next_lease_ms = 0;
    return OK;
}

err lease_release(struct worker *w)
{
    struct lease_list mine = owned_list(w);
    for (size_t i = 0; i < w->n_parts; i++)
        w->parts[i].owned = false;
    TRY(release(w, &mine));
    struct pg_param params[] = {group_name(w), pg_text(str_of(w->instance))};
    return pg_call(w->pg, &leave_members, 2, params, NULL);
}
