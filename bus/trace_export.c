/*
 * The exporter: one thread that empties the ring twice a second, writes up to SPANS_MAX spans as one OTLP
 * ExportTraceServiceRequest in JSON (OTLP 1.x, "JSON Protobuf Encoding": ids in hex, 64-bit numbers as
 * strings, enums as numbers) and posts it. A batch that is not taken is dropped and counted, and the next one
 * waits, with full jitter, up to 30 s: meanwhile the ring fills and spans are dropped where they are made. So
 * a dead collector costs a fixed amount of memory and no time of anybody's.
 *
 * This thread logs only when the collector is lost and when it is back.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/base/seal.h"
#include "bus/trace_ring.h"

enum {
    SPANS_MAX = 512,
    PAUSE_MS = 500,
    POST_MS = 5000,
    CONNECT_MS = 1000,
    DRAIN_MS = 200,
    BACKOFF_BASE_MS = 500,
    BACKOFF_CAP_MS = 30000,
    BODY_CEILING = 16 << 20,
};

static struct exporter {
    char url[512];
    char service[32], instance[128];
    pthread_t thread;
    pthread_mutex_t lock; /* of stop */
    pthread_cond_t wake;
    bool stop;
    int64_t end_ms; /* monotonic, once stop is set */
    int failures;   /* in a row */
    CURL *curl;
    struct curl_slist *headers;
    struct arena *arena;
} exporter = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- JSON ---- */

static void put_hex(struct json *j, const char *key, const uint8_t *p, size_t n)
{
    char text[33];
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = "0123456789abcdef"[p[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    json_kstr(j, key, (struct str){text, 2 * n});
}

static void put_number(struct json *j, const char *key, int64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)v);
    json_kstr(j, key, str_of(text));
}

static void open_attribute(struct json *j, const char *key)
{
    json_open(j, '{');
    json_kstr(j, "key", str_of(key));
    json_key(j, "value");
    json_open(j, '{');
}

static void close_attribute(struct json *j)
{
    json_close(j, '}');
    json_close(j, '}');
}

static void put_word(struct json *j, const char *key, const char *value)
{
    open_attribute(j, key);
    json_kstr(j, "stringValue", str_of(value));
    close_attribute(j);
}

static void put_attributes(struct json *j, const struct span *span)
{
    json_key(j, "attributes");
    json_open(j, '[');
    for (int i = 0; i < span->attributes_n; i++) {
        const struct attribute *a = &span->attributes[i];
        open_attribute(j, a->key);
        if (a->text)
            json_kstr(j, "stringValue", (struct str){span->text + a->from, a->n});
        else
            put_number(j, "intValue", a->number);
        close_attribute(j);
    }
    json_close(j, ']');
    if (span->attributes_dropped)
        json_kint(j, "droppedAttributesCount", span->attributes_dropped);
}

static void put_links(struct json *j, const struct span *span)
{
    if (span->links_n == 0)
        return;
    json_key(j, "links");
    json_open(j, '[');
    for (int i = 0; i < span->links_n; i++) {
        json_open(j, '{');
        put_hex(j, "traceId", span->links[i].id, 16);
        put_hex(j, "spanId", span->links[i].span, 8);
        json_close(j, '}');
    }
    json_close(j, ']');
    if (span->links_dropped)
        json_kint(j, "droppedLinksCount", span->links_dropped);
}

static void put_span(struct json *j, const struct span *span)
{
    static const uint8_t none[8];
    json_open(j, '{');
    put_hex(j, "traceId", span->trace.id, 16);
    put_hex(j, "spanId", span->trace.span, 8);
    if (memcmp(span->trace.parent, none, sizeof(none)) != 0)
        put_hex(j, "parentSpanId", span->trace.parent, 8);
    json_kstr(j, "name", (struct str){span->text, span->name_n});
    json_kint(j, "kind", span->kind);
    put_number(j, "startTimeUnixNano", span->start_ns);
    put_number(j, "endTimeUnixNano", span->end_ns);
    put_attributes(j, span);
    put_links(j, span);
    json_key(j, "status");
    json_open(j, '{');
    if (span->failure) {
        json_kint(j, "code", 2);
        json_kstr(j, "message", str_of(span->failure));
    }
    json_close(j, '}');
    json_close(j, '}');
}

static void put_resource(struct json *j)
{
    json_key(j, "resource");
    json_open(j, '{');
    json_key(j, "attributes");
    json_open(j, '[');
    put_word(j, "service.namespace", "daydream");
    put_word(j, "service.name", exporter.service);
    put_word(j, "service.instance.id", exporter.instance);
    open_attribute(j, "process.pid");
    put_number(j, "intValue", getpid());
    close_attribute(j);
    json_close(j, ']');
    json_close(j, '}');
}

/* Takes spans out of the ring into a body; returns how many. */
static size_t fill_body(struct buf *b)
{
    const struct span *span;
    struct json j = json_on(b);
    size_t n = 0;
    buf_lit(b, "{\"resourceSpans\":[");
    json_open(&j, '{');
    put_resource(&j);
    json_key(&j, "scopeSpans");
    json_open(&j, '[');
    json_open(&j, '{');
    json_kraw(&j, "scope", STR("{\"name\":\"daydream\"}"));
    json_key(&j, "spans");
    json_open(&j, '[');
    for (; n < SPANS_MAX && (span = trace_ring_first()); n++) {
        put_span(&j, span);
        trace_ring_drop();
    }
    json_close(&j, ']');
    json_close(&j, '}');
    json_close(&j, ']');
    json_close(&j, '}');
    buf_lit(b, "]}");
    return n;
}

/* ---- HTTP ---- */

