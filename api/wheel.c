/*
 * Deadlines by one wheel per loop: slots of TICK_MS, a client in the slot of its deadline or an earlier one.
 * A deadline that moves back costs nothing: when the slot comes up the client is put where it belongs by
 * then.
 */
#include "api/loop.h"

static int64_t slot_time(const struct loop *loop, int64_t deadline_ms)
{
    int64_t soonest = (loop->tick + 1) * TICK_MS, farthest = (loop->tick + WHEEL_SLOTS - 1) * TICK_MS;
    int64_t ms = deadline_ms < farthest ? (deadline_ms / TICK_MS + 1) * TICK_MS : farthest;

    return ms > soonest ? ms < farthest ? ms : farthest : soonest;
}

void wheel_take(struct caller *caller)
{
    struct loop *loop = caller->loop;

    if (caller->slot < 0)
        return;
    if (caller->previous)
        caller->previous->next = caller->next;
    else
        loop->wheel[caller->slot] = caller->next;
    if (caller->next)
        caller->next->previous = caller->previous;
    caller->previous = caller->next = NULL;
    caller->slot = -1;
}

static void link_in(struct caller *caller, int64_t ms)
{
    struct loop *loop = caller->loop;
    int slot = (int)(ms / TICK_MS % WHEEL_SLOTS);

    caller->slot = slot;
    caller->slot_ms = ms;
    caller->next = loop->wheel[slot];
    if (caller->next)
        caller->next->previous = caller;
    loop->wheel[slot] = caller;
}

void wheel_put(struct caller *caller)
{
    int64_t ms = slot_time(caller->loop, conn_deadline(&caller->conn));

    if (caller->slot >= 0 && caller->slot_ms <= ms)
        return;
    wheel_take(caller);
    link_in(caller, ms);
}

static void turn_slot(struct loop *loop, int slot, void (*expired)(struct caller *caller))
{
    struct caller *next;

    for (struct caller *caller = loop->wheel[slot]; caller; caller = next) {
        next = caller->next;
        if (conn_deadline(&caller->conn) <= loop->host.now_ms) {
            expired(caller);
        } else {
            wheel_take(caller);
            wheel_put(caller);
        }
    }
}

void wheel_turn(struct loop *loop, void (*expired)(struct caller *caller))
{
    int64_t now = loop->host.now_ms / TICK_MS;

    if (now - loop->tick > WHEEL_SLOTS)
        loop->tick = now - WHEEL_SLOTS;
    while (loop->tick < now) {
        loop->tick++;
        turn_slot(loop, (int)(loop->tick % WHEEL_SLOTS), expired);
    }
}

void wheel_each(struct loop *loop, void (*fn)(struct caller *caller))
{
    for (int slot = 0; slot < WHEEL_SLOTS; slot++) {
        struct caller *next;

        for (struct caller *caller = loop->wheel[slot]; caller; caller = next) {
            next = caller->next;
            fn(caller);
        }
    }
}
