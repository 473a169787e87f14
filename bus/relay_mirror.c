/*
 * Groups on event streams are mirrors: the truth is consumer_offset, and XINFO GROUPS is kept level with it
 * for whoever looks (XGROUP SETID … ENTRIESREAD, so that lag is right too). Also here: where a stream begins
 * anew, and where it may be trimmed, both at the lowest offset of the groups attached to it.
 */
#include "bus/relay_internal.h"

#include <inttypes.h>

#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

enum { OFFSETS_CEILING = 16 << 20, TRIM_STEP = 10000 };

/* ---- offsets ---- */

static const struct pg_stmt select_offsets = {
    "relay_offsets",
    "SELECT o.grp, o.topic, o.part, o.ms, o.seq, d.grp IS NOT NULL, o.expired, o.stranger, o.registered FROM "
    "("
    " SELECT o.grp, o.topic, o.part, o.ms, o.seq, s.expired IS NOT NULL AS expired, false AS stranger,"
    "  false AS registered FROM consumer_offset o LEFT JOIN subscriber s ON o.grp = 'ext:' || s.name"
    " UNION ALL SELECT g.name, g.topic, g.part, g.ms, g.seq, s.expired IS NOT NULL, true,"
    "  s.kind = 'redis' FROM subscriber_group g JOIN subscriber s USING (name)) o"
    " LEFT JOIN group_detached d ON d.grp = o.grp AND d.topic = o.topic AND d.part = o.part"
    " ORDER BY o.topic, o.part, o.grp"};

static const struct pg_stmt select_detached = {
    "relay_detached", "SELECT grp, topic, part, reason = 'operator' FROM group_detached"};

err relay_offsets(struct relay *relay, struct arena *arena, struct offsets *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(relay->pg, &select_offsets, 0, NULL, &result));
    int rows = pg_rows(result);
    *ret = (struct offsets){.arena = arena, .list = arena_array(arena, struct offset, rows + 1)};
    for (int i = 0; i < rows; i++) {
        struct stream *stream =
            relay_stream(relay, topic_find(pg_get_str(result, i, 1)), pg_get_int(result, i, 2));
        if (stream)
            ret->list[ret->n++] = (struct offset){.stream = stream,
                                                  .grp = arena_str(arena, pg_get_str(result, i, 0)),
                                                  .ms = pg_get_int(result, i, 3),
                                                  .seq = pg_get_int(result, i, 4),
                                                  .detached = pg_get_bool(result, i, 5),
                                                  .expired = pg_get_bool(result, i, 6),
                                                  .stranger = pg_get_bool(result, i, 7),
                                                  .registered = pg_get_bool(result, i, 8)};
    }
    return OK;
}

err relay_detached(struct relay *relay, struct detached_list *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(relay_read_failed(relay, pg_call(relay->pg, &select_detached, 0, NULL, &result)));
    int rows = pg_rows(result);
    *ret = (struct detached_list){arena_array(relay->arena, struct detached, rows + 1), 0};
    for (int i = 0; i < rows; i++) {
        struct stream *stream =
            relay_stream(relay, topic_find(pg_get_str(result, i, 1)), pg_get_int(result, i, 2));
        if (stream)
            ret->list[ret->n++] = (struct detached){stream, arena_str(relay->arena, pg_get_str(result, i, 0)),
                                                    pg_get_bool(result, i, 3)};
    }
    return OK;
}

/* False when no group is attached. */
static bool lowest_offset(const struct offsets *offsets, const struct stream *stream, int64_t *ret)
{
    bool found = false;
    for (size_t i = 0; i < offsets->n; i++) {
        const struct offset *offset = &offsets->list[i];
        if (offset->stream != stream || offset->detached || offset->expired)
            continue;
        *ret = found && *ret < offset->seq ? *ret : offset->seq;
        found = true;
    }
    return found;
}

/* Where a stream begins anew: at the lowest offset, with nobody attached as far back as it may, for whoever
 * reads it otherwise. */
