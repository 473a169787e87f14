/* Errors: codes and their rows, the note of the last failure, forwarding. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "bus/base/err.h"

Test(err, a_failure_carries_code_text_and_place)
{
    err e = FAIL(CONFLICT, "order is %s", "shipped");

    cr_assert(failed(e));
    cr_assert_eq(e.code, ERR_CONFLICT);
    cr_assert_str_eq(err_text(e), "order is shipped");
    cr_assert(strncmp(err_where(e), "tests/unit/test_err.c:", 22) == 0, "%s", err_where(e));
}

static int calls;

static err fails_third(int i)
{
    calls++;
    if (i == 3)
        return FAIL(PG_DOWN, "call %d", i);
    return OK;
}

static err four_steps(void)
{
    for (int i = 1; i <= 4; i++)
        TRY(fails_third(i));
    return OK;
}

Test(err, try_forwards_unchanged_and_stops)
{
    err e = four_steps();

    cr_assert_eq(e.code, ERR_PG_DOWN);
    cr_assert_eq(calls, 3);
    cr_assert_str_eq(err_text(e), "call 3");
}

Test(err, a_text_may_contain_the_previous_text)
{
    err first = FAIL(REDIS_DOWN, "connection refused");
    err second = FAIL(UNAVAILABLE, "lane: %s", err_text(first));

    cr_assert_str_eq(err_text(second), "lane: connection refused");
}

Test(err, another_code_than_the_last_gets_its_sentence)
{
    err old = FAIL(INVALID, "quantity above 10");
    err new = FAIL(NOT_FOUND, "no product");

    cr_assert_str_eq(err_text(old), err_sentence(ERR_INVALID));
    cr_assert_str_eq(err_where(old), "");
    cr_assert_str_eq(err_text(new), "no product");
}

static void *fail_elsewhere(void *unused)
{
    err e = FAIL(CONFLICT, "in the other thread");

    (void)unused;
    cr_assert_str_eq(err_text(e), "in the other thread");
    return NULL;
}

Test(err, notes_of_threads_do_not_mix)
{
    err mine = FAIL(CONFLICT, "mine");
    pthread_t thread;

    pthread_create(&thread, NULL, fail_elsewhere, NULL);
    pthread_join(thread, NULL);
    cr_assert_str_eq(err_text(mine), "mine");
}

Test(err, rows_tell_class_status_and_slug)
{
    cr_assert_eq(err_class_of(ERR_NONE), ERR_CLASS_NONE);
    cr_assert_eq(err_class_of(ERR_CONFLICT), ERR_CLASS_REJECT);
    cr_assert_eq(err_class_of(ERR_PG_RETRY), ERR_CLASS_RETRY);
    cr_assert_eq(err_class_of(ERR_CONFIG), ERR_CLASS_FATAL);
    cr_assert_eq(err_http(ERR_NONE), 200);
    cr_assert_eq(err_http(ERR_KEY_REUSED), 422);
    cr_assert_str_eq(err_slug(ERR_STALE), "precondition-failed");
    for (enum err_code code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        cr_assert_eq(err_code_of(err_name(code)), code);
        cr_assert(err_http(code) >= 400 && err_http(code) < 600);
    }
    cr_assert_eq(err_code_of("NO_SUCH_CODE"), ERR_NONE);
}
