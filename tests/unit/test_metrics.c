/* Counters and histograms: nothing lost between threads, quantiles within 3 %, a page Prometheus reads. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "bus/base/metrics.h"

enum { THREADS = 4, EACH = 50000 };

static void *count(void *unused)
{
    (void)unused;
    for (int i = 0; i < EACH; i++) {
        counter_add(COUNTER_PARKED, 1);
        histogram_observe(HISTOGRAM_FLUSH_SECONDS, 1000);
    }
    return NULL;
}

static const char *page(struct arena *arena)
{
    struct buf b = buf_new(arena, 0);

    metrics_print(&b);
    return b.p;
}

Test(metrics, threads_lose_nothing)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(counter_get(COUNTER_PARKED), THREADS * EACH);
    cr_assert_not_null(strstr(page(arena), "\nflush_duration_seconds_count 200000\n"));
    cr_assert_not_null(strstr(page(arena), "\nflush_duration_seconds_sum 0.200000000\n"));
}

Test(metrics, gauges_are_set)
{
    counter_set(COUNTER_HTTP_CONNECTIONS, 7);
    counter_add(COUNTER_HTTP_CONNECTIONS, -2);
    cr_assert_eq(counter_get(COUNTER_HTTP_CONNECTIONS), 5);
}

Test(metrics, quantiles_are_within_three_percent)
{
    static const double shares[] = {0, 0.01, 0.5, 0.9, 0.99, 1};
    const int64_t n = 100000, unit = 997;

    cr_assert_eq(histogram_quantile(HISTOGRAM_HTTP_SECONDS, 0.5), 0);
    for (int64_t i = 1; i <= n; i++)
        histogram_observe(HISTOGRAM_HTTP_SECONDS, i * unit);
    for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
        double exact = (double)unit * (shares[i] * (double)(n - 1) + 1);
        double told = (double)histogram_quantile(HISTOGRAM_HTTP_SECONDS, shares[i]);

        cr_assert(told > exact * 0.97 && told < exact * 1.03, "q %g: %g, exact %g", shares[i], told, exact);
    }
}

Test(metrics, every_power_of_two_and_its_neighbours_have_a_bucket)
{
    for (int bit = 0; bit < 63; bit++)
        for (int64_t d = -1; d <= 1; d++) {
            int64_t v = (INT64_C(1) << bit) + d;

            histogram_observe(HISTOGRAM_HTTP_SECONDS, v);
        }
    histogram_observe(HISTOGRAM_HTTP_SECONDS, INT64_MAX);
    histogram_observe(HISTOGRAM_HTTP_SECONDS, INT64_MIN);
    cr_assert_gt(histogram_quantile(HISTOGRAM_HTTP_SECONDS, 1), INT64_MAX / 100 * 97);
    cr_assert_eq(histogram_quantile(HISTOGRAM_HTTP_SECONDS, 0), 0);
}

Test(metrics, the_page_is_prometheus_text)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    const char *text;

    counter_add(COUNTER_HTTP_4XX, 3);
    histogram_observe(HISTOGRAM_HTTP_SECONDS, 65535);
    histogram_observe(HISTOGRAM_HTTP_SECONDS, 65536);
    histogram_observe(HISTOGRAM_HTTP_SECONDS, INT64_C(60000000000));
    text = page(arena);
    cr_assert_not_null(strstr(text, "# HELP http_responses_total HTTP responses by class of status\n"
                                    "# TYPE http_responses_total counter\n"
                                    "http_responses_total{class=\"2xx\"} 0\n"
                                    "http_responses_total{class=\"3xx\"} 0\n"
                                    "http_responses_total{class=\"4xx\"} 3\n"));
    cr_assert_not_null(strstr(text, "# TYPE http_connections gauge\nhttp_connections 0\n"));
    cr_assert_not_null(strstr(text, "# TYPE http_response_seconds histogram\n"
                                    "http_response_seconds_bucket{le=\"0.000065536\"} 1\n"
                                    "http_response_seconds_bucket{le=\"0.000131072\"} 2\n"));
    cr_assert_not_null(strstr(text, "http_response_seconds_bucket{le=\"17.179869184\"} 2\n"
                                    "http_response_seconds_bucket{le=\"+Inf\"} 3\n"
                                    "http_response_seconds_sum 60.000131071\n"
                                    "http_response_seconds_count 3\n"));
}
