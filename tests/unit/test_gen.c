/*
 * schemas/gen.py refuses what it does not know, with the file and a sentence: each row is a schema with one
 * slip of the pen. The good schemas of the shop are its other test: they are generated and compiled by every
 * build.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/arena.h"

#define TOPICS "[{\"number\": 1, \"name\": \"carts\", \"key\": \"user id\", \"group\": \"cart\"}]"
#define HEAD(id, topic, key)                                                                                 \
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"$id\": \"" id "\", \"title\": \"t\"," \
    "\"x-topic\": \"" topic "\", \"x-key\": \"" key "\", \"x-from\": [\"door\"], \"type\": \"object\","      \
    "\"additionalProperties\": false,"
/* A command with the good key user_id and one more property. */
#define WITH(property)                                                                                       \
    HEAD("cart.add/1.0", "carts", "user_id")                                                                 \
    "\"required\": [\"user_id\"], \"properties\": {\"user_id\": {\"type\": \"string\", \"format\": "         \
    "\"uuid\"}, " property "}}"

static const struct {
    const char *schema, *expected; /* part of what is printed; "" when it is good */
} rows[] = {
    {WITH("\"n\": {\"type\": \"integer\"}"), ""},
    {WITH("\"int\": {\"type\": \"integer\"}"), ""},
    {WITH("\"price\": {\"x-money\": \"currency\"}, \"currency\": {\"type\": \"string\", \"format\": "
          "\"currency\"}"),
     ""},
    {WITH("\"email\": {\"type\": \"string\", \"x-personal\": true}"), ""},
    {WITH("\"tags\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}"), ""},
    {"{", "Expecting property name"},
    {"[]", "must be an object"},
    {WITH("\"n\": {\"type\": \"integer\"}, \"n\": {\"type\": \"integer\"}"), "stands twice"},
    {WITH("\"n\": {\"type\": \"number\"}"), "unknown type 'number'"},
    {WITH("\"n\": {}"), "needs exactly one of type, x-money, x-decimal, x-raw"},
    {WITH("\"n\": {\"type\": \"string\", \"pattern\": \"a\"}"), "n: unknown keywords pattern for string"},
    {WITH("\"n\": {\"type\": \"string\", \"format\": \"ipv4\"}"), "unknown format 'ipv4'"},
    {WITH("\"n\": {\"type\": \"string\", \"minLength\": 5, \"maxLength\": 4}"),
     "minLength is above maxLength"},
    {WITH("\"n\": {\"type\": \"integer\", \"minimum\": 1.5}"), "minimum and maximum are integers"},
    {WITH("\"n\": {\"type\": \"string\", \"enum\": [\"a\", \"a\"]}"), "enum is a list of different strings"},
    {WITH("\"N\": {\"type\": \"integer\"}"), "a name is lower case"},
    {WITH("\"has_n\": {\"type\": \"boolean\"}, \"n\": {\"type\": \"integer\"}"), "share a C name"},
    {WITH("\"price\": {\"x-money\": \"currency\"}"),
     "x-money names 'currency': no field of format currency beside it"},
    {WITH("\"price\": {\"x-decimal\": 2}"), "x-decimal is 4"},
    {WITH("\"email\": {\"type\": \"string\"}"), "looks personal: say x-personal true or false"},
    {WITH("\"n\": {\"type\": \"string\", \"x-personal\": 1}"), "x-personal is true or false"},
    {WITH(
         "\"o\": {\"type\": \"object\", \"x-personal\": true, \"properties\": {\"n\": {\"type\": \"string\", "
         "\"x-secret\": true}}}"),
     "has no marks and no money"},
    {WITH("\"o\": {\"type\": \"object\"}"), "o: needs properties"},
    {WITH("\"o\": {\"type\": \"object\", \"additionalProperties\": true, \"properties\": {}}"),
     "always false"},
    {WITH("\"a\": {\"type\": \"array\"}"), "items must be one schema"},
    {WITH(
         "\"a\": {\"type\": \"array\", \"items\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}}"),
     "items are strings, uuids, integers, booleans or objects"},
    {HEAD("cart.add/1.0", "carts",
          "user_id") "\"required\": [\"x\"], \"properties\": {\"y\": {\"type\": \"boolean\"}}}",
     "requires unknown property 'x'"},
    {HEAD("cart.add/1.0", "carts", "user_id") "\"properties\": {\"user_id\": {\"type\": \"string\"}}}",
     "x-key 'user_id' must be a required"},
    {HEAD("cart.add/1.0", "baskets", "self") "\"properties\": {\"y\": {\"type\": \"boolean\"}}}",
     "x-topic 'baskets' is not in topics.json"},
    {HEAD("cart.sub/1.0", "carts", "self") "\"properties\": {\"y\": {\"type\": \"boolean\"}}}",
     "$id must be cart.add/1.MINOR"},
    {HEAD("cart.add/2.0", "carts", "self") "\"properties\": {\"y\": {\"type\": \"boolean\"}}}",
     "$id must be cart.add/1.MINOR"},
    {HEAD("cart.add/1.0", "carts",
          "self") "\"x-colour\": 1, \"properties\": {\"y\": {\"type\": \"boolean\"}}}",
     "unknown keywords x-colour"},
};

