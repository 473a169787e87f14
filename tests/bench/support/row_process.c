/*
 * Memory of the programs, and how long they take to be ready.
 */
#include <stdio.h>

#include "tests/bench/support/rows.h"

void row_memory(struct bench *b, enum row row)
{
    static const char *const names[PROGRAMS] = {"door", "consumers", "producers"};
    struct buf note = buf_new(b->arena, 200);
    double largest = 0;
    for (enum program p = 0; p < PROGRAMS; p++) {
        pid_t pid = shop_pid(b->shop, p, 0);
        double mb = (double)(row == ROW_MEMORY_LOADED ? memory_peak(pid) : memory_resident(pid)) / 1048576;
        buf_printf(&note, "%s%s %.1f (own pages %.1f)", p ? ", " : "", names[p], mb,
                   (double)memory_anonymous(pid) / 1048576);
        largest = mb > largest ? mb : largest;
    }
    table_add(row, largest, 0, arena_cstr(b->arena, buf_view(&note)));
}

void row_start(struct bench *b)
{
    for (enum program p = 0; p < PROGRAMS; p++)
        shop_end(b->shop, p, 0);
    int64_t start = shop_now_ms();
    for (enum program p = 0; p < PROGRAMS; p++)
        shop_launch(b->shop, p, 0);
    if (!shop_is_ready(b->shop, 0))
        shop_die(b->shop, "the shop does not become ready again");
    table_add(ROW_START, (double)(shop_now_ms() - start), 0, NULL);
}
