/*
 * Invariants that PostgreSQL can judge alone. Each is one statement that returns a sentence per violation;
 * statements see one snapshot, and each invariant holds in every committed state.
 */
#include <inttypes.h>

#include "bus/ctl/fsck.h"

enum { SHOWN = 20, WHOLE_ABOVE = 1000000, CHECK_MS = 600000 }; /* a whole log takes its time */

struct check {
    const char *name, *sentence;
    const char *table; /* skipped while this table is not there */
    struct pg_stmt stmt;
    bool since; /* looks only behind the marks */
};

/* Every partition's head and mark; mark 0 where nothing was checked yet. What was archived since is no longer
 * in the log: then its end is the mark. */
#define FROM_MARKS                                                                                           \
    " FROM (SELECT h.topic, h.part, h.seq AS head, greatest(k.seq, a.last_seq, 0) AS mark,"                  \
    "   CASE WHEN a.last_seq > coalesce(k.seq, 0) THEN a.last_ms ELSE coalesce(k.ms, 0) END AS mark_ms"      \
    "  FROM stream_head h LEFT JOIN fsck_mark k ON k.topic = h.topic AND k.part = h.part"                    \
    "  LEFT JOIN LATERAL (SELECT last_seq, last_ms FROM event_archive a WHERE a.topic = h.topic"             \
    "   AND a.part = h.part ORDER BY last_seq DESC LIMIT 1) a ON true) m"

/* The log behind the marks (OFFSET 0: the planner begins with the marks, not with the whole log), */
static const struct check log_since[] = {
    {"I2 log",
     "the log of a partition is 1 to its head without gaps",
     "event_log",
     {"fsck_log_since",
      "SELECT format('%s.%s: head %s, but %s events behind %s, from %s to %s', m.topic, m.part, m.head, l.n, "
      "m.mark,"
      " l.low, l.high)" FROM_MARKS
      " CROSS JOIN LATERAL (SELECT count(*) n, min(seq) low, max(seq) high FROM event_log e"
      "  WHERE e.topic = m.topic AND e.part = m.part AND e.seq > m.mark) l"
      " WHERE l.n <> m.head - m.mark OR (l.n > 0 AND (l.low <> m.mark + 1 OR l.high <> m.head))"},
     true},
    {"I2 time",
     "milliseconds never fall within a partition",
     "event_log",
     {"fsck_time_since", "SELECT format('%s.%s: %s has lower milliseconds than its predecessor', m.topic, "
                         "m.part, x.seq)" FROM_MARKS " CROSS JOIN LATERAL (SELECT seq, ms < lag(ms, 1, "
                         "m.mark_ms) OVER (ORDER BY seq) AS fell FROM event_log e"
                         "  WHERE e.topic = m.topic AND e.part = m.part AND e.seq > m.mark) x WHERE fell"},
     true},
    {"event ids",
     "no event id stands twice",
     "event_log",
     {"fsck_ids_since",
      "SELECT format('%s stands twice', e.id)" FROM_MARKS " CROSS JOIN LATERAL (SELECT * FROM event_log l"
      "  WHERE l.topic = m.topic AND l.part = m.part AND l.seq > m.mark OFFSET 0) e WHERE EXISTS (SELECT "
      "FROM "
      "event_log o"
      "  WHERE o.id = e.id AND (o.topic, o.part, o.seq) <> (e.topic, e.part, e.seq))"},
     true},
};

