/*
 * Whether the disk answers. On a shared machine it sometimes does not, for tenths of a second; whoever waits
 * for an fsync then waits as long, and a latency without that figure beside it says little.
 */
#pragma once

#include <stdint.h>

struct disk {
    char stat[80];      /* its counters, see Linux's Documentation/block/stat.rst; "" when it has none */
    int64_t completed;  /* requests, at the last look */
    int64_t since_ms;   /* when one was completed, or none was waiting */
    int64_t counted_ms; /* of the standstill that goes on */
    int64_t still_ms;   /* in all standstills of DISK_STILL_MS and more */
};

enum { DISK_STILL_MS = 50 };

/* Begins to watch the disk that a folder is on. Of a folder that is on none (tmpfs, overlayfs), still_ms
 * stays 0. */
void disk_open(struct disk *disk, const char *folder);
/* A look at now_ms (monotonic); some fifty a second. */
void disk_look(struct disk *disk, int64_t now_ms);
