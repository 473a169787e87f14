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

/* A counter has a cache line of its own. */
struct cell {
    _Atomic int64_t v;
    char rest[56];
};

struct metrics_page {
    struct cell counters[COUNTER_COUNT];
    struct {
        _Atomic int64_t sum;
        _Atomic int64_t buckets[BUCKETS];
    } histograms[HISTOGRAM_COUNT];
};

static _Alignas(64) struct metrics_page private_page;
static struct metrics_page *own = &private_page;

void counter_add(enum counter c, int64_t n)
{
    atomic_fetch_add_explicit(&own->counters[c].v, n, memory_order_relaxed);
}

void counter_set(enum counter c, int64_t v)
{
    atomic_store_explicit(&own->counters[c].v, v, memory_order_relaxed);
}

static int64_t counter_in(const struct metrics_page *page, enum counter c)
{
    return atomic_load_explicit(&page->counters[c].v, memory_order_relaxed);
}

int64_t counter_get(enum counter c)
{
    return counter_in(own, c);
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
    atomic_fetch_add_explicit(&own->histograms[h].sum, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&own->histograms[h].buckets[bucket_of(ns)], 1, memory_order_relaxed);
}

static int64_t bucket_count(const struct metrics_page *page, enum histogram h, int bucket)
{
    return atomic_load_explicit(&page->histograms[h].buckets[bucket], memory_order_relaxed);
}

int64_t histogram_quantile(enum histogram h, double q)
{
    int64_t total = 0, below = 0, rank;

    assert(q >= 0 && q <= 1);
    for (int i = 0; i < BUCKETS; i++)
        total += bucket_count(own, h, i);
    if (total == 0)
        return 0;
    rank = (int64_t)(q * (double)(total - 1)) + 1;
    for (int i = 0; i < BUCKETS; i++) {
        below += bucket_count(own, h, i);
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

size_t metrics_page_size(void)
{
    return sizeof(struct metrics_page);
}

/* FNV-1a over names and labels, with the end of each. */
static uint64_t mix(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    while (*text++);
    return hash;
}

uint64_t metrics_layout(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(*rows); row++)
        hash = mix(mix(hash, row->name), row->labels);
    return hash;
}

void metrics_move(void *to)
{
    memcpy(to, own, sizeof(*own));
    own = to;
}

const struct metrics_page *metrics_own(void)
{
    return own;
}

/* ---- printing ---- */

/* "{a,b,c}" of those that are not empty; nothing when all are. */
static void put_labels(struct buf *b, const char *const labels[3])
{
    bool any = false;

    for (int i = 0; i < 3; i++) {
        if (!*labels[i])
            continue;
        buf_char(b, any ? ',' : '{');
        buf_lit(b, labels[i]);
        any = true;
    }
    if (any)
        buf_char(b, '}');
}

static void print_value(struct buf *b, const struct row *row, const struct metrics_source *source)
{
    buf_lit(b, row->name);
    put_labels(b, (const char *const[3]){row->labels, source->labels, ""});
    buf_printf(b, " %" PRId64 "\n", counter_in(source->page, (enum counter)row->index));
}

/* Nanoseconds as exact seconds. */
static void print_seconds(struct buf *b, int64_t ns)
{
    struct json j = json_on(b);

    json_decimal(&j, ns, 9);
}

static void print_bucket(struct buf *b, const struct row *row, const char *labels, int bound, int64_t count)
{
    buf_printf(b, "%s_bucket", row->name);
    put_labels(b, (const char *const[3]){row->labels, labels, "le=\""});
    b->n--; /* the bound goes before the brace */
    if (bound > LAST_BOUND)
        buf_lit(b, "+Inf");
    else
        print_seconds(b, INT64_C(1) << bound);
    buf_printf(b, "\"} %" PRId64 "\n", count);
}

/* Every bucket is read once, so the bounds of one page never contradict each other. `le` means "at most": a
 * bound is the first value of a bucket, which a continuous time never hits twice; one ns is not worth a
 * bucket. */
static void print_histogram(struct buf *b, const struct row *row, const struct metrics_source *source)
{
    enum histogram h = (enum histogram)row->index;
    const struct metrics_page *page = source->page;
    const char *const labels[3] = {row->labels, source->labels, ""};
    int64_t count = 0;
    int bucket = 0;

    for (int bound = FIRST_BOUND; bound <= LAST_BOUND; bound++) {
        for (; bucket_start(bucket) < INT64_C(1) << bound; bucket++)
            count += bucket_count(page, h, bucket);
        print_bucket(b, row, source->labels, bound, count);
    }
    for (; bucket < BUCKETS; bucket++)
        count += bucket_count(page, h, bucket);
    print_bucket(b, row, source->labels, LAST_BOUND + 1, count);
    buf_printf(b, "%s_sum", row->name);
    put_labels(b, labels);
    buf_char(b, ' ');
    print_seconds(b, atomic_load_explicit(&page->histograms[h].sum, memory_order_relaxed));
    buf_printf(b, "\n%s_count", row->name);
    put_labels(b, labels);
    buf_printf(b, " %" PRId64 "\n", count);
}

static void print_row(struct buf *b, const struct row *row, const struct metrics_source *source)
{
    if (row->kind == KIND_HISTOGRAM)
        print_histogram(b, row, source);
    else
        print_value(b, row, source);
}

/* Rows of one family stand together in counters.def; all their values stand together on the page, as the
 * format demands. */
void metrics_print_all(struct buf *b, const struct metrics_source *sources, size_t n)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *family = "";

    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(*rows); row++) {
        if (strcmp(family, row->name) != 0)
            buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->text, row->name, types[row->kind]);
        family = row->name;
        for (size_t i = 0; i < n; i++)
            print_row(b, row, &sources[i]);
    }
}

void metrics_print(struct buf *b)
{
    metrics_print_all(b, &(struct metrics_source){own, ""}, 1);
}
