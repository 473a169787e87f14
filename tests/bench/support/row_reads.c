/*
 * Product by id and a page of products.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/support/rows.h"

enum { CONNECTIONS = 32, HOT = 200000, PAGES = 20000, WARM_UP = 500, PGBENCH_SECONDS = 4 };

static double rate(int port, struct str request, int64_t n, struct load_result *r)
{
    load_run(&(struct load){.port = port,
                            .connections = CONNECTIONS,
                            .requests = &request,
                            .n_requests = 1,
                            .total = n,
                            .expected = 200},
             r);
    if (r->good != n) {
        fprintf(stderr, "bench: %lld of %lld reads were answered 200, one %d\n", (long long)r->good,
                (long long)n, r->other_status);
        exit(1);
    }
    return (double)n / r->seconds;
}

static void add_read(struct bench *b, enum row row, struct str request, int64_t n, double floor)
{
    struct load_result r;
    rate(shop_port(b->shop, 0), request, WARM_UP, &r);
    struct spent since = spent_now(b);
    double value = rate(shop_port(b->shop, 0), request, n, &r);
    struct str spent = spent_text(b, since, (double)n, b->arena);
    table_add(row, value, floor,
              arena_printf(b->arena, "p50 %.2f ms, p99 %.2f ms; %s",
                           (double)latency_quantile(&r.latencies, 0.5) / 1e6,
                           (double)latency_quantile(&r.latencies, 0.99) / 1e6, spent.p)
                  .p);
}

void row_product(struct bench *b)
{
    int port;
    struct load_result r;
    char path[80];
    snprintf(path, sizeof(path), "/api/v1/products/%s", b->product);
    get(b->admin, "%s", path);
    struct person *anybody = visitor(b->shop, 0);
    get(anybody, "%s", path);
    struct str body = {anybody->reply.text, anybody->reply.length};
    struct str request = bench_request(b->arena, "GET", path, STR_NONE, "", STR_NONE);
    struct floor_nginx *nginx = floor_nginx_start(servers_dir(shop_servers(b->shop)), body,
                                                  (int)sysconf(_SC_NPROCESSORS_ONLN), &port);
    rate(port, request, WARM_UP, &r);
    double floor = rate(port, request, HOT, &r);
    floor_nginx_stop(nginx);
    leave(anybody);
    add_read(b, ROW_PRODUCT, request, HOT, floor);
}

/* ---- the page ---- */

static const char page_path[] = "/api/v1/products?category=category-3&sort=price_asc&limit=20";

static void log_statements(struct bench *b, bool on)
{
    bench_must(pg_script(b->pg, on ? "ALTER SYSTEM SET log_min_duration_statement = 0"
                                   : "ALTER SYSTEM RESET log_min_duration_statement"));
    bench_must(pg_script(b->pg, "SELECT pg_reload_conf()"));
}

/* The last statement of the door about products in PostgreSQL's log, and the line of its parameters. */
static void find_statement(const char *log, char **ret_sql, char **ret_params)
{
    char *line = NULL;
    size_t size = 0;
    bool is_next = false;
    FILE *f = fopen(log, "re");
    while (f && getline(&line, &size, f) > 0) {
        char *sql = strstr(line, "execute door_products"), *params = strstr(line, "parameters: ");
        line[strcspn(line, "\n")] = 0;
        if (sql && strstr(sql, "FROM door_product")) {
            free(*ret_sql);
            *ret_sql = strdup(strstr(sql, ": ") + 2);
            is_next = true;
        } else if (params && is_next) {
            free(*ret_params);
            *ret_params = strdup(params + strlen("parameters: "));
            is_next = false;
        }
    }
    free(line);
    if (f)
        fclose(f);
}

/* "$1 = '0', $2 = NULL": the n-th one's value, as an SQL literal. */
static void put_param(FILE *to, const char *params, int n)
{
    char name[16];
    snprintf(name, sizeof(name), "$%d = ", n);
    const char *at = strstr(params, name);
    if (!at)
        return;
    at += strlen(name);
    const char *end = *at == '\'' ? strchr(at + 1, '\'') + 1 : at + strcspn(at, ",");
    fprintf(to, "%.*s", (int)(end - at), at);
}

/* The statement as the door sends it for the page, with the parameters in their places. */
static char *page_sql(struct bench *b, struct str request)
{
    struct load_result r;
    char log[300], *sql = NULL, *params = NULL, *text;
    size_t n;
    snprintf(log, sizeof(log), "%s/postgres.log", servers_dir(shop_servers(b->shop)));
    for (int i = 0; i < 20 && !(sql && params);
         i++) { /* the setting reaches a backend between two statements */
        log_statements(b, true);
        rate(shop_port(b->shop, 0), request, WARM_UP, &r);
        log_statements(b, false);
        find_statement(log, &sql, &params);
    }
    if (!sql || !params)
        shop_die(b->shop, "the door's statement is not in PostgreSQL's log");
    FILE *to = open_memstream(&text, &n);
    for (char *at = sql; *at; at++)
        if (*at == '$' && at[1] >= '1' && at[1] <= '9')
            put_param(to, params, (int)strtol(at + 1, &at, 10)), at--;
        else
            fputc(*at, to);
    fclose(to);
    free(sql);
    free(params);
    return text;
}

void row_page(struct bench *b)
{
    char host[200];
    struct str request = bench_request(b->arena, "GET", page_path, STR_NONE, "", STR_NONE);
    shop_sql(b->shop, "ANALYZE");
    char *sql = page_sql(b, request);
    snprintf(host, sizeof(host), "%s/data", servers_dir(shop_servers(b->shop)));
    double floor = floor_pgbench(host, sql, PGBENCH_SECONDS);
    free(sql);
    add_read(b, ROW_PAGE, request, PAGES, floor);
}
