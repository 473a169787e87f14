/*
 * See floors.h.
 */
#include "tests/bench/support/floors.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/envelope.h"
#include "tests/support/template.h"

enum { BATCH = 256, ENTRY_DATA = 500 };

static void must(err e)
{
    if (!failed(e))
        return;
    fprintf(stderr, "floors: %s\n", err_text(e));
    exit(1);
}

/* ---- programs of others ---- */

char *floor_output(const char *const *argv)
{
    char *text = NULL, bytes[4096];
    size_t size;
    ssize_t n;
    int ends[2], status;
    if (pipe(ends) < 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    FILE *to = open_memstream(&text, &size);
    while ((n = read(ends[0], bytes, sizeof(bytes))) > 0)
        fwrite(bytes, 1, (size_t)n, to);
    fclose(to);
    close(ends[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "floors: %s failed: %s\n", argv[0], text);
        exit(1);
    }
    return text;
}

/* The last number before a word, as in "12345.67 requests per second". */
static double number_before(const char *text, const char *word)
{
    const char *at = NULL, *next = text;
    while ((next = strstr(next, word)))
        at = next++;
    while (at && at > text && (at[-1] == ' ' || at[-1] == '.' || (at[-1] >= '0' && at[-1] <= '9')))
        at--;
    if (!at || atof(at) <= 0) {
        fprintf(stderr, "floors: no \"%s\" in: %s\n", word, text);
        exit(1);
    }
    return atof(at);
}

static double redis_benchmark(const char *redis_socket, const char *const *options, const struct str *words,
                              size_t n)
{
    const char *argv[64] = {"redis-benchmark", "-s", redis_socket, "-q"};
    size_t argc = 4;
    for (size_t i = 0; options[i]; i++)
        argv[argc++] = options[i];
    const char *const command[] = {"xadd", "bench:floor", "*"};
    for (size_t i = 0; i < 3; i++)
        argv[argc++] = command[i];
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    for (size_t i = 0; i < n; i++)
        argv[argc++] = arena_cstr(arena, words[i]);
    char *text = floor_output(argv);
    double rate = number_before(text, " requests per second");
    free(text);
    free(floor_output((const char *const[]){"redis-cli", "-s", redis_socket, "del", "bench:floor", NULL}));
    return rate;
}

double floor_xadd(const char *redis_socket)
{
    char data[ENTRY_DATA + 1];
    memset(data, 'x', ENTRY_DATA);
    data[ENTRY_DATA] = 0;
    const struct str words[] = {STR("id"),   STR("01a2052c-db12-7032-950d-61fedb7185af"),
                                STR("type"), STR("cart.add-item.v1"),
                                STR("data"), str_of(data)};
    return redis_benchmark(redis_socket, (const char *const[]){"-c", "32", "-n", "60000", NULL}, words, 6);
}

double floor_xadd_pipelined(const char *redis_socket, const struct str *words, size_t n)
{
    return redis_benchmark(redis_socket, (const char *const[]){"-P", "64", "-n", "60000", NULL}, words, n);
}

double floor_pgbench(const char *host, const char *sql, int seconds)
{
    char path[] = "/tmp/daydream-bench-XXXXXX", length[20], program[200];
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        abort();
    fprintf(f, "%s;\n", sql);
    fclose(f);
    snprintf(length, sizeof(length), "%d", seconds);
    snprintf(program, sizeof(program), "%s/pgbench", template_bindir());
    char *text = floor_output((const char *const[]){program, "-n", "-M", "prepared", "-c", "8", "-j", "2",
                                                    "-T", length, "-f", path, "-h", host, "-U", "daydream",
                                                    "daydream", NULL});
    unlink(path);
    char *tps = strstr(text, "tps = ");
    double rate = tps ? atof(tps + 6) : 0;
    free(text);
    return rate;
}

/* ---- the bare loop ---- */

static const struct pg_stmt insert_many = {
    "bench_insert_many", "INSERT INTO bench_floor SELECT * FROM unnest($1::uuid[], $2::text[])"};
static const struct pg_stmt insert_one = {"bench_insert_one", "INSERT INTO bench_floor VALUES ($1, $2)"};

static void make_table(struct pg *pg)
{
    must(pg_script(pg, "DROP TABLE IF EXISTS bench_floor;"
                       "CREATE TABLE bench_floor (id uuid PRIMARY KEY, body text NOT NULL)"));
}

static void insert_entries(struct pg *pg, const struct redis_reply *stream, struct arena *arena)
{
    struct pg_array ids = pg_array(arena, PG_UUID, BATCH), bodies = pg_array(arena, PG_TEXT, BATCH);
    for (size_t i = 0; i < stream->items[1].n; i++) {
        struct envelope e;
        struct uuid id;
        must(envelope_read(&stream->items[1].items[i].items[1], &e));
        must(uuid_parse(e.id, &id));
        pg_array_uuid(&ids, id);
        pg_array_text(&bodies, e.data);
    }
    struct pg_param params[] = {pg_array_param(&ids), pg_array_param(&bodies)};
    must(pg_call(pg, &insert_many, 2, params, NULL));
}

double floor_loop(struct redis *redis, struct pg *pg, const char *stream, int n)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new((size_t)64 << 20);
    const struct redis_reply *reply;
    int done = 0;
    make_table(pg);
    must(redis_callf(redis, NULL, "XGROUP CREATE %s bench 0", stream));
    int64_t start = clock_mono_ns();
    while (done < n) {
        must(redis_callf(redis, &reply, "XREADGROUP GROUP bench bench COUNT 256 STREAMS %s >", stream));
        done += (int)reply->items[0].items[1].n;
        insert_entries(pg, &reply->items[0], arena);
        arena_reset(arena);
    }
    return n * 1e9 / (double)(clock_mono_ns() - start);
}

