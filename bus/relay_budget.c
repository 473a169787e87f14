/*
 * Who may keep events in Redis. Streams are trimmed only below what every attached group has passed, so a
 * group that stands still would fill the memory and stop everybody. The budget decides: below two thirds
 * of it nothing happens; above, the history that all have passed is given up, the more the higher; above four
 * fifths the groups that lag most are detached from the streams they lag on, until what is left fits. Nobody
 * loses anything by it: a group of ours reads from the log, or from the archive, what its stream does not
 * have any more. It is attached again when it is near, or when its stream has all it needs and there is room.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/relay_internal.h"

/* Closer than this a group is near: it holds less than what is trimmed in one step. */
enum { NEAR = 1000 };

/* ---- the budget ---- */

static const struct {
    const char *suffix;
    int64_t factor;
} units[] = {{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"", 1}};

err relay_budget_parse(struct str text, struct relay_budget *ret)
{
    *ret = (struct relay_budget){0};
    if (text.n > 1 && text.p[text.n - 1] == '%') {
        if (!failed(str_int64(str_slice(text, 0, text.n - 1), &ret->percent)) && ret->percent >= 1 &&
            ret->percent <= 100)
            return OK;
        return FAIL(CONFIG, "REDIS_BUDGET: a percentage is from 1%% to 100%%");
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        struct str suffix = str_of(units[i].suffix);
        bool has = text.n >= suffix.n && str_ieq(str_slice(text, text.n - suffix.n, text.n), suffix);
        if (!has || failed(str_int64(str_slice(text, 0, text.n - suffix.n), &ret->bytes)))
            continue;
        if (ret->bytes >= 0 && ret->bytes <= INT64_MAX / units[i].factor) {
            ret->bytes *= units[i].factor;
            return OK;
        }
    }
    return FAIL(CONFIG, "REDIS_BUDGET must be bytes, a number with kb, mb or gb, N%% of maxmemory, or 0");
}

struct memory {
    int64_t used, limit; /* limit 0: none */
};

/* Above soft history is given up, above hard groups are detached; what comes in until the next look has room
 * above that. Never when there is no limit. */
static int64_t soft(const struct memory *memory)
{
    return memory->limit ? memory->limit / 3 * 2 : INT64_MAX;
}

static int64_t hard(const struct memory *memory)
{
    return memory->limit ? memory->limit / 5 * 4 : INT64_MAX;
}

