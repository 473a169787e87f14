/*
 * GET /metrics: Prometheus text 0.0.4. The counters of all processes of this home (bus/shared_metrics.h), the
 * door's own by route, and what is asked for at each scrape: lag and parked keys per group, waiting commands
 * and the distance of the relay per topic, the servers, the processes. Labels are groups, topics, kinds of
 * jobs, route patterns, programs and instances, hence bounded; never an id.
 *
 * A scrape looks, one after the other, at PostgreSQL, Redis and /proc; who asks meanwhile shares it. What
 * does not answer is left out, and `up` of that server says 0: the rest of the page is still true.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "api/door.h"
#include "api/health.h"
#include "bus/base/clock.h"
#include "bus/lane.h"
#include "bus/shared_metrics.h"
#include "bus/topics.h"

/* what, of which, two numbers. lag: a group's events behind, ms of the first not passed; parked: a group's
 * keys, messages; jobs: a kind's open ones, ms when the oldest is due; head: topic and partition, seq;
 * connections: in this database, allowed in all. */
static const struct pg_stmt select_gauges = {
    "door_select_gauges",
    "SELECT 'lag', o.grp, sum(greatest(h.seq - o.seq, 0))::bigint, min(coalesce(e.ms, a.first_ms)) "
    "FROM consumer_offset o JOIN stream_head h USING (topic, part) "
    "LEFT JOIN event_log e ON e.topic = o.topic AND e.part = o.part AND e.seq = o.seq + 1 "
    "LEFT JOIN event_archive a ON a.topic = o.topic AND a.part = o.part "
    "AND a.first_seq <= o.seq + 1 AND a.last_seq > o.seq "
    "WHERE o.grp NOT LIKE 'ext:%' GROUP BY o.grp " /* names of others are no labels of ours */
    "UNION ALL SELECT 'parked', grp, count(DISTINCT (topic, key)), count(*) FROM dead_letter "
    "WHERE state = 'parked' GROUP BY grp "
    "UNION ALL SELECT 'jobs', kind, open, oldest_ms FROM door_jobs "
    "UNION ALL SELECT 'head', topic, part, seq FROM stream_head "
    "UNION ALL SELECT 'connections', '', count(*), current_setting('max_connections')::bigint "
    "FROM pg_stat_activity WHERE datname = current_database() "
    "ORDER BY 1, 2, 3 LIMIT 2000"};

struct gauge_row {
    struct str what, name;
    int64_t a, b;
    bool b_null;
};

/* One scrape on its way. */
struct scrape {
    struct request *req;
    bool database, redis;
    struct gauge_row *rows;
    int n;
    int64_t commands[TOPIC_COUNT];              /* waiting, all lanes of the topic */
    int64_t heads[TOPIC_COUNT][PARTITIONS_MAX]; /* seq in the log */
    int64_t behind[TOPIC_COUNT];                /* events that are in the log and not in their streams */
    struct str memory, clients;                 /* sections of INFO */
};

/* A question about one lane or stream. */
struct probe {
    struct scrape *scrape;
    int topic, part;
};

/* ---- printing ---- */

static void family(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct buf *b, const char *name, const char *help, int64_t value)
{
    family(b, name, "gauge", help);
    buf_printf(b, "%s %" PRId64 "\n", name, value);
}

static int64_t first_of(const struct gauge_row *row)
{
    return row->a;
}

static int64_t second_of(const struct gauge_row *row)
{
    return row->b_null ? 0 : row->b;
}

static int64_t seconds_since(const struct gauge_row *row)
{
    int64_t ms = row->b_null ? 0 : clock_ms() - row->b;
    return ms > 0 ? ms / 1000 : 0;
}

/* Gauges that are rows of the statement. */
static const struct from_rows {
    const char *what, *name, *label, *help;
    int64_t (*value)(const struct gauge_row *row);
} from_rows[] = {
    {"lag", "group_lag_events", "group", "events a group has not passed yet", first_of},
    {"lag", "group_lag_seconds", "group", "age of the first event a group has not passed", seconds_since},
    {"parked", "group_parked_keys", "group", "keys whose messages wait for an operator", first_of},
    {"parked", "group_parked_messages", "group", "messages that wait for an operator", second_of},
    {"jobs", "jobs_open", "kind", "outside calls that are not done", first_of},
    {"jobs", "jobs_overdue_seconds", "kind", "how long the oldest open outside call is due", seconds_since},
};

static void print_from_rows(struct buf *b, const struct scrape *s)
{
    for (size_t g = 0; g < sizeof(from_rows) / sizeof(*from_rows); g++) {
        const struct from_rows *from = &from_rows[g];
        family(b, from->name, "gauge", from->help);
        for (int i = 0; i < s->n; i++)
            if (str_is(s->rows[i].what, from->what))
                buf_printf(b, "%s{%s=\"%.*s\"} %" PRId64 "\n", from->name, from->label,
                           STR_ARG(s->rows[i].name), from->value(&s->rows[i]));
    }
    for (int i = 0; i < s->n; i++)
        if (str_is(s->rows[i].what, "connections")) {
            gauge(b, "postgres_connections", "sessions in the shop's database", s->rows[i].a);
            gauge(b, "postgres_connections_max", "sessions that the server allows", s->rows[i].b);
        }
}

