/* How commands of people and sessions are made; for the route table. */
#pragma once

#include "api/call.h"

extern const struct command_spec register_spec, log_in_spec, refresh_spec, log_out_spec, update_user_spec,
    update_profile_spec;
