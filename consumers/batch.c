/*
 * What handlers call: answers, emitted events, timers, jobs. Everything is only noted here, in the batch's
 * arena; the flush writes it or nothing.
 */
#include "consumers/batch.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "bus/message.h"

#define list_clear(list) memset((list), 0, sizeof(*(list)))

/* Who was refused before any handler ran has his answer. */
static void forget_outcome(struct item *item)
{
    if (item->fate == ITEM_REUSED)
        return;
    item->answer = ANSWER_DONE;
    item->succeeded = false;
    item->http = 0;
    item->result = STR_NONE;
}

void batch_restart(struct batch *b)
{
    b->rows = rows_new(b->arena);
    list_clear(&b->events);
    list_clear(&b->completions);
    list_clear(&b->timers);
    list_clear(&b->jobs);
    b->current = NULL;
    b->changes = 0;
    for (size_t i = 0; i < b->n; i++)
        forget_outcome(b->items[i]);
}

const struct delivery *batch_message(const struct batch *b)
{
    return &b->current->message;
}

int64_t batch_now(const struct batch *b)
{
    return b->now;
}

int64_t batch_time(const struct batch *b)
{
    const struct entry *entry = b->current->entry;
    return entry && !entry->command ? entry->ms : b->now;
}

struct arena *batch_arena(struct batch *b)
{
    return b->arena;
}

struct uuid batch_uuid(struct batch *b)
{
    return uuid_v7(b->now);
}

/* ---- answers ---- */

enum answer succeed(struct batch *b, int http, struct str result)
{
    b->current->succeeded = true;
    b->current->http = http;
    b->current->result = result;
    return ANSWER_DONE;
}

/* The stored form of a refusal, which the door renders as a problem: {"error":"CONFLICT","detail":"…",
 * members}. */
__attribute__((format(printf, 4, 0))) static struct str
problem(struct batch *b, enum err_code code, struct str members, const char *format, va_list args)
{
    char detail[512];
    vsnprintf(detail, sizeof(detail), format, args);
    struct buf text = buf_new(b->arena, 256);
    struct json j = json_on(&text);
    json_open(&j, '{');
    json_kstr(&j, "error", str_of(err_name(code)));
    json_kstr(&j, "detail", str_of(detail));
    if (members.n) {
        buf_char(&text, ',');
        buf_str(&text, members);
    }
    json_close(&j, '}');
    return buf_view(&text);
}

static enum answer refuse(struct batch *b, enum err_code code, struct str result)
{
    b->current->succeeded = false;
    b->current->http = err_http(code);
    b->current->result = result;
    return ANSWER_REJECTED;
}

enum answer reject(struct batch *b, enum err_code code, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    struct str result = problem(b, code, STR_NONE, detail, args);
    va_end(args);
    return refuse(b, code, result);
}

enum answer reject_with(struct batch *b, enum err_code code, struct str members, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    struct str result = problem(b, code, members, detail, args);
    va_end(args);
    return refuse(b, code, result);
}

enum answer reject_field(struct batch *b, const char *field, const char *sentence)
{
    struct buf members = buf_new(b->arena, 128);
    buf_lit(&members, "\"errors\":");
    struct json j = json_on(&members);
    json_open(&j, '[');
    json_open(&j, '{');
    json_kstr(&j, "field", str_of(field));
    json_kstr(&j, "message", str_of(sentence));
    json_close(&j, '}');
    json_close(&j, ']');
    return reject_with(b, ERR_INVALID, buf_view(&members), "%s", err_sentence(ERR_INVALID));
}

enum answer run_on(struct batch *b)
{
    b->current->http = 0;
    b->current->result = STR_NONE;
    return ANSWER_RUNNING;
}

enum answer not_yet(struct batch *b, enum topic topic, struct str key)
{
    (void)key; /* the whole topic is waited for, so that a message that misses two facts asks only once */
    assert(!b->current->message.final);
    b->waits_for = topic;
    return ANSWER_NOT_YET;
}

/* May the message in hand have an effect? What was handled before has had its own. A group that declares none
 * is not muted: it is caught (flush.c). */
static bool has_effect(struct batch *b)
{
    if (b->current->message.replay && b->group->effects != EFFECTS_NONE)
        return false;
    b->changes++;
    return true;
}

void complete(struct batch *b, struct uuid command, int http, struct str result)
{
    if (!has_effect(b))
        return;
    *list_add(b->arena, &b->completions) = (struct completion){command, true, http, result};
}

void complete_rejected(struct batch *b, struct uuid command, enum err_code code, const char *detail, ...)
{
    va_list args;
    if (!has_effect(b))
        return;
    va_start(args, detail);
    struct str result = problem(b, code, STR_NONE, detail, args);
    va_end(args);
    *list_add(b->arena, &b->completions) = (struct completion){command, false, err_http(code), result};
}

/* ---- effects ---- */

static void set_cause(struct envelope *e, const struct delivery *cause, struct arena *arena)
{
    e->correlationid = cause->correlation;
    e->causationid = uuid_str(cause->id, arena);
    e->actor = cause->actor;
    e->traceparent = cause->traceparent;
}

void batch_emit(struct batch *b, enum message type, struct str key, const void *data)
{
    if (!has_effect(b))
        return;
    struct str text = message_encode(type, data, b->arena, &type);
    struct event event =
        event_new(&message_types[type], str_of(b->group->name), arena_str(b->arena, key), text, b->arena);
    set_cause(&event.envelope, &b->current->message, b->arena);
    *list_add(b->arena, &b->events) = event;
}

/* The last word of a batch about a timer counts: what was noted before under that name and key is replaced.
 */
static struct timer_change *timer_change(struct batch *b, const char *name, struct str key)
{
    for (size_t i = 0; i < b->timers.n; i++)
        if (str_eq(b->timers.p[i].key, key) && strcmp(b->timers.p[i].name, name) == 0)
            return &b->timers.p[i];
    struct timer_change *change = list_add(b->arena, &b->timers);
    *change = (struct timer_change){.name = name, .key = arena_str(b->arena, key)};
    return change;
}

void timer_set(struct batch *b, const char *name, struct str key, int64_t due_ms, enum message type,
               const void *data)
{
    if (!has_effect(b))
        return;
    struct timer_change *change = timer_change(b, name, key);
    change->cancel = false;
    change->due_ms = due_ms;
    change->data = message_encode(type, data, b->arena, &change->type);
    change->cause = &b->current->message;
}

void timer_cancel(struct batch *b, const char *name, struct str key)
{
    if (has_effect(b))
        timer_change(b, name, key)->cancel = true;
}

void job_add(struct batch *b, const char *kind, struct str key, struct str payload)
{
    if (!has_effect(b))
        return;
    *list_add(b->arena, &b->jobs) = (struct job_request){
        .id = batch_uuid(b),
        .kind = kind,
        .key = arena_str(b->arena, key),
        .payload = payload,
        .cause = &b->current->message,
    };
}
