#include "tests/support/aof.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

void aof_path(const struct servers *servers, char *ret, size_t size)
{
    char folder[300];
    struct dirent *d;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%s/appendonlydir", servers_dir(servers));
    dir = opendir(folder);
    *ret = 0;
    while (dir && (d = readdir(dir)))
        if (strstr(d->d_name, ".incr.aof"))
            snprintf(ret, size, "%s/%s", folder, d->d_name);
    assert(dir && *ret);
    closedir(dir);
}
