/*
 * Command lanes against a real Redis: publishing, keys that are used again, the cap, and reading what is
 * there, whatever it is.
 */
#include <criterion/criterion.h>

#include "bus/base/clock.h"
#include "bus/lane.h"
#include "tests/support/servers.h"

static struct servers *servers;
static struct redis *redis;
static struct arena *arena;
static struct seal_key key;
static char lane[STREAM_NAME];

static void must(err e)
{
    cr_assert(!failed(e), "%s: %s", err_name(e.code), err_text(e));
}

static void start(void)
{
    servers = servers_start(&(struct servers_options){.no_postgres = true});
    must(redis_open_within(servers_redis_url(servers), REDIS_PATIENT_MS, &redis));
    arena = arena_new(16 << 20);
    partitions_set(4);
    key = seal_key_random();
    lane_name(TOPIC_CARTS, 2, lane);
}

static void stop(void)
{
    redis = redis_close(redis);
    arena = arena_free(arena);
    servers = servers_stop(servers);
}

TestSuite(lane, .init = start, .fini = stop, .timeout = 60);

static struct envelope command(const char *idempotency_key, const char *fingerprint)
{
    struct uuid id = cmdid_new(&key, clock_ms(), TOPIC_CARTS, 2, STR("user:ana"));
    return (struct envelope){
        .specversion = STR("1.0"),
        .id = uuid_str(id, arena),
        .source = STR("door"),
        .type = STR("cart.clear.v1"),
        .partitionkey = STR("ana"),
        .data = STR("{\"a\":\"\xc3\xb1\\u0000\"}"),
        .client = STR("user:ana"),
        .idempotencykey = str_of(idempotency_key),
        .fingerprint = str_of(fingerprint),
    };
}

struct answer_seen {
    int calls;
    char word[16], first[64], second[64];
};

static void see(void *data, const struct redis_reply *reply)
{
    struct answer_seen *seen = data;
    seen->calls++;
    cr_assert(reply && reply->kind != REDIS_ERROR);
    if (reply->kind == REDIS_STRING)
        memcpy(seen->first, reply->text.p, reply->text.n);
    char *to[] = {seen->word, seen->first, seen->second};
    for (size_t i = 0; reply->kind == REDIS_ARRAY && i < reply->n && i < 3; i++)
        if (reply->items[i].kind == REDIS_STRING)
            memcpy(to[i], reply->items[i].text.p, reply->items[i].text.n);
}

static struct answer_seen publish_keyed(const struct envelope *e, int64_t cap, int64_t ttl)
{
    struct answer_seen seen = {0};
    lane_publish_keyed(redis, e, STR_NONE, cap, ttl, see, &seen);
    must(redis_wait(redis, 5000));
    cr_assert_eq(seen.calls, 1);
    return seen;
}

static int64_t backlog(void)
{
    const struct redis_reply *reply;
    must(redis_callf(redis, &reply, "XLEN %s", lane));
    return reply->integer;
}

static struct entry *read_lane(size_t expected)
{
    const struct redis_reply *reply;
    struct entry *entries;
    size_t n;
    must(redis_callf(redis, &reply, "XREAD COUNT 100 STREAMS %s 0", lane));
    must(lane_entries(reply, arena, &entries, &n));
    cr_assert_eq(n, expected);
    return entries;
}

Test(lane, a_command_is_read_as_it_was_published)
{
    struct envelope e = command(NULL, NULL);
    struct answer_seen seen = {0};
    lane_publish(redis, &e, see, &seen);
    must(redis_wait(redis, 5000));

    struct entry *read = read_lane(1);
    struct str a[2 * ENVELOPE_COMMAND], b[2 * ENVELOPE_COMMAND];
    cr_assert_eq(envelope_words(&e, true, a), 2 * ENVELOPE_COMMAND);
    cr_assert_eq(envelope_words(&read->envelope, true, b), 2 * ENVELOPE_COMMAND);
    for (int i = 0; i < 2 * ENVELOPE_COMMAND; i++)
        cr_assert(str_eq(a[i], b[i]), "%.*s", STR_ARG(a[i]));
    cr_assert(read->topic == TOPIC_CARTS && read->part == 2 && read->command && !read->broken);
    cr_assert(str_is(read->entry, seen.first));
}

Test(lane, a_key_used_again_names_the_first_command)
{
    struct envelope first = command("k1", "f1"), again = command("k1", "f2");
    cr_assert_str_eq(publish_keyed(&first, 10, 60000).word, "new");
    struct answer_seen seen = publish_keyed(&again, 10, 60000);
    cr_assert_str_eq(seen.word, "known");
    cr_assert(str_is(first.id, seen.first));
    cr_assert_str_eq(seen.second, "f1");
    cr_assert_eq(backlog(), 1);

    struct envelope other = command("k1", "f1");
    other.client = STR("user:berta");
    other.id = uuid_str(cmdid_new(&key, clock_ms(), TOPIC_CARTS, 2, other.client), arena);
    cr_assert_str_eq(publish_keyed(&other, 10, 60000).word, "new", "another client's key is another key");
}

