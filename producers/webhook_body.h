/*
 * An event as the world gets it: CloudEvents 1.0 in its JSON form (structured mode), without anything
 * personal.
 */
#pragma once

#include "bus/eventlog.h"

/* One line of JSON: the attributes that are not empty, then data. What is sealed in data is left out (an item
 * of a list becomes null), and so is what tells the same person again (the blind index of an address): a
 * receiver could not open the one and has no business with the other. Amounts stay as on the bus, in minor
 * units beside their currency. MALFORMED when the log's data is no JSON. */
err webhook_body(const struct event *event, struct arena *arena, struct str *ret) _must_use_;
