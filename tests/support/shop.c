/*
 * See shop.h: starting and ending a shop and its processes. Looking and waiting is shop_look.c's.
 */
#include "tests/support/shop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/programs.h"
#include "tests/support/template.h"

enum { CTL_MS = 120000, PARTITIONS_BY_DEFAULT = 3 };

const char shop_admin_email[] = "admin@example.com", shop_admin_password[] = "Aa1-a-long-passphrase";

void shop_nap(void)
{
    poll(NULL, 0, 3);
}

int64_t shop_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- processes ---- */

struct servers *shop_servers(const struct shop *shop)
{
    return shop->servers;
}

const char *shop_home(const struct shop *shop)
{
    return shop->home;
}

int shop_doors(const struct shop *shop)
{
    return shop->counts[PROGRAM_API];
}

int shop_port(const struct shop *shop, int door)
{
    assert(door >= 0 && door < shop->counts[PROGRAM_API]);
    return shop->programs.ports[door];
}

pid_t shop_pid(const struct shop *shop, enum program program, int i)
{
    return shop->programs.children[program][i].pid;
}

/* A port of its own for a door: bound here but never listened on, so connections only reach the door, which
 * binds it too (SO_REUSEPORT), and nobody else is given it. */
static void reserve_port(struct shop *shop, int door)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof(address);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, n) < 0 || getsockname(fd, (struct sockaddr *)&address, &n) < 0)
        support_die("no port for a door: %s", strerror(errno));
    shop->reserved[door] = fd;
    shop->programs.ports[door] = ntohs(address.sin_port);
}

void shop_launch(struct shop *shop, enum program program, int i)
{
    if (i >= shop->counts[program])
        shop->counts[program] = i + 1;
    if (program == PROGRAM_API && shop->reserved[i] < 0)
        reserve_port(shop, i);
    programs_launch(&shop->programs, program, i);
}

void shop_kill(struct shop *shop, enum program program, int i)
{
    programs_kill(&shop->programs, program, i);
}

int64_t shop_end(struct shop *shop, enum program program, int i)
{
    int64_t took = programs_end(&shop->programs, program, i, 10000);

    if (took < 0)
        shop_die(shop, "%s does not end on SIGTERM", program_names[program]);
    return took;
}

void shop_pause(struct shop *shop, enum program program, int i)
{
    programs_signal(&shop->programs, program, i, SIGSTOP);
}

void shop_resume(struct shop *shop, enum program program, int i)
{
    programs_signal(&shop->programs, program, i, SIGCONT);
}

int shop_restart_dead(struct shop *shop, int resume_after_ms)
{
    return programs_turn(&shop->programs, resume_after_ms);
}

static void *supervise(void *data)
{
    struct shop *shop = data;

    while (!atomic_load(&shop->stopping)) {
        shop_restart_dead(shop, shop->resume_after_ms);
        shop_nap();
    }
    return NULL;
}

void shop_supervise(struct shop *shop, int resume_after_ms)
{
    assert(!atomic_load(&shop->supervised));
    shop->resume_after_ms = resume_after_ms;
    if (pthread_create(&shop->supervisor, NULL, supervise, shop) != 0)
        abort();
    atomic_store(&shop->supervised, true);
}

int shop_self_killed(const struct shop *shop)
{
    return atomic_load(&shop->programs.self_killed);
}

int shop_self_stopped(const struct shop *shop)
{
    return atomic_load(&shop->programs.self_stopped);
}

int shop_crashed(const struct shop *shop)
{
    return atomic_load(&shop->programs.crashed);
}

/* ---- daydreamctl ---- */

static void copy_output(const char *path, char **ret)
{
    size_t n;
    FILE *f = fopen(path, "re"), *to = open_memstream(ret, &n);
    int c;

    while (f && (c = getc(f)) != EOF)
        putc(c, to);
    fclose(to);
    if (f)
        fclose(f);
}

