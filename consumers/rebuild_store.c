/*
 * The statements of a rebuild. Each calls one function of migrations 0012 and 0024, which know schemas and
 * names; here are only parameters.
 */
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "consumers/rebuild.h"

enum { SWAP_MS = 30000, HASH_MS = 1800000 };

static const struct pg_stmt try_lock = {
    "rebuild_lock", "SELECT pg_try_advisory_lock(hashtext('daydream rebuild'), hashtext($1))"};
static const struct pg_stmt read_row = {
    "rebuild_row",
    "SELECT state = 'filling', state = 'swapped', purpose = 'verify', build FROM rebuild WHERE grp = $1"};
static const struct pg_stmt read_obstacle = {"rebuild_obstacle", "SELECT rebuild_obstacle($1::text[])"};
static const struct pg_stmt begin = {
    "rebuild_begin", "SELECT rebuild_begin($1, $2, $3, $4::bigint, $5::text[], $6::text[], $7::bigint[])"};
/* On a filler's connection, whose consumer_offset is that of the generation. */
static const struct pg_stmt fence = {"rebuild_fence", "UPDATE consumer_offset SET epoch = epoch + 1"};
static const struct pg_stmt read_live = {
    "rebuild_live", "SELECT topic, part, seq FROM consumer_offset WHERE grp = $1 ORDER BY topic, part"};
static const struct pg_stmt lock_live = {
    "rebuild_lock_live",
    "SELECT topic, part, seq FROM consumer_offset WHERE grp = $1 ORDER BY topic, part FOR UPDATE"};
static const struct pg_stmt analyze = {"rebuild_analyze", "SELECT rebuild_analyze($1, $2::text[])"};
static const struct pg_stmt owed = {"rebuild_owed", "SELECT rebuild_owed($1)"};
static const struct pg_stmt swap = {"rebuild_swap", "SELECT rebuild_swap($1, $2::bigint)"};
static const struct pg_stmt end = {"rebuild_end", "SELECT rebuild_end($1, $2, $3, $4::bigint)"};
static const struct pg_stmt hash = {"rebuild_hash", "SELECT n, hash FROM rebuild_hash($1, $2)"};

err store_open(const char *setup, struct pg **ret)
{
    return pg_open_within(conf_str(SET_DATABASE_URL).p, NULL, setup, PG_PATIENT_MS, ret);
}

err store_lock(struct pg *pg, const char *group, bool *ret)
{
    struct pg_param name = pg_text(str_of(group));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(pg, &try_lock, 1, &name, &r));
    *ret = pg_get_bool(r, 0, 0);
    return OK;
}

err store_read(struct pg *pg, const char *group, struct arena *arena, struct rebuild_row *ret)
{
    struct pg_param name = pg_text(str_of(group));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    *ret = (struct rebuild_row){.filling = false};
    TRY(pg_call(pg, &read_row, 1, &name, &r));
    if (pg_rows(r))
        *ret = (struct rebuild_row){pg_get_bool(r, 0, 0), pg_get_bool(r, 0, 1), pg_get_bool(r, 0, 2),
                                    arena_str(arena, pg_get_str(r, 0, 3))};
    return OK;
}

static struct pg_param tables_of(const struct group *group, struct arena *arena)
{
    struct pg_array names = pg_array(arena, PG_TEXT, 8);
    for (const struct table *const *t = group->tables; t && *t; t++)
        pg_array_text(&names, str_of((*t)->name));
    return pg_array_param(&names);
}

err store_obstacle(struct pg *pg, const struct group *group, struct arena *arena)
{
    struct pg_param tables = tables_of(group, arena);
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(pg, &read_obstacle, 1, &tables, &r));
    if (pg_is_null(r, 0, 0))
        return OK;
    return FAIL(INVALID, "%s cannot be rebuilt: %.*s", group->name, STR_ARG(pg_get_str(r, 0, 0)));
}

err store_begin(struct pg *pg, const struct group *group, bool verify, struct str build, struct arena *arena)
{
    struct worker *shape = worker_new(group, "", NULL); /* knows which partitions concern the group */
    struct pg_array names = pg_array(arena, PG_TEXT, (int)shape->n_parts),
                    parts = pg_array(arena, PG_INT8, (int)shape->n_parts);
    for (size_t i = 0; i < shape->n_parts; i++) {
        pg_array_text(&names, str_of(topic_name(shape->parts[i].topic)));
        pg_array_int(&parts, shape->parts[i].part);
    }
    worker_free(shape);
    struct pg_param params[] = {pg_text(str_of(group->name)),
                                pg_text(verify ? STR("verify") : STR("swap")),
                                pg_text(build),
                                pg_int(clock_ms()),
                                tables_of(group, arena),
                                pg_array_param(&names),
                                pg_array_param(&parts)};
    return pg_call(pg, &begin, 7, params, NULL);
}

err store_fence(struct pg *pg)
{
    return pg_call(pg, &fence, 0, NULL, NULL);
}

err store_live(struct pg *pg, const char *group, bool lock, struct positions *ret)
{
    struct pg_param name = pg_text(str_of(group));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    pg_queue(pg, lock ? &lock_live : &read_live, 1, &name, pg_keep, &r);
    TRY(pg_wait(pg, SWAP_MS));
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < pg_rows(r); i++) {
        enum topic topic = topic_find(pg_get_str(r, i, 0));
        int64_t part = pg_get_int(r, i, 1);
        if (topic != TOPIC_NONE && part < PARTITIONS_MAX)
            ret->seq[topic][part] = pg_get_int(r, i, 2);
    }
    return OK;
}

err store_release(struct pg *pg)
{
    pg_sync(pg, NULL, NULL);
    return pg_wait(pg, SWAP_MS);
}

err store_analyze(struct pg *pg, const struct group *group, struct arena *arena)
{
    struct pg_param params[] = {pg_text(str_of(group->name)), tables_of(group, arena)};
    return pg_call(pg, &analyze, 2, params, NULL);
}

err store_swap(struct pg *pg, const char *group)
{
    struct pg_param params[] = {pg_text(str_of(group)), pg_int(clock_ms())};
    pg_queue(pg, &owed, 1, params, NULL, NULL);
    pg_queue(pg, &swap, 2, params, NULL, NULL);
    pg_sync(pg, NULL, NULL);
    return pg_wait(pg, SWAP_MS);
}

err store_end(struct pg *pg, const char *group, const char *state, struct str result)
{
    struct pg_param params[] = {pg_text(str_of(group)), pg_text(str_of(state)), pg_text(result),
                                pg_int(clock_ms())};
    return pg_call(pg, &end, 4, params, NULL);
}

err store_hash(struct pg *pg, const char *schema, const char *table, struct arena *arena,
               struct table_hash *ret)
{
    struct pg_param params[] = {pg_text(str_of(schema)), pg_text(str_of(table))};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    pg_queue(pg, &hash, 2, params, pg_keep, &r);
    TRY(pg_wait(pg, HASH_MS));
    *ret = (struct table_hash){pg_get_int(r, 0, 0), arena_str(arena, pg_get_str(r, 0, 1))};
    return OK;
}
