/*
 * Counters and histograms of this process. Every value is one relaxed atomic: no order between values is
 * promised, only that nothing is lost. Counters stand in cache lines of their own, so that threads do not
 * disturb each other.
 *
 * A histogram is log-linear: below 64 ns a bucket per ns, above 32 buckets per power of two, hence buckets
 * never wider than 1/32 of their value; the middle of a bucket is at most 1.6 % off.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "bus/base/json.h"
#include "bus/base/metrics.h"

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS, BUCKETS = (63 - SUB_BITS + 1) * SUB };
/* Bounds shown to Prometheus: powers of two from 2^16 ns (66 us) to 2^34 ns (17 s), which are edges of
 * buckets. */
enum { FIRST_BOUND = 16, LAST_BOUND = 34 };

static struct {
    _Alignas(64) _Atomic int64_t v;
} counters[COUNTER_COUNT];

static struct {
    _Atomic int64_t sum;
    _Atomic int64_t buckets[BUCKETS];
} histograms[HISTOGRAM_COUNT];

void counter_add(enum counter c, int64_t n)
{
    atomic_fetch_add_explicit(&counters[c].v, n, memory_order_relaxed);
}

void counter_set(enum counter c, int64_t v)
{
    atomic_store_explicit(&counters[c].v, v, memory_order_relaxed);
}

int64_t counter_get(enum counter c)
{
    return atomic_load_explicit(&counters[c].v, memory_order_relaxed);
}

static int bucket_of(int64_t ns)
{
    int shift;

    if (ns < 2 * SUB)
        return (int)ns;
    shift = 63 - __builtin_clzll((unsigned long long)ns) - SUB_BITS;
    return shift * SUB + (int)(ns >> shift);
}

/* The smallest value of a bucket; of BUCKETS, the end. */
static int64_t bucket_start(int bucket)
{
    int shift = bucket / SUB - 1;

    if (shift < 1)
        return bucket;
    return (int64_t)(SUB + bucket % SUB) << shift;
}

void histogram_observe(enum histogram h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    atomic_fetch_add_explicit(&histograms[h].sum, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&histograms[h].buckets[bucket_of(ns)], 1, memory_order_relaxed);
}

static int64_t bucket_count(enum histogram h, int bucket)
{
    return atomic_load_explicit(&histograms[h].buckets[bucket], memory_order_relaxed);
}

int64_t histogram_quantile(enum histogram h, double q)
{
    int64_t total = 0, below = 0, rank;

    assert(q >= 0 && q <= 1);
    for (int i = 0; i < BUCKETS; i++)
        total += bucket_count(h, i);
    if (total == 0)
        return 0;
    rank = (int64_t)(q * (double)(total - 1)) + 1;
    for (int i = 0; i < BUCKETS; i++) {
        below += bucket_count(h, i);
        if (below >= rank) {
            int64_t start = bucket_start(i), width = i < 2 * SUB ? 1 : INT64_C(1) << (i / SUB - 1);

            return start + width / 2;
        }
    }
    return INT64_MAX;
}

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

static const struct row {
    enum kind kind;
    int index;
    const char *name, *labels, *text;
} rows[] = {
#define COUNTER(id, name, labels, text) {KIND_COUNTER, COUNTER_##id, name, labels, text},
#define GAUGE(id, name, labels, text) {KIND_GAUGE, COUNTER_##id, name, labels, text},
#define HISTOGRAM(id, name, labels, text) {KIND_HISTOGRAM, HISTOGRAM_##id, name, labels, text},
#include "bus/base/counters.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

static void print_value(struct buf *b, const struct row *row)
{
    buf_lit(b, row->name);
    if (*row->labels)
        buf_printf(b, "{%s}", row->labels);
    buf_printf(b, " %" PRId64 "\n", counter_get((enum counter)row->index));
}

/* Nanoseconds as exact seconds. */
static void print_seconds(struct buf *b, int64_t ns)
{
    struct json j = json_on(b);

    json_decimal(&j, ns, 9);
}

static void print_bucket(struct buf *b, const struct row *row, int bound, int64_t count)
{
    buf_printf(b, "%s_bucket{%s%sle=\"", row->name, row->labels, *row->labels ? "," : "");
    if (bound > LAST_BOUND)
        buf_lit(b, "+Inf");
    else
        print_seconds(b, INT64_C(1) << bound);
    buf_printf(b, "\"} %" PRId64 "\n", count);
}

/* Every bucket is read once, so the bounds of one page never contradict each other. `le` means "at most": a
 * bound is the first value of a bucket, which a continuous time never hits twice; one ns is not worth a
 * bucket. */
static void print_histogram(struct buf *b, const struct row *row)
{
    enum histogram h = (enum histogram)row->index;
    const char *open = *row->labels ? "{" : "", *close = *row->labels ? "}" : "";
    int64_t count = 0;
    int bucket = 0;

    for (int bound = FIRST_BOUND; bound <= LAST_BOUND; bound++) {
        for (; bucket_start(bucket) < INT64_C(1) << bound; bucket++)
            count += bucket_count(h, bucket);
        print_bucket(b, row, bound, count);
    }
    for (; bucket < BUCKETS; bucket++)
        count += bucket_count(h, bucket);
    print_bucket(b, row, LAST_BOUND + 1, count);
    buf_printf(b, "%s_sum%s%s%s ", row->name, open, row->labels, close);
    print_seconds(b, atomic_load_explicit(&histograms[h].sum, memory_order_relaxed));
    buf_printf(b, "\n%s_count%s%s%s %" PRId64 "\n", row->name, open, row->labels, close, count);
}

void metrics_print(struct buf *b)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *family = "";

    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(*rows); row++) {
        if (strcmp(family, row->name) != 0)
            buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->text, row->name, types[row->kind]);
        family = row->name;
        if (row->kind == KIND_HISTOGRAM)
            print_histogram(b, row);
        else
            print_value(b, row);
    }
}
