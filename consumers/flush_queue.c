/*
 * The statements of a flush, in the order in which they are sent: the fence first (it voids everything when
 * somebody else owns a partition), then rows, command results, timers, jobs, parked messages, and last the
 * heads and the log, so that heads are locked for about one fsync.
 */
#include "consumers/flush_queue.h"

#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"

static const struct pg_stmt fence = {
    "fence", "SELECT fence($1, $2::text[], $3::bigint[]::int[], $4::bigint[], $5::bigint[], $6::bigint[],"
             " $7::bigint[], $8::bigint[])"};

/* For the mutation gate: moves offsets whoever asks. */
static const struct pg_stmt no_fence = {
    "no_fence",
    "UPDATE consumer_offset o SET flush = o.flush + 1, seq = greatest(o.seq, coalesce(x.hi, o.seq)),"
    " ms = coalesce(x.ms_of_hi, o.ms)"
    " FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],"
    " $8::bigint[]) AS x(topic, part, epoch, flush, lo, hi, ms_of_hi)"
    " WHERE o.grp = $1 AND o.topic = x.topic AND o.part = x.part"};

static const struct pg_stmt insert_commands = {
    "insert_commands", "INSERT INTO command (id, client, idempotencykey, fingerprint, topic, part, type, "
                       "status, http_status, result,"
                       " same_as, replyto, correlationid, created_ms, done_ms)"
                       " SELECT id, client, key, fingerprint, topic, part::int, type, status, http::int, "
                       "result, same_as, replyto,"
                       "  correlation, created, $1::bigint"
                       " FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], "
                       "$7::bigint[], $8::text[], $9::text[],"
                       "  $10::bigint[], $11::text[], $12::uuid[], $13::text[], $14::text[], $15::bigint[])"
                       "  AS x(id, client, key, fingerprint, topic, part, type, status, http, result, "
                       "same_as, replyto, correlation,"
                       "  created)"};

static const struct pg_stmt complete_commands = {
    "complete_commands",
    "UPDATE command c SET status = x.status, http_status = x.http::int, result = x.result,"
    " done_ms = $1::bigint"
    " FROM unnest($2::uuid[], $3::text[], $4::bigint[], $5::text[]) AS x(id, status, http, result)"
    " WHERE c.id = x.id AND c.status = 'running' RETURNING c.id, c.replyto"};

static const struct pg_stmt set_timers = {
    "set_timers",
    "INSERT INTO timer (grp, name, key, due_ms, topic, part, type, data, correlationid, causationid, actor)"
    " SELECT $1, name, key, due, topic, part::int, type, data, correlation, cause, actor"
    " FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[], "
    "$9::text[],"
    "  $10::text[], $11::text[]) AS x(name, key, due, topic, part, type, data, correlation, cause, actor)"
    " ORDER BY name, key ON CONFLICT (grp, name, key) DO UPDATE SET due_ms = excluded.due_ms, data = "
    "excluded.data"};

static const struct pg_stmt cancel_timers = {
    "cancel_timers", "DELETE FROM timer t USING (SELECT t.id FROM timer t JOIN unnest($2::text[], $3::text[])"
                     " AS x(name, key) ON t.grp = $1 AND t.name = x.name AND t.key = x.key"
                     " ORDER BY t.name, t.key FOR UPDATE OF t) d WHERE t.id = d.id"};

static const struct pg_stmt insert_jobs = {
    "insert_jobs",
    "INSERT INTO job (id, kind, key, payload, due_ms, correlationid, causationid, actor, traceparent)"
    " SELECT id, kind, key, payload, $1::bigint, correlation, cause, actor, traceparent"
    " FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], "
    "$9::text[])"
    "  WITH ORDINALITY AS x(id, kind, key, payload, correlation, cause, actor, traceparent, n) ORDER BY n"};

/* ---- building arrays column by column ---- */

struct columns {
    struct pg_array a[16];
    int n;
};

static struct columns columns(struct arena *arena, const enum pg_type *types, int n, size_t rows)
{
    struct columns c = {.n = n};
    for (int i = 0; i < n; i++)
        c.a[i] = pg_array(arena, types[i], (int)rows);
    return c;
}

static void queue_columns(struct pg *pg, const struct pg_stmt *stmt, struct pg_param first, struct columns *c,
                          pg_fn *fn, void *data)
{
    struct pg_param params[17] = {first};
    for (int i = 0; i < c->n; i++)
        params[1 + i] = pg_array_param(&c->a[i]);
    pg_queue(pg, stmt, 1 + c->n, params, fn, data);
}

