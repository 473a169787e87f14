/*
 * See shop.h: looking behind the counter, waiting until a shop is ready or quiet, and dying with what is
 * known.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/browser.h"
#include "tests/support/programs.h"
#include "tests/support/template.h"

enum { READY_MS = 60000, LOG_TAIL = 6000 };

/* ---- dying with a reason ---- */

static void show_end(const char *logs, const char *name)
{
    char path[400], text[LOG_TAIL + 1];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", logs, name);
    f = fopen(path, "re");
    if (!f)
        return;
    if (fseek(f, -LOG_TAIL, SEEK_END) != 0)
        rewind(f);
    n = fread(text, 1, LOG_TAIL, f);
    text[n] = 0;
    fclose(f);
    if (n)
        fprintf(stderr, "--- the end of %s\n%s", name, text);
}

void shop_die(const struct shop *shop, const char *format, ...)
{
    va_list args;
    char name[60], text[2000];

    for (enum program p = 0; p < PROGRAMS; p++)
        for (int i = 0; i < shop->counts[p]; i++) {
            snprintf(name, sizeof(name), "%s-%d.log", program_names[p], i);
            show_end(shop->programs.logs, name);
        }
    show_end(shop->programs.logs, "ctl.log");
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    support_die("%s", text);
}

/* ---- looks ---- */

static PGconn *connection(struct shop *shop)
{
    if (shop->pg && PQstatus(shop->pg) == CONNECTION_BAD) {
        PQfinish(shop->pg);
        shop->pg = NULL;
    }
    if (!shop->pg)
        shop->pg = PQconnectdb(servers_database_url(shop->servers));
    return shop->pg;
}

/* A look that meets a server which is just being killed is repeated until it answers. */
static PGresult *query(struct shop *shop, const char *sql)
{
    int64_t deadline = shop_now_ms() + READY_MS;

    for (;;) {
        PGconn *pg = connection(shop);
        PGresult *r = PQexec(pg, sql);
        ExecStatusType status = PQresultStatus(r);

        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
            return r;
        if (PQstatus(pg) == CONNECTION_OK || shop_now_ms() > deadline)
            shop_die(shop, "%s: %s", sql, PQerrorMessage(pg));
        PQclear(r);
        shop_nap();
    }
}

