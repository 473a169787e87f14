/*
 * bus detach, bus attach: who holds back the trimming of streams, decided by a person. A group that is
 * detached so stays detached until a person attaches it; it misses nothing, since it reads what is gone from
 * the log.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/base/metrics.h"
#include "bus/ctl/ctl.h"

/* A group without offsets of ours reads the streams from outside, any of them. */
static const struct pg_stmt detach_group = {
    "ctl_detach", "INSERT INTO group_detached (grp, topic, part, reason, seq, since_ms)"
                  " SELECT $1::text, x.topic, x.part, 'operator', x.seq, $2::bigint FROM ("
                  "  SELECT topic, part, seq FROM consumer_offset WHERE grp = $1::text UNION ALL"
                  "  SELECT topic, part, 0 FROM stream_head WHERE NOT EXISTS (SELECT FROM consumer_offset "
                  "WHERE grp = $1::text)) x"
                  " ON CONFLICT (grp, topic, part) DO UPDATE SET reason = 'operator'"};
static const struct pg_stmt attach_group = {"ctl_attach", "DELETE FROM group_detached WHERE grp = $1::text"};

static enum ctl_exit report(const struct ctl *ctl, const char *what, int64_t partitions)
{
    struct buf b = buf_new(ctl->arena, 256);
    struct json j = json_on(&b);
    if (!ctl->json) {
        printf("%s is %s on %" PRId64 " partitions\n", ctl->args[0], what, partitions);
        return CTL_OK;
    }
    json_open(&j, '{');
    json_kstr(&j, "group", str_of(ctl->args[0]));
    json_kstr(&j, "state", str_of(what));
    json_kint(&j, "partitions", partitions);
    json_close(&j, '}');
    ctl_print_json(&b);
    return CTL_OK;
}

enum ctl_exit run_bus_detach(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param params[] = {pg_text(str_of(ctl->args[0])), pg_int(clock_ms())};
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &detach_group, 2, params, &result);
    return failed(e) ? ctl_fail(e) : report(ctl, "detached", pg_affected(result));
}

enum ctl_exit run_bus_attach(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param group = pg_text(str_of(ctl->args[0]));
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &attach_group, 1, &group, &result);
    return failed(e) ? ctl_fail(e) : report(ctl, "attached again", pg_affected(result));
}
