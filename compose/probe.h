/* Is it up? One question each, answered at once or within a second. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True when Redis on that loopback port answers PING, and is not still loading. */
bool probe_redis(int port);
/* True when the PostgreSQL whose data is the folder `data` below the home says it is ready. */
bool probe_postgres(const char *data);
/* Status of GET /health/detailed, 0 when nobody answers; body gets its text. The front door is where PORT and
 * BIND of the environment say. */
int probe_health(char *body, size_t size);
/* "http://host:port" of the front door. */
const char *probe_url(void);
/* True when no other process listens on PORT. The front door shares its port among its own loops, so a second
 * one would be let in and would take half of the first one's clients. */
bool probe_port_is_free(void);
