/*
 * Context and recording. The ring is a bounded queue of many writers and one reader: each slot has a turn,
 * which says whose it is. A writer takes the next position by one compare-and-swap, fills the slot in place
 * and gives it to the reader by storing position + 1; the reader gives it back by storing position + size. A
 * slot that is not free means that the ring is full: the span is dropped and counted, nobody waits. (The
 * scheme is Dmitry Vyukov's bounded queue.)
 *
 * A thread that died between taking and giving would stop the reader there; only the process dies so.
 */
#include "bus/trace.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "bus/base/metrics.h"
#include "bus/base/uuid.h"
#include "bus/trace_ring.h"

static_assert((TRACE_RING & (TRACE_RING - 1)) == 0, "positions are cut by a mask");

struct slot {
    _Atomic uint64_t turn;
    struct span span;
};

bool trace_on;
static struct slot *ring;
static uint64_t threshold; /* new traces whose low 63 bits are below it are sampled */
static _Alignas(64) _Atomic uint64_t head;
static _Alignas(64) uint64_t tail; /* the reader's own */

/* ---- context ---- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n bytes of lower-case hex; false when it is something else, or all zeros where that is not allowed. */
static bool read_hex(const char *p, size_t n, uint8_t *ret, bool zeros_too)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        int high = digit(p[2 * i]), low = digit(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
        any |= ret[i];
    }
    return any || zeros_too;
}

/* "00-<32 hex>-<16 hex>-<2 hex>": its span becomes ret's parent. */
static bool parse(struct str t, struct trace *ret)
{
    uint8_t flags;
    if (t.n != TRACEPARENT || memcmp(t.p, "00-", 3) != 0 || t.p[35] != '-' || t.p[52] != '-')
        return false;
    if (!read_hex(t.p + 3, 16, ret->id, false) || !read_hex(t.p + 36, 8, ret->parent, false) ||
        !read_hex(t.p + 53, 1, &flags, true))
        return false;
    ret->sampled = flags & 1;
    return true;
}

static void new_span(struct trace *trace)
{
    random_bytes(trace->span, sizeof(trace->span));
    trace->span[0] |= 1; /* all zeros are not allowed */
}

/* The low 63 bits of the id decide, so that everybody who knows the ratio decides the same. */
static bool ratio_takes(const uint8_t id[static 16])
{
    uint64_t low = 0;
    for (int i = 8; i < 16; i++)
        low = low << 8 | id[i];
    return low >> 1 < threshold;
}

void trace_ratio_set(double ratio)
{
    threshold = ratio >= 1 ? UINT64_MAX : (uint64_t)(ratio * 9223372036854775808.0);
}

void trace_begin(struct str traceparent, struct trace *ret)
{
    *ret = (struct trace){.sampled = false};
    if (!traceparent.p || !parse(traceparent, ret)) {
        memset(ret->parent, 0, sizeof(ret->parent));
        random_bytes(ret->id, sizeof(ret->id));
        ret->id[0] |= 1;
        ret->sampled = ratio_takes(ret->id);
    }
    new_span(ret);
}

bool trace_follow(struct str traceparent, struct trace *ret)
{
    struct trace trace;
    *ret = (struct trace){.sampled = false};
    if (!trace_on || !traceparent.p || !parse(traceparent, &trace) || !trace.sampled)
        return false;
    new_span(&trace);
    *ret = trace;
    return true;
}

static void put_hex(char *to, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = digits[p[i] >> 4];
        to[2 * i + 1] = digits[p[i] & 15];
    }
}

struct str trace_text(const struct trace *trace, struct arena *arena)
{
    char *p = arena_alloc(arena, TRACEPARENT + 1);
    memcpy(p, "00-", 3);
    put_hex(p + 3, trace->id, 16);
    p[35] = '-';
    put_hex(p + 36, trace->span, 8);
    memcpy(p + 52, trace->sampled ? "-01" : "-00", 4);
    return (struct str){p, TRACEPARENT};
}

int64_t trace_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- the ring ---- */

