/* How commands about products are made; for the route table. */
#pragma once

#include "api/call.h"

extern const struct command_spec update_product_spec, create_product_spec;
