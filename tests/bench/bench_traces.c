/*
 * What traces cost those who are served: the latency of commands (add to cart, waited for) with traces off,
 * with a collector that takes them, and with one that is dead, in the same run. Three shops stand side by
 * side and are asked in turn, a slice each, so that what else runs on the machine falls on all of them alike;
 * there and back, since the collector is still busy with the second shop's spans when the next slice begins.
 *
 * bench_traces [--slices N] [--commands N per slice] [--null 1]
 * --null 1: traces are off in all three, so what it prints is by how much shops differ that are the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/clock.h"
#include "bus/topics.h"
#include "tests/support/collector.h"
#include "tests/support/measure.h"
#include "tests/support/verbs.h"

enum { KINDS = 3, CLIENTS = 4, PARTS = 4 };

static const char *const kinds[KINDS] = {"off", "collector takes them", "collector is dead"};

struct stand {
    char setting[128];
    const char *settings[3];
    struct shop *shop;
    struct person *boss, *clients[CLIENTS];
    char cup[ID_TEXT];
    struct latencies each[CLIENTS];
    int commands;
};

/* A customer whose cart is in this partition: the same ones in every shop. Which of them share a worker, and
 * so a batch, changes the latency by more than traces do. */
static struct person *customer_of(struct shop *shop, int part)
{
    for (;;) {
        struct person *person = customer(shop);
        if (partition_of(str_of(person->id)) == part)
            return person;
        leave(person);
    }
}

static void set_up(struct stand *s, const char *endpoint)
{
    snprintf(s->setting, sizeof(s->setting), "OTEL_EXPORTER_OTLP_ENDPOINT=%s", endpoint);
    s->settings[0] = s->setting;
    s->settings[1] = "RATE_LIMIT=off";
    s->shop = shop_start(&(struct shop_options){.settings = s->settings, .partitions = PARTS});
    s->boss = admin(s->shop);
    create_product(s->boss, &(struct goods){.name = "Taza", .price = 12990, .stock = 1000000}, s->cup);
    for (int i = 0; i < CLIENTS; i++)
        s->clients[i] = customer_of(s->shop, i);
}

static void act(int i, void *data)
{
    struct stand *s = data;
    for (int n = 0; n < s->commands; n++) {
        int64_t start = clock_mono_ns();
        int status = add_to_cart(s->clients[i], s->cup, 1 + n % 3);
        if (status != 200 && status != 201)
            shop_die(s->shop, "a command was answered %d", status);
        latency_add(&s->each[i], clock_mono_ns() - start);
    }
}

static void tear_down(struct stand *s)
{
    leave(s->boss);
    for (int i = 0; i < CLIENTS; i++)
        leave(s->clients[i]);
    shop_stop(s->shop);
}

static void print(struct stand *stands, bool null)
{
    double off[2] = {0};
    for (int k = 0; k < KINDS; k++) {
        struct latencies all = {0};
        for (int i = 0; i < CLIENTS; i++)
            latency_merge(&all, &stands[k].each[i]);
        double p50 = (double)latency_quantile(&all, 0.5) / 1e6,
               p99 = (double)latency_quantile(&all, 0.99) / 1e6;
        if (k == 0) {
            off[0] = p50;
            off[1] = p99;
        }
        printf("%-22s %8lld commands  p50 %7.2f ms (x%.2f)  p99 %7.2f ms (x%.2f)\n", kinds[null ? 0 : k],
               (long long)all.n, p50, p50 / off[0], p99, p99 / off[1]);
    }
}

int main(int argc, char **argv)
{
    static struct stand stands[KINDS];
    int slices = 20, commands = 50, null = 0;
    double loads[1] = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--slices") == 0)
            slices = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--commands") == 0)
            commands = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--null") == 0)
            null = atoi(argv[i + 1]);
    }
    if (slices <= 0 || commands <= 0) {
        fprintf(stderr, "usage: bench_traces [--slices N] [--commands N] [--null 1]\n");
        return 2;
    }
    struct collector *collector = collector_start();
    partitions_set(PARTS);
    set_up(&stands[0], "");
    set_up(&stands[1], null ? "" : collector_url(collector));
    set_up(&stands[2], null ? "" : "http://127.0.0.1:1"); /* nobody listens there */
    for (int n = 0; n < slices; n++)
        for (int i = 0; i < KINDS; i++) {
            int k = n % 2 ? KINDS - 1 - i : i;
            stands[k].commands = commands;
            all_at_once(CLIENTS, act, &stands[k]);
        }
    getloadavg(loads, 1);
    print(stands, null);
    printf("load %.1f at the end; the collector has %zu spans, fault: %s\n", loads[0],
           collector_count(collector), collector_fault(collector) ? collector_fault(collector) : "none");
    for (int k = 0; k < KINDS; k++)
        tear_down(&stands[k]);
    collector_stop(collector);
    return 0;
}
