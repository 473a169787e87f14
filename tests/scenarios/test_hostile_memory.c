/* Hostility leaves nothing behind: tests/bench/hostile_memory with few of each, for the full count run it by
 * hand. */
#include <criterion/criterion.h>

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif

Test(hostile, a_hundred_of_each_leave_memory_as_it_was, .timeout = 180)
{
#ifdef WATCHED
    cr_skip_test("a sanitizer keeps freed memory on purpose");
#else
    cr_assert_eq(system(DAYDREAM_BIN_DIR "/hostile_memory 100"), 0);
#endif
}
