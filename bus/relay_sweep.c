/*
 * The sweep. Each pass compares the heads of the log (one statement) with what is known of the streams, and
 * appends the difference. Once a second, and at once after any failure, it looks at Redis itself ("probe"),
 * judges each stream, and heals what is not a contiguous part of the log:
 *
 *   missing   (FLUSHALL, DEL, failover to an empty node)
 *             made anew at the lowest attached offset, and filled from the log
 *   broken    (a hole, a foreign id, another type)
 *             renamed to "<name>:broken" for an hour, then as missing
 *   ahead     (its last id is beyond the log: PostgreSQL lost events, or somebody else writes)
 *             renamed to "<name>:ahead" for a week, since nobody else has what it shows, then as missing
 *
 * The probe comes before the heads: what was in a stream then was committed before, so a stream is never
 * ahead by a race.
 */
#include "bus/relay_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"

enum { VERIFY_MS = 1000, LEVEL_MS = 200, PASS_MS = 1000, LOOKS = 3 };
/* How long what was set aside is kept. */
#define BROKEN_MS "3600000"
#define AHEAD_MS "604800000"

/* ---- probe ---- */

/* ["missing"] | ["broken"] | ["stream", last id, length, first entry's id, last entry's id, group…] */
static struct redis_script probe_script = {
    .source = "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
              "if info.err then\n"
              "  if string.find(info.err, 'no such key', 1, true) then return {'missing'} end\n"
              "  if string.find(info.err, 'WRONGTYPE', 1, true) then return {'broken'} end\n"
              "  return info\n"
              "end\n"
              "local answer = {'stream', '', '', '', ''}\n"
              "for i = 1, #info, 2 do\n"
              "  local name, value = info[i], info[i + 1]\n"
              "  if name == 'last-generated-id' then answer[2] = value\n"
              "  elseif name == 'length' then answer[3] = tostring(value)\n"
              "  elseif name == 'first-entry' and value then answer[4] = value[1]\n"
              "  elseif name == 'last-entry' and value then answer[5] = value[1] end\n"
              "end\n"
              "for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do answer[#answer + 1] ="
              " group[2] end\n"
              "return answer\n",
};

struct probe {
    struct relay *relay;
    struct stream *stream;
};

/* Were all the groups found that the mirrors had been set for? */
static bool has_groups(const struct relay *relay, const struct stream *stream,
                       const struct redis_reply *names, size_t n)
{
    for (size_t i = 0; i < relay->mirrored.n; i++) {
        const struct offset *offset = &relay->mirrored.list[i];
        bool found = offset->stream != stream;
        for (size_t j = 0; !found && j < n; j++)
            found = str_eq(names[j].text, offset->grp);
        if (!found)
            return false;
    }
    return true;
}

/* Is there a group that is no mirror? */
static bool has_strangers(const struct relay *relay, const struct stream *stream,
                          const struct redis_reply *names, size_t n)
{
    size_t known = 0;
    for (size_t i = 0; i < relay->mirrored.n; i++)
        known += relay->mirrored.list[i].stream == stream;
    return n != known || !has_groups(relay, stream, names, n);
}

static enum stream_state probe_read(struct stream *stream, const struct redis_reply *reply)
{
    int64_t ms;
    if (reply->kind != REDIS_ARRAY || reply->n == 0)
        return STREAM_UNKNOWN;
    stream->first = stream->tail = 0;
    stream->length = -1;
    if (reply->n < 5)
        return str_is(reply->items[0].text, "missing") ? STREAM_MISSING : STREAM_BROKEN;
    stream->known = true;
    stream->length = redis_integer(&reply->items[2], -1);
    snprintf(stream->last_id, sizeof(stream->last_id), "%.*s", STR_ARG(reply->items[1].text));
    if (failed(entry_id_parse(reply->items[1].text, &stream->last_ms, &stream->last))) {
        stream->last_ms = stream->last = 0;
        return STREAM_BROKEN;
    }
    if (stream->last == 0 && stream->last_ms == 0)
        return STREAM_MISSING;
    if (stream->length == 0)
        return STREAM_GOOD;
    if (failed(entry_id_parse(reply->items[3].text, &ms, &stream->first)) ||
        failed(entry_id_parse(reply->items[4].text, &ms, &stream->tail)))
        return STREAM_BROKEN;
    bool contiguous = stream->tail == stream->last && stream->length == stream->last - stream->first + 1;
    return contiguous ? STREAM_GOOD : STREAM_BROKEN;
}

