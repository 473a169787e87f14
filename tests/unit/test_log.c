/* Log lines: one JSON object per record, typed fields, nothing below the level. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "bus/base/json.h"
#include "bus/base/log.h"

static char output[1 << 16];

/* Sends standard error into a file and back; what came is in output. */
static FILE *captured;
static int saved;

static void capture(void)
{
    captured = tmpfile();
    saved = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static struct str release(void)
{
    size_t n;

    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(captured);
    n = fread(output, 1, sizeof(output), captured);
    fclose(captured);
    return (struct str){output, n};
}

Test(log, a_record_is_one_json_line)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    struct uuid id = uuid_v7(1);
    char group[] = "orders";
    size_t waiting = 3;
    struct str line;

    log_init("daydream-test", STR("info"));
    capture();
    log_warn("event rejected", kv("event", id), kv("group", group), kv("why", STR("a \"quote\"")),
             kv("seq", INT64_MIN), kv("waiting", waiting), kv("ok", true), kv("none", (const char *)NULL));
    line = release();

    cr_assert_eq(str_find(line, '\n'), line.n - 1);
    cr_assert_not(failed(json_check(line, arena)), "%s", output);
    cr_assert(str_is(json_member_str(line, "level", arena), "warn"));
    cr_assert(str_is(json_member_str(line, "program", arena), "daydream-test"));
    cr_assert(str_is(json_member_str(line, "message", arena), "event rejected"));
    cr_assert(str_is(json_member_str(line, "module", arena), "tests/unit/test_log"));
    cr_assert_gt(json_member_int(line, "line", 0, arena), 0);
    cr_assert_eq(json_member_str(line, "timestamp", arena).n, 24);
    cr_assert(str_eq(json_member_str(line, "event", arena), uuid_str(id, arena)));
    cr_assert(str_is(json_member_str(line, "group", arena), "orders"));
    cr_assert(str_is(json_member_str(line, "why", arena), "a \"quote\""));
    cr_assert_eq(json_member_int(line, "seq", 0, arena), INT64_MIN);
    cr_assert_eq(json_member_int(line, "waiting", 0, arena), 3);
    cr_assert_eq(json_member_int(line, "ok", 0, arena), 1);
    cr_assert(str_is(json_member(line, "none", arena), "null"));
}

static int evaluated;

static int64_t expensive(void)
{
    return ++evaluated;
}

Test(log, below_the_level_nothing_is_evaluated)
{
    struct str text;

    log_init("test", STR("WARN"));
    capture();
    log_info("not shown", kv("n", expensive()));
    log_error("shown", kv("n", expensive()));
    log_init("test", STR("loud"));
    log_debug("not shown");
    log_info("shown");
    text = release();

    cr_assert_eq(evaluated, 1);
    cr_assert_null(memmem(text.p, text.n, "not shown", 9));
    cr_assert_eq(str_find(text, '\n') + 1 < text.n, true, "two lines");
}

Test(log, long_and_broken_strings_stay_valid_json)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    static char text[5000];
    struct str line;

    memset(text, 0xc3, sizeof(text)); /* first bytes of sequences without their second */
    log_init("test", STR("info"));
    capture();
    log_info("long", kv("text", ((struct str){text, sizeof(text)})));
    line = release();
    cr_assert_not(failed(json_check(line, arena)));
    cr_assert_eq(json_member_str(line, "text", arena).n, 3 * 1024);
}
