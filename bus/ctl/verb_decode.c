/*
 * bus decode: reads the whole event log with this build, each event decoded and lifted as the consumers
 * would, before a release. Only reads: it may run against a live shop, and with a build that is not deployed
 * yet. Memory is that of one page.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"
#include "bus/eventlog.h"
#include "bus/message.h"

enum { PAGE = 2000, PAGE_MEMORY = 64 << 20, SHOWN = 20 };

struct decode {
    struct ctl *ctl;
    struct arena *arena;                    /* of a page */
    int64_t done, total, unreadable, older; /* older: in a major that was lifted */
    struct buf report;                      /* --json */
    struct json json;
};

/* The first ones are shown; values never, errors name fields only. */
static void complain(struct decode *d, const struct event *event, const char *why)
{
    const struct envelope *e = &event->envelope;
    if (d->unreadable++ >= SHOWN)
        return;
    if (!d->ctl->json) {
        printf("%s.%02d %" PRId64 " %.*s %.*s: %s\n", topic_name(event->topic), event->part, event->seq,
               STR_ARG(e->type), STR_ARG(e->id), why);
        return;
    }
    json_open(&d->json, '{');
    json_kstr(&d->json, "topic", str_of(topic_name(event->topic)));
    json_kint(&d->json, "part", event->part);
    json_kint(&d->json, "seq", event->seq);
    json_kstr(&d->json, "type", e->type);
    json_kstr(&d->json, "id", e->id);
    json_kstr(&d->json, "why", str_of(why));
    json_close(&d->json, '}');
}

static void decode_event(struct decode *d, const struct event *event)
{
    enum message type = message_find(event->envelope.type), newest;
    const void *data;
    if (type == MESSAGE_NONE) {
        complain(d, event, "this build does not know the type");
        return;
    }
    err e = message_decode(type, event->envelope.data, d->arena, &newest, &data);
    if (failed(e))
        complain(d, event, err_text(e));
    else
        d->older += newest != type;
}

/* What was not read may be what cannot be read: part of the log is no answer. */
static err go_on(const struct decode *d)
{
    return ctl_stop ? FAIL(UNAVAILABLE, "stopped when %" PRId64 " of %" PRId64 " events were read", d->done,
                           d->total)
                    : OK;
}

static err decode_partition(struct decode *d, const struct head *head)
{
    struct event *events;
    for (int64_t after = 0; after < head->seq;) {
        size_t n;
        TRY(go_on(d));
        arena_reset(d->arena);
        TRY(eventlog_read(d->ctl->pg, head->topic, head->part, after, PAGE, d->arena, &events, &n));
        if (n == 0)
            return FAIL(INTERNAL, "%s.%02d ends at %" PRId64 ", its head is %" PRId64,
                        topic_name(head->topic), head->part, after, head->seq);
        for (size_t i = 0; i < n && events[i].seq <= head->seq; i++, d->done++)
            decode_event(d, &events[i]);
        after = events[n - 1].seq;
        ctl_progress("events", d->done < d->total ? d->done : d->total - 1, d->total);
    }
    return OK;
}

static err decode_all(struct decode *d)
{
    struct head *heads;
    size_t n;
    TRY(eventlog_heads(d->ctl->pg, d->ctl->arena, &heads, &n));
    for (size_t i = 0; i < n; i++)
        d->total += heads[i].seq;
    for (size_t i = 0; i < n; i++)
        TRY(decode_partition(d, &heads[i]));
    if (n)
        ctl_progress("events", d->total, d->total);
    return OK;
}

static void summary(struct decode *d, int64_t ms)
{
    if (!d->ctl->json) {
        printf("%" PRId64 " events, %" PRId64 " of older majors, %" PRId64 " unreadable; %" PRId64
               " events/s\n",
               d->done, d->older, d->unreadable, d->done * 1000 / (ms > 0 ? ms : 1));
        return;
    }
    json_close(&d->json, ']');
    json_kint(&d->json, "events", d->done);
    json_kint(&d->json, "older", d->older);
    json_kint(&d->json, "unreadable_events", d->unreadable);
    json_kint(&d->json, "ms", ms);
    json_close(&d->json, '}');
    ctl_print_json(&d->report);
}

enum ctl_exit run_bus_decode(struct ctl *ctl)
{
    struct decode d = {.ctl = ctl, .arena = arena_new(PAGE_MEMORY), .report = buf_new(ctl->arena, 4096)};
    int64_t start = clock_mono_ms();
    d.json = json_on(&d.report);
    json_open(&d.json, '{');
    json_key(&d.json, "unreadable");
    json_open(&d.json, '[');
    err e = ctl_connect(ctl, CTL_BUS);
    ctl_catch_signals();
    if (!failed(e))
        e = decode_all(&d);
    arena_free(d.arena);
    if (failed(e))
        return ctl_fail(e);
    summary(&d, clock_mono_ms() - start);
    return d.unreadable ? CTL_FINDINGS : CTL_OK;
}
