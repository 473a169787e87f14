/*
 * An event as it leaves the shop: CloudEvents 1.0 in the JSON format, structured mode (JSON event format
 * §3), on one line. Personal data never leaves: a member that is sealed is left out, and the extension
 * attribute `withheld` names those that were, so nobody takes their absence for a fact. Whoever has to have
 * them asks for the resource, with his own rights. Money stays what it is on the bus, integers of minor
 * units.
 */
#pragma once

#include "bus/envelope.h"

/* actor: is the attribute `actor` (who caused it) to be shown? Attributes that are empty are left out. data
 * must be JSON; what is not an object is left out as a whole, like a sealed value. */
struct str event_json(const struct envelope *event, bool actor, struct arena *arena);
