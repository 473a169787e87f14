/*
 * I3 and what of I13 is Redis's: each stream is a contiguous part of the log that ends at its head, byte for
 * byte; no entry of a command lane is pending.
 */
#include <assert.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/faults.h"

static const char select_log[] = "SELECT ms || '-' || seq, '1.0', id, source, type, subject, time, "
                                 "dataschema, partitionkey, correlationid,"
                                 " causationid, actor, traceparent, 'application/json', data FROM event_log "
                                 "WHERE topic = '%s' AND part = %s"
                                 " ORDER BY seq";

/* The fields of an entry, in their order; the columns above from the second on. */
static const char *const fields[] = {"specversion",     "id",          "source",     "type",
                                     "subject",         "time",        "dataschema", "partitionkey",
                                     "correlationid",   "causationid", "actor",      "traceparent",
                                     "datacontenttype", "data"};
enum { FIELDS = sizeof(fields) / sizeof(*fields) };

static bool same_entry(const redisReply *entry, PGresult *log, int row, char *why, size_t size)
{
    const redisReply *values = entry->element[1];

    if (strcmp(entry->element[0]->str, PQgetvalue(log, row, 0)) != 0) {
        snprintf(why, size, "entry %s where the log has %s", entry->element[0]->str, PQgetvalue(log, row, 0));
        return false;
    }
    for (int i = 0; i < FIELDS; i++) {
        size_t n = (size_t)i * 2;

        if (values->elements != 2 * FIELDS || strcmp(values->element[n]->str, fields[i]) != 0 ||
            values->element[n + 1]->len != (size_t)PQgetlength(log, row, 1 + i) ||
            memcmp(values->element[n + 1]->str, PQgetvalue(log, row, 1 + i), values->element[n + 1]->len) !=
                0) {
            snprintf(why, size, "entry %s differs in %s", entry->element[0]->str, fields[i]);
            return false;
        }
    }
    return true;
}

static void check_stream(struct shop *shop, struct verdict *verdict, PGconn *pg, const char *topic,
                         const char *part)
{
    redisReply *r = shop_redis(shop, "XRANGE evt:{%s.%02d} - +", topic, atoi(part));
    char sql[600], why[200], detail[300];
    PGresult *log;
    int rows, n = r->type == REDIS_REPLY_ARRAY ? (int)r->elements : 0;

    snprintf(sql, sizeof(sql), select_log, topic, part);
    log = PQexec(pg, sql);
    rows = PQntuples(log);
    snprintf(why, sizeof(why), "%d entries of a log of %d", n, rows);
    if (n > rows) {
        snprintf(detail, sizeof(detail), "%s.%s: %s", topic, part, why);
        check_failed(verdict, "I3", "a stream is a contiguous part of the log", detail);
    }
    for (int i = 0; i < n && n <= rows; i++) {
        if (same_entry(r->element[i], log, rows - n + i, why, sizeof(why)))
            continue;
        snprintf(detail, sizeof(detail), "%s.%s: %s", topic, part, why);
        check_failed(verdict, "I3", "a stream is a contiguous part of the log", detail);
        break;
    }
    PQclear(log);
    freeReplyObject(r);
}

static void check_pending(struct shop *shop, struct verdict *verdict, const char *group, const char *topic,
                          const char *part)
{
    redisReply *r = shop_redis(shop, "XPENDING cmd:{%s.%02d} %s", topic, atoi(part), group);
    char detail[200];

    if (r->type == REDIS_REPLY_ARRAY && r->element[0]->integer != 0) {
        snprintf(detail, sizeof(detail), "%s.%s: %lld pending", topic, part, r->element[0]->integer);
        check_failed(verdict, "I13", "no command is pending when all is quiet", detail);
    }
    freeReplyObject(r);
}

void check_redis(struct shop *shop, struct verdict *verdict)
{
    PGconn *pg = PQconnectdb(servers_database_url(shop_servers(shop)));
    PGresult *r = PQexec(pg, "SELECT topic, part FROM stream_head ORDER BY 1, 2");

    assert(PQresultStatus(r) == PGRES_TUPLES_OK);
    for (int i = 0; i < PQntuples(r); i++)
        check_stream(shop, verdict, pg, PQgetvalue(r, i, 0), PQgetvalue(r, i, 1));
    PQclear(r);
    r = PQexec(pg, "SELECT grp, topic, part FROM consumer_offset ORDER BY 1, 2, 3");
    for (int i = 0; i < PQntuples(r); i++)
        check_pending(shop, verdict, PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2));
    PQclear(r);
    PQfinish(pg);
}