static int64_t remake_floor(const struct offsets *offsets, const struct stream *stream)
{
    int64_t furthest = stream->head > REMAKE_EVENTS ? stream->head - REMAKE_EVENTS : 0, floor = furthest;
    lowest_offset(offsets, stream, &floor);
    floor = floor < furthest ? furthest : floor;
    return floor < stream->head ? floor : stream->head;
}

static int64_t trim_floor(const struct offsets *offsets, const struct stream *stream)
{
    int64_t floor = stream->head;
    if (!mutant(MUTANT_TRIM_FLOOR))
        lowest_offset(offsets, stream, &floor);
    return floor < stream->head ? floor : stream->head;
}

/* ---- making a stream anew ---- */

/* KEYS stream. ARGV base id, base seq, then group, id, entries read… Nothing happens to a stream that has had
 * an id already (somebody else made it): its last id is returned. */
static struct redis_script remake_script = {
    .source = "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
              "if info.err then\n"
              "  if not string.find(info.err, 'no such key', 1, true) then return info end\n"
              "  redis.call('XGROUP', 'CREATE', KEYS[1], 'relay', '0', 'MKSTREAM')\n"
              "  redis.call('XGROUP', 'DESTROY', KEYS[1], 'relay')\n"
              "else\n"
              "  for i = 1, #info, 2 do\n"
              "    if info[i] == 'last-generated-id' and info[i + 1] ~= '0-0' then return info[i + 1] end\n"
              "  end\n"
              "end\n"
              "if ARGV[2] ~= '0' then\n"
              "  redis.call('XSETID', KEYS[1], ARGV[1], 'ENTRIESADDED', ARGV[2], 'MAXDELETEDID', ARGV[1])\n"
              "end\n"
              "for i = 3, #ARGV, 3 do\n"
              "  redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[i], ARGV[i + 1], 'ENTRIESREAD', ARGV[i + 2])\n"
              "end\n"
              "return ARGV[1]\n",
};

struct remake {
    struct relay *relay;
    struct stream *stream;
    int64_t ms, seq;
};

static void on_remade(void *data, const struct redis_reply *reply)
{
    struct remake *remake = data;
    struct stream *stream = remake->stream;
    if (!relay_reply_ok(remake->relay, reply))
        return;
    if (failed(entry_id_parse(reply->text, &stream->last_ms, &stream->last))) {
        remake->relay->again = true;
        return;
    }
    bool mine = stream->last == remake->seq && stream->last_ms == remake->ms;
    stream->state = mine ? STREAM_GOOD : STREAM_UNKNOWN;
    stream->checked = mine;
    if (!mine)
        remake->relay->again = true; /* another relay was first: look again before trusting it */
    if (mine && (remake->seq > 0 || stream->known)) {
        counter_add(COUNTER_RELAY_REBUILT, 1);
        log_warn("a stream was missing and is made anew from the log", kv("stream", stream->name),
                 kv("after", remake->seq), kv("head", stream->head));
    }
    stream->known = true;
}

/* Three words for each group of the stream; room for all offsets is the caller's. */
static size_t group_words(struct relay *relay, const struct offsets *offsets, const struct stream *stream,
                          struct str *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < offsets->n; i++) {
        const struct offset *offset = &offsets->list[i];
        if (offset->stream != stream)
            continue;
        ret[n++] = offset->grp;
        ret[n++] = arena_printf(relay->arena, "%" PRId64 "-%" PRId64, offset->ms, offset->seq);
        ret[n++] = arena_printf(relay->arena, "%" PRId64, offset->seq);
    }
    return n;
}

