/*
 * Invoices: a program of its own that keeps a table of the shop's orders, each event exactly once. All there
 * is to a subscriber, in one file:
 *
 *     cc subscriber.c -o subscriber $(pkg-config --cflags --libs daydream-bus)
 *     DATABASE_URL=… REDIS_URL=… ./subscriber invoices
 *
 * or by CMake: find_package(DaydreamBus 1 REQUIRED), target_link_libraries(… DaydreamBus::daydream-bus).
 * Start as many as you like under one name, kill any of them at any time.
 *
 *     CREATE TABLE seen_order (topic text, part int, seq bigint, key text, type text, n bigserial,
 *                              PRIMARY KEY (topic, part, seq));
 *     GRANT INSERT ON seen_order TO …; GRANT USAGE ON SEQUENCE seen_order_n_seq TO …;
 */
#include <daydream/bus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* Has no effect but its statements: they and the position are committed together, or not at all. */
static int keep(void *context, struct dds_tx *tx, const struct dds_event *const *events, size_t n)
{
    (void)context;
    for (size_t i = 0; i < n; i++) {
        const struct dds_event *e = events[i];
        char part[16], seq[24];
        snprintf(part, sizeof(part), "%d", e->partition);
        snprintf(seq, sizeof(seq), "%lld", (long long)e->seq);
        const char *const values[] = {e->topic, part, seq, e->partitionkey, e->type};
        if (dds_exec(tx, "INSERT INTO seen_order (topic, part, seq, key, type) VALUES ($1, $2, $3, $4, $5)",
                     5, values) != DDS_OK)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct dds *sub;
    char why[DDS_ERROR_MAX];
    const struct dds_options options = {DDS_OPTIONS,
                                        .database_url = getenv("DATABASE_URL"),
                                        .redis_url = getenv("REDIS_URL"),
                                        .name = argc > 1 ? argv[1] : "invoices",
                                        .owner = "the accountants",
                                        .types = "order.*",
                                        .lease_ms = 2000};
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (dds_open(&options, &sub, why, sizeof(why)) != DDS_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], why);
        return 1;
    }
    while (!stop) {
        int status = dds_each(sub, 1000, keep, NULL); /* servers that are down pass, so does a lost lease */
        if (status == DDS_REFUSED || status == DDS_MISUSE) {
            fprintf(stderr, "%s: %s\n", argv[0], dds_error(sub));
            break;
        }
    }
    dds_close(sub);
    return stop ? 0 : 1;
}
