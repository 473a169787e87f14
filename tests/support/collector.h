/*
 * A collector of traces, as small as one can be: an HTTP server on a loopback port that takes OTLP/JSON at
 * /v1/traces, checks its shape as a strict reader would (ids, times, kinds, keys; what is wrong is told by
 * collector_fault) and keeps every span. For tests and benches.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collector;

/* A span as it was received; texts live as long as the collector. */
struct collected {
    char trace[33], span[17], parent[17]; /* hex; parent "": the first of its trace */
    char name[160], service[40];
    int kind;
    int64_t start_ns, end_ns;
    bool failed;
    int links;
    char link[17]; /* the first link's span */
    char *json;    /* the whole span */
};

struct collector *collector_start(void);
/* Takes NULL, returns NULL. */
struct collector *collector_stop(struct collector *collector);
int collector_port(const struct collector *collector);
/* "http://127.0.0.1:<port>" */
const char *collector_url(const struct collector *collector);
/* NULL, or a sentence about the first thing that was not as it must be. */
const char *collector_fault(struct collector *collector);
size_t collector_count(struct collector *collector);
/* The first span with that name, in that trace (NULL: any), below that span (NULL: any), copied into ret. */
bool collector_find(struct collector *collector, const char *trace, const char *parent, const char *name,
                    struct collected *ret);
/* The same, waited for; false when it did not come in plenty of time. */
bool collector_await(struct collector *collector, const char *trace, const char *parent, const char *name,
                     struct collected *ret);
/* Every span so far: does any of them hold that text? */
bool collector_holds(struct collector *collector, const char *text);
