/*
 * Webhooks: events of the log are sent to the endpoints that want them. Two loops: one turns new events into
 * rows of webhook_delivery (webhook_fanout.h), the other sends what is due (webhook_sender.c). Both may run
 * in any number of processes. What is promised: at least once, with the event's id as the webhook's; of one
 * endpoint, topic and key in order; one endpoint delays no other.
 */
#pragma once

#include "bus/base/err.h"
#include "producers/bell.h"

struct webhooks;

/* told is rung whenever events were committed. CONFIG: ENCRYPTION_KEY. */
err webhooks_start(struct bell *told, struct webhooks **ret) _must_use_;
/* Ends requests under way, whose deliveries are due at once for somebody else; joins both threads. Takes
 * NULL, returns NULL. */
struct webhooks *webhooks_stop(struct webhooks *webhooks);
