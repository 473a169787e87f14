/* Numbers of several processes on one page; what is dead, torn, foreign or hostile is passed over. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/conf.h"
#include "bus/shared_metrics.h"
#include "tests/support/exposition.h"

static char home[] = "/tmp/daydream-metrics-XXXXXX";
static struct arena *arena;

static void begin(void)
{
    cr_assert_not_null(mkdtemp(home));
    conf_set(SET_DAYDREAM_HOME, home);
    arena = arena_new(16 << 20);
}

static void end(void)
{
    char command[200];
    snprintf(command, sizeof(command), "rm -rf '%s'", home);
    cr_assert_eq(system(command), 0);
    arena_free(arena);
}

TestSuite(shared_metrics, .init = begin, .fini = end, .timeout = 60);

/* A process that counts n parked messages, shares, and lives until it is killed. */
struct child {
    pid_t pid;
};

static struct child start(const char *program, const char *instance, int n)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        counter_add(COUNTER_PARKED, n);
        metrics_share(program, instance);
        histogram_observe(HISTOGRAM_FLUSH_SECONDS, 1000000);
        while (write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return (struct child){pid};
}

static void finish(struct child child)
{
    kill(child.pid, SIGKILL);
    waitpid(child.pid, NULL, 0);
}

static size_t look(struct metrics_peer **ret, int *ret_ignored)
{
    arena_reset(arena);
    return metrics_peers(arena, ret, ret_ignored);
}

static const char *page_of(const struct metrics_peer *peers, size_t n)
{
    struct buf b = buf_new(arena, 1024);
    struct metrics_source *sources = arena_array(arena, struct metrics_source, n);
    for (size_t i = 0; i < n; i++)
        sources[i] = (struct metrics_source){
            peers[i].page,
            arena_printf(arena, "program=\"%s\",instance=\"%s\"", peers[i].program, peers[i].instance).p};
    metrics_print_all(&b, sources, n);
    return b.p;
}

Test(shared_metrics, those_that_live_are_on_one_page)
{
    struct metrics_peer *peers;
    int ignored;
    struct child a = start("daydream-consumers", "vm-1", 3), b = start("daydream-producers", "vm-1", 5);

    cr_assert_eq(look(&peers, &ignored), 2);
    cr_expect_eq(ignored, 0);
    const char *page = page_of(peers, 2);
    cr_expect_null(exposition_fault(page), "%s", exposition_fault(page));
    cr_expect_eq(exposition_value(page, "parked_total{program=\"daydream-consumers\",instance=\"vm-1\"}"), 3);
    cr_expect_eq(exposition_value(page, "parked_total{program=\"daydream-producers\",instance=\"vm-1\"}"), 5);
    cr_expect_eq(exposition_value(
                     page, "flush_duration_seconds_count{program=\"daydream-consumers\",instance=\"vm-1\"}"),
                 1);
    finish(a);
    cr_expect_eq(look(&peers, &ignored), 1, "the dead are not there");
    cr_expect_str_eq(peers[0].program, "daydream-producers");
    cr_expect_eq(peers[0].pid, b.pid);
    finish(b);
}

Test(shared_metrics, names_are_free_again)
{
    struct metrics_peer *peers;
    int ignored;
    struct child a = start("daydream-api", NULL, 0), b = start("daydream-api", NULL, 0);

    cr_assert_eq(look(&peers, &ignored), 2);
    cr_expect_str_neq(peers[0].instance, peers[1].instance);
    finish(a);
    finish(b);
    struct child c = start("daydream-api", NULL, 0);
    cr_assert_eq(look(&peers, &ignored), 1);
    cr_expect_eq(peers[0].instance[strlen(peers[0].instance) - 1], '1');
    finish(c);
}

/* Writes over a living process's file at an offset, as a torn or hostile writer would. */
static void spoil(const char *name, off_t at, const void *bytes, size_t n)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/run/metrics/%s", home, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

Test(shared_metrics, what_is_torn_or_hostile_is_passed_over)
{
    static const struct {
        off_t at;
        const char *bytes;
        size_t n;
    } cases[] = {
        {0, "\0", 1},                                                 /* not begun */
        {8, "\xff\xff", 2},                                           /* another version */
        {12, "\xff\xff\xff\xff\xff\xff", 6},                          /* sizes */
        {24, "XXXXXXXX", 8},                                          /* another layout */
        {32, "\xff\xff\xff\xff\xff\xff\xff\xff", 8},                  /* a pid that is none */
        {48, "a\"} 1\nevil{x=\"", 14},                                /* a name that would break the page */
        {48, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 48}, /* a name without an end */
    };
    struct metrics_peer *peers;
    int ignored;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct child a = start("daydream-consumers", "vm-1", 1);
        cr_assert_eq(look(&peers, &ignored), 1);
        spoil("daydream-consumers.vm-1", cases[i].at, cases[i].bytes, cases[i].n);
        cr_expect_eq(look(&peers, &ignored), 0, "case %zu", i);
        cr_expect_eq(ignored, 1);
        finish(a);
    }
}

Test(shared_metrics, other_files_hurt_nobody)
{
    struct metrics_peer *peers;
    int ignored;
    char path[300];
    struct child a = start("daydream-consumers", "vm-1", 1);

    snprintf(path, sizeof(path), "%s/run/metrics/pipe", home);
    cr_assert_eq(mkfifo(path, 0600), 0);
    snprintf(path, sizeof(path), "%s/run/metrics/link", home);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    snprintf(path, sizeof(path), "%s/run/metrics/folder", home);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/run/metrics/empty", home);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    cr_expect_eq(look(&peers, &ignored), 1);
    cr_expect_eq(ignored, 0);
    finish(a);
}

/* Cut while it is being written to: the owner may die of it, a reader must not. */
Test(shared_metrics, a_file_that_is_cut_is_passed_over)
{
    struct metrics_peer *peers;
    int ignored;
    char path[300];
    struct child a = start("daydream-consumers", "vm-1", 1);

    snprintf(path, sizeof(path), "%s/run/metrics/daydream-consumers.vm-1", home);
    cr_assert_eq(truncate(path, 300), 0);
    cr_expect_eq(look(&peers, &ignored), 0);
    cr_expect_eq(ignored, 1);
    finish(a);
}

Test(shared_metrics, a_process_sees_itself)
{
    struct metrics_peer *peers;
    int ignored;

    counter_add(COUNTER_FENCED, 7);
    metrics_share("daydream-api", NULL);
    counter_add(COUNTER_FENCED, 1);
    cr_expect_eq(counter_get(COUNTER_FENCED), 8);
    cr_assert_eq(look(&peers, &ignored), 1);
    cr_expect_str_eq(peers[0].instance, metrics_instance());
    cr_expect_eq(exposition_value(page_of(peers, 1), "fenced_total{"), 8);
}
