/* A row of counters per route, found by the route's place in its table. */
#include "api/route_metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bus/base/json.h"

static const int statuses[] = {200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 409,
                               412, 413, 414, 415, 422, 429, 431, 500, 503, 504};
static const int64_t bounds_us[] = {1000,   2500,   5000,    10000,   25000,    50000,
                                    100000, 250000, 1000000, 2500000, 10000000, 30000000};
enum {
    STATUSES = sizeof(statuses) / sizeof(*statuses),
    BOUNDS = sizeof(bounds_us) / sizeof(*bounds_us),
    TABLES_MAX = 8,
};

struct row {
    enum method method;
    const char *endpoint;
    _Atomic int64_t by_status[STATUSES + 1]; /* the last: other */
    _Atomic int64_t buckets[BOUNDS + 1];     /* not cumulative */
    _Atomic int64_t ns;
};

struct route_metrics {
    struct {
        const struct route *routes;
        size_t n, first; /* row of the first route */
    } tables[TABLES_MAX];
    size_t tables_n, n;
    struct row *rows; /* by method for what has no route, then the tables' */
};

static size_t length_of(const struct route *table)
{
    size_t n = 0;

    while (table[n].path)
        n++;
    return n;
}

struct route_metrics *route_metrics_new(const struct route *const *tables)
{
    struct route_metrics *m = calloc(1, sizeof(*m));

    if (!m)
        abort();
    m->n = METHODS;
    for (; tables[m->tables_n] && m->tables_n < TABLES_MAX; m->tables_n++) {
        size_t n = length_of(tables[m->tables_n]);

        m->tables[m->tables_n].routes = tables[m->tables_n];
        m->tables[m->tables_n].n = n;
        m->tables[m->tables_n].first = m->n;
        m->n += n;
    }
    m->rows = calloc(m->n, sizeof(*m->rows));
    if (!m->rows)
        abort();
    for (size_t i = 0; i < METHODS; i++)
        m->rows[i].method = (enum method)i;
    for (size_t t = 0; t < m->tables_n; t++)
        for (size_t i = 0; i < m->tables[t].n; i++) {
            m->rows[m->tables[t].first + i].method = m->tables[t].routes[i].method;
            m->rows[m->tables[t].first + i].endpoint = m->tables[t].routes[i].path;
        }
    return m;
}

struct route_metrics *route_metrics_free(struct route_metrics *m)
{
    if (m)
        free(m->rows);
    free(m);
    return NULL;
}

static struct row *row_of(const struct route_metrics *m, const struct request *req)
{
    for (size_t t = 0; req->route && t < m->tables_n; t++)
        if (req->route >= m->tables[t].routes && req->route < m->tables[t].routes + m->tables[t].n)
            return &m->rows[m->tables[t].first + (size_t)(req->route - m->tables[t].routes)];
    return &m->rows[req->method];
}

static void add(_Atomic int64_t *to, int64_t n)
{
    atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static int64_t look(const _Atomic int64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

void route_metrics_count(struct route_metrics *m, const struct request *req, int status, int64_t ns)
{
    struct row *row = row_of(m, req);
    size_t s = 0, b = 0;

    while (s < STATUSES && statuses[s] != status)
        s++;
    while (b < BOUNDS && ns > bounds_us[b] * 1000)
        b++;
    add(&row->by_status[s], 1);
    add(&row->buckets[b], 1);
    add(&row->ns, ns);
}

/* ---- printing ---- */

static void put_labels(struct buf *b, const struct row *row, const char *labels)
{
    buf_printf(b, "{method=\"%s\",endpoint=\"%s\",%s", method_name(row->method),
               row->endpoint ? row->endpoint : "none", labels);
}

static void print_requests(struct buf *b, const struct row *row, const char *labels)
{
    for (size_t s = 0; s <= STATUSES; s++) {
        int64_t n = look(&row->by_status[s]);

        if (n == 0)
            continue;
        buf_lit(b, "http_requests_total");
        put_labels(b, row, labels);
        if (s < STATUSES)
            buf_printf(b, ",status=\"%d\"} %" PRId64 "\n", statuses[s], n);
        else
            buf_printf(b, ",status=\"other\"} %" PRId64 "\n", n);
    }
}

static void print_decimal(struct buf *b, int64_t v, int decimals)
{
    struct json j = json_on(b);

    json_decimal(&j, v, decimals);
}

static void print_bucket(struct buf *b, const struct row *row, const char *labels, size_t bound, int64_t n)
{
    buf_lit(b, "http_request_duration_seconds_bucket");
    put_labels(b, row, labels);
    buf_lit(b, ",le=\"");
    if (bound < BOUNDS)
        print_decimal(b, bounds_us[bound], 6);
    else
        buf_lit(b, "+Inf");
    buf_printf(b, "\"} %" PRId64 "\n", n);
}

static void print_duration(struct buf *b, const struct row *row, const char *labels)
{
    int64_t counts[BOUNDS + 1], n = 0;

    for (size_t i = 0; i <= BOUNDS; i++)
        n += counts[i] = look(&row->buckets[i]);
    if (n == 0)
        return;
    n = 0;
    for (size_t i = 0; i <= BOUNDS; i++)
        print_bucket(b, row, labels, i, n += counts[i]);
    buf_lit(b, "http_request_duration_seconds_sum");
    put_labels(b, row, labels);
    buf_lit(b, "} ");
    print_decimal(b, look(&row->ns), 9);
    buf_lit(b, "\nhttp_request_duration_seconds_count");
    put_labels(b, row, labels);
    buf_printf(b, "} %" PRId64 "\n", n);
}

void route_metrics_print(const struct route_metrics *m, struct buf *b, const char *labels)
{
    buf_lit(b, "# HELP http_requests_total answers by route and status\n"
               "# TYPE http_requests_total counter\n");
    for (size_t i = 0; i < m->n; i++)
        print_requests(b, &m->rows[i], labels);
    buf_lit(b, "# HELP http_request_duration_seconds time from the last byte of a request to the last of its "
               "answer\n# TYPE http_request_duration_seconds histogram\n");
    for (size_t i = 0; i < m->n; i++)
        print_duration(b, &m->rows[i], labels);
}
