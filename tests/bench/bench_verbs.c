/*
 * How long an operator waits: every looking verb of daydreamctl over a log of N events, on private servers
 * whose data is on disk. The log is made of stories of ten events (six of an order, two of its product's
 * stock, two of its payment), each event the cause of the next, with a command row each, over thirty days.
 * Streams are empty: what fsck compares with Redis is bounded by RETENTION_EVENTS, not by the log.
 *
 * bench_verbs [events, default 10000000]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/meta.h"
#include "bus/migrate.h"
#include "tests/support/measure.h"
#include "tests/support/servers.h"

enum { PARTS = 8, STORY = 10, RUNS = 5 };

struct bench {
    struct servers *servers;
    struct pg *pg;
    struct redis *redis;
    struct arena *arena;
    int64_t stories;
};

static void must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "bench_verbs: %s\n", err_text(e));
    exit(1);
}

/* ---- the log ---- */

enum { CHUNK = 100000 }; /* stories per statement */

/* The indexes beside the primary key are made when the rows are there, as a restore would. */
static const char prepare[] = "DROP INDEX event_log_id, event_log_correlationid, event_log_partitionkey;"
                              "CREATE TABLE bench_step (k, topic, per, n, source, type) AS VALUES (0, "
                              "'orders', 6, 0, 'orders', 'order.placed.v1'),"
                              " (1, 'stock', 2, 0, 'orders', 'stock.hold-requested.v1'), (2, 'orders', 6, 1, "
                              "'inventory', 'order.stock-held.v1'),"
                              " (3, 'payments', 2, 0, 'orders', 'payment.authorise-requested.v1'),"
                              " (4, 'payments', 2, 1, 'job', 'payment.authorise-answered.v1'),"
                              " (5, 'orders', 6, 2, 'payments', 'order.payment-authorised.v1'),"
                              " (6, 'stock', 2, 1, 'orders', 'stock.commit-requested.v1'),"
                              " (7, 'orders', 6, 3, 'inventory', 'order.stock-committed.v1'),"
                              " (8, 'orders', 6, 4, 'payments', 'order.payment-captured.v1'), (9, 'orders', "
                              "6, 5, 'orders', 'order.confirmed.v1')";

/* Story $1 to $2; $3: of how many, spread over the thirty days before $4. Keys and ids ascend as they do in
 * life; the id of an event is the story's with the step in it, so the one before it is known. */
#define STORIES                                                                                              \
    "WITH s AS MATERIALIZED (SELECT o, at, h, t, (h || '7064' || t)::uuid AS id, (h || '7064' || "           \
    "t)::uuid::text AS okey,"                                                                                \
    "  ('018bcfe568007065' || lpad(to_hex(8192 * 8 + o % 8 + 8 * ((o / 8) % 125)), 16, '8'))::uuid::text "   \
    "AS pkey,"                                                                                               \
    "  'user:' || ('018bcfe568007066' || lpad(to_hex(65536 + o % 5000), 16, '8'))::uuid AS actor,"           \
    "  to_char(to_timestamp(at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS time"   \
    " FROM (SELECT o, at, lpad(to_hex(at), 12, '0') AS h, '8' || lpad(to_hex(o), 15, '0') AS t"              \
    "  FROM (SELECT o, $4::bigint - 2592000000 + o * (2592000000 / $3::bigint) AS at"                        \
    "   FROM generate_series($1::bigint, $2::bigint) o) a) b)"
static const struct pg_stmt insert_events = {
    "bench_events",
    STORIES " INSERT INTO event_log SELECT topic, (o % 8)::int, (o / 8) * per + n + 1, at + k,"
            " (h || '700' || k || t)::uuid, source, type, CASE topic WHEN 'stock' THEN pkey ELSE okey END, "
            "time, '1.0',"
            " CASE topic WHEN 'stock' THEN pkey ELSE okey END, okey,"
            " CASE k WHEN 0 THEN okey ELSE (h || '700' || k - 1 || t)::uuid::text END, actor, '',"
            " '{\"order_id\":\"' || okey || '\",\"quantity\":1,\"unit_price\":12990,\"currency\":\"CLP\"}'"
            " FROM s CROSS JOIN bench_step"};
static const struct pg_stmt insert_commands = {
    "bench_commands", STORIES
    " INSERT INTO command (id, client, topic, part, type, status, http_status, correlationid, created_ms, "
    "done_ms)"
    " SELECT id, actor, 'orders', (o % 8)::int, 'order.place.v1', 'succeeded', 201, okey, at, at + 3 FROM s"};

