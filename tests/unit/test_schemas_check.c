/* `daydreamctl schemas check` and `release`, run as a program: every rule, on folders and git revisions made
 * up here, and on a copy of the shop's own schemas. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/err.h"

#define CTL DAYDREAM_BIN_DIR "/daydreamctl schemas "
#define OWN DAYDREAM_SOURCE_DIR "/schemas"

static char folder[64];

static const char released[] =
    "{'$schema':'https://json-schema.org/draft/2020-12/schema','$id':'thing.changed/1.3','title':'A thing "
    "changed',"
    "'x-from':['catalog'],'x-topic':'catalog','x-key':'thing_id','type':'object','additionalProperties':"
    "false,"
    "'required':['thing_id','name','color','fee','currency'],'properties':{"
    "'thing_id':{'type':'string','format':'uuid'},"
    "'name':{'type':'string','minLength':1,'maxLength':100},"
    "'nick':{'type':'string'},"
    "'color':{'type':'string','enum':['red','green']},"
    "'count':{'type':'integer','minimum':0,'maximum':1000},"
    "'free':{'type':'integer'},"
    "'sold':{'type':'boolean'},"
    "'fee':{'x-money':'currency'},"
    "'currency':{'type':'string','format':'currency'},"
    "'home_currency':{'type':'string','format':'currency'},"
    "'rate':{'x-decimal':4},"
    "'day':{'type':'string','format':'date'},"
    "'owner':{'type':'string','x-personal':true},"
    "'note':{'type':'string','x-internal':true},"
    "'pin':{'type':'string','x-secret':true},"
    "'extra':{'x-raw':true,'maxLength':500},"
    "'tags':{'type':'array','minItems':1,'maxItems':10,'items':{'type':'string','maxLength':20}},"
    "'size':{'type':'object','required':['width'],'properties':{'width':{'type':'integer','minimum':1}"
    ",'depth':{'type':'integer'}}},"
    "'parts':{'type':'array','items':{'type':'object','required':['sku'],'properties':{"
    "'sku':{'type':'string','maxLength':50},'weight':{'type':'integer'}}}}}}";

struct change {
    const char *what, *from, *to;
    const char *from2, *to2; /* a second place, or NULL */
    const char *code;        /* NULL: accepted */
};

#define REFUSED(what, from, to, code) {what, from, to, NULL, NULL, code},
#define REFUSED_2(what, from, to, from2, to2, code) {what, from, to, from2, to2, code},
#define ACCEPTED(what, from, to)
static const struct change refused[] = {
#include "tests/unit/schema_changes.def"
};
#undef REFUSED
#undef REFUSED_2
#undef ACCEPTED
#define REFUSED(what, from, to, code)
#define REFUSED_2(what, from, to, from2, to2, code)
#define ACCEPTED(what, from, to) {what, from, to, NULL, NULL, NULL},
static const struct change accepted[] = {
#include "tests/unit/schema_changes.def"
};

/* ---- folders ---- */

static void shell(const char *format, ...) _printf_(1, 2);
static void shell(const char *format, ...)
{
    char command[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    cr_assert_eq(system(command), 0, "%s", command);
}

/* With " for '. */
static void put(const char *file, const char *text)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    FILE *to = fopen(path, "we");
    cr_assert(to, "%s", path);
    for (; *text; text++)
        fputc(*text == '\'' ? '"' : *text, to);
    cr_assert_eq(fclose(to), 0);
}