static char folder[] = "/tmp/test_gen.XXXXXX";
static struct arena *arena;

static void write_file(const char *name, const char *text)
{
    FILE *to = fopen(arena_printf(arena, "%s/%s", folder, name).p, "w");
    cr_assert(to);
    fputs(text, to);
    cr_assert_eq(fclose(to), 0);
}

static void make_folder(void)
{
    arena = arena_new(1 << 20);
    cr_assert(mkdtemp(folder));
    cr_assert_eq(mkdir(arena_printf(arena, "%s/commands", folder).p, 0700), 0);
    cr_assert_eq(mkdir(arena_printf(arena, "%s/events", folder).p, 0700), 0);
    write_file("topics.json", TOPICS);
}

static void remove_folder(void)
{
    cr_expect_eq(system(arena_printf(arena, "rm -r %s", folder).p), 0);
    arena = arena_free(arena);
}

TestSuite(gen, .init = make_folder, .fini = remove_folder, .timeout = 120);

/* What gen.py prints, and its exit code. */
static struct str run(const char *options, int *ret_code)
{
    FILE *from = popen(
        arena_printf(arena, "python3 %s/schemas/gen.py %s %s 2>&1", DAYDREAM_SOURCE_DIR, options, folder).p,
        "r");
    char text[4096];
    cr_assert(from);
    size_t n = fread(text, 1, sizeof(text) - 1, from);
    text[n] = '\0';
    *ret_code = WEXITSTATUS(pclose(from));
    return arena_str(arena, (struct str){text, n});
}

Test(gen, a_slip_of_the_pen_is_named_with_its_file)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        int code;
        write_file("commands/cart.add.v1.json", rows[i].schema);
        struct str told = run("--check", &code);
        cr_expect_eq(code, rows[i].expected[0] != '\0', "%s", rows[i].schema);
        cr_expect(strstr(told.p, rows[i].expected) && (code == 0 || strstr(told.p, "cart.add.v1.json")),
                  "%s\n  told     %s  expected %s", rows[i].schema, told.p, rows[i].expected);
    }
}

Test(gen, all_wrong_files_are_named_at_once)
{
    int code;
    write_file("commands/cart.add.v1.json", "{}");
    write_file("events/cart.added.v1.json", "{}");
    write_file("events/Cart.added.json", "{}");
    struct str told = run("--check", &code);
    cr_expect_eq(code, 1);
    cr_expect(strstr(told.p, "cart.add.v1.json") && strstr(told.p, "cart.added.v1.json"));
    cr_expect(strstr(told.p, "a file is named aggregate.verb-words.vN.json"));
}

#define MAJOR(n, key)                                                                                        \
    HEAD("cart.add/" n ".0", "carts", key)                                                                   \
    "\"required\": [\"user_id\"], \"properties\": {\"user_id\": {\"type\": \"string\"}}}"

Test(gen, majors_follow_each_other_under_one_key)
{
    int code;
    write_file("commands/cart.add.v1.json", MAJOR("1", "user_id"));
    write_file("commands/cart.add.v3.json", MAJOR("3", "user_id"));
    cr_expect(strstr(run("--check", &code).p, "v2 is missing") && code == 1);
    write_file("commands/cart.add.v2.json", MAJOR("2", "self"));
    cr_expect(strstr(run("--check", &code).p, "under the key of v1") && code == 1);
    write_file("commands/cart.add.v2.json", MAJOR("2", "user_id"));
    run("--check", &code);
    cr_expect_eq(code, 0);
    write_file("events/cart.add.v4.json", MAJOR("4", "user_id"));
    cr_expect(strstr(run("--check", &code).p, "stays a command or event") && code == 1);
}

Test(gen, an_unchanged_result_keeps_its_time)
{
    const char *option = arena_printf(arena, "--out %s", folder).p;
    const char *header = arena_printf(arena, "%s/messages.h", folder).p;
    struct stat before, after;
    int code;
    write_file("commands/cart.add.v1.json", rows[0].schema);
    run(option, &code);
    cr_assert(code == 0 && stat(header, &before) == 0);
    cr_assert_eq(access(arena_printf(arena, "%s/messages.c", folder).p, R_OK), 0);
    run(option, &code);
    cr_assert(code == 0 && stat(header, &after) == 0);
    cr_expect(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec &&
              before.st_mtim.tv_sec == after.st_mtim.tv_sec);
}
