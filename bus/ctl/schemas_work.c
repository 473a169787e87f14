/*
 * The work of schemas check and schemas release. The rules are in schemas_rules.c and schema_rules.def;
 * docs/versions.md says how to live with them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/ctl/ctl_schemas.h"
#include "bus/ctl/schemas.h"
#include "bus/ctl/schemas_sample.h"

struct work {
    const char *folder;
    struct schema_set tree, lock, other;
    struct schema_findings findings;
    struct arena *arena;
};

static struct work work_new(const char *folder, struct arena *arena)
{
    return (struct work){
        folder, schema_set_new(arena), schema_set_new(arena), schema_set_new(arena), {.arena = arena}, arena};
}

static void work_free(struct work *w)
{
    schema_set_free(&w->tree);
    schema_set_free(&w->lock);
    schema_set_free(&w->other);
}

/* ---- what was found ---- */

static void print_lines(const struct work *w)
{
    for (size_t i = 0; i < w->findings.n; i++) {
        const struct schema_finding *f = &w->findings.list[i];
        printf("%.*s %.*s %s: %.*s; %s\n", STR_ARG(f->file), STR_ARG(f->at), schema_rule_code(f->rule),
               STR_ARG(f->sentence), schema_rule_why(f->rule));
    }
    printf("%zu schemas, %zu released versions, %zu finding%s\n", w->tree.n, w->lock.n, w->findings.n,
           w->findings.n == 1 ? "" : "s");
}

static void print_json(const struct work *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->findings.n; i++) {
        const struct schema_finding *f = &w->findings.list[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:s%, s:s%, s:s%, s:s}", "code", schema_rule_code(f->rule),
                                        "file", f->file.p, f->file.n, "at", f->at.p, f->at.n, "sentence",
                                        f->sentence.p, f->sentence.n, "why", schema_rule_why(f->rule)));
    }
    json_t *all = json_pack("{s:I, s:I, s:o}", "schemas", (json_int_t)w->tree.n, "released",
                            (json_int_t)w->lock.n, "findings", list);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

/* ---- check ---- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static err check(struct work *w, const char *against)
{
    TRY(schema_set_folder(&w->tree, w->folder, &w->findings));
    TRY(schema_lock_read(&w->lock, w->folder, &w->findings));
    schema_check(&w->lock, &w->tree, &w->findings);
    if (!against) {
        schema_check_lock(&w->lock, &w->tree, w->folder, &w->findings);
        return OK;
    }
    if (is_folder(against))
        TRY(schema_set_folder(&w->other, against, &w->findings));
    else
        TRY(schema_set_revision(&w->other, w->folder, against, &w->findings));
    schema_check(&w->other, &w->tree, &w->findings);
    return OK;
}

err schemas_check(const char *folder, const char *against, bool as_json, struct arena *arena, bool *ret_clean)
{
    struct work w = work_new(folder, arena);
    err e = check(&w, against);
    *ret_clean = w.findings.n == 0;
    if (!failed(e) && as_json)
        print_json(&w);
    else if (!failed(e))
        print_lines(&w);
    work_free(&w);
    return e;
}

/* ---- release ---- */

/* A sample is what this very build writes, so the build must be of this tree. */
static err write_fixture(const struct work *w, const struct schema *s)
{
    struct str id = arena_printf(w->arena, "%.*s/%d.%d", STR_ARG(s->type), s->major, s->minor);
    enum message m = message_find(arena_printf(w->arena, "%.*s.v%d", STR_ARG(s->type), s->major));
    if (m == MESSAGE_NONE || !str_is(id, message_types[m].schema))
        return FAIL(INVALID, "this daydreamctl was not built with %.*s: build first", STR_ARG(id));
    const char *path = schema_fixture(s, w->folder, w->arena);
    struct str lean = schema_sample(m, false, w->arena), full = schema_sample(m, true, w->arena);
    FILE *to = fopen(path, "wxe");
    if (!to)
        return errno == EEXIST ? OK : FAIL(INVALID, "cannot write %s", path);
    fprintf(to, "{\"dataschema\": \"%.*s\",\n\"lean\": %.*s,\n\"full\": %.*s}\n", STR_ARG(id), STR_ARG(lean),
            STR_ARG(full));
    return fclose(to) == 0 ? OK : FAIL(INVALID, "cannot write %s", path);
}

static err release(struct work *w, size_t *ret)
{
    const char *fixtures = arena_printf(w->arena, "%s/fixtures", w->folder).p;
    TRY(schema_set_folder(&w->tree, w->folder, &w->findings));
    TRY(schema_lock_read(&w->lock, w->folder, &w->findings));
    schema_check(&w->lock, &w->tree, &w->findings);
    if (w->findings.n)
        return OK;
    if (mkdir(fixtures, 0755) != 0 && errno != EEXIST)
        return FAIL(INVALID, "cannot make %s", fixtures);
    for (size_t i = 0; i < w->tree.n; i++) {
        const struct schema *s = &w->tree.list[i];
        if (schema_find(&w->lock, s->type, s->major, s->minor))
            continue;
        TRY(write_fixture(w, s));
        char *text = json_dumps(s->root, JSON_COMPACT);
        schema_set_add(&w->lock, s->file, str_of(text), &w->findings);
        free(text);
        printf("released %.*s/%d.%d\n", STR_ARG(s->type), s->major, s->minor);
        ++*ret;
    }
    return *ret ? schema_lock_write(&w->lock, w->folder) : OK;
}

/* The samples first, the lock last: a crash in between is repeated, and what is there is kept. */
err schemas_release(const char *folder, struct arena *arena, bool *ret_clean)
{
    struct work w = work_new(folder, arena);
    size_t n = 0;
    err e = release(&w, &n);
    *ret_clean = w.findings.n == 0;
    if (!failed(e) && w.findings.n)
        print_lines(&w);
    work_free(&w);
    return e;
}