static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    cr_assert(at, "%s stands nowhere", from);
    cr_assert(!strstr(at + 1, from), "%s stands twice", from);
    char *ret;
    cr_assert(asprintf(&ret, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    return ret;
}

static void start(void)
{
    snprintf(folder, sizeof(folder), "/tmp/schemas-XXXXXX");
    cr_assert(mkdtemp(folder));
    shell("mkdir -p %s/old/events %s/old/commands %s/new/events %s/new/commands", folder, folder, folder,
          folder);
    put("old/events/thing.changed.v1.json", released);
}

static void stop(void)
{
    shell("rm -rf %s", folder);
}

TestSuite(schemas_check, .init = start, .fini = stop, .timeout = 120);

/* ---- the program ---- */

struct verdict {
    int status;
    char codes[400]; /* of the findings, one after the other, blanks between */
};

static struct verdict run(const char *format, ...) _printf_(1, 2);
static struct verdict run(const char *format, ...)
{
    struct verdict v = {.codes = ""};
    char words[600], command[800];
    size_t i;
    json_t *finding;
    json_error_t error;
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    snprintf(command, sizeof(command), CTL "%s 2>/dev/null", words);
    FILE *pipe = popen(command, "r");
    json_t *root = json_loadf(pipe, JSON_DISABLE_EOF_CHECK, &error);
    while (fgetc(pipe) != EOF)
        ;
    v.status = WEXITSTATUS(pclose(pipe));
    json_array_foreach(json_object_get(root, "findings"), i, finding)
    {
        const char *code = json_string_value(json_object_get(finding, "code"));
        cr_assert(code && json_string_length(json_object_get(finding, "sentence")) > 0);
        cr_assert(json_string_length(json_object_get(finding, "why")) > 0);
        snprintf(v.codes + strlen(v.codes), sizeof(v.codes) - strlen(v.codes), "%s%s", *v.codes ? " " : "",
                 code);
    }
    json_decref(root);
    return v;
}

static struct verdict compared(const struct change *change)
{
    char *raised = replaced(released, "thing.changed/1.3", "thing.changed/1.4");
    char *text = replaced(raised, change->from, change->to);
    char *both = change->from2 ? replaced(text, change->from2, change->to2) : strdup(text);
    put("new/events/thing.changed.v1.json", both);
    free(raised);
    free(text);
    free(both);
    return run("check --json --schemas %s/new --against %s/old", folder, folder);
}

Test(schemas_check, incompatible_changes_are_refused)
{
    size_t n = sizeof(refused) / sizeof(*refused);
    cr_assert(n >= 30);
    for (size_t i = 0; i < n; i++) {
        struct verdict v = compared(&refused[i]);
        cr_expect_eq(v.status, 1, "%s", refused[i].what);
        cr_expect(strstr(v.codes, refused[i].code), "%s: %s", refused[i].what, v.codes);
    }
}

Test(schemas_check, compatible_changes_are_accepted)
{
    size_t n = sizeof(accepted) / sizeof(*accepted);
    cr_assert(n >= 20);
    for (size_t i = 0; i < n; i++) {
        struct verdict v = compared(&accepted[i]);
        cr_expect(v.status == 0 && !*v.codes, "%s: %s", accepted[i].what, v.codes);
    }
}

/* ---- whole files ---- */

static void expect_files(const char *what, const char *file, const char *from, const char *to,
                         const char *codes)
{
    char *text = replaced(released, from, to);
    put(file, text);
    free(text);
    struct verdict v = run("check --json --schemas %s/new --against %s/old", folder, folder);
    cr_expect_eq(v.status, *codes != 0, "%s", what);
    cr_expect_str_eq(v.codes, codes, "%s: %s", what, v.codes);
}

Test(schemas_check, files_come_and_go)
{
    cr_expect_str_eq(run("check --json --schemas %s/new --against %s/old", folder, folder).codes,
                     "type-removed");
    expect_files("an event becomes a command", "new/commands/thing.changed.v1.json", "A thing", "A thing",
                 "kind-changed");
    shell("rm %s/new/commands/*", folder);
    expect_files("the same", "new/events/thing.changed.v1.json", "A thing", "A thing", "");
    expect_files("a new type", "new/events/thing.made.v1.json", "thing.changed/1.3", "thing.made/1.0", "");
    expect_files("v3 without v2", "new/events/thing.changed.v3.json", "changed/1.3", "changed/3.0",
                 "major-gap");
    shell("rm %s/new/events/thing.changed.v3.json", folder);
    expect_files("v2", "new/events/thing.changed.v2.json", "changed/1.3", "changed/2.0", "");
    expect_files("v3", "new/events/thing.changed.v3.json", "changed/1.3", "changed/3.0", "");
    shell("rm %s/new/events/thing.changed.v3.json", folder);
    char *elsewhere = replaced(released, "'x-key':'thing_id'", "'x-key':'name'");
    char *v2 = replaced(elsewhere, "changed/1.3", "changed/2.0");
    put("new/events/thing.changed.v2.json", v2);
    cr_expect_str_eq(run("check --json --schemas %s/new --against %s/old", folder, folder).codes,
                     "major-moved");
    free(elsewhere);
    free(v2);
}

Test(schemas_check, a_git_revision_is_something_to_compare_with)
{
    shell("cd %s/old && git init -q && git add -A && git -c user.name=a -c user.email=a@b.cl commit -qm one",
          folder);
    cr_expect_eq(run("check --json --schemas %s/old --against HEAD", folder).status, 0);
    char *text = replaced(released, "'nick':{'type':'string'},", "");
    put("old/events/thing.changed.v1.json", text);
    free(text);
    struct verdict v = run("check --json --schemas %s/old --against HEAD", folder);
    cr_expect(v.status == 1 && strcmp(v.codes, "field-removed") == 0, "%s", v.codes);
    cr_expect_eq(run("check --json --schemas %s/old --against nowhere", folder).status, 1);
    cr_expect_eq(run("check --json --schemas %s/old --against=--upload-pack=x", folder).status, 1);
}

/* ---- the shop's own ---- */

Test(schemas_check, the_shops_own_schemas_are_all_released)
{
    struct verdict v = run("check --json");
    cr_expect(v.status == 0 && !*v.codes, "%s", v.codes);
}

static void edit(const char *sed)
{
    shell("sed -i '%s' %s/own/events/stock.changed.v1.json", sed, folder);
}

Test(schemas_check, the_lock_remembers_every_version)
{
    shell("cp -r " OWN " %s/own", folder);
    edit("s/    \"cause\": .*/    \"cause\": {\"type\": \"string\", \"maxLength\": 40},\\n    \"extra\": "
         "{\"type\": \"string\"}/");
    cr_expect_str_eq(run("check --json --schemas %s/own", folder).codes, "not-bumped");
    edit("s/changed.1\\.0/changed\\/1.1/");
    cr_expect_str_eq(run("check --json --schemas %s/own", folder).codes, "not-released");
    cr_expect_eq(run("release --schemas %s/own", folder).status, 1,
                 "this build has no 1.1 to make a sample of");
    edit("/\"cause\"/d");
    cr_expect_str_eq(run("check --json --schemas %s/own", folder).codes, "field-removed not-released");
}

Test(schemas_check, a_lock_that_was_edited_and_a_lost_sample_are_found)
{
    shell("cp -r " OWN " %s/own", folder);
    shell("rm %s/own/fixtures/cart.cleared.v1.0.json", folder);
    cr_expect_str_eq(run("check --json --schemas %s/own", folder).codes, "fixture-missing");
    shell("sed -i '/^.cart.cleared/s/\"maxLength\":[0-9]*/\"maxLength\":7/' %s/own/lock.json", folder);
    shell("sed -i '/^.stock.changed/s/\"minimum\":0/\"minimum\":1/' %s/own/lock.json", folder);
    cr_expect(strstr(run("check --json --schemas %s/own", folder).codes, "lock-damaged"));
}

/* What release writes is what check asks for; samples that are there stay as they are. */
Test(schemas_check, a_release_makes_lock_and_samples)
{
    shell("cp -r " OWN " %s/own && rm %s/own/lock.json && rm %s/own/fixtures/stock.*", folder, folder,
          folder);
    cr_expect_eq(run("release --schemas %s/own", folder).status, 0);
    struct verdict v = run("check --json --schemas %s/own", folder);
    cr_expect(v.status == 0 && !*v.codes, "%s", v.codes);
    shell("cmp " OWN "/lock.json %s/own/lock.json", folder);
    shell("cmp " OWN "/fixtures/user.registered.v1.0.json %s/own/fixtures/user.registered.v1.0.json", folder);
    shell("cmp " OWN "/fixtures/stock.changed.v1.0.json %s/own/fixtures/stock.changed.v1.0.json", folder);
}
