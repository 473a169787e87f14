/*
 * See zone.h. PostgreSQL tells offsets of single instants only; every half hour is asked and the changes are
 * kept. No zone has changed its clocks at another minute since 1972.
 */
#include "bus/zone.h"

enum { YEARS_BACK = 1, YEARS_AHEAD = 9 };
static const int64_t year_ms = INT64_C(366) * 86400000, step_ms = 1800000;

static const struct pg_stmt select_zone = {"zone_known",
                                           "SELECT 1 FROM pg_timezone_names WHERE name = $1::text LIMIT 1"};
/* from_ms, offset_ms */
static const struct pg_stmt select_offsets = {
    "zone_offsets", "SELECT at, off FROM (SELECT at, off, lag(off) OVER (ORDER BY at) AS before FROM ("
                    "  SELECT at, (extract(epoch FROM (to_timestamp(at / 1000) AT TIME ZONE "
                    "$1::text))::bigint * 1000 - at) AS off"
                    "  FROM generate_series($2::bigint, $3::bigint, $4::bigint) AS at) x) y"
                    " WHERE before IS NULL OR off <> before ORDER BY at"};

static err known(struct pg *pg, struct str name)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    struct pg_param param = pg_text(name);
    TRY(pg_call(pg, &select_zone, 1, &param, &rows));
    if (pg_rows(rows) == 0)
        return FAIL(INVALID, "there is no time zone %.*s", (int)(name.n < 64 ? name.n : 64), name.p);
    return OK;
}

err zone_load(struct pg *pg, struct str name, int64_t at_ms, struct arena *arena, struct zone *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    int64_t from = at_ms - YEARS_BACK * year_ms, to = at_ms + YEARS_AHEAD * year_ms;
    from -= from % step_ms;
    struct pg_param params[] = {pg_text(name), pg_int(from), pg_int(to), pg_int(step_ms)};
    TRY(known(pg, name));
    TRY(pg_call(pg, &select_offsets, 4, params, &rows));
    int n = pg_rows(rows);
    struct zone_span *spans = arena_array(arena, struct zone_span, n + 1);
    for (int i = 0; i < n; i++)
        spans[i] = (struct zone_span){pg_get_int(rows, i, 0), pg_get_int(rows, i, 1)};
    *ret = (struct zone){spans, n ? (size_t)n : 1};
    return OK;
}