err relay_remake(struct relay *relay, struct stream **streams, size_t n)
{
    struct offsets offsets;
    int64_t *floors = arena_array(relay->arena, int64_t, n), *ms = arena_array(relay->arena, int64_t, n);
    TRY(relay_read_failed(relay, relay_offsets(relay, relay->arena, &offsets)));
    for (size_t i = 0; i < n; i++)
        floors[i] = remake_floor(&offsets, streams[i]);
    TRY(relay_read_failed(relay, relay_log_ms(relay, streams, floors, n, ms)));
    for (size_t i = 0; i < n; i++) {
        if (ms[i] == RELAY_MS_UNREAD) {
            streams[i]->state = STREAM_UNKNOWN; /* the next look finds it missing, and tries again */
            continue;
        }
        struct remake *remake = arena_new_of(relay->arena, struct remake);
        *remake = (struct remake){relay, streams[i], ms[i], floors[i]};
        struct str *words = arena_array(relay->arena, struct str, 4 + 3 * offsets.n);
        words[0] = STR("1");
        words[1] = str_of(streams[i]->name);
        words[2] = arena_printf(relay->arena, "%" PRId64 "-%" PRId64, ms[i], floors[i]);
        words[3] = arena_printf(relay->arena, "%" PRId64, floors[i]);
        size_t groups = group_words(relay, &offsets, streams[i], words + 4);
        redis_script_send(relay->redis, &remake_script, on_remade, remake, 4 + groups, words);
    }
    return relay_wait(relay);
}

/* ---- levelling ---- */

/* KEYS stream. ARGV "1" when the log has no event of it yet: then an empty stream may be made; then triples
 * as above. */
static struct redis_script level_script = {
    .source =
        "for i = 2, #ARGV, 3 do\n"
        "  local set = redis.pcall('XGROUP', 'SETID', KEYS[1], ARGV[i], ARGV[i + 1], 'ENTRIESREAD', ARGV[i"
        " + 2])\n"
        "  if set.err then\n"
        "    if ARGV[1] == '1' then\n"
        "      redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[i], ARGV[i + 1], 'MKSTREAM', 'ENTRIESREAD',\n"
        "        ARGV[i + 2])\n"
        "    elseif redis.call('EXISTS', KEYS[1]) == 1 then\n"
        "      redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[i], ARGV[i + 1], 'ENTRIESREAD', ARGV[i + 2])\n"
        "    end\n"
        "  end\n"
        "end\n"
        "return 1\n",
};

static void on_levelled(void *data, const struct redis_reply *reply)
{
    relay_reply_ok(data, reply);
}

/* The groups of one stream that moved; *from and the result are indices into now->list. */
static size_t level_stream(struct relay *relay, const struct offsets *now, size_t from, bool all)
{
    struct stream *stream = now->list[from].stream;
    size_t to = from;
    struct offsets moved = {.list = arena_array(relay->arena, struct offset, now->n + 1)};
    for (; to < now->n && now->list[to].stream == stream; to++)
        if (all || relay->mirrored.list[to].seq != now->list[to].seq)
            moved.list[moved.n++] = now->list[to];
    if (moved.n && stream->state != STREAM_AHEAD && stream->state != STREAM_BROKEN) {
        struct str *words = arena_array(relay->arena, struct str, 3 + 3 * moved.n);
        words[0] = STR("1");
        words[1] = str_of(stream->name);
        words[2] = stream->head == 0 ? STR("1") : STR("0");
        size_t n = group_words(relay, &moved, stream, words + 3);
        redis_script_send(relay->redis, &level_script, on_levelled, relay, 3 + n, words);
    }
    return to;
}

/* Rows come in the same order each time, so a changed set of rows shows when they are laid side by side. */
static bool same_rows(const struct offsets *a, const struct offsets *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = a->list[i].stream == b->list[i].stream && str_eq(a->list[i].grp, b->list[i].grp);
    return same;
}

err relay_level(struct relay *relay)
{
    struct offsets now;
    struct arena *arena = arena_new(OFFSETS_CEILING);
    err e = relay_read_failed(relay, relay_offsets(relay, arena, &now));
    if (failed(e)) {
        arena_free(arena);
        return e;
    }
    size_t kept = 0;
    for (size_t i = 0; i < now.n; i++)
        if (!now.list[i].stranger)
            now.list[kept++] = now.list[i];
    now.n = kept;
    arena_reset(relay->arena);
    bool all = !same_rows(&relay->mirrored, &now);
    for (size_t i = 0; i < now.n;)
        i = level_stream(relay, &now, i, all);
    e = relay_wait(relay);
    if (failed(e))
        now.n = 0; /* level all next time */
    arena_free(relay->mirrored.arena);
    relay->mirrored = now;
    return e;
}

/* ---- trimming ---- */

