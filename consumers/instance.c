/*
 * See instance.h. A lock file of the home says which place this process has and remembers its name; a lock of
 * PostgreSQL, which ends with the session, says that nobody else has it. Who starts again waits a little for
 * the session of his former life to end; who finds his name with somebody else takes another number.
 *
 * PostgreSQL forgets the locks when it ends itself, and a session may outlive a network that broke for as
 * long as the server does not notice. So the lock is taken again whenever the connection was lost, and only
 * who does not get it for long gives up. That costs nothing but time: what keeps two owners apart is the
 * epoch.
 */
#include "consumers/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

enum { INSTANCES_MAX = 64, NAME = 96, FORMER_MS = 3000, LOOK_MS = 50, KEEP_MS = 1000, PATIENCE_MS = 15000 };

/* A server that still believes in a peer which is gone notices within half of PATIENCE_MS. */
static const char setup[] = "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1;"
                            " SET tcp_keepalives_count = 4";
static const struct pg_stmt take_name = {
    "instance_take", "SELECT pg_try_advisory_lock(hashtextextended('daydream-consumers ' || $1::text, 23))"};
static const struct pg_stmt ping = {"instance_ping", "SELECT 1"};

static struct {
    int place, fd;
    char host[65], name[NAME];
    struct pg *pg;
    bool locked;
    int64_t next_ms, lost_ms; /* monotonic; since when the lock is not to be had, 0: it is */
} own;

err instance_place(void)
{
    char path[4200];
    gethostname(own.host, sizeof(own.host) - 1);
    snprintf(path, sizeof(path), "%s/run", conf_str(SET_DAYDREAM_HOME).p);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return FAIL(CONFIG, "cannot make the folder DAYDREAM_HOME/run (error %d)", errno);
    for (int n = 1; n <= INSTANCES_MAX; n++) {
        snprintf(path, sizeof(path), "%s/run/consumers-%d.lock", conf_str(SET_DAYDREAM_HOME).p, n);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            return FAIL(CONFIG, "cannot open a lock file in DAYDREAM_HOME/run (error %d)", errno);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            own.place = n;
            own.fd = fd;
            return OK;
        }
        close(fd);
    }
    return FAIL(CONFIG, "more than %d consumers run in this home", INSTANCES_MAX);
}

/* ---- what the place remembers ---- */

/* The number of its name, 0: it has none, or the host has another name now. */
static int former(void)
{
    char text[NAME] = "";
    int64_t n;
    ssize_t got = pread(own.fd, text, sizeof(text) - 1, 0);
    struct str name = {text, got > 0 ? (size_t)got : 0}, host = str_of(own.host);
    if (name.n < host.n + 2 || !str_starts(name, host) || name.p[host.n] != '-' ||
        failed(str_int64(str_slice(name, host.n + 1, name.n), &n)) || n < 1 || n > INSTANCES_MAX)
        return 0;
    return (int)n;
}

/* Only for the next time: when it cannot be written, the next time begins without it. */
static void remember(void)
{
    size_t n = strlen(own.name);
    if (ftruncate(own.fd, 0) != 0 || pwrite(own.fd, own.name, n, 0) != (ssize_t)n)
        log_warn("the name of this instance is not remembered", kv("instance", own.name));
}

/* ---- whose it is ---- */

static err lock(void)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct pg_param name = pg_text(str_of(own.name));
    TRY(pg_script(own.pg, setup));
    TRY(pg_call(own.pg, &take_name, 1, &name, &r));
    own.locked = pg_get_bool(r, 0, 0);
    return OK;
}

static err try_number(int n)
{
    snprintf(own.name, sizeof(own.name), "%s-%d", own.host, n);
    return lock();
}

static err wait_for_former(int n, const volatile bool *stop)
{
    int64_t until = clock_mono_ms() + FORMER_MS;
    TRY(try_number(n));
    while (!own.locked && !*stop && clock_mono_ms() < until) {
        clock_sleep_ms(LOOK_MS);
        TRY(try_number(n));
    }
    return OK;
}

err instance_take(struct pg *pg, const volatile bool *stop, const char **ret)
{
    int number = former();
    own.pg = pg;
    if (number)
        TRY(wait_for_former(number, stop));
    /* From the place's own number on, so that those of one home do not take each other's. */
    for (int i = 0; i < INSTANCES_MAX && !own.locked; i++)
        TRY(try_number((own.place - 1 + i) % INSTANCES_MAX + 1));
    if (!own.locked)
        return FAIL(CONFIG, "more than %d consumers of this host's name use this database", INSTANCES_MAX);
    remember();
    *ret = own.name;
    return OK;
}

/* Does somebody else have it? Not as far as we know while the servers are down. */
static bool is_taken(void)
{
    if (!pg_is_up(own.pg)) {
        own.locked = false;
        if (failed(pg_reopen(own.pg)))
            return false;
    }
    err e = own.locked ? pg_call(own.pg, &ping, 0, NULL, NULL) : lock();
    return !failed(e) && !own.locked;
}

bool instance_keep(void)
{
    int64_t now = clock_mono_ms();
    if (now < own.next_ms)
        return true;
    own.next_ms = now + KEEP_MS;
    if (!is_taken())
        own.lost_ms = 0;
    else if (!own.lost_ms)
        own.lost_ms = now;
    return !own.lost_ms || now - own.lost_ms < PATIENCE_MS;
}