__attribute__((format(printf, 2, 0))) static char *vtext(struct shop *shop, const char *format, va_list args)
{
    char *sql, *text;
    PGresult *r;

    if (vasprintf(&sql, format, args) < 0)
        abort();
    pthread_mutex_lock(&shop->lock);
    r = query(shop, sql);
    text = strdup(PQntuples(r) ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    pthread_mutex_unlock(&shop->lock);
    free(sql);
    assert(text);
    return text;
}

char *shop_sql_text(struct shop *shop, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = vtext(shop, format, args);
    va_end(args);
    return text;
}

static int64_t to_number(char *text)
{
    int64_t n = *text ? strtoll(text, NULL, 10) : -1;

    free(text);
    return n;
}

int64_t shop_sql(struct shop *shop, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = vtext(shop, format, args);
    va_end(args);
    return to_number(text);
}

bool shop_sql_becomes(struct shop *shop, int64_t value, int64_t within_ms, const char *format, ...)
{
    int64_t deadline = shop_now_ms() + (within_ms ? within_ms : READY_MS), now;
    va_list args;

    do {
        va_start(args, format);
        now = to_number(vtext(shop, format, args));
        va_end(args);
        if (now == value)
            return true;
        shop_nap();
    } while (shop_now_ms() < deadline);
    return false;
}

static redisReply *vredis(struct shop *shop, const char *format, va_list args)
{
    int64_t deadline = shop_now_ms() + READY_MS;
    redisReply *r = NULL;
    char *command;
    int n = redisvFormatCommand(&command, format, args);

    assert(n > 0);
    pthread_mutex_lock(&shop->lock);
    while (!r && shop_now_ms() < deadline) {
        if (!shop->redis)
            shop->redis = redisConnectUnix(servers_redis_url(shop->servers) + strlen("unix://"));
        if (!shop->redis->err && redisAppendFormattedCommand(shop->redis, command, (size_t)n) == REDIS_OK &&
            redisGetReply(shop->redis, (void **)&r) == REDIS_OK)
            break;
        redisFree(shop->redis);
        shop->redis = NULL;
        shop_nap();
    }
    pthread_mutex_unlock(&shop->lock);
    free(command);
    if (!r)
        shop_die(shop, "redis does not answer: %s", format);
    return r;
}

redisReply *shop_redis(struct shop *shop, const char *format, ...)
{
    va_list args;
    redisReply *r;

    va_start(args, format);
    r = vredis(shop, format, args);
    va_end(args);
    return r;
}

int64_t shop_redis_number(struct shop *shop, const char *format, ...)
{
    va_list args;
    redisReply *r;
    int64_t n;

    va_start(args, format);
    r = vredis(shop, format, args);
    va_end(args);
    n = r->type == REDIS_REPLY_INTEGER ? r->integer : r->str ? strtoll(r->str, NULL, 10) : -1;
    freeReplyObject(r);
    return n;
}

/* ---- ready ---- */

bool shop_is_ready(struct shop *shop, int64_t within_ms)
{
    int64_t deadline = shop_now_ms() + (within_ms ? within_ms : READY_MS);

    for (int door = 0; door < shop_doors(shop); door++) {
        __attribute__((cleanup(browser_freep))) struct browser *browser = browser_new(shop_port(shop, door));
        struct reply reply = {.status = 0};

        while (reply.status != 200) {
            if (shop_now_ms() > deadline) {
                fprintf(stderr, "not ready: %d %s\n", reply.status, reply.text ? reply.text : "no answer");
                reply_clear(&reply);
                return false;
            }
            reply_clear(&reply);
            browser_ask(browser,
                        &(struct ask){.method = "GET", .path = "/health/detailed", .timeout_ms = 5000},
                        &reply);
            if (reply.status != 200)
                shop_nap();
        }
        reply_clear(&reply);
    }
    return true;
}

/* ---- quiet ---- */

/* What is under way in PostgreSQL, in words; empty when nothing is. */
static const char open_work[] =
    "SELECT concat_ws(', ',"
    " (SELECT 'open commands: ' || count(*) FROM command WHERE status = 'running' HAVING count(*) > 0),"
    " (SELECT 'open jobs: ' || count(*) FROM job WHERE state <> 'done' HAVING count(*) > 0),"
    " (SELECT 'open orders: ' || count(*) || ' ' || min(step) FROM orders WHERE step <> 'done' HAVING "
    "count(*) > 0),"
    " (SELECT 'timers due: ' || count(*) FROM timer WHERE due_ms < extract(epoch FROM now()) * 1000"
    "  HAVING count(*) > 0),"
    " (SELECT 'behind: ' || string_agg(o.grp || ' ' || o.topic || '.' || o.part || ' ' || o.seq || '/' || "
    "h.seq, ' ')"
    "  FROM consumer_offset o JOIN stream_head h USING (topic, part) WHERE o.seq < h.seq))";

static char *lane_work(struct shop *shop)
{
    char *lanes = shop_sql_text(
             shop, "SELECT string_agg(DISTINCT '{' || topic || '.' || lpad(part::text, 2, '0') || '}',"
                   " ' ') FROM consumer_offset"),
         *rest = lanes, *lane, *why = NULL;

    while (!why && (lane = strsep(&rest, " ")) && *lane) {
        int64_t n = shop_redis_number(shop, "XLEN cmd:%s", lane);

        if (n > 0 && asprintf(&why, "%lld commands in cmd:%s", (long long)n, lane) < 0)
            abort();
    }
    free(lanes);
    return why;
}

static void last_id(struct shop *shop, const char *stream, char *ret, size_t size)
{
    redisReply *r = shop_redis(shop, "XINFO STREAM %s", stream);

    snprintf(ret, size, "nowhere");
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
        if (strcmp(r->element[i]->str, "last-generated-id") == 0)
            snprintf(ret, size, "%s", r->element[i + 1]->str);
    freeReplyObject(r);
}

/* A stream that is not at the head of its log (it may be empty there: made anew when all had passed), or
 * NULL. */
static char *stream_work(struct shop *shop)
{
    char *heads = shop_sql_text(
             shop, "SELECT string_agg('evt:{' || topic || '.' || lpad(part::text, 2, '0') || '} ' || ms"
                   " || '-' || seq, ' ') FROM stream_head"),
         *rest = heads, *stream, *id, *why = NULL, last[60];

    while (!why && (stream = strsep(&rest, " ")) && *stream && (id = strsep(&rest, " "))) {
        last_id(shop, stream, last, sizeof(last));
        if (strcmp(last, id) != 0 && asprintf(&why, "%s is at %s, not at %s", stream, last, id) < 0)
            abort();
    }
    free(heads);
    return why;
}

static char *what_is_under_way(struct shop *shop)
{
    char *why = shop_sql_text(shop, "%s", open_work);

    if (*why)
        return why;
    free(why);
    why = lane_work(shop);
    return why ? why : stream_work(shop);
}

bool shop_is_quiet(struct shop *shop, int64_t within_ms)
{
    int64_t deadline = shop_now_ms() + (within_ms ? within_ms : READY_MS);
    char *why;

    while ((why = what_is_under_way(shop))) {
        bool late = shop_now_ms() > deadline;

        if (late)
            fprintf(stderr, "not quiet: %s\n", why);
        free(why);
        if (late)
            return false;
        shop_nap();
    }
    return true;
}