/* KEYS stream. ARGV ms and seq of the lowest id to keep, then the names of the groups that need not be asked:
 * our own, whose offsets are in the floor already, detached ones, and those that expired. Any other group
 * keeps what it has not been given, and what it has not acknowledged. No script of the new kind (#!lua),
 * which would be refused when memory is short. */
static struct redis_script trim_script = {
    .source = "local ms, seq, known = tonumber(ARGV[1]), tonumber(ARGV[2]), {}\n"
              "for i = 3, #ARGV do known[ARGV[i]] = true end\n"
              "local function lower(id, add)\n"
              "  local m, s = string.match(id, '^(%d+)%-(%d+)$')\n"
              "  m, s = tonumber(m), tonumber(s) + add\n"
              "  if m < ms or (m == ms and s < seq) then ms, seq = m, s end\n"
              "end\n"
              "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end\n"
              "for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do\n"
              "  if not known[group[2]] then\n"
              "    lower(group[8], 1)\n"
              "    if group[6] > 0 then lower(redis.call('XPENDING', KEYS[1], group[2])[2], 0) end\n"
              "  end\n"
              "end\n"
              "return redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f-%.0f', ms, seq),"
              " 'LIMIT', 10000)\n",
};

struct trim {
    struct relay *relay;
    int64_t removed;
};

static void on_trimmed(void *data, const struct redis_reply *reply)
{
    struct trim *trim = data;
    trim->removed = relay_reply_ok(trim->relay, reply) ? redis_integer(reply, 0) : 0;
}

/* Everything up to and including seq may go. In steps: one call examines a bounded number of entries. */
static err trim_stream(struct relay *relay, const struct offsets *offsets,
                       const struct detached_list *detached, const struct stream *stream, int64_t ms,
                       int64_t seq)
{
    struct str *words = arena_array(relay->arena, struct str, 4 + offsets->n + detached->n);
    size_t n = 0;
    words[n++] = STR("1");
    words[n++] = str_of(stream->name);
    words[n++] = arena_printf(relay->arena, "%" PRId64, ms);
    words[n++] = arena_printf(relay->arena, "%" PRId64, seq + 1);
    for (size_t i = 0; i < offsets->n; i++)
        if (offsets->list[i].stream == stream && (!offsets->list[i].stranger || offsets->list[i].expired))
            words[n++] = offsets->list[i].grp;
    for (size_t i = 0; i < detached->n; i++)
        if (detached->list[i].stream == stream)
            words[n++] = detached->list[i].grp;
    struct trim trim = {relay, 0};
    do {
        redis_script_send(relay->redis, &trim_script, on_trimmed, &trim, n, words);
        TRY(relay_wait(relay));
    } while (trim.removed > 0);
    return OK;
}

err relay_trim(struct relay *relay, int64_t keep)
{
    struct offsets offsets;
    struct detached_list detached;
    arena_reset(relay->arena);
    int64_t *floors = arena_array(relay->arena, int64_t, relay->n),
            *ms = arena_array(relay->arena, int64_t, relay->n);
    struct stream **list = arena_array(relay->arena, struct stream *, relay->n);
    size_t n = 0;
    TRY(relay_read_failed(relay, relay_offsets(relay, relay->arena, &offsets)));
    for (size_t i = 0; i < relay->n; i++) {
        struct stream *stream = &relay->streams[i];
        int64_t floor = trim_floor(&offsets, stream) - keep;
        if (stream->state != STREAM_GOOD || floor <= stream->trimmed)
            continue;
        list[n] = stream;
        floors[n++] = floor;
    }
    if (n == 0)
        return OK;
    TRY(relay_detached(relay, &detached));
    TRY(relay_read_failed(relay, relay_log_ms(relay, list, floors, n, ms)));
    if (FAULT(TRIM_AFTER_FLOOR))
        return FAIL(REDIS_DOWN, "fault");
    for (size_t i = 0; i < n; i++) {
        if (ms[i] == RELAY_MS_UNREAD)
            continue;
        TRY(trim_stream(relay, &offsets, &detached, list[i], ms[i], floors[i]));
        list[i]->trimmed = floors[i];
    }
    return OK;
}