/* or all of it (--full), */
static const struct check log_full[] = {
    {"I2 log",
     "the log of a partition begins behind its archive and ends at its head, without gaps",
     "event_log",
     {"fsck_log",
      "SELECT format('%s.%s: head %s, archived up to %s, but %s events from %s to %s', h.topic, h.part, "
      "h.seq, a.seq,"
      " l.n, l.low, l.high) FROM (SELECT coalesce(h.topic, l.topic) topic, coalesce(h.part, l.part) part,"
      "  coalesce(h.seq, 0) seq FROM stream_head h FULL JOIN (SELECT DISTINCT topic, part FROM event_log) l"
      "  ON h.topic = l.topic AND h.part = l.part) h"
      " CROSS JOIN LATERAL (SELECT coalesce(max(last_seq), 0) seq FROM event_archive a"
      "  WHERE a.topic = h.topic AND a.part = h.part) a"
      " LEFT JOIN (SELECT topic, part, count(*) n, min(seq) low, max(seq) high FROM event_log GROUP BY 1, 2) "
      "l"
      " ON h.topic = l.topic AND h.part = l.part"
      " WHERE coalesce(l.n, 0) <> h.seq - a.seq OR l.low <> a.seq + 1 OR l.high <> h.seq"},
     false},
    {"I2 time",
     "milliseconds never fall within a partition",
     "event_log",
     {"fsck_time",
      "SELECT format('%s.%s: %s has lower milliseconds than its predecessor', topic, part, seq) FROM"
      " (SELECT topic, part, seq, ms < lag(ms) OVER (PARTITION BY topic, part ORDER BY seq) AS fell FROM"
      " event_log) x WHERE fell"},
     false},
    {"event ids",
     "no event id stands twice",
     "event_log",
     {"fsck_ids",
      "SELECT format('%s stands %s times', id, count(*)) FROM event_log GROUP BY id HAVING count(*) > 1"},
     false},
};
enum { LOG_CHECKS = sizeof(log_full) / sizeof(*log_full) };
_Static_assert(sizeof(log_since) == sizeof(log_full), "both check the same");