static const char finish[] =
    "SET maintenance_work_mem = '512MB'; CREATE INDEX event_log_id ON event_log (id);"
    "CREATE INDEX event_log_correlationid ON event_log (correlationid);"
    "CREATE INDEX event_log_partitionkey ON event_log (partitionkey, ms);"
    "INSERT INTO stream_head SELECT topic, part, max(seq), max(ms) FROM event_log GROUP BY 1, 2;"
    "INSERT INTO consumer_offset (grp, topic, part, seq, ms, epoch, owner, lease_until) SELECT g, topic, "
    "part,"
    " CASE g WHEN 'reports' THEN seq / 2 WHEN 'late' THEN 0 ELSE seq END, ms, 1, 'one', now() + interval '5 "
    "min'"
    " FROM stream_head, unnest(ARRAY['orders', 'inventory', 'payments', 'reports', 'late']) g;"
    "INSERT INTO member SELECT g, 'one', now() + interval '5 min' FROM unnest(ARRAY['orders', 'reports']) g;"
    "INSERT INTO dead_letter (grp, topic, key, lane, type, reason) SELECT 'orders', 'orders', 'k' || n, "
    "'event', 't', 'r'"
    " FROM generate_series(1, 100) n";

/* As producers make them, ahead of time. */
static void make_periods(struct bench *b, int64_t now)
{
    static const struct pg_stmt make = {"bench_periods", "SELECT event_log_ahead($1::bigint, $2::text, 0)"};
    for (int64_t day = 31; day >= 0; day--) {
        struct pg_param params[] = {pg_int(now - day * 86400000), pg_text(conf_str(SET_LOG_PARTITION))};
        must(pg_call(b->pg, &make, 2, params, NULL));
    }
}

static void fill(struct bench *b)
{
    static const struct pg_stmt analyze = {"bench_analyze", "ANALYZE"};
    int64_t begun = clock_mono_ms(), now = clock_ms();
    must(pg_script(b->pg, prepare));
    make_periods(b, now);
    for (int64_t from = 0; from < b->stories; from += CHUNK) {
        int64_t to = from + CHUNK < b->stories ? from + CHUNK : b->stories;
        struct pg_param params[] = {pg_int(from), pg_int(to - 1), pg_int(b->stories), pg_int(now)};
        pg_queue(b->pg, &insert_events, 4, params, NULL, NULL);
        pg_queue(b->pg, &insert_commands, 4, params, NULL, NULL);
        pg_sync(b->pg, NULL, NULL);
        must(pg_wait(b->pg, 300000));
        fprintf(stderr, "%" PRId64 " events after %.0f s\n", to * STORY,
                (double)(clock_mono_ms() - begun) / 1000);
    }
    must(pg_script(b->pg, finish));
    pg_queue(b->pg, &analyze, 0, NULL, NULL, NULL);
    pg_sync(b->pg, NULL, NULL);
    must(pg_wait(b->pg, 300000));
}

static struct str value_of(struct bench *b, const char *name, const char *sql)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg_stmt *stmt = arena_new_of(b->arena, struct pg_stmt); /* is known by its place */
    *stmt = (struct pg_stmt){name, sql};
    must(pg_call(b->pg, stmt, 0, NULL, &r));
    return arena_str(b->arena, pg_get_str(r, 0, 0));
}

/* ---- verbs ---- */

/* words, and the kind of the id that follows them */
static const struct verb_row {
    const char *words, *id;
    int runs; /* 1: what it remembers makes the next run another one */
} rows[] = {
    {"migrate status", NULL, RUNS},
    {"config", NULL, RUNS},
    {"bus lag", NULL, RUNS},
    {"bus top --once", NULL, RUNS},
    {"bus owners", NULL, RUNS},
    {"bus show", "order", RUNS},
    {"bus show", "event", RUNS},
    {"bus show", "product", RUNS},
    {"bus grep", NULL, RUNS},
    {"bus grep --oldest", NULL, RUNS},
    {"bus grep --id", "event", RUNS},
    {"bus grep --key", "product", RUNS},
    {"bus grep --correlation", "order", RUNS},
    {"bus grep --types order.confirmed --from 20d --to 19d", NULL, RUNS},
    {"bus grep --actor", "actor", RUNS},
    {"bus grep --text nowhere", NULL, RUNS},
    {"bus tail --from 10d --max 100", NULL, RUNS},
    {"bus tail --from 10d --types order.confirmed --max 100", NULL, RUNS},
    {"bus fsck --full", NULL, 1},
    {"bus fsck", NULL, RUNS},
};