void trace_ring_new(void)
{
    ring = calloc(TRACE_RING, sizeof(*ring));
    if (!ring)
        abort();
    for (uint64_t i = 0; i < TRACE_RING; i++)
        atomic_store_explicit(&ring[i].turn, i, memory_order_relaxed);
    atomic_store(&head, 0);
    tail = 0;
}

/* The slot at the next position, or NULL when the reader has not emptied it since the last round. */
static struct span *take(void)
{
    uint64_t at = atomic_load_explicit(&head, memory_order_relaxed);
    for (;;) {
        struct slot *slot = &ring[at & (TRACE_RING - 1)];
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (turn == at && atomic_compare_exchange_weak_explicit(&head, &at, at + 1, memory_order_relaxed,
                                                                memory_order_relaxed)) {
            slot->span.at = at;
            return &slot->span;
        }
        if (turn < at)
            return NULL;
        if (turn > at)
            at = atomic_load_explicit(&head, memory_order_relaxed);
    }
}

void span_close(struct span *span)
{
    if (span)
        atomic_store_explicit(&ring[span->at & (TRACE_RING - 1)].turn, span->at + 1, memory_order_release);
}

const struct span *trace_ring_first(void)
{
    struct slot *slot = &ring[tail & (TRACE_RING - 1)];
    return atomic_load_explicit(&slot->turn, memory_order_acquire) == tail + 1 ? &slot->span : NULL;
}

void trace_ring_drop(void)
{
    atomic_store_explicit(&ring[tail & (TRACE_RING - 1)].turn, tail + TRACE_RING, memory_order_release);
    tail++;
}

/* ---- recording ---- */

/* As much of s as there is room for; a cut inside a character is mended when it is written as JSON. */
static uint16_t keep(struct span *span, struct str s)
{
    size_t n = s.n < (size_t)(SPAN_TEXT - span->text_n) ? s.n : (size_t)(SPAN_TEXT - span->text_n);
    if (n)
        memcpy(span->text + span->text_n, s.p, n);
    span->text_n = (uint16_t)(span->text_n + n);
    return (uint16_t)n;
}

struct span *span_open(const struct trace *trace, enum span_kind kind, struct str name, int64_t start_ns,
                       int64_t end_ns)
{
    if (!trace_on || !trace->sampled)
        return NULL;
    struct span *span = take();
    if (!span) {
        counter_add(COUNTER_SPANS_FULL, 1);
        return NULL;
    }
    span->trace = *trace;
    span->kind = kind;
    span->start_ns = start_ns;
    span->end_ns = end_ns < start_ns ? start_ns : end_ns; /* the wall clock may have been set back */
    span->failure = NULL;
    span->text_n = 0;
    span->attributes_n = span->links_n = 0;
    span->links_dropped = span->attributes_dropped = 0;
    span->name_n = keep(span, name);
    return span;
}

static struct attribute *next_attribute(struct span *span, const char *key)
{
    if (!span)
        return NULL;
    if (span->attributes_n == SPAN_ATTRIBUTES) {
        span->attributes_dropped++;
        return NULL;
    }
    struct attribute *a = &span->attributes[span->attributes_n++];
    *a = (struct attribute){.key = key};
    return a;
}

void span_str(struct span *span, const char *key, struct str value)
{
    struct attribute *a = value.n ? next_attribute(span, key) : NULL;
    if (!a)
        return;
    a->text = true;
    a->from = span->text_n;
    a->n = keep(span, value);
}

void span_int(struct span *span, const char *key, int64_t value)
{
    struct attribute *a = next_attribute(span, key);
    if (a)
        a->number = value;
}

void span_link(struct span *span, const struct trace *to)
{
    if (!span || !to->sampled)
        return;
    if (span->links_n == SPAN_LINKS) {
        span->links_dropped++;
        return;
    }
    struct link_to *link = &span->links[span->links_n++];
    memcpy(link->id, to->id, sizeof(link->id));
    memcpy(link->span, to->span, sizeof(link->span));
}

void span_failed(struct span *span, const char *message)
{
    if (span)
        span->failure = message;
}
