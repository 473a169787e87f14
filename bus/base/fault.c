/*
 * Crash points. FAULT is read once; every pass of a point is counted over all threads, so "nth" means the
 * same however the work is spread. In release builds only the list is left.
 */
#include "bus/base/fault.h"

struct point {
    const char *name, *text;
};

static const struct point points[FAULT_COUNT] = {
#define POINT(id, name, text) {name, text},
#include "bus/base/faults.def"
#undef POINT
};

void fault_print(FILE *to)
{
    for (int i = 0; i < FAULT_COUNT; i++)
        fprintf(to, "%-24s %s\n", points[i].name, points[i].text);
}

#ifdef DAYDREAM_FAULTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/str.h"

enum action { ACTION_KILL, ACTION_STOP, ACTION_ERR, ACTIONS };
static const char *const action_names[ACTIONS] = {"kill", "stop", "err"};

enum { ORDERS_MAX = 16 };

/* FAULT, parsed: what to do at which pass of which point. */
static struct order {
    enum fault point;
    int64_t nth;
    enum action action;
} orders[ORDERS_MAX];
static size_t n_orders;

static _Atomic int64_t passes[FAULT_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Takes the part up to the separator from the front of s. */
static struct str take_part(struct str *s, char separator)
{
    size_t n = str_find(*s, separator);
    struct str part = str_slice(*s, 0, n);

    *s = n < s->n ? str_slice(*s, n + 1, s->n) : STR("");
    return part;
}

static bool parse_order(struct str text, struct order *ret)
{
    struct str name = take_part(&text, ':'), nth = take_part(&text, ':');
    int point = 0, action = 0;

    while (point < FAULT_COUNT && !str_is(name, points[point].name))
        point++;
    while (action < ACTIONS && !str_is(text, action_names[action]))
        action++;
    if (point == FAULT_COUNT || action == ACTIONS || failed(str_int64(nth, &ret->nth)) || ret->nth < 1)
        return false;
    ret->point = (enum fault)point;
    ret->action = (enum action)action;
    return true;
}

static void read_orders(void)
{
    struct str rest = str_of(getenv("FAULT"));

    while (!str_empty(rest)) {
        struct str text = take_part(&rest, ',');

        if (n_orders == ORDERS_MAX || !parse_order(text, &orders[n_orders++])) {
            fprintf(stderr, "FAULT: '%.*s' is not point:nth:kill|stop|err\n", STR_ARG(text));
            _exit(2);
        }
    }
}

/* One write with O_APPEND: lines of several processes do not mix. */
static void note_first_pass(enum fault point)
{
    const char *path = getenv("DAYDREAM_FAULT_LOG");
    char line[128];
    int n = snprintf(line, sizeof(line), "%s %d\n", points[point].name, (int)getpid());
    int fd = path && *path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;

    if (fd < 0)
        return;
    if (write(fd, line, (size_t)n) != n)
        perror("DAYDREAM_FAULT_LOG");
    close(fd);
}

static bool act(enum action action)
{
    if (action == ACTION_KILL)
        raise(SIGKILL);
    if (action == ACTION_STOP)
        raise(SIGSTOP); /* stops every thread; goes on here after SIGCONT */
    return action == ACTION_ERR;
}

bool fault_hit(enum fault point)
{
    int64_t pass = atomic_fetch_add(&passes[point], 1) + 1;
    bool fail = false;

    pthread_once(&once, read_orders);
    if (pass == 1)
        note_first_pass(point);
    for (size_t i = 0; i < n_orders; i++)
        if (orders[i].point == point && orders[i].nth == pass)
            fail |= act(orders[i].action);
    return fail;
}

static const char *const mutant_names[MUTANT_COUNT] = {
#define MUTANT(id, name, text) name,
#include "bus/base/mutants.def"
#undef MUTANT
};

static bool mutants[MUTANT_COUNT];
static pthread_once_t mutants_once = PTHREAD_ONCE_INIT;

static void read_mutants(void)
{
    struct str name = str_of(getenv("DAYDREAM_MUTANT"));

    for (int i = 0; i < MUTANT_COUNT; i++)
        mutants[i] = name.p && str_is(name, mutant_names[i]);
}

bool mutant(enum mutant m)
{
    pthread_once(&mutants_once, read_mutants);
    return mutants[m];
}

/* ---- poison ---- */

static void hang(void)
{
    for (;;)
        pause();
}

static bool digest(const char *action)
{
    if (strcmp(action, "segv") == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it as ours */
        raise(SIGSEGV);
    }
    if (strcmp(action, "abort") == 0)
        abort();
    if (strcmp(action, "hang") == 0)
        hang();
    return strcmp(action, "bad") == 0;
}

bool fault_poison(const char *key, size_t n)
{
    static _Atomic(const char *) path;
    char name[256], action[16];
    bool bad = false;

    if (!path)
        path = getenv("FAULT_POISON") ? getenv("FAULT_POISON") : "";
    FILE *f = *path ? fopen(path, "re") : NULL;
    while (f && !bad && fscanf(f, "%255s %15s", name, action) == 2)
        bad = strlen(name) == n && memcmp(name, key, n) == 0 && digest(action);
    if (f)
        fclose(f);
    return bad;
}
#endif
