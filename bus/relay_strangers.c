/*
 * Groups on event streams that are not ours: anybody with access to Redis may read by XREADGROUP. What they
 * were given and have acknowledged is only in Redis, so it is written down about once a second; when a stream
 * is made anew its groups come back where they stood (up to a second earlier: entries may come twice, none is
 * missed). Whoever is not heard of for his time is reported, once, and holds nothing in Redis any more.
 */
#include "bus/relay_internal.h"

#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/base/log.h"

enum { EXPIRE_MS = 60000 };

/* KEYS stream. ARGV names of our groups. For each other one: name, last id given, lowest id that is pending
 * or
 * "". A stream that is not there is an error, hence different from one without groups. */
static struct redis_script look_script = {
    .source = "local own, answer = {}, {}\n"
              "for i = 1, #ARGV do own[ARGV[i]] = true end\n"
              "for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do\n"
              "  if not own[group[2]] then\n"
              "    local low = group[6] > 0 and redis.call('XPENDING', KEYS[1], group[2])[2] or ''\n"
              "    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = group[2], group[8], low\n"
              "  end\n"
              "end\n"
              "return answer\n",
};

/* A position that did not move is not written. */
static const struct pg_stmt remember = {
    "relay_remember",
    "WITH x AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])"
    "  AS u(name, topic, part, ms, seq)),"
    " made AS (INSERT INTO subscriber (name, kind) SELECT DISTINCT name, 'found' FROM x WHERE NOT EXISTS"
    "  (SELECT FROM subscriber s WHERE s.name = x.name) ON CONFLICT DO NOTHING),"
    " moved AS (INSERT INTO subscriber_group AS g (name, topic, part, ms, seq)"
    "  SELECT name, topic, part::int, ms, seq FROM x ORDER BY 1, 2, 3"
    "  ON CONFLICT (name, topic, part) DO UPDATE SET ms = excluded.ms, seq = excluded.seq, moved = now()"
    "  WHERE (g.ms, g.seq) IS DISTINCT FROM (excluded.ms, excluded.seq) RETURNING name)"
    " UPDATE subscriber s SET seen = now(), expired = NULL WHERE s.name IN (SELECT name FROM moved)"};
static const struct pg_stmt forget = {
    "relay_forget",
    "WITH gone AS (DELETE FROM subscriber_group g USING unnest($1::text[], $2::text[], $3::bigint[])"
    "  AS x(name, topic, part) WHERE g.name = x.name AND g.topic = x.topic AND g.part = x.part RETURNING "
    "g.name)"
    " DELETE FROM subscriber s USING (SELECT name, count(*) AS n FROM gone GROUP BY name) d"
    " WHERE s.name = d.name AND s.kind = 'found'"
    " AND d.n = (SELECT count(*) FROM subscriber_group g WHERE g.name = d.name)"};
/* One that has everything holds nothing, however long it is silent. */
static const struct pg_stmt expire = {
    "relay_expire",
    "WITH at AS (SELECT name, topic, part, seq, moved FROM subscriber_group UNION ALL"
    "  SELECT substr(grp, 5), topic, part, seq, NULL FROM consumer_offset WHERE grp LIKE 'ext:%'),"
    " old AS (SELECT s.name FROM subscriber s JOIN at USING (name) JOIN stream_head h USING (topic, part)"
    "  WHERE s.expired IS NULL GROUP BY s.name, s.seen, s.keep"
    "  HAVING greatest(s.seen, max(at.moved)) < now() - s.keep AND bool_or(at.seq < h.seq))"
    " UPDATE subscriber s SET expired = now() FROM old WHERE s.name = old.name AND s.expired IS NULL"
    " RETURNING s.name, s.owner"};

struct seen {
    struct stream *stream;
    struct str name;
    int64_t ms, seq;
};

struct look {
    struct relay *relay;
    struct stream *stream;
    struct strangers *all;
    bool answered;
};

struct strangers {
    struct seen *list;
    size_t n, cap;
    struct look *looks; /* one per stream, in the order of the relay */
};

static void add(struct look *look, struct str name, int64_t ms, int64_t seq)
{
    struct strangers *all = look->all;
    if (all->n == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 64;
        all->list = arena_grow(look->relay->arena, all->list, all->cap * sizeof(*all->list),
                               cap * sizeof(*all->list));
        all->cap = cap;
    }
    all->list[all->n++] = (struct seen){look->stream, arena_str(look->relay->arena, name), ms, seq};
}

/* What is pending was not acknowledged: the group stands before the lowest of it. */
static void on_look(void *data, const struct redis_reply *reply)
{
    struct look *look = data;
    if (!reply || reply->kind != REDIS_ARRAY)
        return;
    look->answered = true;
    for (size_t i = 0; i + 2 < reply->n; i += 3) {
        int64_t ms, seq;
        bool pending = reply->items[i + 2].text.n > 0;
        if (failed(entry_id_parse(reply->items[i + (pending ? 2 : 1)].text, &ms, &seq)))
            continue;
        add(look, reply->items[i].text, ms, pending && seq > 0 ? seq - 1 : seq);
    }
}

static void send_look(struct relay *relay, struct look *look)
{
    struct str *words = arena_array(relay->arena, struct str, 2 + relay->mirrored.n);
    size_t n = 0;
    words[n++] = STR("1");
    words[n++] = str_of(look->stream->name);
    for (size_t i = 0; i < relay->mirrored.n; i++)
        if (relay->mirrored.list[i].stream == look->stream)
            words[n++] = relay->mirrored.list[i].grp;
    redis_script_send(relay->redis, &look_script, on_look, look, n, words);
}

