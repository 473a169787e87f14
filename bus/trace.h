/*
 * Traces: W3C trace context (https://www.w3.org/TR/trace-context/, version 00) in, OTLP/HTTP JSON out. A
 * request, a message that is handled, a batch and an outside call are spans. Spans go into a ring of fixed
 * size; a thread of its own sends them to a collector. A loop never waits for it: a full ring and a collector
 * that does not answer cost spans, which are counted, and nothing else. Off, which is the default, all of it
 * is one branch.
 *
 * Names, keys and attributes hold ids and words of ours. Nothing a person typed may go in.
 */
#pragma once

#include "bus/base/arena.h"

/* A place in a trace: what a traceparent says, and whose child it is. */
struct trace {
    uint8_t id[16], span[8], parent[8]; /* parent all zeros: the first of its trace */
    bool sampled;                       /* spans are kept */
};

enum { TRACEPARENT = 55 };

/* Are traces written? Set by trace_start, before threads. */
extern bool trace_on;

/* Begins to export when OTEL_EXPORTER_OTLP_ENDPOINT is set; else nothing is done. service and instance name
 * this process. CONFIG: the endpoint or OTEL_TRACES_SAMPLER_ARG is wrong. Once, before threads. */
err trace_start(const char *service, const char *instance) _must_use_;
/* Sends what is in the ring, for at most 200 ms, and ends. Without trace_start nothing. */
void trace_stop(void);

/* For the door: a span below the client's traceparent, whose sampled flag is followed; without one (absent or
 * malformed) the first of a new trace, which is sampled by the ratio of OTEL_TRACES_SAMPLER_ARG, decided by
 * the trace id alone. */
void trace_begin(struct str traceparent, struct trace *ret);
/* For whoever handles a message: a span below its traceparent. False, and ret is empty, when traces are off,
 * the text is not a traceparent, or it is not sampled. */
bool trace_follow(struct str traceparent, struct trace *ret);
/* The traceparent that names this span, for what it causes. */
struct str trace_text(const struct trace *trace, struct arena *arena);
/* Nanoseconds since 1970, for the start and the end of spans. */
int64_t trace_now(void);

/* ---- recording ---- */
/* Numbers of OTLP's SpanKind. */
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER };
enum { SPAN_ATTRIBUTES = 10, SPAN_LINKS = 16, SPAN_TEXT = 384 };

struct span;
/* A place in the ring for a span that has ended, to be filled and closed without delay by this thread. NULL
 * when the trace is not sampled or the ring is full; every function below takes NULL. name is copied. */
struct span *span_open(const struct trace *trace, enum span_kind kind, struct str name, int64_t start_ns,
                       int64_t end_ns);
/* key is a literal. Strings are copied as far as there is room (SPAN_TEXT bytes in all). */
void span_str(struct span *span, const char *key, struct str value);
void span_int(struct span *span, const char *key, int64_t value);
/* Points to another span; those beyond SPAN_LINKS are only counted. */
void span_link(struct span *span, const struct trace *to);
/* The status is an error; message is a literal, or lives as long as the process. */
void span_failed(struct span *span, const char *message);
void span_close(struct span *span);
