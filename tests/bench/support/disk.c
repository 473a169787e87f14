#include "tests/bench/support/disk.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { READS = 0, WRITES = 4, IN_FLIGHT = 8, DISCARDS = 11, FLUSHES = 15, COUNTERS = 17 };

/* False when the disk has no counters. */
static bool counters(const struct disk *disk, int64_t ret[COUNTERS])
{
    FILE *f = disk->stat[0] ? fopen(disk->stat, "re") : NULL;
    int n = 0;
    while (f && n < COUNTERS && fscanf(f, "%" SCNd64, &ret[n]) == 1)
        n++;
    if (f)
        fclose(f);
    return n == COUNTERS;
}

void disk_open(struct disk *disk, const char *folder)
{
    struct stat at;
    *disk = (struct disk){.completed = -1};
    if (stat(folder, &at) == 0)
        snprintf(disk->stat, sizeof(disk->stat), "/sys/dev/block/%u:%u/stat", major(at.st_dev),
                 minor(at.st_dev));
}

void disk_look(struct disk *disk, int64_t now_ms)
{
    int64_t c[COUNTERS];
    if (!counters(disk, c))
        return;
    int64_t completed = c[READS] + c[WRITES] + c[DISCARDS] + c[FLUSHES];
    if (completed != disk->completed || c[IN_FLIGHT] == 0) {
        disk->completed = completed;
        disk->since_ms = now_ms;
        disk->counted_ms = 0;
        return;
    }
    int64_t lasts_ms = now_ms - disk->since_ms;
    if (lasts_ms < DISK_STILL_MS)
        return;
    disk->still_ms += lasts_ms - disk->counted_ms;
    disk->counted_ms = lasts_ms;
}
