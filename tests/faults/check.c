/*
 * What must hold when the work is done and all is quiet: a table of statements, each of which returns the
 * offenders. They join what the clients were told (ledger), what the shop says became of it (command), what
 * was made of it (event_log) and what it came to (the shop's tables). The invariants are those of the design,
 * I1 to I13.
 */
#include <assert.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/faults.h"

/* I6: who wrote an offset row, and since when that backend runs. A backend older than the last take of the
 * partition, and not the one that took it, belongs to a former owner. */
static const char watch_offsets[] =
    "CREATE TABLE offset_change (n bigserial, grp text, topic text, part int, taken bool, epoch bigint, "
    "flush bigint,"
    " seq bigint, pid int, since timestamptz, at timestamptz);"
    "CREATE FUNCTION note_offset() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
    " INSERT INTO offset_change (grp, topic, part, taken, epoch, flush, seq, pid, since, at)"
    " VALUES (NEW.grp, NEW.topic, NEW.part, NEW.epoch <> OLD.epoch, NEW.epoch, NEW.flush, NEW.seq, "
    "pg_backend_pid(),"
    "  (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())), clock_timestamp());"
    " RETURN NULL; END $$;"
    /* I8: since when (in operations) nothing of that user's cart may be handled */
    "CREATE TABLE poisoned (usr uuid, op int);"
    "CREATE TRIGGER note_offset AFTER UPDATE ON consumer_offset FOR EACH ROW"
    " WHEN (NEW.epoch <> OLD.epoch OR NEW.flush <> OLD.flush OR NEW.seq <> OLD.seq) EXECUTE FUNCTION "
    "note_offset();";

/* What the checks look through more than once. */
static const char *const prepare[] = {
    "CREATE INDEX ON event_log (causationid)",
    "CREATE INDEX ON event_log (type)",
    "CREATE INDEX ON offset_change (grp, topic, part, n)",
    "ANALYZE event_log, command, ledger, offset_change",
    /* what became of an operation, however it was answered: found by its key or by the id that was told */
    "CREATE TABLE op AS SELECT s.op, s.kind, s.usr, s.key, s.product, s.quantity, c.id AS command, c.status, "
    "c.topic"
    " FROM ledger s LEFT JOIN ledger a ON a.op = s.op AND a.what = 'ack'"
    " LEFT JOIN command k ON k.idempotencykey = s.key LEFT JOIN command t ON t.id = a.command"
    " LEFT JOIN command c ON c.id = coalesce(k.id, t.same_as, t.id) WHERE s.what = 'send'",
    "CREATE INDEX ON op (command)",
    /* what carts were told, in order; round counts the emptyings before */
    "CREATE TABLE cart_change AS SELECT *, count(*) FILTER (WHERE emptied) OVER (PARTITION BY usr ORDER BY "
    "seq) AS round"
    " FROM (SELECT seq, partitionkey::uuid AS usr, type, causationid, (data::json->>'product_id')::uuid AS "
    "product,"
    "  (data::json->>'quantity')::int AS quantity, (data::json->>'added')::int AS added,"
    "  type IN ('cart.cleared.v1', 'cart.checked-out.v1') AS emptied FROM event_log"
    "  WHERE topic = 'carts' AND type <> 'cart.merge-requested.v1') x",
    "ANALYZE op, cart_change",
};

#define LOSES "current_setting('faults.may_lose')::bool"
#define POISONED "current_setting('faults.poisoned')::bool"