static void on_probe(void *data, const struct redis_reply *reply)
{
    struct probe *probe = data;
    struct stream *stream = probe->stream;
    if (!relay_reply_ok(probe->relay, reply))
        return;
    int64_t last_ms = stream->last_ms, last = stream->last;
    stream->state = probe_read(stream, reply);
    if (stream->state == STREAM_MISSING)
        stream->last_ms = stream->last = stream->length = 0;
    if (stream->last_ms != last_ms || stream->last != last)
        stream->checked = false;
    stream->strangers = reply->n >= 5 && has_strangers(probe->relay, stream, reply->items + 5, reply->n - 5);
    if (reply->n >= 5 && !has_groups(probe->relay, stream, reply->items + 5, reply->n - 5))
        probe->relay->mirrored.n = 0; /* somebody destroyed a group: level them all */
}

static err probe_streams(struct relay *relay)
{
    arena_reset(relay->arena);
    for (size_t i = 0; i < relay->n; i++) {
        struct probe *probe = arena_new_of(relay->arena, struct probe);
        *probe = (struct probe){relay, &relay->streams[i]};
        const struct str words[] = {STR("1"), str_of(relay->streams[i].name)};
        redis_script_send(relay->redis, &probe_script, on_probe, probe, 2, words);
    }
    return relay_wait(relay);
}

static err read_heads(struct relay *relay)
{
    struct head *heads;
    size_t n;
    arena_reset(relay->arena);
    TRY(relay_read_failed(relay, eventlog_heads(relay->pg, relay->arena, &heads, &n)));
    for (size_t i = 0; i < n; i++) {
        struct stream *stream = relay_stream(relay, heads[i].topic, heads[i].part);
        if (stream)
            stream->head = heads[i].seq;
    }
    return OK;
}

/* ---- judge ---- */

err relay_check_last_ids(struct relay *relay)
{
    struct stream **list = arena_array(relay->arena, struct stream *, relay->n + 1);
    int64_t *seqs = arena_array(relay->arena, int64_t, relay->n + 1), *ms;
    size_t n = 0;
    for (size_t i = 0; i < relay->n; i++)
        if (relay->streams[i].state == STREAM_GOOD && !relay->streams[i].checked) {
            list[n] = &relay->streams[i];
            seqs[n++] = relay->streams[i].last;
        }
    if (n == 0)
        return OK;
    ms = arena_array(relay->arena, int64_t, n);
    TRY(relay_read_failed(relay, relay_log_ms(relay, list, seqs, n, ms)));
    for (size_t i = 0; i < n; i++) {
        list[i]->checked = ms[i] == list[i]->last_ms;
        if (list[i]->checked)
            continue;
        list[i]->state = ms[i] == RELAY_MS_UNREAD ? STREAM_UNKNOWN : STREAM_BROKEN;
        relay->again |= list[i]->state == STREAM_BROKEN;
    }
    return OK;
}

static err judge(struct relay *relay)
{
    for (size_t i = 0; i < relay->n; i++) {
        struct stream *stream = &relay->streams[i];
        bool has_last =
            stream->state == STREAM_GOOD || (stream->state == STREAM_BROKEN && stream->length >= 0);
        if (has_last && stream->last > stream->head)
            stream->state = STREAM_AHEAD; /* with or without holes */
    }
    return relay_check_last_ids(relay);
}

/* ---- heal ---- */

/* KEYS stream, place aside, the place when that is taken. ARGV last id and length as probed ("" for another
 * type): what another relay has made anew meanwhile stays; for how long it is kept in either place. */
static struct redis_script set_aside_script = {
    .source = "local info, last, length = redis.pcall('XINFO', 'STREAM', KEYS[1]), '', ''\n"
              "if info.err then\n"
              "  if not string.find(info.err, 'WRONGTYPE', 1, true) then return 0 end\n"
              "else\n"
              "  for i = 1, #info, 2 do\n"
              "    if info[i] == 'last-generated-id' then last = info[i + 1]\n"
              "    elseif info[i] == 'length' then length = tostring(info[i + 1]) end\n"
              "  end\n"
              "end\n"
              "if last ~= ARGV[1] or length ~= ARGV[2] then return 0 end\n"
              "local place = redis.call('EXISTS', KEYS[2]) == 1 and 3 or 2\n"
              "redis.call('RENAME', KEYS[1], KEYS[place])\n"
              "redis.call('PEXPIRE', KEYS[place], ARGV[place + 1])\n"
              "return 1\n",
};

static void on_set_aside(void *data, const struct redis_reply *reply)
{
    struct probe *probe = data;
    if (!relay_reply_ok(probe->relay, reply))
        return;
    if (redis_integer(reply, 0) == 1)
        probe->stream->state = STREAM_MISSING;
    else
        probe->relay->again = true;
    probe->stream->last_ms = probe->stream->last = 0;
}

