/*
 * Counters, gauges and histograms of this process: rows of counters.def, updated without locks, printed as
 * Prometheus text 0.0.4. Labels are few and fixed in the row, so cardinality is bounded by construction.
 */
#pragma once

#include "bus/base/arena.h"

enum counter {
#define COUNTER(id, name, labels, text) COUNTER_##id,
#define GAUGE(id, name, labels, text) COUNTER_##id,
#define HISTOGRAM(id, name, labels, text)
#include "bus/base/counters.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    COUNTER_COUNT
};

enum histogram {
#define COUNTER(id, name, labels, text)
#define GAUGE(id, name, labels, text)
#define HISTOGRAM(id, name, labels, text) HISTOGRAM_##id,
#include "bus/base/counters.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    HISTOGRAM_COUNT
};

void counter_add(enum counter c, int64_t n);
void counter_set(enum counter c, int64_t v);
int64_t counter_get(enum counter c);
/* Observes a duration in nanoseconds; log-linear buckets, relative error below 3 %. */
void histogram_observe(enum histogram h, int64_t ns);
/* The value below which the share q (0..1) of observations lies, ns. */
int64_t histogram_quantile(enum histogram h, double q);
/* The numbers of this process as Prometheus text. */
void metrics_print(struct buf *b);

/* ---- many processes on one page (bus/shared_metrics.h) ---- */
/* The numbers of a process in memory that may be shared: plain, of one size for one counters.def. */
struct metrics_page;
size_t metrics_page_size(void);
/* Stands for the rows of counters.def: pages of another layout cannot be read. */
uint64_t metrics_layout(void);
/* From now on the numbers are kept there, begun with what was counted so far. Aligned to 64; for as long as
 * the process. Before threads. */
void metrics_move(void *to);
const struct metrics_page *metrics_own(void);

struct metrics_source {
    const struct metrics_page *page; /* aligned to 8 */
    const char *labels;              /* of this process, added to each value; "" for none */
};
/* One family after the other, each with the values of all sources. */
void metrics_print_all(struct buf *b, const struct metrics_source *sources, size_t n);