static const struct check {
    const char *invariant, *sentence, *offenders;
} checks[] = {
    {"I1", "an accepted command has one terminal row",
     "SELECT l.command || ' of op ' || l.op || ' ' || coalesce(c.status, 'has no row') FROM ledger l"
     " LEFT JOIN command c ON c.id = l.command WHERE l.what = 'ack'"
     " AND coalesce(c.status, '') NOT IN ('succeeded', 'rejected')"
     " AND NOT (" LOSES " AND coalesce(c.status, '') = 'lost')"
     " AND NOT (" POISONED " AND coalesce(c.status, '') = 'parked')"},
    {"I1", "a result that was polled is what the row says",
     "SELECT l.command || ' was told ' || l.status || ' ' || l.http || ', is ' || c.status || ' ' || "
     "c.http_status"
     " FROM ledger l JOIN command x ON x.id = l.command JOIN command c ON c.id = coalesce(x.same_as, x.id)"
     " WHERE l.what = 'result' AND (l.status, l.http) IS DISTINCT FROM (c.status, c.http_status)"},
    {"I1", "an answer that was waited for is what the row says",
     "SELECT l.key || ' was told ' || l.http || ', is ' || coalesce(c.http_status::text, 'without a row') "
     "FROM ledger l"
     " LEFT JOIN command c ON c.idempotencykey = l.key WHERE l.what = 'answer' AND l.key IS NOT NULL"
     " AND l.http IS DISTINCT FROM c.http_status AND NOT (" LOSES ")"},
    {"I2", "the log has no gaps",
     "SELECT topic || '.' || part || ': ' || min(seq) || '..' || max(seq) || ' in ' || count(*) FROM "
     "event_log"
     " GROUP BY topic, part HAVING min(seq) <> 1 OR max(seq) <> count(*)"},
    {"I2", "heads are the last events",
     "SELECT topic || '.' || part || ': head ' || coalesce(h.seq, 0) || ', log ' || coalesce(l.seq, 0)"
     " FROM (SELECT topic, part, max(seq) AS seq, max(ms) AS ms FROM event_log GROUP BY 1, 2) l"
     " FULL JOIN stream_head h USING (topic, part) WHERE (h.seq, h.ms) IS DISTINCT FROM (l.seq, l.ms)"},
    {"I2", "time never falls along a partition",
     "SELECT topic || '.' || part || ' at ' || seq FROM (SELECT topic, part, seq, ms,"
     " lag(ms) OVER (PARTITION BY topic, part ORDER BY seq) AS before FROM event_log) x WHERE ms < before"},
    {"I4", "every group is at the head",
     "SELECT o.grp || ' at ' || o.seq || ' of ' || h.seq || ' in ' || topic || '.' || part FROM "
     "consumer_offset o"
     " JOIN stream_head h USING (topic, part) WHERE o.seq <> h.seq"},
    {"I4", "every request has one answer",
     "SELECT e.type || ' ' || e.id || ': ' || count(a.id) FROM event_log e JOIN (VALUES"
     " ('stock.hold-requested.v1', ARRAY['order.stock-held.v1', 'order.stock-refused.v1']),"
     " ('stock.commit-requested.v1', ARRAY['order.stock-committed.v1']),"
     " ('stock.release-requested.v1', ARRAY['order.stock-released.v1']),"
     " ('order.place-requested.v1', ARRAY['order.placed.v2', 'cart.merge-requested.v1']),"
     " ('stock.opened.v1', ARRAY['stock.changed.v1'])) r(request, answers) ON e.type = r.request"
     " LEFT JOIN event_log a ON a.causationid = e.id::text AND a.type = ANY (r.answers)"
     " GROUP BY e.id, e.type HAVING count(a.id) <> 1"},
    {"I4", "a message causes an event once",
     "SELECT causationid || ' caused ' || type || ' of ' || partitionkey || ' ' || count(*) || ' times' FROM "
     "event_log"
     " WHERE causationid <> '' AND type NOT IN ('cart.item-added.v1', 'user.session-revoked.v1')"
     " GROUP BY causationid, type, partitionkey HAVING count(*) > 1"},
    {"I4", "an add that succeeded is one event, another is none",
     "SELECT c.id || ' ' || c.status || ': ' || count(e.id) FROM command c LEFT JOIN event_log e"
     " ON e.causationid = c.id::text WHERE c.type = 'cart.add-item.v1' GROUP BY c.id, c.status, c.same_as"
     " HAVING count(e.id) <> (c.status = 'succeeded' AND c.same_as IS NULL)::int"},
    {"I4", "a command that did not succeed has no effect",
     "SELECT c.id || ' ' || c.type || ' ' || c.status || ': ' || count(e.id) FROM command c JOIN event_log e"
     " ON e.causationid = c.id::text WHERE c.status IN ('rejected', 'lost', 'parked') AND c.type <> "
     "'cart.check-out.v1'"
     " GROUP BY c.id"},
    {"I4", "carts are what their events say",
     "SELECT coalesce(e.usr, l.user_id) || ' ' || coalesce(e.product, l.product_id) || ': ' || "
     "coalesce(l.quantity, 0)"
     " || ', not ' || coalesce(e.quantity, 0)"
     " FROM (SELECT DISTINCT ON (c.usr, c.product) c.usr, c.product, CASE WHEN c.type = "
     "'cart.item-removed.v1'"
     "   OR c.round < x.round THEN 0 ELSE c.quantity END AS quantity FROM cart_change c"
     "   JOIN (SELECT usr, max(round) AS round FROM cart_change GROUP BY usr) x USING (usr)"
     "   WHERE NOT c.emptied ORDER BY c.usr, c.product, c.seq DESC) e"
     " FULL JOIN cart_line l ON l.user_id = e.usr AND l.product_id = e.product"
     " WHERE coalesce(e.quantity, 0) <> coalesce(l.quantity, 0)"},
    {"I5", "each change of a cart line stands on the one before",
     "SELECT usr || ' ' || product || ' at ' || seq FROM (SELECT *, lag(quantity, 1, 0) OVER w AS before "
     "FROM cart_change"
     " WHERE type = 'cart.item-added.v1' WINDOW w AS (PARTITION BY usr, round, product ORDER BY seq)) x"
     " WHERE quantity <> before + added"},
    {"I5", "each change of a stock stands on the one before",
     "SELECT partitionkey || ' at ' || seq FROM (SELECT seq, partitionkey, (data::json->>'version')::bigint "
     "AS version,"
     " row_number() OVER (PARTITION BY partitionkey ORDER BY seq) AS n FROM event_log WHERE type = "
     "'stock.changed.v1') x"
     " WHERE version <> n"},
    {"I5", "what one client had accepted first is done first",
     "SELECT usr || ' op ' || op FROM (SELECT o.usr, o.op, e.seq, lag(e.seq) OVER (PARTITION BY o.usr ORDER "
     "BY o.op)"
     " AS before FROM op o JOIN event_log e ON e.causationid = o.command::text AND e.type = "
     "'cart.item-added.v1'"
     " WHERE o.kind = 'add' AND o.status = 'succeeded') x WHERE seq < before AND NOT (" LOSES ")"},
    {"I5", "a timeline has no gaps",
     "SELECT order_id || ': ' || count(*) FROM order_timeline GROUP BY order_id HAVING max(n) - min(n) + 1 "
     "<> count(*)"},
    {"I6", "epochs and flushes go up one by one",
     "SELECT grp || ' ' || topic || '.' || part || ' flush ' || flush || ' after ' || flush_before || ', "
     "epoch ' || epoch"
     " || ' after ' || epoch_before FROM (SELECT *, lag(epoch) OVER w AS epoch_before, lag(flush) OVER w AS "
     "flush_before,"
     " lag(seq) OVER w AS seq_before FROM offset_change WINDOW w AS (PARTITION BY grp, topic, part ORDER BY "
     "n)) x"
     " WHERE epoch < epoch_before OR seq < seq_before OR flush <> flush_before + (NOT taken)::int"
     "  OR (taken AND epoch <> epoch_before + 1)"},
    {"I6", "no former owner commits",
     "SELECT f.grp || ' ' || f.topic || '.' || f.part || ' flush ' || f.flush || ' of epoch ' || f.epoch"
     " FROM offset_change f JOIN LATERAL (SELECT pid, at FROM offset_change t WHERE t.taken AND t.grp = f.grp"
     "  AND t.topic = f.topic AND t.part = f.part AND t.n < f.n ORDER BY t.n DESC LIMIT 1) last ON true"
     " WHERE NOT f.taken AND f.pid <> last.pid AND f.since < last.at"},
    {"I8", "nothing of a parked key is handled",
     "SELECT 'op ' || o.op || ' ' || o.status FROM op o JOIN poisoned p ON p.usr = o.usr AND o.op > p.op"
     " WHERE o.topic = 'carts' AND o.status <> 'parked'"},
    {"I9", "a payment times out once, and not before its time",
     "SELECT e.partitionkey || ': ' || count(*) || ' after ' || min(e.ms - t.at_ms) || ' ms' FROM event_log e"
     " JOIN order_timeline t ON t.order_id::text = e.partitionkey AND t.what = 'stock-held'"
     " WHERE e.type = 'order.payment-timed-out.v1' GROUP BY e.partitionkey"
     " HAVING count(*) > 1 OR min(e.ms - t.at_ms) < current_setting('faults.payment_timeout')::bigint"},
    {"I9", "a slot of a schedule fires once, and none is left out",
     "SELECT data::json ->> 'slot' || ' after ' || coalesce(before, 'nothing') FROM ("
     " SELECT data, lag(data::json ->> 'slot') OVER (ORDER BY seq) AS before FROM event_log"
     " WHERE type = 'schedule.ticked.v1') x"
     " WHERE (data::json ->> 'slot')::timestamptz <> before::timestamptz + interval '1 minute'"},
    {"I10", "stock is the sum of its movements",
     "SELECT s.product_id || ': ' || s.quantity || ', moved ' || coalesce(sum(m.quantity), 0) FROM stock s"
     " LEFT JOIN stock_movement m USING (product_id) GROUP BY s.product_id"
     " HAVING s.quantity <> coalesce(sum(m.quantity), 0)"},
    {"I10", "what is reserved is held by somebody",
     "SELECT s.product_id || ': ' || s.reserved FROM stock s LEFT JOIN stock_hold h ON h.product_id = "
     "s.product_id"
     " AND h.state = 'held' GROUP BY s.product_id HAVING s.reserved <> coalesce(sum(h.quantity), 0)"},
    {"I10", "a final order holds nothing; a confirmed one has taken everything",
     "SELECT o.id || ' ' || o.status || ' ' || h.state FROM orders o JOIN stock_hold h ON h.order_id = o.id"
     " WHERE (o.status = 'confirmed' AND h.state <> 'committed')"
     "  OR (o.status = 'cancelled' AND h.state NOT IN ('released', 'refused'))"},
    {"I10", "an order moves what it took, and back what it gave up, once",
     "SELECT h.order_id || ' ' || h.product_id || ' ' || h.state FROM stock_hold h LEFT JOIN stock_movement m"
     " ON m.order_id = h.order_id AND m.product_id = h.product_id GROUP BY h.order_id, h.product_id, "
     "h.state, h.quantity"
     " HAVING coalesce(sum(m.quantity), 0) <> CASE h.state WHEN 'committed' THEN -h.quantity ELSE 0 END"
     "  OR count(*) FILTER (WHERE m.quantity < 0) > 1 OR count(*) FILTER (WHERE m.quantity > 0) > 1"},
    {"I10", "a confirmed order is charged its total, any other nothing",
     "SELECT o.id || ' ' || o.status || ' ' || o.total_amount || ', charged ' || coalesce(sum(c.amount), 0)"
     " FROM orders o LEFT JOIN payment_test_charge c ON c.reference = 'test-' || o.id"
     "  AND c.state IN ('authorised', 'captured') GROUP BY o.id"
     " HAVING coalesce(sum(c.amount), 0) <> CASE o.status WHEN 'confirmed' THEN o.total_amount ELSE 0 END"
     "  OR bool_or(c.state = 'authorised')"},
    {"I10", "an order that was placed is final",
     "SELECT id || ' ' || status || ' ' || step FROM orders WHERE status = 'pending' OR step <> 'done'"},
    {"I11", "a key has one effect",
     "SELECT o.key || ': ' || count(e.id) FROM op o JOIN command c ON c.id = o.command OR c.same_as = "
     "o.command"
     " JOIN event_log e ON e.causationid = c.id::text AND e.type IN ('cart.item-added.v1', 'order.placed.v2',"
     " 'order.place-requested.v1', 'product.created.v1', 'user.registered.v1') WHERE o.key IS NOT NULL"
     " GROUP BY o.key HAVING count(e.id) > 1"},
    {"I11", "nobody's cart was given more than was sent, nor less than was promised",
     "SELECT s.usr || ' ' || s.product || ': ' || coalesce(e.added, 0) || ' of ' || s.promised || '..' || "
     "s.sent"
     " FROM (SELECT usr, product, sum(quantity) AS sent,"
     "   coalesce(sum(quantity) FILTER (WHERE status = 'succeeded'), 0) AS promised"
     "  FROM op WHERE kind = 'add' GROUP BY usr, product) s"
     " LEFT JOIN (SELECT c.usr, c.product, sum(c.added) AS added FROM cart_change c"
     "  WHERE c.type = 'cart.item-added.v1' AND NOT EXISTS (SELECT 1 FROM event_log x"
     "   WHERE x.id::text = c.causationid AND x.type = 'cart.merge-requested.v1') GROUP BY c.usr, c.product) "
     "e"
     "  USING (usr, product)"
     " WHERE coalesce(e.added, 0) NOT BETWEEN s.promised AND s.sent"},
    {"I11", "there are no more orders than were asked for",
     "SELECT o.user_id || ': ' || count(*) FROM orders o GROUP BY o.user_id"
     " HAVING count(*) > (SELECT count(*) FROM op WHERE usr = o.user_id AND kind IN ('order', 'check-out'))"},
    {"I11", "stock was adjusted as often as was asked",
     "SELECT m.product_id || ': ' || count(*) FROM stock_movement m WHERE movement_type = 'ADJUSTMENT'"
     " GROUP BY m.product_id"
     " HAVING count(*) > (SELECT count(*) FROM op WHERE product = m.product_id AND kind = 'adjust')"},
    {"I13", "no command is open",
     "SELECT id || ' ' || type || ' ' || status FROM command WHERE status = 'running' OR (status = 'parked' "
     "AND NOT (" POISONED "))"},
    {"I13", "nothing is parked that was not poisoned",
     "SELECT grp || ' ' || topic || ' ' || key || ' ' || reason || ' ' || coalesce(detail, '') FROM "
     "dead_letter WHERE state = 'parked' AND NOT (" POISONED ")"},
    {"privacy", "no name or address stands in the log",
     "SELECT type || ' ' || id FROM event_log WHERE data LIKE '%ejemplo.cl%' OR data LIKE '%Persona%'"
     " OR data LIKE '%Alameda%' OR data LIKE '%\"tok\\_%'"},
};

