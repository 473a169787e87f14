/*
 * Two builds side by side. A member that meets a type it does not know cannot judge it: the event may be a
 * new major of something its group reads, or a request that the next build of its group answers. Before a
 * build handles (and so before it can emit) anything, it writes down which types it knows and which group
 * reads which. An unknown event is passed only if that says nobody of this group reads it; else the member
 * stands down, its offset before the event, and a member of the newer build goes on from there. So no offset
 * ever passes an event that any build of the group handles, whatever the order in which processes are
 * replaced.
 */
#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "consumers/worker.h"

enum { STAND_BY_MS = 100 };

/* In one order, so that members that start together do not wait for each other in a ring. */
static const struct pg_stmt tell_registry = {
    "tell_registry",
    "INSERT INTO message_registry (type, grp)"
    " SELECT x.type, x.grp FROM unnest($1::text[], $2::text[]) AS x(type, grp)"
    " WHERE NOT EXISTS (SELECT 1 FROM message_registry r WHERE r.type = x.type AND r.grp = x.grp)"
    " ORDER BY 1, 2 ON CONFLICT DO NOTHING"};

/* known, read by this group */
static const struct pg_stmt ask_registry = {
    "ask_registry", "SELECT EXISTS (SELECT 1 FROM message_registry WHERE type = $1 AND grp = ''),"
                    " EXISTS (SELECT 1 FROM message_registry WHERE type = $1 AND grp = $2)"};

err registry_tell(struct worker *w)
{
    size_t n_groups = 0;
    while (w->build[n_groups])
        n_groups++;
    int room = (int)((n_groups + 1) * MESSAGE_COUNT);
    struct pg_array types = pg_array(w->arena, PG_TEXT, room), names = pg_array(w->arena, PG_TEXT, room);
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++) {
        pg_array_text(&types, str_of(message_types[m].name));
        pg_array_text(&names, STR(""));
        for (size_t g = 0; g < n_groups; g++)
            if (handlers_has(&w->build[g]->on, (enum message)m)) {
                pg_array_text(&types, str_of(message_types[m].name));
                pg_array_text(&names, str_of(w->build[g]->name));
            }
    }
    struct pg_param params[] = {pg_array_param(&types), pg_array_param(&names)};
    return pg_call(w->pg, &tell_registry, 2, params, NULL);
}

/* An event whose type nobody ever told of is held as well: its emitter was deployed before the consumers. A
 * command of such a type is not: whoever can write to Redis can invent one, and it is parked as before. */
err registry_check(struct worker *w, const struct entry *entry)
{
    struct str type = entry->envelope.type;
    struct pg_param params[] = {pg_text(type), pg_text(str_of(w->group->name))};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(w->pg, &ask_registry, 2, params, &r));
    bool known = pg_get_bool(r, 0, 0), ours = pg_get_bool(r, 0, 1);
    if (ours || (!known && !entry->command))
        return FAIL(OUTDATED, "a message of type %.*s", STR_ARG(type));
    return OK;
}

/* Leases are given back with everything behind the offset untouched, and the heartbeat ends, so that the
 * others share without us. Until the process is replaced: a newer build takes it from here. */
void registry_stand_down(struct worker *w, err e)
{
    log_error("this build is too old for its group: a newer build must take over",
              kv("group", w->group->name), kv("instance", w->instance), kv("why", err_text(e)));
    counter_add(COUNTER_STOOD_DOWN, 1);
    worker_forget(w);
    if (failed(lease_release(w)))
        log_warn("leases were not released and will run out", kv("group", w->group->name));
    worker_disconnect(w);
    while (!atomic_load(w->stop))
        clock_sleep_ms(STAND_BY_MS);
}
