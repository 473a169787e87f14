/* Ids and random bytes. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/uuid.h"

Test(uuid, version_7_carries_its_millisecond)
{
    const int64_t ms = 1795379400123;
    struct uuid id = uuid_v7(ms);

    cr_assert_eq(uuid_ms(id), ms);
    cr_assert_eq(id.b[6] >> 4, 7);
    cr_assert_eq(id.b[8] >> 6, 2);
    cr_assert_lt(memcmp(uuid_v7(ms).b, uuid_v7(ms + 1).b, 16), 0, "ids sort by time");
    cr_assert_eq(uuid_ms(uuid_v7(INT64_C(0xffffffffffff))), INT64_C(0xffffffffffff));
}

Test(uuid, text_goes_there_and_back)
{
    struct str text = STR("0192f3A0-7b1c-7DEF-8123-456789abcdef");
    struct uuid id, again;
    char printed[UUID_TEXT + 1];

    cr_assert_not(failed(uuid_parse(text, &id)));
    cr_assert_eq(id.b[0], 0x01);
    cr_assert_eq(id.b[15], 0xef);
    uuid_print(id, printed);
    cr_assert_str_eq(printed, "0192f3a0-7b1c-7def-8123-456789abcdef");
    for (int i = 0; i < 1000; i++) {
        id = uuid_v7(i);
        uuid_print(id, printed);
        cr_assert_not(failed(uuid_parse(str_of(printed), &again)));
        cr_assert(uuid_eq(id, again));
    }
    cr_assert(uuid_is_nil((struct uuid){{0}}));
    cr_assert_not(uuid_is_nil(id));
}

Test(uuid, everything_else_is_refused)
{
    static const char *const bad[] = {"",
                                      "0192f3a0-7b1c-7def-8123-456789abcde",
                                      "0192f3a0-7b1c-7def-8123-456789abcdef0",
                                      "0192f3a007b1c-7def-8123-456789abcdef",
                                      "0192f3a0-7b1c-7def-8123-456789abcdeg",
                                      "-192f3a0-7b1c-7def-8123-456789abcdef",
                                      "{192f3a0-7b1c-7def-8123-456789abcde}",
                                      "0192f3a07b1c7def8123456789abcdef    "};
    struct uuid id;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(uuid_parse(str_of(bad[i]), &id).code, ERR_INVALID, "%s", bad[i]);
    cr_assert_eq(uuid_parse(STR_NONE, &id).code, ERR_INVALID);
}

enum { THREADS = 4, EACH = 20000 };
static uint64_t drawn[THREADS * EACH];

static void *draw(void *to)
{
    uint64_t *p = to;

    for (int i = 0; i < EACH; i++)
        p[i] = random_u64();
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

Test(random, threads_never_draw_the_same)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, draw, drawn + i * EACH);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(drawn, THREADS * EACH, sizeof(*drawn), by_value);
    for (int i = 1; i < THREADS * EACH; i++)
        cr_assert_neq(drawn[i - 1], drawn[i]);
}

Test(random, a_forked_child_draws_its_own)
{
    uint64_t mine, childs;
    int pipe_ends[2], status;
    pid_t child;

    random_u64(); /* the buffer is full when the child gets its copy */
    cr_assert_eq(pipe(pipe_ends), 0);
    child = fork();
    if (child == 0) {
        uint64_t v = random_u64();

        _exit(write(pipe_ends[1], &v, sizeof(v)) == sizeof(v) ? 0 : 1);
    }
    mine = random_u64();
    cr_assert_eq(read(pipe_ends[0], &childs, sizeof(childs)), sizeof(childs));
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_neq(mine, childs);
}

Test(random, every_byte_of_every_length_is_filled)
{
    for (size_t n = 1; n <= 600; n += 13) {
        unsigned char seen[600] = {0}, bytes[600];

        for (int round = 0; round < 8; round++) {
            random_bytes(bytes, n);
            for (size_t i = 0; i < n; i++)
                seen[i] |= bytes[i];
        }
        for (size_t i = 0; i < n; i++)
            cr_assert_neq(seen[i], 0, "length %zu, byte %zu", n, i);
    }
}

#ifdef DAYDREAM_FAULTS
static uint64_t first_draw_of_a_child(const char *seed)
{
    int pipe_ends[2], status;
    uint64_t v = 0;

    cr_assert_eq(pipe(pipe_ends), 0);
    if (fork() == 0) {
        setenv("RANDOM_SEED", seed, 1);
        v = random_u64();
        _exit(write(pipe_ends[1], &v, sizeof(v)) == sizeof(v) ? 0 : 1);
    }
    cr_assert_eq(read(pipe_ends[0], &v, sizeof(v)), sizeof(v));
    wait(&status);
    return v;
}

Test(random, a_seed_makes_it_repeatable)
{
    uint64_t first = first_draw_of_a_child("7");

    cr_assert_eq(first_draw_of_a_child("7"), first);
    cr_assert_neq(first_draw_of_a_child("8"), first);
}
#endif
