/*
 * A message's span begins with its batch and ends with the commit, since that is how long it took to be
 * handled; what was written for it, and when it was told, is the same for all of the batch. It is written
 * after the commit only: a batch that is repeated has the spans of the attempt that counted.
 *
 * A batch belongs to the traces of all its messages, hence to none: its span is the first of a trace of its
 * own. They are tied by links, from each message to its batch and back.
 */
#include "consumers/spans.h"

#include <stdio.h>

void span_of_message(struct item *item, struct arena *arena)
{
    struct delivery *m = &item->message;
    if (trace_follow(m->traceparent, &item->trace))
        m->traceparent = trace_text(&item->trace, arena);
}

static const char *outcome_of(const struct item *item)
{
    static const char *const fates[] = {
        [ITEM_SKIP] = "skipped",   [ITEM_REPEAT] = "repeat", [ITEM_SAME] = "same-key",
        [ITEM_REUSED] = "refused", [ITEM_PARK] = "parked",   [ITEM_LATE] = "refused",
    };
    static const char *const answers[] = {
        [ANSWER_DONE] = "done", [ANSWER_REJECTED] = "refused", [ANSWER_RUNNING] = "running"};
    if (item->fate != ITEM_HANDLE)
        return fates[item->fate];
    return item->answer < sizeof(answers) / sizeof(*answers) ? answers[item->answer] : NULL;
}

static struct str name_of(const struct batch *b, const struct item *item, char *ret, size_t size)
{
    int n = snprintf(ret, size, "%s %.*s", b->group->name, STR_ARG(item->entry->envelope.type));
    return (struct str){ret, (size_t)n < size ? (size_t)n : size - 1};
}

/* Attributes: messaging.* of OpenTelemetry's semantic conventions; keys of aggregates are left out. */
static void put_message(const struct batch *b, const struct item *item, const struct trace *batch,
                        int64_t end_ns)
{
    char name[128];
    const struct delivery *m = &item->message;
    struct span *span =
        span_open(&item->trace, SPAN_CONSUMER, name_of(b, item, name, sizeof(name)), b->began_ns, end_ns);
    span_str(span, "messaging.system", STR("daydream"));
    span_str(span, "messaging.operation.type", STR("process"));
    span_str(span, "messaging.destination.name",
             str_of(item->entry->command ? item->at->lane : item->at->stream));
    span_str(span, "messaging.consumer.group.name", str_of(b->group->name));
    span_str(span, "messaging.message.id", item->entry->envelope.id);
    span_str(span, "messaging.message.conversation_id", m->correlation);
    span_str(span, "outcome", str_of(outcome_of(item)));
    if (item->entry->command && item->http)
        span_int(span, "http.response.status_code", item->http);
    if (item->fate == ITEM_PARK)
        span_failed(span, item->park_reason);
    span_link(span, batch);
    span_close(span);
}

static void put_batch(const struct batch *b, const struct trace *trace, int64_t end_ns)
{
    char name[64];
    int n = snprintf(name, sizeof(name), "%s batch", b->group->name);
    struct span *span = span_open(trace, SPAN_INTERNAL, (struct str){name, (size_t)n}, b->began_ns, end_ns);
    span_str(span, "messaging.system", STR("daydream"));
    span_str(span, "messaging.consumer.group.name", str_of(b->group->name));
    span_int(span, "messaging.batch.message_count", (int64_t)b->n);
    span_int(span, "events", (int64_t)b->events.n);
    span_int(span, "jobs", (int64_t)b->jobs.n);
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->fate != ITEM_CUT)
            span_link(span, &b->items[i]->trace);
    span_close(span);
}

void spans_of_batch(const struct batch *b)
{
    struct trace trace;
    bool any = false;
    int64_t end_ns = trace_now();
    for (size_t i = 0; i < b->n && !any; i++)
        any = b->items[i]->trace.sampled && b->items[i]->fate != ITEM_CUT;
    if (!any)
        return;
    trace_begin(STR_NONE, &trace);
    trace.sampled = true;
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i]->trace.sampled && b->items[i]->fate != ITEM_CUT)
            put_message(b, b->items[i], &trace, end_ns);
    put_batch(b, &trace, end_ns);
}
