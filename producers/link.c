/* Opening, and the one place where the loops of this program log that PostgreSQL is away. */
#include "producers/link.h"

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

enum { REST_BASE_MS = 20, REST_CAP_MS = 1000 };

static err open_link(struct link *link)
{
    if (link->pg)
        return pg_is_up(link->pg) ? OK : pg_reopen(link->pg);
    return pg_open(conf_str(SET_DATABASE_URL).p, "dd_producers", "SET enable_seqscan = off", &link->pg);
}

bool link_up(struct link *link)
{
    err e = open_link(link);
    if (!failed(e))
        return true;
    if (link->attempt++ == 0)
        log_warn("waiting for PostgreSQL", kv("loop", link->loop), kv("why", err_text(e)));
    return false;
}

void link_rest(struct link *link, err e, struct bell *bell, int64_t ms)
{
    if (failed(e)) {
        if (link->attempt++ == 0)
            log_warn("a pass failed and is repeated", kv("loop", link->loop), kv("why", err_text(e)));
    } else if (link->pg && pg_is_up(link->pg)) {
        if (link->attempt)
            log_info("working again", kv("loop", link->loop), kv("failures", link->attempt));
        link->attempt = 0;
    }
    if (link->attempt)
        ms = REST_BASE_MS + backoff_ms(link->attempt < 8 ? link->attempt : 8, REST_BASE_MS, REST_CAP_MS);
    bell_wait(bell, ms);
}

void link_close(struct link *link)
{
    link->pg = pg_close(link->pg);
    link->attempt = 0;
}
