/*
 * The table of a benchmark: rows that are measured several times, each time beside its floor; shown by
 * medians. A row is `ok` when its figure reaches what design.md §6 calls good.
 */
#pragma once

#include <stdbool.h>

enum row {
    ROW_ACCEPTED,
    ROW_PROCESSED,
    ROW_PROCESSED_BESIDE,
    ROW_WAIT,
    ROW_PRODUCT,
    ROW_PAGE,
    ROW_RELAY,
    ROW_SALE,
    ROW_SOLD,
    ROW_MEMORY_IDLE,
    ROW_MEMORY_LOADED,
    ROW_START,
    ROWS
};

/* One measurement. floor 0: the row has none. note: where the CPU went, or what else there is to say;
 * borrowed and copied; the last one is shown. */
void table_add(enum row row, double value, double floor, const char *note);
/* How often a row was measured. */
int table_count(enum row row);
/* The row's name, for --only and messages. */
const char *table_name(enum row row);
/* A fact about the machine, shown above the table. */
void table_fact(const char *name, const char *value);
/* Prints for people, or as one JSON object. Returns whether all measured rows are good. */
bool table_print(bool json);