static void print_topics(struct buf *b, const char *name, const char *help, const int64_t *values)
{
    family(b, name, "gauge", help);
    for (int topic = 1; topic < TOPIC_COUNT; topic++)
        if (topic_is(topic))
            buf_printf(b, "%s{topic=\"%s\"} %" PRId64 "\n", name, topic_name((enum topic)topic),
                       values[topic]);
}

/* The value of "name:value" in a section of INFO; absent when it is not a plain number. */
static struct str info(struct str section, const char *name)
{
    size_t n = strlen(name);
    for (size_t at = 0; at < section.n;) {
        struct str rest = str_slice(section, at, section.n);
        struct str line = str_trim(str_slice(rest, 0, str_find(rest, '\n')));
        at += str_find(rest, '\n') + 1;
        if (line.n <= n + 1 || line.p[n] != ':' || memcmp(line.p, name, n) != 0)
            continue;
        struct str value = str_slice(line, n + 1, line.n);
        for (size_t i = 0; i < value.n; i++)
            if ((value.p[i] < '0' || value.p[i] > '9') && value.p[i] != '.')
                return STR_NONE;
        return value;
    }
    return STR_NONE;
}

static void print_redis(struct buf *b, const struct scrape *s)
{
    static const struct {
        const char *field, *name, *help;
        bool clients;
    } fields[] = {
        {"used_memory", "redis_memory_used_bytes", "memory that Redis has taken", false},
        {"maxmemory", "redis_memory_max_bytes", "memory that Redis may take, 0: no bound", false},
        {"mem_fragmentation_ratio", "redis_memory_fragmentation_ratio", "resident memory by used memory",
         false},
        {"connected_clients", "redis_connections", "connections to Redis", true},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        struct str value = info(fields[i].clients ? s->clients : s->memory, fields[i].field);
        if (!value.n)
            continue;
        family(b, fields[i].name, "gauge", fields[i].help);
        buf_printf(b, "%s %.*s\n", fields[i].name, STR_ARG(value));
    }
}

/* ---- processes ---- */

static int64_t resident_bytes(pid_t pid)
{
    char path[64];
    long long size = 0, resident = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static int64_t open_files(pid_t pid)
{
    char path[64];
    int64_t n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 2 ? n - 2 : 0; /* "." and ".." */
}

static const struct of_process {
    const char *name, *help;
    int64_t (*value)(pid_t pid);
} of_process[] = {
    {"process_resident_memory_bytes", "resident memory", resident_bytes},
    {"process_open_fds", "open files", open_files},
};

static void print_processes(struct buf *b, const struct metrics_peer *peers,
                            const struct metrics_source *sources, size_t n)
{
    for (size_t p = 0; p < sizeof(of_process) / sizeof(*of_process); p++) {
        family(b, of_process[p].name, "gauge", of_process[p].help);
        for (size_t i = 0; i < n; i++)
            buf_printf(b, "%s{%s} %" PRId64 "\n", of_process[p].name, sources[i].labels,
                       of_process[p].value(peers[i].pid));
    }
    family(b, "process_start_time_seconds", "gauge", "start, in seconds since 1970");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "process_start_time_seconds{%s} %" PRId64 "\n", sources[i].labels,
                   peers[i].started_ms / 1000);
}

/* Without a home to share in there is this process alone. */
static size_t all_processes(struct arena *arena, struct metrics_peer **ret,
                            struct metrics_source **ret_sources, int *ret_ignored)
{
    size_t n = metrics_peers(arena, ret, ret_ignored);
    if (n == 0) {
        **ret = (struct metrics_peer){.pid = getpid(), .page = metrics_own(), .started_ms = clock_ms()};
        snprintf((*ret)->program, sizeof((*ret)->program), "daydream-api");
        snprintf((*ret)->instance, sizeof((*ret)->instance), "%s", metrics_instance());
        n = 1;
    }
    *ret_sources = arena_array(arena, struct metrics_source, n);
    for (size_t i = 0; i < n; i++)
        (*ret_sources)[i] = (struct metrics_source){
            (*ret)[i].page,
            arena_printf(arena, "program=\"%s\",instance=\"%s\"", (*ret)[i].program, (*ret)[i].instance).p};
    return n;
}

/* ---- the page ---- */

