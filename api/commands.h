/* The route of commands, for the route table. */
#pragma once

#include "api/http.h"

void get_command(struct request *req);
