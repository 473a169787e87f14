/* Ids are UUIDv7, so what is old is a range of the primary key. The log is partitioned by time, so there it
 * is a table. */
#include "producers/retention.h"

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "producers/webhook_store.h"

static const struct pg_stmt delete_commands = {
    "retention_commands",
    "DELETE FROM command WHERE id = ANY (ARRAY(SELECT id FROM command WHERE id < $1::uuid"
    " AND status IN ('succeeded', 'rejected', 'lost') ORDER BY id LIMIT $2::bigint FOR UPDATE SKIP LOCKED))"};
static const struct pg_stmt delete_jobs = {
    "retention_jobs",
    "DELETE FROM job WHERE id = ANY (ARRAY(SELECT id FROM job WHERE id < $1::uuid AND state = 'done'"
    " ORDER BY id LIMIT $2::bigint FOR UPDATE SKIP LOCKED))"};

static err delete_before(struct pg *pg, const struct pg_stmt *stmt, struct uuid before, bool *ret_more)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_param params[] = {pg_uuid(before), pg_int(RETENTION_BATCH)};
    TRY(pg_call(pg, stmt, 2, params, &result));
    *ret_more = *ret_more || pg_affected(result) == RETENTION_BATCH;
    return OK;
}

err retention_pass(struct pg *pg, bool *ret_more)
{
    *ret_more = false;
    int64_t before_ms = clock_ms() - conf_int(SET_COMMAND_RETENTION_DAYS) * INT64_C(86400000);
    if (before_ms <= 0)
        return OK;
    struct uuid before = uuid_v7(before_ms);
    TRY(delete_before(pg, &delete_commands, before, ret_more));
    TRY(delete_before(pg, &delete_jobs, before, ret_more));
    int64_t log_ms = clock_ms() - conf_int(SET_WEBHOOK_LOG_DAYS) * INT64_C(86400000);
    return delivery_retire(pg, log_ms, RETENTION_BATCH, ret_more);
}

err retention_log(struct pg *pg, const volatile bool *stop)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    struct log_period *list;
    size_t n;
    TRY(archive_make_ahead(pg));
    TRY(archive_closed(pg, archive_before_ms(), arena, &list, &n));
    for (size_t i = 0; i < n && !*stop; i++) {
        err e = archive_period(pg, &list[i], stop, NULL, NULL, arena);
        if (e.code ==
            ERR_CONFLICT) { /* somebody else is at it, or the period still changes: the next pass sees */
            log_info("a period of the log is not archived now", kv("period", list[i].name),
                     kv("why", err_text(e)));
            return OK;
        }
        TRY(e);
    }
    return OK;
}