static int64_t info_number(struct str info, const char *name)
{
    const char *at = strstr(info.p, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static err look_at_memory(struct relay *relay, const struct relay_budget *budget, struct memory *ret)
{
    const struct redis_reply *reply = NULL;
    err e = redis_callf(relay->redis, &reply, "INFO memory");
    if (failed(e))
        return relay_read_failed(relay, e);
    struct str info = arena_str(relay->arena, reply->text); /* ends with a NUL */
    ret->used = info_number(info, "used_memory:");
    ret->limit = budget->percent ? info_number(info, "\nmaxmemory:") * budget->percent / 100 : budget->bytes;
    counter_set(COUNTER_REDIS_USED, ret->used);
    counter_set(COUNTER_REDIS_BUDGET, ret->limit);
    return OK;
}

/* ---- who stands where ---- */

/* Somebody who reads a stream, and what he holds back. */
struct reader {
    struct stream *stream;
    struct str grp;
    int64_t seq; /* passed up to here */
    bool detached, by_operator;
};

struct depot { /* a stream and its readers */
    struct relay *relay;
    struct stream *stream;
    int64_t length, bytes;
    struct reader *readers;
    size_t n, cap;
};

/* KEYS stream. ARGV our own groups. → length, bytes, then of each other group its name and the seq it has
 * passed: what it has not acknowledged, it has not. */
static struct redis_script look_script = {
    .source =
        "local own, answer = {}, {redis.call('XLEN', KEYS[1]), redis.call('MEMORY', 'USAGE', KEYS[1]) or 0}\n"
        "if redis.call('EXISTS', KEYS[1]) == 0 then return answer end\n"
        "for i = 1, #ARGV do own[ARGV[i]] = true end\n"
        "local function seq(id) return tonumber(string.match(id, '%-(%d+)$')) end\n"
        "for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do\n"
        "  if not own[group[2]] then\n"
        "    local passed = seq(group[8])\n"
        "    if group[6] > 0 then\n"
        "      passed = math.min(passed, seq(redis.call('XPENDING', KEYS[1], group[2])[2]) - 1)\n"
        "    end\n"
        "    answer[#answer + 1] = group[2]\n"
        "    answer[#answer + 1] = passed\n"
        "  end\n"
        "end\n"
        "return answer\n",
};

static void add_reader(struct depot *depot, const struct detached_list *detached, struct str grp, int64_t seq)
{
    struct reader *r = &depot->readers[depot->n++];
    *r = (struct reader){.stream = depot->stream, .grp = grp, .seq = seq};
    for (size_t i = 0; i < detached->n; i++)
        if (detached->list[i].stream == depot->stream && str_eq(detached->list[i].grp, grp)) {
            r->detached = true;
            r->by_operator = detached->list[i].by_operator;
        }
}

struct looking {
    struct depot *depot;
    const struct detached_list *detached;
};

static void on_look(void *data, const struct redis_reply *reply)
{
    struct looking *looking = data;
    struct depot *depot = looking->depot;
    if (!relay_reply_ok(depot->relay, reply) || reply->kind != REDIS_ARRAY || reply->n < 2)
        return;
    depot->length = redis_integer(&reply->items[0], 0);
    depot->bytes = redis_integer(&reply->items[1], 0);
    struct arena *arena = depot->relay->arena;
    size_t others = (reply->n - 2) / 2;
    struct reader *all = arena_array(arena, struct reader, depot->n + others + 1);
    if (depot->n)
        memcpy(all, depot->readers, depot->n * sizeof(*all));
    depot->readers = all;
    for (size_t i = 2; i + 1 < reply->n; i += 2)
        add_reader(depot, looking->detached, arena_str(arena, reply->items[i].text),
                   redis_integer(&reply->items[i + 1], 0));
}

static void look_at(struct relay *relay, const struct offsets *offsets, const struct detached_list *detached,
                    struct depot *depot)
{
    struct str *words = arena_array(relay->arena, struct str, 2 + offsets->n);
    struct looking *looking = arena_new_of(relay->arena, struct looking);
    size_t n = 0;
    depot->readers = arena_array(relay->arena, struct reader, offsets->n + 1);
    *looking = (struct looking){depot, detached};
    words[n++] = STR("1");
    words[n++] = str_of(depot->stream->name);
    for (size_t i = 0; i < offsets->n; i++)
        if (offsets->list[i].stream == depot->stream) {
            words[n++] = offsets->list[i].grp;
            add_reader(depot, detached, offsets->list[i].grp, offsets->list[i].seq);
        }
    redis_script_send(relay->redis, &look_script, on_look, looking, n, words);
}

struct depots {
    struct depot *list;
    size_t n;
};

static err look_at_all(struct relay *relay, const struct detached_list *detached, struct depots *ret)
{
    struct offsets offsets;
    TRY(relay_read_failed(relay, relay_offsets(relay, relay->arena, &offsets)));
    *ret = (struct depots){arena_array(relay->arena, struct depot, relay->n + 1), 0};
    for (size_t i = 0; i < relay->n; i++) {
        if (relay->streams[i].state != STREAM_GOOD)
            continue;
        struct depot *depot = &ret->list[ret->n++];
        *depot = (struct depot){.relay = relay, .stream = &relay->streams[i]};
        look_at(relay, &offsets, detached, depot);
    }
    return relay_wait(relay);
}

/* ---- deciding ---- */

static int64_t lag_of(const struct reader *r)
{
    return r->stream->head - r->seq;
}

static int64_t bytes_of(const struct depot *depot, int64_t events)
{
    return depot->length ? (int64_t)((double)depot->bytes / (double)depot->length * (double)events) : 0;
}

/* Events that the attached readers hold in the stream. */
static int64_t held(const struct depot *depot)
{
    int64_t most = 0;
    for (size_t i = 0; i < depot->n; i++)
        if (!depot->readers[i].detached && lag_of(&depot->readers[i]) > most)
            most = lag_of(&depot->readers[i]);
    return most < depot->length ? most : depot->length;
}

/* The attached reader that lags by most bytes, and where; NULL when all are near. */
static struct reader *slowest(const struct depots *depots, struct depot **ret_depot)
{
    struct reader *found = NULL;
    int64_t most = 0;
    for (size_t d = 0; d < depots->n; d++)
        for (size_t i = 0; i < depots->list[d].n; i++) {
            struct reader *r = &depots->list[d].readers[i];
            int64_t bytes = bytes_of(&depots->list[d], lag_of(r));
            if (r->detached || lag_of(r) <= NEAR || bytes <= most)
                continue;
            most = bytes;
            found = r;
            *ret_depot = &depots->list[d];
        }
    return found;
}

static const struct pg_stmt insert_detached = {
    "relay_detach",
    "INSERT INTO group_detached (grp, topic, part, reason, seq, since_ms)"
    " VALUES ($1, $2, $3::bigint::int, 'budget', $4::bigint, $5::bigint) ON CONFLICT DO NOTHING"};
static const struct pg_stmt delete_detached = {
    "relay_attach", "DELETE FROM group_detached WHERE grp = $1 AND topic = $2 AND part = $3::bigint::int"
                    " AND reason = 'budget'"};

static err detach(struct relay *relay, struct reader *r, const struct memory *memory)
{
    const struct pg_param params[] = {pg_text(r->grp), pg_text(str_of(topic_name(r->stream->topic))),
                                      pg_int(r->stream->part), pg_int(r->seq), pg_int(clock_ms())};
    TRY(relay_read_failed(relay, pg_call(relay->pg, &insert_detached, 5, params, NULL)));
    r->detached = true;
    counter_add(COUNTER_DETACHED, 1);
    log_warn("a group lags and is detached from its stream; it reads the log until it has caught up",
             kv("group", r->grp), kv("stream", r->stream->name), kv("lag", lag_of(r)),
             kv("used_bytes", memory->used), kv("budget_bytes", memory->limit));
    return OK;
}

/* What the others hold back stays; what is detached now goes with the next trim. */
static err detach_slowest(struct relay *relay, struct depots *depots, const struct memory *memory)
{
    struct depot *depot;
    struct reader *r;
    int64_t after = memory->used;
    while (after > soft(memory) && (r = slowest(depots, &depot))) {
        int64_t before = held(depot);
        TRY(detach(relay, r, memory));
        after -= bytes_of(depot, before - held(depot));
    }
    return OK;
}

static bool may_attach(const struct depot *depot, const struct reader *r, const struct memory *memory)
{
    if (!r->detached || r->by_operator)
        return false;
    bool room = memory->limit == 0 || memory->used < memory->limit / 2;
    bool has_all = lag_of(r) <= depot->length;
    return lag_of(r) <= NEAR || (room && has_all);
}

static err attach(struct relay *relay, struct stream *stream, struct str grp, const char *why)
{
    const struct pg_param params[] = {pg_text(grp), pg_text(str_of(topic_name(stream->topic))),
                                      pg_int(stream->part)};
    TRY(relay_read_failed(relay, pg_call(relay->pg, &delete_detached, 3, params, NULL)));
    counter_add(COUNTER_ATTACHED, 1);
    log_info("a group is attached to its stream again", kv("group", grp), kv("stream", stream->name),
             kv("why", why));
    return OK;
}

static const struct reader *reader_of(const struct depots *depots, const struct detached *d,
                                      const struct depot **ret_depot)
{
    for (size_t i = 0; i < depots->n; i++) {
        const struct depot *depot = &depots->list[i];
        *ret_depot = depot;
        for (size_t k = 0; depot->stream == d->stream && k < depot->n; k++)
            if (str_eq(depot->readers[k].grp, d->grp))
                return &depot->readers[k];
    }
    return NULL;
}

/* Streams that are not good just now say nothing about who is gone. */
static err attach_ready(struct relay *relay, const struct depots *depots,
                        const struct detached_list *detached, const struct memory *memory)
{
    for (size_t i = 0; i < detached->n; i++) {
        const struct detached *d = &detached->list[i];
        const struct depot *depot;
        const struct reader *r = reader_of(depots, d, &depot);
        if (!r && !d->by_operator && d->stream->state == STREAM_GOOD)
            TRY(attach(relay, d->stream, d->grp, "it is gone"));
        else if (r && may_attach(depot, r, memory))
            TRY(attach(relay, d->stream, d->grp, "it has caught up"));
    }
    return OK;
}

/* How much of the history that all have passed is kept: all of it up to the soft bound, nothing from the hard
 * one on. */
static int64_t history(const struct memory *memory, int64_t keep)
{
    int64_t low = soft(memory), high = hard(memory);
    if (memory->used <= low)
        return keep;
    return memory->used >= high
               ? 0
               : (int64_t)((double)keep * (double)(high - memory->used) / (double)(high - low));
}

static err trim_anew(struct relay *relay, int64_t keep)
{
    for (size_t i = 0; i < relay->n; i++)
        relay->streams[i].trimmed = 0; /* what somebody else held back may be free now */
    return relay_trim(relay, keep);
}

err relay_retain(struct relay *relay, const struct relay_budget *budget, int64_t keep)
{
    struct memory memory;
    struct detached_list detached;
    struct depots depots;
    arena_reset(relay->arena);
    TRY(look_at_memory(relay, budget, &memory));
    bool scarce = memory.used > soft(&memory);
    TRY(scarce ? trim_anew(relay, history(&memory, keep)) : relay_trim(relay, keep));
    arena_reset(relay->arena);
    TRY(relay_detached(relay, &detached));
    if (scarce)
        TRY(look_at_memory(relay, budget, &memory));
    bool too_much = memory.used > hard(&memory);
    if (detached.n == 0 && !too_much)
        return OK;
    TRY(look_at_all(relay, &detached, &depots));
    if (!too_much)
        return attach_ready(relay, &depots, &detached, &memory);
    TRY(detach_slowest(relay, &depots, &memory));
    return trim_anew(relay, 0);
}
