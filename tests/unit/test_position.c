/* Positions as text: there and back, merged, compared, and everything that is none. */
#include <criterion/criterion.h>

#include "bus/base/seal.h"
#include "bus/position.h"

static struct arena *arena;
static struct position made;

static void open_arena(void)
{
    arena = arena_new(16 << 20);
    made = position_new(arena);
    position_raise(&made, TOPIC_ORDERS, 3, 41);
    position_raise(&made, TOPIC_USERS, 0, 0);
    position_raise(&made, TOPIC_CARTS, 125, INT64_MAX);
    position_raise(&made, TOPIC_ORDERS, 3, 42);
    position_raise(&made, TOPIC_ORDERS, 3, 7);
}

static void close_arena(void)
{
    arena_free(arena);
}

TestSuite(position, .init = open_arena, .fini = close_arena);

Test(position, keeps_the_highest_number_of_each_partition)
{
    cr_expect_eq(made.n, 3);
    cr_expect_eq(position_seq(&made, TOPIC_ORDERS, 3), 42);
    cr_expect_eq(position_seq(&made, TOPIC_USERS, 0), 0);
    cr_expect_eq(position_seq(&made, TOPIC_CARTS, 125), INT64_MAX);
    cr_expect_eq(position_seq(&made, TOPIC_CARTS, 124), -1);
}

Test(position, comes_back_from_its_text)
{
    struct position back;
    struct str text = position_text(&made, arena);

    cr_assert(!failed(position_parse(text, arena, &back)));
    cr_expect_eq(back.n, made.n);
    cr_expect(position_covers(&back, &made) && position_covers(&made, &back));
    for (size_t i = 0; i < text.n; i++)
        cr_expect(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", text.p[i]));
}

Test(position, of_nothing_has_a_text_too)
{
    struct position nothing = position_new(arena), back;

    cr_expect(!failed(position_parse(position_text(&nothing, arena), arena, &back)));
    cr_expect_eq(back.n, 0);
    cr_expect(position_covers(&nothing, &back));
}

Test(position, with_every_partition_is_still_a_header)
{
    struct position all = position_new(arena), back;

    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int part = 0; part < PARTITIONS_MAX && topic_is(topic); part++)
            position_raise(&all, (enum topic)topic, part, 1000000 + part);
    struct str text = position_text(&all, arena);
    cr_expect_leq(text.n, POSITION_TEXT_MAX);
    cr_expect(!failed(position_parse(text, arena, &back)));
    cr_expect_eq(back.n, all.n);
}

Test(position, merged_covers_both)
{
    struct position other = position_new(arena);

    position_raise(&other, TOPIC_ORDERS, 3, 50);
    position_raise(&other, TOPIC_STOCK, 1, 5);
    cr_expect_not(position_covers(&made, &other));
    position_merge(&made, &other);
    cr_expect(position_covers(&made, &other));
    cr_expect_eq(position_seq(&made, TOPIC_ORDERS, 3), 50);
    cr_expect_eq(position_seq(&made, TOPIC_STOCK, 1), 5);
}

Test(position, that_was_cut_or_changed_is_refused)
{
    struct position back;
    struct str text = position_text(&made, arena);

    for (size_t n = 0; n < text.n; n++)
        cr_expect(failed(position_parse(str_slice(text, 0, n), arena, &back)));
    for (size_t i = 0; i < text.n; i++) {
        struct str changed = arena_str(arena, text);
        ((char *)(uintptr_t)changed.p)[i] = text.p[i] == 'A' ? 'B' : 'A';
        cr_expect(failed(position_parse(changed, arena, &back)));
        cr_expect_eq(back.n, 0);
    }
}

/* The same bytes with a checksum that fits. */
static bool is_read(const char *bytes, size_t n)
{
    struct position back;
    struct buf b = buf_new(arena, n + 4);

    buf_put(&b, bytes, n);
    uint32_t check = crc32c(buf_view(&b));
    for (int i = 0; i < 4; i++)
        buf_char(&b, (char)(check >> (8 * i)));
    return !failed(position_parse(base64url(buf_view(&b), arena), arena, &back));
}

Test(position, with_a_right_checksum_is_still_looked_at)
{
    cr_expect(is_read("\1", 1));
    cr_expect(is_read("\1\x81\1\5", 4));             /* users.00:5 */
    cr_expect_not(is_read("\2\x81\1\5", 4));         /* another version */
    cr_expect_not(is_read("\1\x81\1", 3));           /* no number */
    cr_expect_not(is_read("\1\1\5", 3));             /* topic 0 */
    cr_expect_not(is_read("\1\x81\1\5\0\6", 6));     /* the same partition twice */
    cr_expect_not(is_read("\1\x81\1\x85\0", 5));     /* a longer form of 5 */
    cr_expect_not(is_read("\1\xff\xff\xff\1\5", 6)); /* no such topic */
    cr_expect_not(is_read("\1\x81\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 13)); /* above INT64_MAX */
    cr_expect_not(is_read("\1\xff\1\5", 4));                                      /* partition 126 */
}

Test(position, hostile_texts_are_refused)
{
    static const char *const texts[] = {"", "0", "*", "behind", "AQ", "AQ==", "////", "\n", "AAAAAAAAAAAA"};
    struct position back;
    char *long_one = arena_alloc(arena, 1 << 20);

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        cr_expect(failed(position_parse(str_of(texts[i]), arena, &back)), "%s", texts[i]);
    memset(long_one, 'A', 1 << 20);
    cr_expect(failed(position_parse((struct str){long_one, 1 << 20}, arena, &back)));
}
