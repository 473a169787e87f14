/*
 * The relay: events that stand in the log and not yet in their streams. The shop's own relays and readers are
 * paused meanwhile, so that one relay alone is measured.
 */
#include <stdio.h>

#include "bus/base/clock.h"
#include "bus/relay.h"
#include "tests/bench/support/rows.h"

enum { EVENTS = 60000, BATCH = 500 };

static struct event an_event(struct bench *b, struct arena *arena)
{
    struct uuid user = uuid_v7(clock_ms());
    struct str key = uuid_str(user, arena);
    struct cart_item_added added = {
        .user_id = user, .item_id = uuid_v7(clock_ms()), .added = 1, .quantity = 1};
    bench_must(uuid_parse(str_of(b->product), &added.product_id));
    const struct message_type *type = &message_types[CART_ITEM_ADDED];
    struct event event = event_new(type, STR("bench"), key, codec_encode(type->shape, &added, arena), arena);
    event.envelope.correlationid = event.envelope.causationid = event.envelope.id;
    event.envelope.actor = arena_printf(arena, "user:%s", key.p);
    return event;
}

static void fill_log(struct bench *b)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
    for (int i = 0; i < EVENTS / BATCH; i++) {
        struct event *events = arena_array(arena, struct event, BATCH);
        for (int k = 0; k < BATCH; k++)
            events[k] = an_event(b, arena);
        eventlog_queue(b->pg, events, BATCH, arena);
        pg_sync(b->pg, NULL, NULL);
        bench_must(pg_wait(b->pg, 30000));
        arena_reset(arena);
    }
}

/* The words of XADD after the id, for one event like those in the log. */
static double floor_of(struct bench *b)
{
    struct event event = an_event(b, b->arena);
    struct str words[2 * ENVELOPE_COMMAND];
    return floor_xadd_pipelined(b->redis_socket, words, envelope_words(&event.envelope, false, words));
}

static void pause_all(struct bench *b, bool paused)
{
    const enum program both[] = {PROGRAM_CONSUMERS, PROGRAM_PRODUCERS};
    for (int i = 0; i < 2; i++)
        if (paused)
            shop_pause(b->shop, both[i], 0);
        else
            shop_resume(b->shop, both[i], 0);
}

void row_relay(struct bench *b)
{
    double floor = floor_of(b);
    int64_t n = 0, appended = 0;
    shop_is_quiet(b->shop, 0);
    pause_all(b, true);
    struct relay *relay = relay_new(b->redis, b->pg);
    bench_must(relay_sweep(relay, &n)); /* what is known of streams is learnt once, not per sweep */
    fill_log(b);
    struct spent since = spent_now(b);
    int64_t start = clock_mono_ns();
    do {
        bench_must(relay_sweep(relay, &n));
        appended += n;
    } while (n > 0);
    double rate = (double)appended * 1e9 / (double)(clock_mono_ns() - start);
    struct str spent = spent_text(b, since, (double)appended, b->arena);
    relay_free(relay);
    pause_all(b, false);
    if (appended != EVENTS)
        shop_die(b->shop, "%lld of %d events were relayed", (long long)appended, EVENTS);
    table_add(ROW_RELAY, rate, floor, spent.p);
    if (!shop_is_quiet(b->shop, 0))
        shop_die(b->shop, "the groups do not catch up");
}