static struct str filled(struct str s)
{
    return s.p ? s : STR("");
}

/* ---- the fence ---- */

void flush_queue_fence(struct worker *w, struct batch *b)
{
    static const enum pg_type types[] = {PG_TEXT, PG_INT8, PG_INT8, PG_INT8, PG_INT8, PG_INT8, PG_INT8};
    struct columns c = columns(b->arena, types, 7, w->n_parts);
    for (size_t i = 0; i < w->n_parts; i++) {
        const struct partition *p = &w->parts[i];
        if (!p->touched)
            continue;
        pg_array_text(&c.a[0], str_of(topic_name(p->topic)));
        pg_array_int(&c.a[1], p->part);
        pg_array_int(&c.a[2], p->epoch);
        pg_array_int(&c.a[3], p->flush);
        if (p->hi > p->seq) {
            pg_array_int(&c.a[4], p->seq + 1);
            pg_array_int(&c.a[5], p->hi);
            pg_array_int(&c.a[6], p->hi_ms);
        } else {
            pg_array_null(&c.a[4]);
            pg_array_null(&c.a[5]);
            pg_array_null(&c.a[6]);
        }
    }
    queue_columns(w->pg, mutant(MUTANT_EPOCH) ? &no_fence : &fence, pg_text(str_of(w->group->name)), &c, NULL,
                  NULL);
}

/* ---- commands ---- */

const char *flush_queue_status(const struct item *item)
{
    if (item->fate == ITEM_PARK)
        return "parked";
    if (item->fate == ITEM_SAME)
        return "succeeded";
    if (item->answer == ANSWER_RUNNING && item->fate == ITEM_HANDLE)
        return "running";
    return item->fate == ITEM_HANDLE && item->succeeded ? "succeeded" : "rejected";
}

static bool has_row(const struct item *item)
{
    return item->message.command && !uuid_is_nil(item->message.id) && !item->letter &&
           item->fate != ITEM_REPEAT && item->fate != ITEM_CUT && item->fate != ITEM_SKIP;
}

static void put_text_or_null(struct pg_array *a, struct str s)
{
    pg_array_text(a, s.n ? s : STR_NONE);
}

static void put_command(struct columns *c, const struct item *item)
{
    const struct envelope *e = &item->entry->envelope;
    bool keyed = e->idempotencykey.n && item->fate != ITEM_SAME && item->fate != ITEM_REUSED &&
                 item->fate != ITEM_LATE;
    pg_array_uuid(&c->a[0], item->message.id);
    pg_array_text(&c->a[1], filled(e->client));
    put_text_or_null(&c->a[2], keyed ? e->idempotencykey : STR_NONE);
    put_text_or_null(&c->a[3], e->fingerprint);
    pg_array_text(&c->a[4], str_of(topic_name(item->entry->topic)));
    pg_array_int(&c->a[5], item->entry->part);
    put_text_or_null(&c->a[6], e->type);
    pg_array_text(&c->a[7], str_of(flush_queue_status(item)));
    if (item->http)
        pg_array_int(&c->a[8], item->http);
    else
        pg_array_null(&c->a[8]);
    pg_array_text(&c->a[9], item->result);
    if (item->fate == ITEM_SAME)
        pg_array_uuid(&c->a[10], item->same_as);
    else
        pg_array_null(&c->a[10]);
    put_text_or_null(&c->a[11], e->replyto);
    put_text_or_null(&c->a[12], e->correlationid);
    pg_array_int(&c->a[13], uuid_ms(item->message.id));
}

static int by_key(const void *a, const void *b)
{
    const struct envelope *x = &(*(struct item *const *)a)->entry->envelope,
                          *y = &(*(struct item *const *)b)->entry->envelope;
    int order = str_cmp(x->client, y->client);
    return order ? order : str_cmp(x->idempotencykey, y->idempotencykey);
}

/* Two flushes of different partitions that meet in the unique index of keys wait for each other; in one order
 * for all, never in a ring. Sorted here, where only those with a key need it. */
static size_t with_row(struct batch *b, struct item **ret)
{
    size_t keyed = 0, n = 0;
    for (size_t i = 0; i < b->n; i++)
        if (has_row(b->items[i]) && b->items[i]->entry->envelope.idempotencykey.n)
            ret[n++] = b->items[i];
    keyed = n;
    if (keyed)
        qsort(ret, keyed, sizeof(*ret), by_key);
    for (size_t i = 0; i < b->n; i++)
        if (has_row(b->items[i]) && !b->items[i]->entry->envelope.idempotencykey.n)
            ret[n++] = b->items[i];
    return n;
}

