/* Ids are UUIDv7, so what is old is a range of the primary key. */
#include "producers/retention.h"

#include "bus/base/clock.h"
#include "bus/base/conf.h"
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
