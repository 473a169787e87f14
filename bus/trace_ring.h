/* The ring of ended spans, between trace.c, which fills it, and trace_export.c, which empties it. */
#pragma once

#include "bus/trace.h"

enum { TRACE_RING = 4096 };

struct attribute {
    const char *key;
    bool text;
    uint16_t from, n; /* of a text: where it stands in span->text */
    int64_t number;
};

struct link_to {
    uint8_t id[16], span[8];
};

struct span {
    uint64_t at; /* its position, for closing */
    struct trace trace;
    enum span_kind kind;
    int64_t start_ns, end_ns;
    const char *failure; /* NULL: none */
    uint16_t name_n, text_n;
    uint8_t attributes_n, links_n;
    uint32_t links_dropped, attributes_dropped;
    struct attribute attributes[SPAN_ATTRIBUTES];
    struct link_to links[SPAN_LINKS];
    char text[SPAN_TEXT]; /* the name, then values of attributes */
};

/* Makes the ring; once. */
void trace_ring_new(void);
/* The share of new traces that is sampled, 0 to 1. */
void trace_ratio_set(double ratio);
/* For the one reader: the oldest span, NULL when there is none that is closed. Valid until trace_ring_drop.
 */
const struct span *trace_ring_first(void);
void trace_ring_drop(void);
