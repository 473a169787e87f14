/* How commands about orders are made; for the route table. */
#pragma once

#include "api/call.h"

extern const struct command_spec place_order_spec, cancel_order_spec;
