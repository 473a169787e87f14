/*
 * The rules of Prometheus' text format 0.0.4, and of what `promtool check metrics` asks beyond them: HELP and
 * TYPE before the first value of each family and once, families in one piece, no value twice, names and
 * labels well-formed, counters (and nothing else) end in _total, histograms with rising buckets, +Inf equal
 * to _count, and a _sum.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* NULL when the page keeps the rules; else a sentence with the line (static buffer). */
const char *exposition_fault(const char *page);
/* Lines that are values. */
size_t exposition_values(const char *page);
/* The value of the first line that begins with that text ("name{label=…"); -1 when there is none. */
double exposition_value(const char *page, const char *beginning);
