/*
 * What happens to Redis's data in the middle of a case: it disappears, or somebody writes to it what is not
 * so.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/faults/faults.h"
#include "tests/support/aof.h"

enum { FORGERIES = 5 };

static const char *const families[] = {"users", "catalog", "stock", "carts", "orders", "payments"};
enum { FAMILIES = sizeof(families) / sizeof(*families) };

/* ---- it disappears ---- */

void del_streams(struct crowd *crowd)
{
    for (size_t i = 0; i < FAMILIES; i++)
        for (int part = 0; part < PARTS; part++)
            freeReplyObject(shop_redis(crowd->shop, "DEL evt:{%s.%02d}", families[i], part));
}

void flush_all(struct crowd *crowd)
{
    freeReplyObject(shop_redis(crowd->shop, "FLUSHALL"));
}

void flush_scripts(struct crowd *crowd)
{
    freeReplyObject(shop_redis(crowd->shop, "SCRIPT FLUSH"));
}

/* The groups of the command lanes lose their memory of what was delivered; those of the streams are mirrors.
 */
void destroy_groups(struct crowd *crowd)
{
    char *rows = shop_sql_text(crowd->shop,
                               "SELECT string_agg(grp || ' {' || topic || '.' || lpad(part::text, 2, '0') ||"
                               " '}', ' ') FROM consumer_offset"),
         *rest = rows, *group, *lane;

    while ((group = strsep(&rest, " ")) && (lane = strsep(&rest, " "))) {
        freeReplyObject(shop_redis(crowd->shop, "XGROUP DESTROY cmd:%s %s", lane, group));
        freeReplyObject(shop_redis(crowd->shop, "XGROUP DESTROY evt:%s %s", lane, group));
    }
    free(rows);
}

/* Cuts some bytes off the end of the newest append-only file, as a disk that lied would. */
void truncate_aof(struct crowd *crowd)
{
    char path[700];
    struct stat st;

    servers_kill(shop_servers(crowd->shop), SERVER_REDIS);
    aof_path(shop_servers(crowd->shop), path, sizeof(path));
    assert(stat(path, &st) == 0);
    if (truncate(path, st.st_size - 1 - (off_t)(crowd->seed * 7919 % 20000) % st.st_size) != 0)
        perror(path);
    servers_restart(shop_servers(crowd->shop), SERVER_REDIS);
}

/* ---- it lies ---- */

/* The next number of a stream, which the log gives to another event; its time is that of none. */
static const char forgery[] =
    "local last, info = '', redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
    "for i = 1, info.err and 0 or #info, 2 do\n"
    "  if info[i] == 'last-generated-id' then last = info[i + 1] end\n"
    "end\n"
    "local ms, seq = string.match(last, '^(%d+)-(%d+)$')\n"
    "if not ms then return 0 end\n"
    "local id = string.format('%d-%d', ms + 60000, seq + 1)\n"
    "redis.pcall('XADD', KEYS[1], id, 'specversion', '1.0', 'id', ARGV[1], 'source',\n"
    "  'tests', 'type', 'product.created.v1', 'partitionkey', ARGV[1], 'data', '{}')\n"
    "return 1\n";

/* Somebody who writes to streams what the log does not have, again and again while it is mended. */
void forge(struct crowd *crowd)
{
    for (int i = 0; i < FORGERIES; i++) {
        for (size_t f = 0; f < FAMILIES; f++)
            for (int part = 0; part < PARTS; part++)
                freeReplyObject(shop_redis(crowd->shop, "EVAL %s 1 evt:{%s.%02d} %s", forgery, families[f],
                                           part, crowd->scene->users[0].id));
        within(crowd, "a command succeeds behind a forged event", until_it_works(crowd), 2000);
    }
}