static bool remembered_on(const struct offsets *offsets, const struct stream *stream)
{
    for (size_t i = 0; i < offsets->n; i++)
        if (offsets->list[i].stream == stream && offsets->list[i].stranger)
            return true;
    return false;
}

static err look_at_streams(struct relay *relay, const struct offsets *offsets, struct strangers *all)
{
    all->looks = arena_array(relay->arena, struct look, relay->n);
    for (size_t i = 0; i < relay->n; i++) {
        struct stream *stream = &relay->streams[i];
        all->looks[i] = (struct look){relay, stream, all, false};
        if (stream->strangers || remembered_on(offsets, stream))
            send_look(relay, &all->looks[i]);
    }
    return relay_wait(relay);
}

/* Somebody else was quicker: as good. */
static void on_made(void *data, const struct redis_reply *reply)
{
    (void)data;
    (void)reply;
}

static err write_down(struct relay *relay, const struct strangers *all)
{
    struct arena *a = relay->arena;
    struct pg_array name = pg_array(a, PG_TEXT, (int)all->n), topic = pg_array(a, PG_TEXT, (int)all->n),
                    part = pg_array(a, PG_INT8, (int)all->n), ms = pg_array(a, PG_INT8, (int)all->n),
                    seq = pg_array(a, PG_INT8, (int)all->n);
    for (size_t i = 0; i < all->n; i++) {
        const struct seen *seen = &all->list[i];
        if (str_starts(seen->name, STR("ext:"))) { /* the mirror of a subscriber that was forgotten */
            redis_sendf(relay->redis, on_made, NULL, "XGROUP DESTROY %s %b", seen->stream->name, seen->name);
            continue;
        }
        if (seen->name.n > 128 || utf8_length(seen->name) == SIZE_MAX ||
            memchr(seen->name.p, 0, seen->name.n))
            continue; /* no name for a person, nor for a row */
        pg_array_text(&name, seen->name);
        pg_array_text(&topic, str_of(topic_name(seen->stream->topic)));
        pg_array_int(&part, seen->stream->part);
        pg_array_int(&ms, seen->ms);
        pg_array_int(&seq, seen->seq);
    }
    const struct pg_param params[] = {pg_array_param(&name), pg_array_param(&topic), pg_array_param(&part),
                                      pg_array_param(&ms), pg_array_param(&seq)};
    return name.n ? relay_read_failed(relay, pg_call(relay->pg, &remember, 5, params, NULL)) : OK;
}

static bool stands(const struct strangers *all, const struct offset *offset)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].stream == offset->stream && str_eq(all->list[i].name, offset->grp))
            return true;
    return false;
}

/* The stream is there and the group is not. A stream that was made anew has all its groups from the first
 * moment, so somebody destroyed this one, or a failover lost its making: a registered one comes back. */
static err miss(struct relay *relay, const struct offsets *offsets, const struct strangers *all)
{
    struct arena *a = relay->arena;
    struct pg_array name = pg_array(a, PG_TEXT, 8), topic = pg_array(a, PG_TEXT, 8),
                    part = pg_array(a, PG_INT8, 8);
    for (size_t i = 0; i < offsets->n; i++) {
        const struct offset *offset = &offsets->list[i];
        if (!offset->stranger || !all->looks[offset->stream - relay->streams].answered || stands(all, offset))
            continue;
        if (offset->registered) {
            struct str id = arena_printf(a, "%" PRId64 "-%" PRId64, offset->ms, offset->seq);
            redis_sendf(relay->redis, on_made, NULL, "XGROUP CREATE %s %b %b", offset->stream->name,
                        offset->grp, id);
            continue;
        }
        pg_array_text(&name, offset->grp);
        pg_array_text(&topic, str_of(topic_name(offset->stream->topic)));
        pg_array_int(&part, offset->stream->part);
    }
    const struct pg_param params[] = {pg_array_param(&name), pg_array_param(&topic), pg_array_param(&part)};
    TRY(relay_wait(relay));
    return name.n ? relay_read_failed(relay, pg_call(relay->pg, &forget, 3, params, NULL)) : OK;
}

static err expire_silent(struct relay *relay)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    int64_t now = clock_mono_ms();
    if (relay->expired_ms && now - relay->expired_ms < EXPIRE_MS)
        return OK;
    TRY(relay_read_failed(relay, pg_call(relay->pg, &expire, 0, NULL, &result)));
    relay->expired_ms = now;
    for (int i = 0; i < pg_rows(result); i++)
        log_warn("a subscriber was not heard of for long and holds nothing any more",
                 kv("subscriber", pg_get_str(result, i, 0)), kv("owner", pg_get_str(result, i, 1)));
    return OK;
}

err relay_strangers(struct relay *relay)
{
    struct offsets offsets;
    struct strangers all = {.n = 0};
    arena_reset(relay->arena);
    TRY(relay_read_failed(relay, relay_offsets(relay, relay->arena, &offsets)));
    TRY(look_at_streams(relay, &offsets, &all));
    TRY(write_down(relay, &all));
    TRY(miss(relay, &offsets, &all));
    return expire_silent(relay);
}