/* and everything else. */
static const struct check checks[] = {
    {"I2 archive",
     "the archive's files of a partition follow one another without gaps from 1",
     "event_archive",
     {"fsck_archive",
      "SELECT format('%s: begins at %s, but the file before it ends at %s', file, first_seq, before) FROM"
      " (SELECT file, first_seq, coalesce(lag(last_seq) OVER w, 0) before, first_ms < lag(last_ms) OVER w AS "
      "fell"
      "  FROM event_archive WINDOW w AS (PARTITION BY topic, part ORDER BY last_seq)) x"
      " WHERE first_seq <> before + 1 OR fell"},
     false},
    {"I2 heads",
     "every partition of the log has a head",
     "event_log",
     {"fsck_heads",
      "WITH RECURSIVE lane AS ((SELECT topic, part FROM event_log ORDER BY topic, part LIMIT 1) UNION ALL"
      " SELECT n.topic, n.part FROM lane l CROSS JOIN LATERAL (SELECT topic, part FROM event_log e"
      "  WHERE (e.topic, e.part) > (l.topic, l.part) ORDER BY e.topic, e.part LIMIT 1) n)"
      " SELECT format('%s.%s has events and no head', l.topic, l.part) FROM lane l"
      " LEFT JOIN stream_head h ON h.topic = l.topic AND h.part = l.part WHERE h.seq IS NULL"},
     false},
    {"I4 offsets",
     "no group is beyond the head",
     "consumer_offset",
     {"fsck_offsets",
      "SELECT format('%s at %s.%s: offset %s, head %s', o.grp, o.topic, o.part, o.seq, coalesce(h.seq, 0))"
      " FROM consumer_offset o LEFT JOIN stream_head h ON h.topic = o.topic AND h.part = o.part"
      " WHERE o.seq > coalesce(h.seq, 0)"},
     false},
    {"I1 commands",
     "no command runs for more than an hour",
     "command",
     {"fsck_running",
      "SELECT format('%s (%s) runs since %s', id, type, to_timestamp(created_ms / 1000)) FROM command"
      " WHERE status = 'running' AND created_ms < extract(epoch FROM now()) * 1000 - 3600000"},
     false},
    {"I11 keys",
     "a repeat points to a command that has the key",
     "command",
     {"fsck_same", "SELECT format('%s repeats %s, which is not there', c.id, c.same_as) FROM command c"
                   " LEFT JOIN command w ON w.id = c.same_as WHERE c.same_as IS NOT NULL AND w.id IS NULL"},
     false},
    {"I8 parked",
     "a command is parked exactly while its message waits",
     "parked_action",
     {"fsck_parked",
      "SELECT format('command %s is %s, its message %s at %s %s %s is %s', c.id, c.status, d.n, d.grp, "
      "d.topic,"
      " d.key, d.state) FROM dead_letter d JOIN command c ON c.id = d.command_id"
      " WHERE (d.state = 'parked') <> (c.status = 'parked') UNION ALL"
      " SELECT format('command %s is parked, but no message of it waits', c.id) FROM command c"
      " WHERE c.status = 'parked' AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.command_id = c.id)"},
     false},
    {"I8 order",
     "what was handled of a parked key stood before what waits",
     "parked_action",
     {"fsck_parked_order",
      "SELECT format('%s %s %s: message %s was handled while %s waits', grp, topic, key,"
      " max(n) FILTER (WHERE state = 'handled'), min(n) FILTER (WHERE state = 'parked')) FROM dead_letter"
      " GROUP BY grp, topic, key HAVING max(n) FILTER (WHERE state = 'handled') >"
      " min(n) FILTER (WHERE state = 'parked')"},
     false},
    {"I8 effects",
     "what waits or was discarded has no effect",
     "parked_action",
     {"fsck_parked_effects",
      "SELECT format('%s %s %s: message %s is %s and caused %s', d.grp, d.topic, d.key, d.n, d.state, e.type)"
      " FROM dead_letter d JOIN event_log e ON e.correlationid = d.correlationid AND e.causationid = d.id"
      " AND e.source = d.grp WHERE d.state IN ('parked', 'discarded') AND NOT d.replayed AND d.correlationid "
      "<> ''"},
     false},
    {"I10 stock",
     "stock is the sum of its movements",
     "stock_movement",
     {"fsck_stock",
      "SELECT format('product %s: quantity %s, movements sum up to %s', coalesce(s.product_id, m.product_id),"
      " coalesce(s.quantity, 0), coalesce(m.n, 0)) FROM stock s FULL JOIN"
      " (SELECT product_id, sum(quantity) n FROM stock_movement GROUP BY 1) m ON m.product_id = s.product_id"
      " WHERE coalesce(s.quantity, 0) <> coalesce(m.n, 0)"},
     false},
    {"I10 holds",
     "reserved stock is the sum of the holds",
     "stock_hold",
     {"fsck_holds",
      "SELECT format('product %s: reserved %s, holds sum up to %s', coalesce(s.product_id, h.product_id),"
      " coalesce(s.reserved, 0), coalesce(h.n, 0)) FROM stock s FULL JOIN"
      " (SELECT product_id, sum(quantity) n FROM stock_hold WHERE state = 'held' GROUP BY 1) h"
      " ON h.product_id = s.product_id WHERE coalesce(s.reserved, 0) <> coalesce(h.n, 0)"},
     false},
    {"I10 sold",
     "what an order took is a movement of the same size",
     "stock_hold",
     {"fsck_sold", "SELECT format('order %s, product %s: hold %s of %s, movements %s', h.order_id, "
                   "h.product_id, h.state, h.quantity,"
                   " coalesce(m.n, 0)) FROM stock_hold h LEFT JOIN (SELECT order_id, product_id,"
                   " sum(quantity) n FROM stock_movement"
                   "  WHERE order_id IS NOT NULL GROUP BY 1, 2) m ON m.order_id = h.order_id AND"
                   " m.product_id = h.product_id"
                   " WHERE coalesce(m.n, 0) <> CASE h.state WHEN 'committed' THEN -h.quantity ELSE 0 END"},
     false},
    {"I10 orders",
     "an order's subtotal is the sum of its lines",
     "order_line",
     {"fsck_orders",
      "SELECT format('order %s: subtotal %s, lines sum up to %s', o.id, o.subtotal, coalesce(l.n, 0)) FROM"
      " orders o"
      " LEFT JOIN (SELECT order_id, sum(line_total) n FROM order_line GROUP BY 1) l ON l.order_id = o.id"
      " WHERE o.subtotal <> coalesce(l.n, 0)"},
     false},
    {"I10 paid",
     "a confirmed order is paid in full, once",
     "payment",
     {"fsck_paid",
      "SELECT format('order %s is %s, its payment %s of %s %s', o.id, o.status, coalesce(p.status, 'not"
      " there'), coalesce(p.amount, 0), o.currency) FROM orders o LEFT JOIN payment p ON p.order_id = o.id"
      " WHERE o.step = 'done' AND o.payment_status = 'paid'"
      " AND (p.status IS DISTINCT FROM 'captured' OR p.amount <> o.total_amount OR p.currency <>"
      " o.currency)"},
     false},
    {"I10 charges",
     "what was captured is what the provider has",
     "payment_test_charge",
     {"fsck_charges",
      "SELECT format('payment of order %s: %s here, %s of %s at the provider', p.order_id, p.status,"
      " coalesce(c.state, 'nothing'), coalesce(c.amount, 0)) FROM payment p"
      " LEFT JOIN payment_test_charge c ON c.reference = p.reference WHERE p.method = 'test'"
      " AND ((p.status = 'captured' AND (c.state IS DISTINCT FROM 'captured' OR c.amount <> p.amount))"
      "  OR (p.status = 'voided' AND c.state IN ('captured', 'authorised')))"},
     false},
};