void check_failed(struct verdict *verdict, const char *invariant, const char *sentence, const char *detail)
{
    verdict->violations++;
    printf("    %s violated: %s: %s\n", invariant, sentence, detail);
}

static void run(struct shop *shop, PGconn *pg, const char *sql)
{
    PGresult *r = PQexec(pg, sql);

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        shop_die(shop, "%.200s: %s", sql, PQerrorMessage(pg));
    PQclear(r);
}

void check_begin(struct shop *shop)
{
    PGconn *pg = PQconnectdb(servers_database_url(shop_servers(shop)));

    run(shop, pg, watch_offsets);
    PQfinish(pg);
}

static void check_one(struct shop *shop, PGconn *pg, const struct check *check, struct verdict *verdict)
{
    enum { SHOWN = 4 };
    PGresult *r = PQexec(pg, check->offenders);
    int n = PQntuples(r);

    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        shop_die(shop, "%s, %s: %s", check->invariant, check->sentence, PQerrorMessage(pg));
    for (int i = 0; i < n && i < SHOWN; i++)
        check_failed(verdict, check->invariant, check->sentence, PQgetvalue(r, i, 0));
    if (n > SHOWN)
        printf("    … and %d more\n", n - SHOWN);
    PQclear(r);
}

void check_all(struct shop *shop, struct verdict *verdict)
{
    PGconn *pg = PQconnectdb(servers_database_url(shop_servers(shop)));
    char sql[300];

    snprintf(sql, sizeof(sql),
             "SET faults.may_lose = '%s'; SET faults.poisoned = '%s'; SET faults.payment_timeout = %d;"
             " SET default_statistics_target = 10",
             verdict->may_lose ? "on" : "off", verdict->poisoned ? "on" : "off", PAYMENT_TIMEOUT_MS);
    run(shop, pg, sql);
    for (size_t i = 0; i < sizeof(prepare) / sizeof(*prepare); i++)
        run(shop, pg, prepare[i]);
    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++)
        check_one(shop, pg, &checks[i], verdict);
    PQfinish(pg);
    check_redis(shop, verdict);
}