static void answer(struct scrape *s)
{
    struct arena *arena = s->req->arena;
    struct buf b = buf_new(arena, 64 << 10);
    struct metrics_peer *peers;
    struct metrics_source *sources;
    int ignored;
    size_t n = all_processes(arena, &peers, &sources, &ignored);
    family(&b, "daydream_build_info", "gauge", "the build, always 1");
    buf_printf(&b, "daydream_build_info{version=\"%s\",compiler=\"%s\"} 1\n", DAYDREAM_VERSION, __VERSION__);
    metrics_print_all(&b, sources, n);
    http_metrics_print(s->req, &b,
                       arena_printf(arena, "program=\"daydream-api\",instance=\"%s\"", metrics_instance()).p);
    print_processes(&b, peers, sources, n);
    gauge(&b, "metrics_files_ignored", "living processes whose numbers cannot be read", ignored);
    gauge(&b, "postgres_up", "1: PostgreSQL answered this scrape", s->database);
    gauge(&b, "redis_up", "1: Redis answered this scrape", s->redis);
    if (s->database)
        print_from_rows(&b, s);
    if (s->redis) {
        print_redis(&b, s);
        print_topics(&b, "commands_waiting", "commands in the lanes of a topic", s->commands);
    }
    if (s->redis && s->database)
        print_topics(&b, "relay_behind_events", "events in the log that are not in their streams yet",
                     s->behind);
    glance_end(&door_of(s->req)->scrape, 200, "text/plain; version=0.0.4", buf_view(&b));
}

/* ---- Redis ---- */

static void on_length(void *data, const struct redis_reply *reply)
{
    struct probe *p = data;
    p->scrape->commands[p->topic] += redis_integer(reply, 0);
}

/* XINFO STREAM: names and values; the sequence number of an id is ours. No stream: everything is behind. */
static void on_stream(void *data, const struct redis_reply *reply)
{
    struct probe *p = data;
    int64_t ms, seq = 0;
    for (size_t i = 0; reply && reply->kind == REDIS_ARRAY && i + 1 < reply->n; i += 2)
        if (str_is(reply->items[i].text, "last-generated-id") &&
            failed(entry_id_parse(reply->items[i + 1].text, &ms, &seq)))
            seq = 0;
    int64_t head = p->scrape->heads[p->topic][p->part];
    p->scrape->behind[p->topic] += head > seq ? head - seq : 0;
}

static void on_memory(void *data, const struct redis_reply *reply)
{
    struct scrape *s = data;
    if (reply && reply->kind == REDIS_STRING)
        s->memory = arena_str(s->req->arena, reply->text);
}

/* The last reply: all others have come. */
static void on_clients(void *data, const struct redis_reply *reply)
{
    struct scrape *s = data;
    s->redis = reply && reply->kind == REDIS_STRING;
    if (s->redis)
        s->clients = arena_str(s->req->arena, reply->text);
    answer(s);
}

static void ask_lane(struct redis *redis, struct probe *p)
{
    char name[STREAM_NAME];
    lane_name((enum topic)p->topic, p->part, name);
    redis_sendf(redis, on_length, p, "XLEN %s", name);
    stream_name((enum topic)p->topic, p->part, name);
    if (p->scrape->heads[p->topic][p->part])
        redis_sendf(redis, on_stream, p, "XINFO STREAM %s", name);
}

static void ask_redis(struct scrape *s)
{
    struct door *door = door_of(s->req);
    struct redis *redis = redis_poll_up(door->redis);
    if (!redis) {
        answer(s);
        return;
    }
    for (int topic = 1; door->ready && topic < TOPIC_COUNT; topic++)
        for (int part = 0; topic_is(topic) && part < partitions(); part++) {
            struct probe *p = arena_new_of(s->req->arena, struct probe);
            *p = (struct probe){s, topic, part};
            ask_lane(redis, p);
        }
    redis_sendf(redis, on_memory, s, "INFO memory");
    redis_sendf(redis, on_clients, s, "INFO clients");
}

/* ---- PostgreSQL ---- */

static void take_row(struct scrape *s, const struct pg_result *rows, int i)
{
    struct gauge_row *row = &s->rows[s->n++];
    *row = (struct gauge_row){.what = arena_str(s->req->arena, pg_get_str(rows, i, 0)),
                              .name = arena_str(s->req->arena, pg_get_str(rows, i, 1)),
                              .a = pg_get_int(rows, i, 2),
                              .b_null = pg_is_null(rows, i, 3)};
    row->b = row->b_null ? 0 : pg_get_int(rows, i, 3);
    enum topic topic = str_is(row->what, "head") ? topic_find(row->name) : TOPIC_NONE;
    if (topic != TOPIC_NONE && row->a >= 0 && row->a < PARTITIONS_MAX)
        s->heads[topic][row->a] = row->b;
}

static void on_rows(void *data, err e, struct pg_result *rows)
{
    struct scrape *s = data;
    s->database = !failed(e);
    if (s->database) {
        s->rows = arena_array(s->req->arena, struct gauge_row, pg_rows(rows) + 1);
        for (int i = 0; i < pg_rows(rows); i++)
            take_row(s, rows, i);
    }
    ask_redis(s);
}

void get_metrics(struct request *req)
{
    if (!glance_begin(&door_of(req)->scrape, req))
        return;
    struct scrape *s = arena_new_of(req->arena, struct scrape);
    s->req = req;
    err e = pg_poll_query(door_of(req)->counting, &select_gauges, 0, NULL, on_rows, s);
    if (failed(e))
        on_rows(s, e, NULL);
}