static const struct pg_stmt has_table = {"fsck_has_table", "SELECT to_regclass($1::text) IS NOT NULL"};

/* Few events behind the marks of a long log: nothing but the indexes will do, whatever the statistics say.
 * Until the transaction of the check's pipeline ends; SET LOCAL would do the same with a warning, as it sees
 * no BEGIN. */
static const struct pg_stmt by_index[] = {
    {"fsck_no_seqscan", "SELECT set_config('enable_seqscan', 'off', true)"},
    {"fsck_no_bitmapscan", "SELECT set_config('enable_bitmapscan', 'off', true)"},
    {"fsck_no_hashjoin", "SELECT set_config('enable_hashjoin', 'off', true)"},
    {"fsck_no_mergejoin", "SELECT set_config('enable_mergejoin', 'off', true)"}};

static err run_check(struct fsck *fsck, const struct check *check)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    const struct pg_param params[] = {pg_text(str_of(check->table))};
    TRY(pg_call(fsck->ctl->pg, &has_table, 1, params, &result));
    bool there = pg_get_bool(result, 0, 0);
    result = pg_result_free(result);
    if (!there)
        return OK;
    for (size_t i = 0; check->since && i < sizeof(by_index) / sizeof(*by_index); i++)
        pg_queue(fsck->ctl->pg, &by_index[i], 0, NULL, NULL, NULL);
    pg_queue(fsck->ctl->pg, &check->stmt, 0, NULL, pg_keep, &result);
    pg_sync(fsck->ctl->pg, NULL, NULL);
    TRY(pg_wait(fsck->ctl->pg, CHECK_MS));
    int n = pg_rows(result);
    for (int i = 0; i < n && i < SHOWN; i++)
        fsck_found(fsck, check->name, "%.*s", STR_ARG(pg_get_str(result, i, 0)));
    if (n > SHOWN)
        fsck_found(fsck, check->name, "and %d more: %s", n - SHOWN, check->sentence);
    fsck->checked++;
    return OK;
}

/* Much behind the marks (the first run) is read faster as a whole. */
static bool whole(const struct fsck *fsck)
{
    int64_t behind = 0;
    for (size_t i = 0; i < fsck->n_marks; i++)
        behind += fsck->marks[i].next - fsck->marks[i].seq;
    return fsck->full || behind > WHOLE_ABOVE;
}

err fsck_sql(struct fsck *fsck)
{
    size_t n = sizeof(checks) / sizeof(*checks);
    const struct check *log = whole(fsck) ? log_full : log_since;
    for (size_t i = 0; i < LOG_CHECKS; i++) {
        TRY(run_check(fsck, &log[i]));
        ctl_progress("invariants", (int64_t)i + 1, (int64_t)(LOG_CHECKS + n));
    }
    for (size_t i = 0; i < n; i++) {
        TRY(run_check(fsck, &checks[i]));
        ctl_progress("invariants", (int64_t)(LOG_CHECKS + i) + 1, (int64_t)(LOG_CHECKS + n));
    }
    return OK;
}
