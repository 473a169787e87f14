#include "tests/support/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

_printf_(2, 0) static struct ctl_run *run(struct bus *bus, const char *words, va_list list)
{
    struct ctl_run *run = arena_new_of(bus->arena, struct ctl_run);
    char line[8192];
    int n = snprintf(line, sizeof(line), "%s/daydreamctl ", DAYDREAM_BIN_DIR);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, words, list);
    snprintf(line + n, sizeof(line) - (size_t)n, " 2>&1");
    FILE *pipe = popen(line, "r");
    if (!pipe)
        abort();
    run->text[fread(run->text, 1, sizeof(run->text) - 1, pipe)] = 0;
    int status = pclose(pipe);
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return run;
}

struct ctl_run *ctl_run(struct bus *bus, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    struct ctl_run *r = run(bus, words, list);
    va_end(list);
    return r;
}

struct ctl_run *ctl_expect(struct bus *bus, int status, const char *text, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    struct ctl_run *r = run(bus, words, list);
    va_end(list);
    if (r->status == status && strstr(r->text, text))
        return r;
    fprintf(stderr, "daydreamctl %s: exit %d, expected %d and '%s':\n%s\n", words, r->status, status, text,
            r->text);
    abort();
}
