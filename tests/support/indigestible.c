#include "tests/support/indigestible.h"

#include <stdio.h>

#include "tests/support/template.h"

void indigestible(const char *path, const char *key, const char *action)
{
    char next[512];
    snprintf(next, sizeof(next), "%s.next", path);
    FILE *f = fopen(next, "we");
    if (f && action)
        fprintf(f, "%s %s\n", key, action);
    if (!f || fclose(f) != 0 || rename(next, path) != 0)
        support_die("%s cannot be written", path);
}
