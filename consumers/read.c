/*
 * Reading both lanes. Two reads wait at the same time on two connections: XREADGROUP over the command lanes
 * and XREAD over the event lanes. Commands: behind every read, and before anything is handled, the PEL of
 * each lane must be exactly what was read; a zombie that woke up moves entries there which `>` would pass
 * over, so on any difference the lane is read from 0, ascending. The consumer is named like the group, hence
 * a former owner's entries are in the same PEL and history is the claim. Events: the position is ours, from
 * PostgreSQL; Redis only saves us from asking it.
 */
#include <poll.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/log.h"
#include "consumers/worker.h"

enum { BLOCK_MS = 1000, CLAIM_MAX = 1000 };

/* ---- sending the reads ---- */

struct words {
    struct str *p;
    size_t n;
};

static void word(struct words *words, struct str s)
{
    words->p[words->n++] = s;
}

static struct words words_new(struct worker *w)
{
    return (struct words){arena_array(w->arena, struct str, 16 + 2 * w->n_parts), 0};
}

static void add_read(struct worker *w, const struct redis_reply *reply)
{
    struct entry *entries;
    size_t n;
    if (failed(lane_entries(reply, w->arena, &entries, &n))) {
        log_warn("a read from redis was not understood", kv("group", w->group->name),
                 kv("why", err_text(OK)));
        return;
    }
    if (n == 0)
        return;
    struct entry *all = arena_array(w->arena, struct entry, w->n_read + n);
    if (w->n_read)
        memcpy(all, w->read, w->n_read * sizeof(*all));
    memcpy(all + w->n_read, entries, n * sizeof(*all));
    w->read = all;
    w->n_read += n;
}

/* A group that exists already says BUSYGROUP, which is what we want. */
static void on_group(void *data, const struct redis_reply *reply)
{
    (void)data;
    (void)reply;
}

/* From 0: what stands in a lane is open work. */
void read_make_groups(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        if (!p->owned || !p->commands)
            continue;
        p->history = true;
        redis_sendf(w->commands, on_group, NULL, "XGROUP CREATE %s %s 0 MKSTREAM", p->lane, w->group->name);
    }
}

/* true when the reply is an error; a lost group or lane is made again, the rest is tried again by the loop.
 */
static bool read_failed(struct worker *w, const struct redis_reply *reply)
{
    if (!reply)
        return true;
    if (reply->kind != REDIS_ERROR)
        return false;
    if (redis_is_error(reply, "NOGROUP") || redis_is_error(reply, "UNBLOCKED")) {
        log_warn("command lane or its group was gone and is made again", kv("group", w->group->name));
    } else {
        log_warn("redis refused a read", kv("group", w->group->name), kv("why", reply->text));
        w->refused = true;
    }
    return true;
}

static void on_commands(void *data, const struct redis_reply *reply)
{
    struct worker *w = data;
    w->read_ok = !read_failed(w, reply);
    if (w->read_ok)
        add_read(w, reply);
    else if (reply)
        read_make_groups(w);
}

static void on_events(void *data, const struct redis_reply *reply)
{
    struct worker *w = data;
    if (!read_failed(w, reply))
        add_read(w, reply);
}

static bool reads_commands(const struct worker *w, const struct partition *p)
{
    return p->owned && p->commands && !stands_still(&w->standstill);
}

static int64_t history_count(const struct worker *w)
{
    int64_t lanes = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        lanes += reads_commands(w, &w->parts[i]) && w->parts[i].history;
    return (BATCH_MAX + lanes - 1) / (lanes ? lanes : 1);
}

/* Whoever reads in the group's name under a name of his own holds entries that neither `>` nor our history
 * shows. */
static void claim(struct worker *w, struct partition *p)
{
    p->claim = false;
    redis_sendf(w->commands, NULL, NULL, "XAUTOCLAIM %s %s %s 0 0 COUNT %d JUSTID", p->lane, w->group->name,
                w->group->name, (int64_t)CLAIM_MAX);
}

/* ---- the PEL check ---- */

/* The fourth part of XPENDING's answer: who holds how many. */
static bool held_by_others(const struct redis_reply *pending, const char *group)
{
    if (!pending || pending->kind != REDIS_ARRAY || pending->n != 4 || pending->items[3].kind != REDIS_ARRAY)
        return false;
    const struct redis_reply *holders = &pending->items[3];
    for (size_t i = 0; i < holders->n; i++)
        if (holders->items[i].kind == REDIS_ARRAY && holders->items[i].n == 2 &&
            !str_is(holders->items[i].items[0].text, group))
            return true;
    return false;
}

