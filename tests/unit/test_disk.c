/* What the soak says about the disk: a standstill is when something waits and nothing is completed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/support/disk.h"

static struct disk disk = {.stat = "/tmp/test-disk-XXXXXX", .completed = -1};

static void make(void)
{
    int fd = mkstemp(disk.stat);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void end(void)
{
    unlink(disk.stat);
}

static void look(int64_t now_ms, int completed, int in_flight)
{
    FILE *f = fopen(disk.stat, "w");
    cr_assert_not_null(f);
    fprintf(f, "7 0 0 0 %d 0 0 0 %d 0 0 0 0 0 0 0 0\n", completed, in_flight);
    fclose(f);
    disk_look(&disk, now_ms);
}

TestSuite(disk, .init = make, .fini = end);

Test(disk, stands_still_while_something_waits_and_nothing_is_completed)
{
    look(1000, 10, 3);
    look(1040, 10, 3);
    cr_assert_eq(disk.still_ms, 0, "that is how long an fsync may take");
    look(1060, 10, 3);
    cr_assert_eq(disk.still_ms, 60);
    look(1200, 10, 4);
    cr_assert_eq(disk.still_ms, 200);
    look(1220, 11, 4);
    look(1300, 11, 4);
    cr_assert_eq(disk.still_ms, 280, "the next one counts from its own beginning");
}

Test(disk, at_rest_is_no_standstill)
{
    look(1000, 10, 0);
    look(2000, 10, 0);
    look(2020, 10, 1);
    look(2060, 12, 0);
    cr_assert_eq(disk.still_ms, 0);
}

Test(disk, a_folder_that_is_on_none_says_nothing)
{
    struct disk none;
    disk_open(&none, "/proc");
    disk_look(&none, 1000);
    disk_look(&none, 2000);
    cr_assert_eq(none.still_ms, 0);
}
