/*
 * See measure.h. CPU time is read from schedstat, which counts nanoseconds; stat counts in hundredths of a
 * second.
 */
#include "tests/support/measure.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t cpu_ns(pid_t pid)
{
    char path[64];
    int64_t sum = 0;
    struct dirent *d;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    while (tasks && (d = readdir(tasks))) {
        int64_t ns = 0;
        char name[128];
        if (d->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "/proc/%d/task/%.20s/schedstat", pid, d->d_name);
        FILE *f = fopen(name, "re");
        if (f && fscanf(f, "%" SCNd64, &ns) == 1)
            sum += ns;
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

int64_t cpu_tree_ns(pid_t pid)
{
    char path[64];
    int64_t sum = cpu_ns(pid);
    int child;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *f = fopen(path, "re");
    while (f && fscanf(f, "%d", &child) == 1)
        sum += cpu_ns(child);
    if (f)
        fclose(f);
    return sum;
}

int64_t cpu_thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A line of /proc/PID/status in kB, as bytes. */
static int64_t status_bytes(pid_t pid, const char *name)
{
    char path[64], line[256];
    int64_t kb = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kb = atoll(line + strlen(name) + 1);
    if (f)
        fclose(f);
    return kb * 1024;
}

int64_t memory_resident(pid_t pid)
{
    return status_bytes(pid, "VmRSS");
}

int64_t memory_peak(pid_t pid)
{
    return status_bytes(pid, "VmHWM");
}

int64_t memory_anonymous(pid_t pid)
{
    return status_bytes(pid, "RssAnon");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Forty buckets per factor of e, that is steps of 2.5 %. */
enum { BUCKETS = 1024, PER_E = 40 };

void latency_add(struct latencies *l, int64_t ns)
{
    double at = ns > 1000 ? log((double)ns / 1000) * PER_E : 0;
    l->buckets[at < BUCKETS - 1 ? (int)at : BUCKETS - 1]++;
    l->n++;
    if (ns > l->max_ns)
        l->max_ns = ns;
}

void latency_merge(struct latencies *into, const struct latencies *from)
{
    for (int i = 0; i < BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->n += from->n;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

int64_t latency_quantile(const struct latencies *l, double q)
{
    int64_t rank = (int64_t)(q * (double)l->n), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += l->buckets[i];
        if (l->n && seen > rank) {
            int64_t ns = (int64_t)(1000 * exp((i + 0.5) / PER_E));
            return ns < l->max_ns ? ns : l->max_ns;
        }
    }
    return l->max_ns;
}