static void tell_aside(const struct stream *stream)
{
    if (stream->state == STREAM_AHEAD)
        log_error(
            "a stream is ahead of the log, which has lost events or is not alone in writing it; it is kept"
            " aside and made anew",
            kv("stream", stream->name), kv("last", str_of(stream->last_id)), kv("length", stream->length),
            kv("head", stream->head));
    else
        log_error("a stream is not a part of the log; it is made anew", kv("stream", stream->name),
                  kv("last", str_of(stream->last_id)), kv("length", stream->length),
                  kv("head", stream->head));
}

/* Of what is ahead the first is kept for long, whatever somebody does after that; all else gives way to what
 * comes. */
static void send_aside(struct relay *relay, struct stream *stream)
{
    struct probe *probe = arena_new_of(relay->arena, struct probe);
    bool other_type = stream->length < 0, ahead = stream->state == STREAM_AHEAD;
    struct str broken = arena_printf(relay->arena, "%s:broken", stream->name),
               first = ahead ? arena_printf(relay->arena, "%s:ahead", stream->name) : broken;
    *probe = (struct probe){relay, stream};
    const struct str words[] = {STR("3"),
                                str_of(stream->name),
                                first,
                                broken,
                                other_type ? STR("") : str_of(stream->last_id),
                                other_type ? STR("") : arena_printf(relay->arena, "%" PRId64, stream->length),
                                ahead ? STR(AHEAD_MS) : STR(BROKEN_MS),
                                STR(BROKEN_MS)};
    redis_script_send(relay->redis, &set_aside_script, on_set_aside, probe, sizeof(words) / sizeof(*words),
                      words);
}

static err set_aside(struct relay *relay)
{
    for (size_t i = 0; i < relay->n; i++) {
        struct stream *stream = &relay->streams[i];
        if (stream->state != STREAM_BROKEN && stream->state != STREAM_AHEAD)
            continue;
        tell_aside(stream);
        send_aside(relay, stream);
    }
    return relay_wait(relay);
}

static err heal(struct relay *relay)
{
    TRY(set_aside(relay));
    struct stream **missing = arena_array(relay->arena, struct stream *, relay->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < relay->n; i++)
        if (relay->streams[i].state == STREAM_MISSING && relay->streams[i].head > 0)
            missing[n++] = &relay->streams[i];
    if (n == 0)
        return OK;
    relay->mirrored.n = 0;
    TRY(relay_remake(relay, missing, n));
    if (FAULT(RELAY_REBUILD))
        return relay_read_failed(relay, FAIL(REDIS_DOWN, "fault"));
    return OK;
}

/* ---- the pass ---- */

/* The first event of a partition whose stream was not there at the last look. */
static bool any_begun(const struct relay *relay)
{
    for (size_t i = 0; i < relay->n; i++)
        if (relay->streams[i].state == STREAM_MISSING && relay->streams[i].head > 0)
            return true;
    return false;
}

static err sweep_once(struct relay *relay, int64_t until)
{
    int64_t now = clock_mono_ms();
    bool verify = relay->verified_ms == 0 || now - relay->verified_ms >= VERIFY_MS;
    relay->again = false;
    if (verify)
        TRY(probe_streams(relay));
    TRY(read_heads(relay));
    if (verify) {
        TRY(judge(relay));
        TRY(heal(relay));
        relay->verified_ms = now;
    }
    TRY(relay_catch_up(relay, until));
    relay->again |= any_begun(relay);
    if (relay->again)
        relay->verified_ms = 0;
    return OK;
}

err relay_sweep(struct relay *relay, int64_t *ret)
{
    int64_t until = clock_mono_ms() + PASS_MS;
    assert(redis_waiting(relay->redis) == 0 && pg_waiting(relay->pg) == 0);
    relay->appended = 0;
    relay->again = true;
    for (int look = 0; relay->again && look < LOOKS; look++)
        TRY(sweep_once(relay, until));
    if (ret)
        *ret = relay->appended;
    if (FAULT(RELAY_AFTER_APPEND))
        return FAIL(REDIS_DOWN, "fault");

    int64_t now = clock_mono_ms();
    if (relay->mirrored.n == 0 || now - relay->levelled_ms >= LEVEL_MS) {
        TRY(relay_level(relay));
        relay->levelled_ms = now;
    }
    if (now - relay->strangers_ms >= VERIFY_MS) {
        TRY(relay_strangers(relay));
        relay->strangers_ms = now;
    }
    return OK;
}