void flush_queue_commands(struct worker *w, struct batch *b)
{
    static const enum pg_type types[] = {PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_INT8, PG_TEXT,
                                         PG_TEXT, PG_INT8, PG_TEXT, PG_UUID, PG_TEXT, PG_TEXT, PG_INT8};
    struct columns c = columns(b->arena, types, 14, b->n);
    struct item **items = arena_array(b->arena, struct item *, b->n + 1);
    size_t n = with_row(b, items);
    for (size_t i = 0; i < n; i++)
        put_command(&c, items[i]);
    if (c.a[0].n)
        queue_columns(w->pg, &insert_commands, pg_int(b->now), &c, NULL, NULL);
}

void flush_queue_completions(struct worker *w, struct batch *b, struct pg_result **ret)
{
    static const enum pg_type types[] = {PG_UUID, PG_TEXT, PG_INT8, PG_TEXT};
    struct columns c = columns(b->arena, types, 4, b->completions.n);
    for (size_t i = 0; i < b->completions.n; i++) {
        const struct completion *done = &b->completions.p[i];
        pg_array_uuid(&c.a[0], done->command);
        pg_array_text(&c.a[1], done->succeeded ? STR("succeeded") : STR("rejected"));
        pg_array_int(&c.a[2], done->http);
        pg_array_text(&c.a[3], done->result);
    }
    if (b->completions.n)
        queue_columns(w->pg, &complete_commands, pg_int(b->now), &c, pg_keep, ret);
}

/* ---- timers and jobs ---- */

static void put_timer(struct columns *set, const struct timer_change *t, struct arena *arena)
{
    const struct message_type *type = &message_types[t->type];
    pg_array_text(&set->a[0], str_of(t->name));
    pg_array_text(&set->a[1], t->key);
    pg_array_int(&set->a[2], t->due_ms);
    pg_array_text(&set->a[3], str_of(topic_name(type->topic)));
    pg_array_int(&set->a[4], partition_of(t->key));
    pg_array_text(&set->a[5], str_of(type->name));
    pg_array_text(&set->a[6], t->data);
    pg_array_text(&set->a[7], filled(t->cause->correlation));
    pg_array_text(&set->a[8], uuid_str(t->cause->id, arena));
    pg_array_text(&set->a[9], filled(t->cause->actor));
}

void flush_queue_timers(struct worker *w, struct batch *b)
{
    static const enum pg_type types[] = {PG_TEXT, PG_TEXT, PG_INT8, PG_TEXT, PG_INT8,
                                         PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT};
    struct columns set = columns(b->arena, types, 10, b->timers.n);
    struct columns cancel = columns(b->arena, types, 2, b->timers.n);
    for (size_t i = 0; i < b->timers.n; i++) {
        const struct timer_change *t = &b->timers.p[i];
        if (!t->cancel) {
            put_timer(&set, t, b->arena);
            continue;
        }
        pg_array_text(&cancel.a[0], str_of(t->name));
        pg_array_text(&cancel.a[1], t->key);
    }
    struct pg_param group = pg_text(str_of(w->group->name));
    if (cancel.a[0].n)
        queue_columns(w->pg, &cancel_timers, group, &cancel, NULL, NULL);
    if (set.a[0].n)
        queue_columns(w->pg, &set_timers, group, &set, NULL, NULL);
}

void flush_queue_jobs(struct worker *w, struct batch *b)
{
    static const enum pg_type types[] = {PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT,
                                         PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT};
    struct columns c = columns(b->arena, types, 8, b->jobs.n);
    for (size_t i = 0; i < b->jobs.n; i++) {
        const struct job_request *job = &b->jobs.p[i];
        pg_array_uuid(&c.a[0], job->id);
        pg_array_text(&c.a[1], str_of(job->kind));
        pg_array_text(&c.a[2], job->key);
        pg_array_text(&c.a[3], job->payload);
        pg_array_text(&c.a[4], filled(job->cause->correlation));
        pg_array_text(&c.a[5], uuid_str(job->cause->id, b->arena));
        pg_array_text(&c.a[6], filled(job->cause->actor));
        pg_array_text(&c.a[7], filled(job->cause->traceparent));
    }
    if (b->jobs.n)
        queue_columns(w->pg, &insert_jobs, pg_int(b->now), &c, NULL, NULL);
}