static void on_pending(void *data, const struct redis_reply *reply)
{
    struct partition *p = data;
    struct worker *w = p->worker;
    int64_t mine = 0;
    struct str first = STR_NONE, last = STR_NONE;
    for (size_t i = 0; i < w->n_read; i++) {
        const struct entry *e = &w->read[i];
        if (!e->command || e->topic != p->topic || e->part != p->part)
            continue;
        first = first.p ? first : e->entry;
        last = e->entry;
        mine++;
    }
    bool same = reply && reply->kind == REDIS_ARRAY && reply->n == 4 &&
                redis_integer(&reply->items[0], -1) == mine &&
                (mine == 0 || (str_eq(reply->items[1].text, first) && str_eq(reply->items[2].text, last)));
    if (same || mutant(MUTANT_PEL_CHECK))
        return;
    p->history = true;
    p->claim = held_by_others(reply, w->group->name);
}

/* Asked on the same connection right behind the read, so that it is answered with it and costs no turn of its
 * own; of all lanes, since a zombie's entry wakes nobody. */
static void send_pel_checks(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        if (reads_commands(w, p) && !p->history)
            redis_sendf(w->commands, on_pending, p, "XPENDING %s %s", p->lane, w->group->name);
    }
}

/* History is read alone and without waiting, so that nothing new overtakes what is old. */
static void send_command_read(struct worker *w)
{
    struct words words = words_new(w);
    bool history = false;
    size_t lanes = 0;
    for (size_t i = 0; i < w->n_parts; i++)
        history |= reads_commands(w, &w->parts[i]) && w->parts[i].history;
    w->count_history = history_count(w);
    struct str count = arena_printf(w->arena, "%d", (int)(history ? w->count_history : w->count_commands));
    struct str group = str_of(w->group->name);
    const struct str head[] = {STR("XREADGROUP"), STR("GROUP"), group, group, STR("COUNT"), count};
    for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
        word(&words, head[i]);
    if (!history) {
        word(&words, STR("BLOCK"));
        word(&words, arena_printf(w->arena, "%d", BLOCK_MS));
    }
    word(&words, STR("STREAMS"));
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        bool read = reads_commands(w, p) && p->history == history;
        p->asked = read && history;
        if (p->asked && p->claim)
            claim(w, p);
        if (read)
            word(&words, str_of(p->lane));
        lanes += read;
    }
    for (size_t i = 0; i < lanes; i++)
        word(&words, history ? STR("0") : STR(">"));
    if (lanes) {
        w->reading_history = history;
        w->reading_commands = true;
        redis_send(w->commands, on_commands, w, words.n, words.p);
        if (!history)
            send_pel_checks(w);
    }
}

bool reads_events(const struct worker *w, const struct partition *p)
{
    const struct standstill *s = &w->standstill;
    return p->owned && replay_may_read(p) && !heal_rests(p) && !(stands_still(s) && s->at == p);
}

/* Whether a lane is read may change with the clock, so each is asked once. */
static void send_event_read(struct worker *w)
{
    struct words words = words_new(w);
    struct str *ids = arena_array(w->arena, struct str, w->n_parts + 1);
    size_t lanes = 0;
    const struct str head[] = {STR("XREAD"),
                               STR("COUNT"),
                               arena_printf(w->arena, "%d", (int)w->count_events),
                               STR("BLOCK"),
                               arena_printf(w->arena, "%d", BLOCK_MS),
                               STR("STREAMS")};
    for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
        word(&words, head[i]);
    for (size_t i = 0; i < w->n_parts; i++) {
        const struct partition *p = &w->parts[i];
        if (!reads_events(w, p) || heal_doubts(p))
            continue;
        word(&words, str_of(p->stream));
        ids[lanes++] = arena_printf(w->arena, "%lld-%lld", (long long)p->skipped_ms, (long long)p->skipped);
    }
    for (size_t i = 0; i < lanes; i++)
        word(&words, ids[i]);
    if (lanes)
        redis_send(w->events, on_events, w, words.n, words.p);
}

/* ---- after a read ---- */

/* Takes the commands of lanes whose PEL holds something else out of the batch; they come again with the
 * history. */