static double run_once(const char *words, int *ret_status)
{
    char line[600];
    snprintf(line, sizeof(line), "%s/daydreamctl %s >/dev/null 2>&1", DAYDREAM_BIN_DIR, words);
    int64_t begun = clock_mono_ns();
    int status = system(line);
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return (double)(clock_mono_ns() - begun) / 1e6;
}

static bool run_row(const struct verb_row *row, struct str id)
{
    char words[400], shown[80];
    double ms[RUNS], first = 0, worst = 0;
    int status = -1;
    snprintf(words, sizeof(words), "%s %s", row->words, row->id ? id.p : "");
    snprintf(shown, sizeof(shown), "%s %s", row->words, row->id ? row->id : "");
    for (int i = 0; i < row->runs; i++) {
        ms[i] = run_once(words, &status);
        first = i == 0 ? ms[i] : first;
        worst = ms[i] > worst ? ms[i] : worst;
    }
    printf("%-56s %10.0f %10.0f %10.0f   %d\n", shown, first, median(ms, row->runs), worst, status);
    return worst < 1000 || row->runs == 1;
}

static bool run_all(struct bench *b)
{
    bool good = true;
#define MIDDLE                                                                                               \
    " FROM event_log WHERE topic = 'orders' AND part = 3 AND seq = (SELECT seq / 12 * 6 + 1 FROM "           \
    "stream_head"                                                                                            \
    " WHERE topic = 'orders' AND part = 3)"
    struct str order = value_of(b, "bench_order", "SELECT partitionkey" MIDDLE);
    struct str event = value_of(b, "bench_event", "SELECT id::text" MIDDLE);
    struct str actor = value_of(b, "bench_actor", "SELECT actor" MIDDLE);
    struct str product =
        value_of(b, "bench_product",
                 "SELECT partitionkey FROM event_log WHERE topic = 'stock' AND part = 3 AND seq = 1");
    printf("%-56s %10s %10s %10s   exit\n", "verb", "first ms", "median ms", "worst ms");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *which = rows[i].id ? rows[i].id : "";
        struct str id = !strcmp(which, "order")     ? order
                        : !strcmp(which, "event")   ? event
                        : !strcmp(which, "product") ? product
                                                    : actor;
        good = run_row(&rows[i], id) && good;
    }
    return good;
}

int main(int argc, char **argv)
{
    static const char tuned[] =
        "shared_buffers = 256MB\nmin_wal_size = 256MB\nmax_wal_size = 4GB\nrandom_page_cost = 1.1\n";
    const struct servers_options options = {.wal_segment_mb = 16, .pg_extra = tuned};
    int64_t events = argc > 1 ? atoll(argv[1]) : 10000000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    setenv("TMPDIR", "/tmp", 0); /* gigabytes do not belong into memory */
    struct bench b = {.servers = servers_start(&options), .arena = arena_new(64 << 20)};
    b.stories = (events / STORY + 999) / 1000 * 1000;
    setenv("DATABASE_URL", servers_database_url(b.servers), 1);
    setenv("REDIS_URL", servers_redis_url(b.servers), 1);
    setenv("DAYDREAM_HOME", servers_dir(b.servers), 1);
    must(conf_load("bench_verbs"));
    must(pg_open(servers_database_url(b.servers), NULL, NULL, &b.pg));
    must(migrate_up(b.pg, DAYDREAM_SOURCE_DIR "/migrations", PARTS, NULL, NULL));
    must(redis_open(servers_redis_url(b.servers), &b.redis));
    must(meta_check(b.pg, b.redis));
    fill(&b);
    printf("%" PRId64 " events, %s\n", b.stories * STORY,
           value_of(&b, "bench_size",
                    "SELECT pg_size_pretty(sum(pg_table_size(relid))) || ' of rows and ' ||"
                    " pg_size_pretty(sum(pg_indexes_size(relid))) || ' of indexes in ' || count(*) ||"
                    " ' periods' FROM pg_partition_tree('event_log') WHERE isleaf")
               .p);
    bool good = run_all(&b);
    pg_close(b.pg);
    redis_close(b.redis);
    arena_free(b.arena);
    servers_stop(b.servers);
    return good ? 0 : 1;
}
