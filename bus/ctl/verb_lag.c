/*
 * bus lag: where every group stands on every partition, once.
 */
#include <inttypes.h>

#include "bus/ctl/standing.h"

static void print_row(const struct standing_row *row)
{
    char behind[16], oldest[16];
    standing_age(row->lag_ms, behind);
    standing_age(row->oldest_ms, oldest);
    printf("%.*s.%02d%*s %-12.*s %10" PRId64 " %10" PRId64 " %8" PRId64 "  %-26s %8" PRId64
           "  %-20.*s %8s %8s%s%s%.*s\n",
           STR_ARG(row->topic), row->part, (int)(12 - (row->topic.n < 12 ? row->topic.n : 12)), "",
           STR_ARG(row->grp.p ? row->grp : STR("-")), row->head, row->offset, row->lag,
           *row->last ? row->last : "-", row->backlog, STR_ARG(row->owner.p ? row->owner : STR("-")), behind,
           oldest, row->lease_over ? "  (lease is over)" : "", row->detached.p ? "  detached: " : "",
           STR_ARG(row->detached));
}

static err lag(struct ctl *ctl)
{
    struct standing standing;
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    TRY(standing_read(ctl, ctl->arena, &standing));
    if (!ctl->json)
        printf("%-15s %-12s %10s %10s %8s  %-26s %8s  %-20s %8s %8s\n", "partition", "group", "head",
               "offset", "lag", "last id in Redis", "commands", "owner", "behind", "oldest");
    json_open(&j, '[');
    for (size_t i = 0; i < standing.n; i++) {
        if (!ctl->json) {
            print_row(&standing.rows[i]);
            continue;
        }
        json_open(&j, '{');
        standing_json(&j, &standing.rows[i]);
        json_close(&j, '}');
    }
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
