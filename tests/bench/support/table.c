/*
 * See table.h. What is good stands in one table, as design.md §6 has it.
 */
#include "tests/bench/support/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tests/support/measure.h"

enum { REPEATS_MAX = 32, FACTS_MAX = 24 };

/* How a row is judged: its ratio to the floor, or the value itself; at least, or at most (`below`). A row
 * whose good is 0 is shown and not judged. */
static const struct judged {
    const char *name, *what, *unit, *floor;
    bool ratio, below;
    double good;
} rows[ROWS] = {
    [ROW_ACCEPTED] = {"accepted", "add-to-cart accepted, 32 connections", "/s", "redis-benchmark -c 32 XADD",
                      true, false, 0.6},
    [ROW_PROCESSED] = {"processed", "the same commands processed", "/s", "bare loop, 256", true, false, 0.3},
    [ROW_PROCESSED_BESIDE] = {"processed-beside", "… while they were being accepted", "/s", "bare loop, 256",
                              true, false, 0},
    [ROW_WAIT] = {"wait", "round trip with Prefer: wait, p50", "us", "bare chain", true, true, 2.0},
    [ROW_PRODUCT] = {"product", "product by id, hot, 32 connections", "/s", "nginx return 200", true, false,
                     0.7},
    [ROW_PAGE] = {"page", "page of 20, filter and sort", "/s", "pgbench, the same SQL", true, false, 0.6},
    [ROW_RELAY] = {"relay", "relay from the log", "/s", "redis-benchmark -P 64 XADD", true, false, 0.4},
    [ROW_SALE] = {"sale", "flash sale, 10,000 buyers: decided", "/s", "", false, false, 3000},
    [ROW_SOLD] = {"sold", "… sold of 100, to the first in line", "", "", false, false, 100},
    [ROW_MEMORY_IDLE] = {"memory-idle", "largest process at rest", "MB", "", false, true, 20},
    [ROW_MEMORY_LOADED] = {"memory-loaded", "largest process under load", "MB", "", false, true, 64},
    [ROW_START] = {"start", "start to ready, migrated", "ms", "", false, true, 1000},
};

static struct measured {
    double values[REPEATS_MAX], floors[REPEATS_MAX], ratios[REPEATS_MAX];
    int n;
    char *note;
} measured[ROWS];

static struct fact {
    char name[60], value[200];
} facts[FACTS_MAX];
static int n_facts;

void table_add(enum row row, double value, double floor, const char *note)
{
    struct measured *m = &measured[row];
    if (m->n == REPEATS_MAX)
        return;
    m->values[m->n] = value;
    m->floors[m->n] = floor;
    m->ratios[m->n++] = floor > 0 ? value / floor : 0;
    if (note) {
        free(m->note);
        m->note = strdup(note);
    }
    fprintf(stderr, "%-17s %12.1f %-3s", rows[row].name, value, rows[row].unit);
    if (floor > 0)
        fprintf(stderr, "  floor %12.1f  ratio %.2f", floor, value / floor);
    fprintf(stderr, "%s%s\n", note ? "  " : "", note ? note : "");
}

int table_count(enum row row)
{
    return measured[row].n;
}

const char *table_name(enum row row)
{
    return rows[row].name;
}

void table_fact(const char *name, const char *value)
{
    if (n_facts == FACTS_MAX)
        return;
    snprintf(facts[n_facts].name, sizeof(facts[n_facts].name), "%s", name);
    snprintf(facts[n_facts++].value, sizeof(facts[n_facts].value), "%s", value);
}

struct shown {
    double value, floor, ratio;
    const char *verdict;
};

static struct shown shown(enum row row)
{
    struct measured *m = &measured[row];
    const struct judged *j = &rows[row];
    struct shown s = {median(m->values, m->n), median(m->floors, m->n), median(m->ratios, m->n), ""};
    double figure = j->ratio ? s.ratio : s.value;
    bool good = j->below ? figure <= j->good : figure >= j->good;
    s.verdict = j->good <= 0 ? "" : good ? "ok" : "short";
    return s;
}

static void print_row(enum row row)
{
    const struct judged *j = &rows[row];
    struct shown s = shown(row);
    char floor[40] = "", ratio[20] = "", good[20] = "";
    if (s.floor > 0) {
        snprintf(floor, sizeof(floor), "%.0f", s.floor);
        snprintf(ratio, sizeof(ratio), "%.2f", s.ratio);
    }
    if (j->good > 0)
        snprintf(good, sizeof(good), "%s%g", j->below ? "<= " : ">= ", j->good);
    printf("%-38s %10.0f %-3s %10s %6s  %-8s %-6s %s\n", j->what, s.value, j->unit, floor, ratio, good,
           s.verdict, j->floor);
    if (measured[row].note)
        printf("%38s   %s\n", "", measured[row].note);
}

static void print_json(bool good)
{
    json_t *all = json_object(), *machine = json_object(), *list = json_array();
    for (int i = 0; i < n_facts; i++)
        json_object_set_new(machine, facts[i].name, json_string(facts[i].value));
    for (enum row row = 0; row < ROWS; row++) {
        if (!measured[row].n)
            continue;
        struct shown s = shown(row);
        json_t *one = json_pack("{ss ss ss sf sf sf ss si}", "row", rows[row].name, "what", rows[row].what,
                                "unit", rows[row].unit, "value", s.value, "floor", s.floor, "ratio", s.ratio,
                                "verdict", s.verdict, "repeats", measured[row].n);
        if (rows[row].good > 0)
            json_object_set_new(one, rows[row].below ? "at_most" : "at_least", json_real(rows[row].good));
        if (measured[row].note)
            json_object_set_new(one, "note", json_string(measured[row].note));
        json_array_append_new(list, one);
    }
    json_object_set_new(all, "machine", machine);
    json_object_set_new(all, "rows", list);
    json_object_set_new(all, "good", json_boolean(good));
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

bool table_print(bool json)
{
    bool good = true;
    for (enum row row = 0; row < ROWS; row++)
        good &= !measured[row].n || strcmp(shown(row).verdict, "short") != 0;
    if (json) {
        print_json(good);
        return good;
    }
    for (int i = 0; i < n_facts; i++)
        printf("%-14s %s\n", facts[i].name, facts[i].value);
    printf("\n%-38s %10s %-3s %10s %6s  %-8s\n", "row (medians)", "value", "", "floor", "ratio", "good");
    for (enum row row = 0; row < ROWS; row++)
        if (measured[row].n)
            print_row(row);
    return good;
}
