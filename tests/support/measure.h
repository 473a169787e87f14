/*
 * Measuring: CPU time and memory of processes from /proc, medians, latencies. On a machine that others use
 * too the CPU time of a piece of work is steadier than its duration, hence both are shown.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* CPU time so far, all threads, in nanoseconds; 0 when the process is gone. */
int64_t cpu_ns(pid_t pid);
/* The same for the process and its children (a postmaster and its backends); what children used that have
 * ended and were reaped meanwhile is missing. */
int64_t cpu_tree_ns(pid_t pid);
/* CPU time of the calling thread. */
int64_t cpu_thread_ns(void);
/* Resident memory in bytes; anonymous alone leaves out mapped files (programs, libraries, shared buffers). */
int64_t memory_resident(pid_t pid);
int64_t memory_anonymous(pid_t pid);
/* The most it ever had resident. */
int64_t memory_peak(pid_t pid);

/* The middle one of n ≥ 1 values; the list is sorted. */
double median(double *values, int n);

/* Latencies in buckets of about 3 % width between 1 µs and 70 s. Zeroed is empty. */
struct latencies {
    uint32_t buckets[1024];
    int64_t n, max_ns;
};
void latency_add(struct latencies *l, int64_t ns);
void latency_merge(struct latencies *into, const struct latencies *from);
/* q from 0 to 1; in nanoseconds, 0 when empty. */
int64_t latency_quantile(const struct latencies *l, double q);