/* ---- the bare wait ---- */

void floor_wait(struct redis *redis, struct pg *pg, int n, struct latencies *ret)
{
    char data[ENTRY_DATA];
    memset(data, 'x', sizeof(data));
    struct str body = {data, sizeof(data)};
    make_table(pg);
    must(redis_callf(redis, NULL, "XGROUP CREATE bench:wait bench $ MKSTREAM"));
    for (int i = 0; i < n; i++) {
        const struct redis_reply *reply;
        struct uuid id = uuid_v7(clock_ms());
        char text[UUID_TEXT + 1];
        uuid_print(id, text);
        int64_t start = clock_mono_ns();
        must(redis_callf(redis, NULL, "XADD bench:wait * id %s type cart.add-item.v1 data %b", text, body));
        must(redis_callf(redis, &reply, "XREADGROUP GROUP bench bench COUNT 1 STREAMS bench:wait >"));
        struct pg_param params[] = {pg_uuid(id), pg_text(body)};
        must(pg_call(pg, &insert_one, 2, params, NULL));
        must(redis_callf(redis, NULL, "PUBLISH bench:waiter %s", text));
        latency_add(ret, clock_mono_ns() - start);
    }
    must(redis_callf(redis, NULL, "DEL bench:wait"));
}

/* ---- nginx ---- */

struct floor_nginx {
    pid_t pid;
    int port;
};

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, n) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &n) < 0)
        abort();
    close(fd);
    return ntohs(address.sin_port);
}

static bool answers(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool yes = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return yes;
}

static void write_conf(const char *dir, struct str body, int workers, int port)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/nginx.conf", dir);
    FILE *f = fopen(path, "we");
    if (!f)
        abort();
    fprintf(
        f,
        "daemon off;\npid nginx.pid;\nerror_log error.log crit;\nworker_processes %d;\n%s"
        "events { worker_connections 512; }\nhttp {\naccess_log off;\nkeepalive_requests 1000000000;\n"
        "client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n"
        "uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n"
        "server { listen 127.0.0.1:%d reuseport;\nlocation / { default_type application/json;\nreturn 200 '",
        workers, getuid() == 0 ? "user root;\n" : "", port);
    for (size_t i = 0; i < body.n; i++) {
        if (body.p[i] == '\'' || body.p[i] == '\\')
            fputc('\\', f);
        fputc(body.p[i], f);
    }
    fprintf(f, "'; } } }\n");
    fclose(f);
}

struct floor_nginx *floor_nginx_start(const char *dir, struct str body, int workers, int *ret_port)
{
    char folder[200], conf[300];
    struct floor_nginx *nginx = calloc(1, sizeof(*nginx));
    if (!nginx)
        abort();
    nginx->port = *ret_port = free_port();
    snprintf(folder, sizeof(folder), "%s/nginx", dir);
    snprintf(conf, sizeof(conf), "%s/nginx.conf", folder);
    mkdir(folder, 0755);
    write_conf(folder, body, workers, nginx->port);
    pid_t parent = getpid();
    nginx->pid = fork();
    if (nginx->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() == parent)
            execlp("nginx", "nginx", "-p", folder, "-c", conf, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; !answers(nginx->port); i++) {
        if (i == 500 || waitpid(nginx->pid, NULL, WNOHANG) == nginx->pid) {
            fprintf(stderr, "floors: nginx does not start in %s\n", folder);
            exit(1);
        }
        poll(NULL, 0, 10);
    }
    return nginx;
}

void floor_nginx_stop(struct floor_nginx *nginx)
{
    kill(nginx->pid, SIGTERM);
    waitpid(nginx->pid, NULL, 0);
    free(nginx);
}