/* What a collector says beyond its status is of no use here. */
static size_t on_answer(char *p, size_t size, size_t n, void *data)
{
    (void)p, (void)data;
    return size * n;
}

/* How long a request may take now; 0: no time is left. */
static int64_t time_left(void)
{
    pthread_mutex_lock(&exporter.lock);
    int64_t left = exporter.stop ? exporter.end_ms - clock_mono_ms() : POST_MS;
    pthread_mutex_unlock(&exporter.lock);
    return left > 0 ? left : 0;
}

/* Ends a request that is under way when the program ends and has no time for it. */
static int on_progress(void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)data, (void)a, (void)b, (void)c, (void)d;
    return time_left() == 0;
}

static void prepare_curl(void)
{
    CURL *curl = exporter.curl = curl_easy_init();
    if (!curl)
        abort();
    exporter.headers = curl_slist_append(NULL, "Content-Type: application/json");
    exporter.headers = curl_slist_append(exporter.headers, "Expect:");
    curl_easy_setopt(curl, CURLOPT_URL, exporter.url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, exporter.headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
}

static bool post(struct str body)
{
    long status = 0, ms = (long)time_left();
    CURL *curl = exporter.curl;
    if (ms == 0)
        return false;
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.p);
    if (curl_easy_perform(curl) != CURLE_OK)
        return false;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
}

/* ---- the thread ---- */

/* Waits, or is woken by the end; false when all shall end. */
static bool rest(int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&exporter.lock);
    while (!exporter.stop && pthread_cond_timedwait(&exporter.wake, &exporter.lock, &until) == 0)
        continue;
    bool go_on = !exporter.stop;
    pthread_mutex_unlock(&exporter.lock);
    return go_on;
}

static void note(bool taken, size_t n)
{
    counter_add(taken ? COUNTER_SPANS_EXPORTED : COUNTER_SPANS_UNSENT, (int64_t)n);
    if (!taken && exporter.failures++ == 0)
        log_warn("the collector of traces does not take them; they are dropped");
    if (taken && exporter.failures) {
        log_info("the collector of traces is back", kv("failures", exporter.failures));
        exporter.failures = 0;
    }
}

/* Everything that is in the ring now, until a batch is not taken. */
static void export_all(void)
{
    bool taken = true;
    for (size_t n = SPANS_MAX; taken && n == SPANS_MAX;) {
        if (!trace_ring_first())
            return;
        arena_reset(exporter.arena);
        struct buf body = buf_new(exporter.arena, 64 << 10);
        n = fill_body(&body);
        taken = post(buf_view(&body));
        note(taken, n);
    }
}

static int64_t pause_ms(void)
{
    int n = exporter.failures;
    return PAUSE_MS + (n ? backoff_ms(n < 8 ? n : 8, BACKOFF_BASE_MS, BACKOFF_CAP_MS) : 0);
}

static void *run(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "traces");
    while (rest(pause_ms()))
        export_all();
    export_all();
    curl_easy_cleanup(exporter.curl);
    curl_slist_free_all(exporter.headers);
    arena_free(exporter.arena);
    return NULL;
}

/* ---- starting and ending ---- */

static err read_ratio(double *ret)
{
    struct str text = conf_str(SET_OTEL_TRACES_SAMPLER_ARG);
    char *end;
    *ret = strtod(text.p, &end);
    if (text.n == 0 || end != text.p + text.n || !(*ret >= 0 && *ret <= 1))
        return FAIL(CONFIG, "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1");
    return OK;
}

/* https://opentelemetry.io/docs/specs/otel/protocol/exporter/: the path of the signal is added to the
 * endpoint. */
static err make_url(struct str endpoint)
{
    if (!str_starts(endpoint, STR("http://")) && !str_starts(endpoint, STR("https://")))
        return FAIL(CONFIG, "OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://");
    while (endpoint.p[endpoint.n - 1] == '/')
        endpoint.n--;
    int n = snprintf(exporter.url, sizeof(exporter.url), "%.*s/v1/traces", STR_ARG(endpoint));
    if (n >= (int)sizeof(exporter.url))
        return FAIL(CONFIG, "OTEL_EXPORTER_OTLP_ENDPOINT is too long");
    return OK;
}

err trace_start(const char *service, const char *instance)
{
    struct str endpoint = conf_str(SET_OTEL_EXPORTER_OTLP_ENDPOINT);
    double ratio;
    pthread_condattr_t monotonic;
    TRY(read_ratio(&ratio));
    if (endpoint.n == 0)
        return OK;
    TRY(make_url(endpoint));
    snprintf(exporter.service, sizeof(exporter.service), "%s", service);
    snprintf(exporter.instance, sizeof(exporter.instance), "%s", instance);
    trace_ratio_set(ratio);
    trace_ring_new();
    exporter.arena = arena_new(BODY_CEILING);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    prepare_curl();
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&exporter.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    trace_on = true;
    if (pthread_create(&exporter.thread, NULL, run, NULL) != 0)
        abort();
    log_info("traces are exported", kv("ratio", conf_str(SET_OTEL_TRACES_SAMPLER_ARG)));
    return OK;
}

/* A name that is being looked up cannot be ended: then the thread is left to the end of the process. */
void trace_stop(void)
{
    struct timespec until;
    if (!trace_on)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (DRAIN_MS + 50) * INT64_C(1000000);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&exporter.lock);
    exporter.stop = true;
    exporter.end_ms = clock_mono_ms() + DRAIN_MS;
    pthread_cond_signal(&exporter.wake);
    pthread_mutex_unlock(&exporter.lock);
    (void)pthread_timedjoin_np(exporter.thread, NULL, &until);
}
