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

void wheel_take(struct client *client)
{
    struct loop *loop = client->loop;

    if (client->slot < 0)
        return;
    if (client->previous)
        client->previous->next = client->next;
    else
        loop->wheel[client->slot] = client->next;
    if (client->next)
        client->next->previous = client->previous;
    client->previous = client->next = NULL;
    client->slot = -1;
}

static void link_in(struct client *client, int64_t ms)
{
    struct loop *loop = client->loop;
    int slot = (int)(ms / TICK_MS % WHEEL_SLOTS);

    client->slot = slot;
    client->slot_ms = ms;
    client->next = loop->wheel[slot];
    if (client->next)
        client->next->previous = client;
    loop->wheel[slot] = client;
}

void wheel_put(struct client *client)
{
    int64_t ms = slot_time(client->loop, conn_deadline(&client->conn));

    if (client->slot >= 0 && client->slot_ms <= ms)
        return;
    wheel_take(client);
    link_in(client, ms);
}

static void turn_slot(struct loop *loop, int slot, void (*expired)(struct client *client))
{
    struct client *next;

    for (struct client *client = loop->wheel[slot]; client; client = next) {
        next = client->next;
        if (conn_deadline(&client->conn) <= loop->host.now_ms) {
            expired(client);
        } else {
            wheel_take(client);
            wheel_put(client);
        }
    }
}

void wheel_turn(struct loop *loop, void (*expired)(struct client *client))
{
    int64_t now = loop->host.now_ms / TICK_MS;

    if (now - loop->tick > WHEEL_SLOTS)
        loop->tick = now - WHEEL_SLOTS;
    while (loop->tick < now) {
        loop->tick++;
        turn_slot(loop, (int)(loop->tick % WHEEL_SLOTS), expired);
    }
}

void wheel_each(struct loop *loop, void (*fn)(struct client *client))
{
    for (int slot = 0; slot < WHEEL_SLOTS; slot++) {
        struct client *next;

        for (struct client *client = loop->wheel[slot]; client; client = next) {
            next = client->next;
            fn(client);
        }
    }
}