int shop_ctl(struct shop *shop, char **ret_output, const char *const *arguments)
{
    const char *argv[20] = {"daydreamctl"};
    char path[300];
    int status = 0;
    pid_t pid;

    for (size_t i = 0; arguments[i]; i++) {
        assert(i < 18);
        argv[i + 1] = arguments[i];
    }
    snprintf(path, sizeof(path), "%s/%s", shop->programs.logs, ret_output ? "ctl.out" : "ctl.log");
    if (ret_output)
        unlink(path);
    pid = fork();
    if (pid == 0) {
        support_detach(path);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(CTL_MS / 1000);
        programs_exec(&shop->programs, NULL, argv);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (ret_output)
        copy_output(path, ret_output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int shop_ctl_fault(struct shop *shop, const char *fault, int resume_after_ms, const char *const *arguments)
{
    const char *argv[20] = {"daydreamctl"}, *more[2] = {NULL, NULL};
    char path[300], text[200];
    int status = 0;

    for (size_t i = 0; arguments[i] && i < 18; i++)
        argv[i + 1] = arguments[i];
    snprintf(text, sizeof(text), "FAULT=%s", fault ? fault : "");
    snprintf(path, sizeof(path), "%s/ctl-fault.log", shop->programs.logs);
    more[0] = fault ? text : NULL;
    pid_t pid = fork();
    if (pid == 0) {
        support_detach(path); /* a process group of its own, with what it starts */
        alarm(CTL_MS / 1000);
        programs_exec(&shop->programs, more, argv);
    }
    for (int64_t next = shop_now_ms() + resume_after_ms; waitpid(pid, &status, WNOHANG) == 0; shop_nap())
        if (shop_now_ms() >= next) {
            kill(-pid, SIGCONT);
            next = shop_now_ms() + resume_after_ms;
        }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void must_ctl(struct shop *shop, const char *const *arguments)
{
    int status = shop_ctl(shop, NULL, arguments);

    if (status != 0)
        shop_die(shop, "daydreamctl %s ended with %d", arguments[0], status);
}

/* ---- start ---- */

static void read_secrets(struct shop *shop, const char *from)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof(path), "%s/secrets", from);
    f = fopen(path, "re");
    if (!f || !fgets(shop->secrets, sizeof(shop->secrets), f))
        support_die("cannot read %s", path);
    fclose(f);
}

static void make_secrets(struct shop *shop)
{
    unsigned char bytes[32];
    char encryption[64], jwt[64];

    if (sodium_init() < 0)
        abort();
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2base64(encryption, sizeof(encryption), bytes, sizeof(bytes), sodium_base64_VARIANT_ORIGINAL);
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2base64(jwt, sizeof(jwt), bytes, sizeof(bytes), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(shop->secrets, sizeof(shop->secrets), "%s %s", encryption, jwt);
}

static void write_settings(struct shop *shop, const struct shop_options *o)
{
    struct programs *p = &shop->programs;
    char encryption[100], jwt[100], number[20];

    if (sscanf(shop->secrets, "%99s %99s", encryption, jwt) != 2)
        support_die("the secrets of the shop cannot be read");
    snprintf(number, sizeof(number), "%d", o->partitions ? o->partitions : PARTITIONS_BY_DEFAULT);
    programs_setting(p, "DAYDREAM_HOME", shop->home);
    programs_setting(p, "REDIS_URL", servers_redis_url(shop->servers));
    programs_setting(p, "DATABASE_URL", servers_database_url(shop->servers));
    programs_setting(p, "ENVIRONMENT", "development");
    programs_setting(p, "ENCRYPTION_KEY", encryption);
    programs_setting(p, "JWT_SECRET_KEY", jwt);
    programs_setting(p, "SUPERUSER_EMAIL", shop_admin_email);
    programs_setting(p, "SUPERUSER_PASSWORD", shop_admin_password);
    programs_setting(p, "PARTITIONS", number);
    programs_setting(p, "RATE_LIMIT", "off");
    programs_setting(p, "LEASE_MS", "500");
    programs_setting(p, "API_LOOPS", "1");
    programs_setting(p, "DEFAULT_CURRENCY", "CLP");
    if (o->mutant)
        programs_setting(p, "DAYDREAM_MUTANT", o->mutant);
    if (o->fault_log)
        programs_setting(p, "DAYDREAM_FAULT_LOG", o->fault_log);
    for (const char *const *s = o->settings; s && *s; s++) {
        char name[80];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*s, "="), *s);
        programs_setting(p, name, strchr(*s, '=') + 1);
    }
}

static void make_home(struct shop *shop, const struct shop_options *o)
{
    char logs[200];

    snprintf(shop->home, sizeof(shop->home), "%s/home", servers_dir(shop->servers));
    snprintf(logs, sizeof(logs), "%s/log", shop->home);
    if (mkdir(shop->home, 0755) < 0 || mkdir(logs, 0755) < 0)
        support_die("cannot make %s: %s", shop->home, strerror(errno));
    programs_init(&shop->programs, shop->home, o->logs ? o->logs : logs);
    for (enum program p = 0; p < PROGRAMS; p++)
        shop->programs.fault[p] = o->fault[p];
}

static void launch_all(struct shop *shop, const struct shop_options *o)
{
    const int wanted[PROGRAMS] = {o->doors, o->consumers, o->producers};

    for (enum program p = PROGRAMS; p-- > 0;)
        for (int i = 0; i < (wanted[p] ? wanted[p] : 1); i++)
            shop_launch(shop, p, i);
}

struct shop *shop_start(const struct shop_options *options)
{
    static const struct shop_options plain = {.doors = 1};
    const struct shop_options *o = options ? options : &plain;
    struct servers_options servers = o->servers;
    struct shop *shop = calloc(1, sizeof(*shop));

    assert(shop);
    pthread_mutex_init(&shop->lock, NULL);
    memset(shop->reserved, -1, sizeof(shop->reserved));
    servers.from = o->from;
    shop->servers = servers_start(&servers);
    make_home(shop, o);
    if (o->from)
        read_secrets(shop, o->from);
    else
        make_secrets(shop);
    write_settings(shop, o);
    if (!o->from)
        must_ctl(shop, (const char *const[]){"migrate", "up", NULL});
    launch_all(shop, o);
    if (o->resume_after_ms)
        shop_supervise(shop, o->resume_after_ms);
    if (!o->from)
        must_ctl(shop, (const char *const[]){"superuser", NULL});
    if (!shop_is_ready(shop, 0))
        shop_die(shop, "the shop does not become ready");
    return shop;
}

/* ---- end ---- */

static void stop_programs(struct shop *shop)
{
    atomic_store(&shop->stopping, true);
    if (atomic_exchange(&shop->supervised, false))
        pthread_join(shop->supervisor, NULL);
    programs_deinit(&shop->programs);
}

struct shop *shop_stop(struct shop *shop)
{
    if (!shop)
        return NULL;
    stop_programs(shop);
    if (shop->pg)
        PQfinish(shop->pg);
    if (shop->redis)
        redisFree(shop->redis);
    for (int i = 0; i < INSTANCES_MAX; i++)
        if (shop->reserved[i] >= 0)
            close(shop->reserved[i]);
    servers_stop(shop->servers);
    free(shop);
    return NULL;
}

void shop_stopp(struct shop **shop)
{
    *shop = shop_stop(*shop);
}

void shop_keep(struct shop *shop, const char *folder)
{
    char path[300];
    FILE *f;

    for (enum program p = 0; p < PROGRAMS; p++)
        for (int i = 0; i < shop->counts[p]; i++)
            shop_end(shop, p, i);
    snprintf(path, sizeof(path), "%s/secrets", folder);
    f = mkdir(folder, 0755) == 0 ? fopen(path, "we") : NULL;
    if (!f)
        shop_die(shop, "cannot write %s: %s", path, strerror(errno));
    fprintf(f, "%s\n", shop->secrets);
    fclose(f);
    servers_keep(shop->servers, folder);
    shop_stop(shop);
}
