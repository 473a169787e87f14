/* Crash points: each action at the nth pass, over all threads, and the log of points reached. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/fault.h"

Test(fault, the_list_has_every_point)
{
    static char text[1 << 14];
    FILE *to = fmemopen(text, sizeof(text), "w");
    int lines = 0;

    fault_print(to);
    fclose(to);
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_assert_eq(lines, FAULT_COUNT);
    cr_assert_not_null(strstr(text, "runner.after_commit "));
}

#ifdef DAYDREAM_FAULTS
Test(fault, err_is_told_at_the_nth_pass_only)
{
    setenv("FAULT", "relay.mid_append:2:err,job.after_call:1:err", 1);
    cr_assert_not(FAULT(RELAY_MID_APPEND));
    cr_assert(FAULT(RELAY_MID_APPEND));
    cr_assert_not(FAULT(RELAY_MID_APPEND));
    cr_assert(FAULT(JOB_AFTER_CALL));
    cr_assert_not(FAULT(TRIM_AFTER_FLOOR));
}

enum { THREADS = 4, EACH = 1000 };

static void *pass(void *hits)
{
    int *n = hits;

    for (int i = 0; i < EACH; i++)
        *n += FAULT(RUNNER_MID_FLUSH);
    return NULL;
}

Test(fault, one_of_many_threads_makes_the_nth_pass)
{
    pthread_t threads[THREADS];
    int hits[THREADS] = {0}, sum = 0;

    setenv("FAULT", "runner.mid_flush:2500:err", 1);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, pass, &hits[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += hits[i];
    }
    cr_assert_eq(sum, 1);
}

/* A child that passes the point three times and exits 7 plus the number of failures it was told. */
static pid_t passing_child(const char *fault)
{
    pid_t child = fork();

    if (child == 0) {
        int failures = 0;

        setenv("FAULT", fault, 1);
        for (int i = 0; i < 3; i++)
            failures += FAULT(RUNNER_AFTER_COMMIT);
        _exit(7 + failures);
    }
    return child;
}

Test(fault, kill_ends_the_process_without_a_word)
{
    int status;

    waitpid(passing_child("runner.after_commit:3:kill"), &status, 0);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(WTERMSIG(status), SIGKILL);
    waitpid(passing_child("runner.after_commit:4:kill"), &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 7);
}

Test(fault, stop_stops_until_continued)
{
    pid_t child = passing_child("runner.after_commit:2:stop");
    int status;

    cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
    cr_assert(WIFSTOPPED(status));
    kill(child, SIGCONT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(WEXITSTATUS(status), 7);
}

Test(fault, a_misspelt_order_ends_the_process)
{
    static const char *const bad[] = {"runner.after_comit:1:kill",        "runner.after_commit:0:kill",
                                      "runner.after_commit:1:boom",       "runner.after_commit",
                                      "runner.after_commit:x:err",        "runner.after_commit:1:err:2",
                                      "runner.after_commit:1:err,nothing"};
    int status;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        waitpid(passing_child(bad[i]), &status, 0);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s", bad[i]);
    }
}

Test(fault, the_log_tells_each_point_once_per_process)
{
    char path[] = "/tmp/daydream-fault-XXXXXX", expected[128], text[256] = "";
    int fd = mkstemp(path), status;
    pid_t first, second;

    setenv("DAYDREAM_FAULT_LOG", path, 1);
    first = passing_child("");
    waitpid(first, &status, 0);
    second = passing_child("runner.after_commit:1:kill");
    waitpid(second, &status, 0);
    cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
    snprintf(expected, sizeof(expected), "runner.after_commit %d\nrunner.after_commit %d\n", (int)first,
             (int)second);
    cr_assert_str_eq(text, expected);
    close(fd);
    unlink(path);
}
#endif