Test(lane, a_key_is_remembered_for_its_time_only)
{
    struct envelope e = command("k1", "f1"), later = command("k1", "f1");
    publish_keyed(&e, 10, 20);
    clock_sleep_ms(40);
    cr_assert_str_eq(publish_keyed(&later, 10, 20).word, "new");
}

Test(lane, a_full_lane_refuses_and_forgets_the_key)
{
    for (int i = 0; i < 3; i++) {
        struct envelope e = command(i ? "k2" : "k1", "f");
        e.idempotencykey = arena_printf(arena, "key %d", i);
        publish_keyed(&e, 3, 60000);
    }
    struct envelope e = command("one more", "f");
    cr_assert_str_eq(publish_keyed(&e, 3, 60000).word, "full");
    cr_assert_str_eq(publish_keyed(&e, 4, 60000).word, "new");
    cr_assert_eq(backlog(), 4);
}

Test(lane, foreign_and_deleted_entries_are_told_apart)
{
    const struct redis_reply *reply;
    struct entry *entries;
    size_t n;
    must(redis_callf(redis, &reply, "XGROUP CREATE %s cart 0 MKSTREAM", lane));
    must(redis_callf(redis, &reply, "XADD %s 5-1 colour red type cart.clear.v1", lane));
    must(redis_callf(redis, &reply, "XADD %s 5-2 type cart.clear.v1", lane));
    must(redis_callf(redis, &reply, "XREADGROUP GROUP cart cart STREAMS %s >", lane));
    must(redis_callf(redis, &reply, "XDEL %s 5-2", lane));
    must(redis_callf(redis, &reply, "XREADGROUP GROUP cart cart STREAMS %s 0", lane));
    must(lane_entries(reply, arena, &entries, &n));
    cr_assert_eq(n, 2);
    cr_assert(!entries[0].broken && str_is(entries[0].envelope.type, "cart.clear.v1"));
    cr_assert_null(entries[0].envelope.data.p);
    cr_assert(entries[1].broken && entries[1].ms == 5 && entries[1].seq == 2);
}

/* Redis counts to 2^64, and goes on from whatever id somebody wrote: one such entry must not hide the others.
 */
Test(lane, ids_beyond_2_63_hide_nothing)
{
    const struct redis_reply *reply;
    struct entry *entries;
    size_t n;
    struct envelope e = command(NULL, NULL);
    must(redis_callf(redis, &reply, "XADD %s 9223372036854775808-0 type cart.clear.v1", lane));
    lane_publish(redis, &e, NULL, NULL);
    must(redis_callf(redis, &reply, "XADD evt:{carts.01} 7-9223372036854775808 type cart.cleared.v1"));
    must(redis_callf(redis, &reply, "XADD evt:{carts.03} 7-1 type cart.cleared.v1"));
    must(redis_callf(redis, &reply, "XREAD STREAMS %s evt:{carts.01} evt:{carts.03} 0 0 0", lane));
    must(lane_entries(reply, arena, &entries, &n));
    cr_assert_eq(n, 4);
    cr_expect(!entries[0].broken && str_is(entries[0].entry, "9223372036854775808-0"));
    cr_expect(!entries[1].broken && str_eq(entries[1].envelope.id, e.id));
    cr_expect_str_eq(entries[1].entry.p, "9223372036854775808-1");
    cr_expect(entries[2].broken && entries[2].ms == 0 && entries[2].seq == 0, "no event has such a number");
    cr_expect(!entries[3].broken && entries[3].seq == 1);
}

Test(lane, nothing_is_nothing)
{
    const struct redis_reply *reply;
    struct entry *entries;
    size_t n = 9;
    must(redis_callf(redis, &reply, "XREAD STREAMS %s 0", lane));
    must(lane_entries(reply, arena, &entries, &n));
    cr_assert_eq(n, 0);
    cr_assert_eq(lane_entries(NULL, arena, &entries, &n).code, ERR_REDIS_DOWN);
}

Test(lane, entry_ids_are_strict)
{
    static const char *const wrong[] = {
        "", "-", "1", "1-", "-1", "1-2-3", "a-1", "1-a", "+1-1", "1--1", "99999999999999999999-1"};
    int64_t ms, seq;
    must(entry_id_parse(STR("1763764800123-4711"), &ms, &seq));
    cr_assert(ms == 1763764800123 && seq == 4711);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert(failed(entry_id_parse(str_of(wrong[i]), &ms, &seq)), "%s", wrong[i]);
}
