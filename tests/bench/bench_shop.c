/*
 * The rows of design.md §6 (all but the 10 M scale) on one shop, each beside its floor measured a moment
 * before on the same servers, several times over; prints medians. tests/bench/run builds and starts this.
 *
 * bench_shop [--repeats N] [--commands N] [--only ROW[,ROW…]] [--json]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fcntl.h>

#include "bus/base/clock.h"
#include "tests/bench/support/rows.h"
#include "tests/support/template.h"

static const struct step {
    const char *name; /* of the row, or of the first of several that are measured together */
    void (*measure)(struct bench *b);
} steps[] = {
    {"accepted", row_commands}, {"wait", row_wait}, {"product", row_product}, {"page", row_page},
    {"relay", row_relay},       {"sale", row_sale}, {"start", row_start},
};

static struct options {
    int repeats, commands;
    const char *only;
    bool json;
} options = {.repeats = 3, .commands = 60000};

static bool wanted(const char *name)
{
    const char *at = options.only ? strstr(options.only, name) : NULL;
    size_t n = strlen(name);
    return !options.only || (at && (at == options.only || at[-1] == ',') && (!at[n] || at[n] == ','));
}

/* ---- the machine ---- */

static void first_line_with(const char *path, const char *word, char *ret, size_t size)
{
    char line[400];
    FILE *f = fopen(path, "re");
    *ret = 0;
    while (f && !*ret && fgets(line, sizeof(line), f))
        if (strncmp(line, word, strlen(word)) == 0)
            snprintf(ret, size, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n"), strchr(line, ':') + 2);
    if (f)
        fclose(f);
}

/* The median of fdatasync behind a page, where the servers keep their data. */
static double sync_us(const struct bench *b)
{
    enum { N = 200 };
    char path[300], page[8192] = "";
    double us[N];
    snprintf(path, sizeof(path), "%s/sync", servers_dir(shop_servers(b->shop)));
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    for (int i = 0; i < N; i++) {
        int64_t start = clock_mono_ns();
        if (pwrite(fd, page, sizeof(page), 0) < 0 || fdatasync(fd) < 0)
            return -1;
        us[i] = (double)(clock_mono_ns() - start) / 1000;
    }
    close(fd);
    return median(us, N);
}

static void tool_version(const char *name, const char *const *argv)
{
    char *text = floor_output(argv);
    text[strcspn(text, "\n")] = 0;
    table_fact(name, text);
    free(text);
}

static void describe_machine(const struct bench *b)
{
    char text[400], model[120], postgres[200];
    struct utsname system;
    struct sysinfo memory;
    double loads[1] = {0};
    uname(&system);
    sysinfo(&memory);
    getloadavg(loads, 1);
    first_line_with("/proc/cpuinfo", "model name", model, sizeof(model));
    snprintf(text, sizeof(text), "%ld x %s, %lu MB, %s %s", sysconf(_SC_NPROCESSORS_ONLN), model,
             memory.totalram / 1048576 * memory.mem_unit, system.sysname, system.release);
    table_fact("machine", text);
    snprintf(text, sizeof(text), "%.1f at the beginning", loads[0]);
    table_fact("load", text);
    snprintf(text, sizeof(text), "fdatasync p50 %.0f us", sync_us(b));
    table_fact("disk", text);
    snprintf(postgres, sizeof(postgres), "%s/postgres", template_bindir());
    tool_version("PostgreSQL", (const char *const[]){postgres, "--version", NULL});
    tool_version("Redis", (const char *const[]){"redis-server", "--version", NULL});
}

/* ---- the run ---- */

static bool read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0)
            options.json = true;
        else if (more && strcmp(argv[i], "--repeats") == 0)
            options.repeats = atoi(argv[++i]);
        else if (more && strcmp(argv[i], "--commands") == 0)
            options.commands = atoi(argv[++i]);
        else if (more && strcmp(argv[i], "--only") == 0)
            options.only = argv[++i];
        else
            return false;
    }
    return options.repeats > 0 && options.commands > 0;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: bench_shop [--repeats N] [--commands N] [--only ROW[,ROW...]] [--json]\n");
        return 2;
    }
    struct bench *b = bench_start(options.commands);
    describe_machine(b);
    if (wanted("memory-idle"))
        row_memory(b, ROW_MEMORY_IDLE);
    bench_scene(b);
    for (int i = 0; i < options.repeats; i++)
        for (size_t s = 0; s < sizeof(steps) / sizeof(*steps); s++)
            if (wanted(steps[s].name)) {
                if (steps[s].measure == row_start && i == 0 && wanted("memory-loaded"))
                    row_memory(b, ROW_MEMORY_LOADED);
                steps[s].measure(b);
            }
    bool good = table_print(options.json);
    bench_stop(b);
    return good ? 0 : 1;
}