static void drop_history_lanes(struct worker *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->n_read; i++) {
        const struct partition *p = worker_partition(w, w->read[i].topic, w->read[i].part);
        if (!w->read[i].command || (p && !p->history))
            w->read[kept++] = w->read[i];
    }
    w->n_read = kept;
}

/* A lane's history ends when a read from 0 brings less than was asked for: the batch in hand is then the
 * whole PEL. Lanes taken while the read was on its way are not in it. */
static void end_histories(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        if (!p->asked)
            continue;
        int64_t n = 0;
        for (size_t k = 0; k < w->n_read; k++)
            n += w->read[k].command && w->read[k].topic == p->topic && w->read[k].part == p->part;
        if (n < w->count_history)
            p->history = false;
    }
}

/* ---- waiting ---- */

static size_t commands_read(const struct worker *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_read; i++)
        n += w->read[i].command;
    return n;
}

static err still_up(const struct worker *w)
{
    if (!redis_is_up(w->commands) || !redis_is_up(w->events) || !redis_is_up(w->outward))
        return FAIL(REDIS_DOWN, "a connection of group %s broke", w->group->name);
    if (!pg_is_up(w->pg))
        return FAIL(PG_DOWN, "the database connection of group %s broke", w->group->name);
    return OK;
}

static err poll_once(struct worker *w, int timeout_ms)
{
    struct redis *redis[] = {w->commands, w->events, w->outward};
    struct pollfd fds[3];
    for (int i = 0; i < 3; i++) {
        redis_pump(redis[i], POLLOUT);
        fds[i] = (struct pollfd){.fd = redis_fd(redis[i]), .events = redis_wants(redis[i])};
    }
    TRY(still_up(w));
    if (poll(fds, 3, timeout_ms) > 0)
        for (int i = 0; i < 3; i++)
            if (fds[i].revents)
                redis_pump(redis[i], fds[i].revents);
    return still_up(w);
}

/* Entries per lane of the next read: full batches from one busy lane, at most BATCH_MAX from many. */
static int64_t next_count(const struct worker *w, bool commands)
{
    size_t lanes = 0;
    for (size_t i = 0; i < w->n_read; i++)
        lanes += w->read[i].command == commands && (i == 0 || w->read[i - 1].part != w->read[i].part ||
                                                    w->read[i - 1].topic != w->read[i].topic);
    return lanes ? (BATCH_MAX + (int64_t)lanes - 1) / (int64_t)lanes : BATCH_MAX / 4;
}

/* The command read and the checks behind it were answered. */
static void after_commands(struct worker *w)
{
    bool history = w->reading_history;
    w->reading_history = w->reading_commands = false;
    if (!w->read_ok)
        return;
    if (history) {
        end_histories(w);
        return;
    }
    if (commands_read(w))
        w->count_commands = next_count(w, true);
    drop_history_lanes(w);
}

/* Entries are there, but replies to what was sent behind their read are still on their way, so the PEL is not
 * known yet: nothing of it may be handled. */
static bool unchecked(const struct worker *w)
{
    return w->reading_commands && commands_read(w) > 0;
}

err read_entries(struct worker *w, int64_t until_ms)
{
    w->n_read = 0;
    for (;;) {
        if (redis_waiting(w->commands) == 0)
            send_command_read(w);
        if (redis_waiting(w->events) == 0)
            send_event_read(w);
        int64_t left = unchecked(w) ? 100 : until_ms - clock_mono_ms();
        TRY(poll_once(w, left > 100 ? 100 : left < 0 ? 0 : (int)left));
        if (w->n_read && redis_waiting(w->events) > 0)
            TRY(poll_once(w, 0));
        if (w->reading_commands && redis_waiting(w->commands) == 0)
            after_commands(w);
        if (w->refused) {
            w->refused = false;
            return FAIL(REDIS_REFUSED, "redis refused a read of group %s", w->group->name);
        }
        if (w->n_read > commands_read(w))
            w->count_events = next_count(w, false);
        if (unchecked(w) && !atomic_load(w->stop))
            continue;
        if (unchecked(w))
            w->n_read = 0;
        if (w->n_read || clock_mono_ms() >= until_ms || atomic_load(w->stop))
            return OK;
    }
}

void read_rewind(struct worker *w)
{
    for (size_t i = 0; i < w->n_parts; i++) {
        struct partition *p = &w->parts[i];
        p->history = p->claim = p->commands;
        p->skipped = p->seq;
        p->skipped_ms = p->ms;
        p->shown = 0;
    }
    w->n_read = 0;
    w->skipped_since_ms = 0;
}
