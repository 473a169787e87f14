/* Is it alive, is it ready, what does it count; for the route table. */
#pragma once

#include "api/http.h"

#define DAYDREAM_VERSION "0.1.0"

void get_health(struct request *req);
void get_health_detailed(struct request *req);
void get_metrics(struct request *req);
