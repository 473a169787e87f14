/*
 * Who may see which events, whichever way he is told of them: a stream, a webhook, a program. A table says
 * for every type which right shows it, and whether it is also shown to the person it is about. Deny by
 * default: a type without a row, an event whose owner cannot be told from itself, are shown to nobody but
 * those who have the right.
 *
 * Ownership is decided by the event alone: its data says `user_id`, and that is the reader. So a customer
 * sees `order.placed` of his orders, but not `order.status-changed`, which names only the order.
 */
#pragma once

#include "bus/envelope.h"
#include "bus/type_filter.h"

enum event_right {
    EVENTS_OWN = 1 << 0,     /* what every person may see: facts about himself, labels of the catalogue */
    EVENTS_CATALOG = 1 << 1, /* products, also those that are not listed */
    EVENTS_STOCK = 1 << 2,   /* what the warehouse has */
    EVENTS_SALES = 1 << 3,   /* carts and orders of everybody */
    EVENTS_PEOPLE = 1 << 4,  /* who registered, changed, was switched off */
    EVENTS_INNER = 1 << 5,   /* requests and answers between groups, payments among them */
    EVENTS_ALL = (1 << 6) - 1,
};

struct event_reader {
    unsigned rights;  /* enum event_right */
    struct uuid user; /* nil: nobody in particular, who owns nothing */
};

/* Could he ever see an event of that type? */
bool event_rights_any(const struct event_reader *reader, enum message type);
/* Takes the types out of a filter that he can never see, and topics without any; false when nothing is left.
 */
bool event_rights_narrow(const struct event_reader *reader, struct type_filter *filter);
/* May he see this one? */
bool event_rights_see(const struct event_reader *reader, const struct envelope *event, struct arena *arena);
