/*
 * lock.json: every released version whole, with the hash of what readers depend on. The check needs no
 * history of the tree, and a row cannot be changed by hand unnoticed. One line per version, so that a merge
 * of two branches that released different messages is a merge of lines.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/seal.h"
#include "bus/ctl/schemas.h"

/* ---- the hash ---- */

static int compare_texts(const void *a, const void *b)
{
    const char *of_a = json_string_value(*(json_t *const *)a), *of_b = json_string_value(*(json_t *const *)b);
    return strcmp(of_a ? of_a : "", of_b ? of_b : "");
}

static json_t *canonical(const json_t *node);

/* All arrays of the dialect are sets of words. */
static json_t *canonical_list(const json_t *list)
{
    size_t n = json_array_size(list);
    json_t **items = calloc(n + 1, sizeof(json_t *)), *out = json_array();
    if (!items || !out)
        abort();
    for (size_t i = 0; i < n; i++)
        items[i] = json_array_get(list, i);
    qsort(items, n, sizeof(*items), compare_texts);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, canonical(items[i]));
    free(items);
    return out;
}

/* A property may be called title: below "properties" the names are not keywords. */
static json_t *canonical_object(const json_t *node, bool names)
{
    static const char *const left_out[] = {"title", "description", "x-from"};
    json_t *out = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        bool skip = false;
        for (size_t i = 0; i < sizeof(left_out) / sizeof(*left_out) && !names; i++)
            skip |= strcmp(key, left_out[i]) == 0;
        bool below = !names && strcmp(key, "properties") == 0 && json_is_object(value);
        if (!skip)
            json_object_set_new(out, key, below ? canonical_object(value, true) : canonical(value));
    }
    return out;
}

static json_t *canonical(const json_t *node)
{
    if (json_is_array(node))
        return canonical_list(node);
    return json_is_object(node) ? canonical_object(node, false) : json_deep_copy(node);
}

struct str schema_hash(const struct schema *schema, struct arena *arena)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    json_t *form = canonical(schema->root);
    char *text = json_dumps(form, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text || EVP_Digest(text, strlen(text), digest, &n, EVP_sha256(), NULL) != 1)
        abort();
    free(text);
    json_decref(form);
    return hex((struct str){(char *)digest, n}, arena);
}

const char *schema_fixture(const struct schema *schema, const char *folder, struct arena *arena)
{
    return arena_printf(arena, "%s/fixtures/%.*s.v%d.%d.json", folder, STR_ARG(schema->type), schema->major,
                        schema->minor)
        .p;
}

/* ---- reading ---- */

static void read_row(struct schema_set *set, const char *name, const json_t *row,
                     struct schema_findings *findings)
{
    struct str file = str_of(json_string_value(json_object_get(row, "file")));
    const char *hash = json_string_value(json_object_get(row, "sha256"));
    char *text = json_dumps(json_object_get(row, "schema"), JSON_COMPACT);
    size_t had = set->n;
    if (file.p && text)
        schema_set_add(set, file, arena_str(set->arena, str_of(text)), findings);
    free(text);
    if (set->n == had) {
        schema_found(findings, SCHEMA_LOCK_DAMAGED, STR("lock.json"), str_of(name), "the row has no schema");
        return;
    }
    const struct schema *s = &set->list[had];
    struct str id = arena_printf(set->arena, "%.*s/%d.%d", STR_ARG(s->type), s->major, s->minor);
    if (!str_is(id, name) || !hash || !str_is(schema_hash(s, set->arena), hash))
        schema_found(findings, SCHEMA_LOCK_DAMAGED, STR("lock.json"), arena_str(set->arena, str_of(name)),
                     "name, hash and schema of the row do not agree");
}

err schema_lock_read(struct schema_set *set, const char *folder, struct schema_findings *findings)
{
    const char *path = arena_printf(set->arena, "%s/lock.json", folder).p, *name;
    struct str text;
    json_error_t error;
    json_t *row;
    if (access(path, F_OK) != 0)
        return OK;
    TRY(schema_file_read(path, set->arena, &text));
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return FAIL(INVALID, "%s is no lock", path);
    }
    json_object_foreach(root, name, row)
    {
        read_row(set, name, row, findings);
    }
    json_decref(root);
    return OK;
}

/* ---- writing ---- */

static int compare_versions(const void *a, const void *b)
{
    const struct schema *of_a = *(const struct schema *const *)a, *of_b = *(const struct schema *const *)b;
    int order = str_cmp(of_a->type, of_b->type);
    if (order == 0)
        order = of_a->major - of_b->major;
    return order ? order : of_a->minor - of_b->minor;
}

static void write_row(FILE *to, const struct schema *s, bool last, struct arena *arena)
{
    char *text = json_dumps(s->root, JSON_COMPACT);
    if (!text)
        abort();
    fprintf(to, "\"%.*s/%d.%d\": {\"file\": \"%.*s\", \"sha256\": \"%.*s\", \"schema\": %s}%s\n",
            STR_ARG(s->type), s->major, s->minor, STR_ARG(s->file), STR_ARG(schema_hash(s, arena)), text,
            last ? "" : ",");
    free(text);
}

/* Beside, then renamed: a crash leaves the old lock. */
err schema_lock_write(const struct schema_set *set, const char *folder)
{
    struct arena *arena = set->arena;
    const char *path = arena_printf(arena, "%s/lock.json", folder).p,
               *beside = arena_printf(arena, "%s.new", path).p;
    const struct schema **sorted = arena_array(arena, const struct schema *, set->n + 1);
    for (size_t i = 0; i < set->n; i++)
        sorted[i] = &set->list[i];
    qsort(sorted, set->n, sizeof(*sorted), compare_versions);
    FILE *to = fopen(beside, "we");
    if (!to)
        return FAIL(INVALID, "cannot write %s", beside);
    fputs("{\n", to);
    for (size_t i = 0; i < set->n; i++)
        write_row(to, sorted[i], i + 1 == set->n, arena);
    fputs("}\n", to);
    bool written = fflush(to) == 0 && fsync(fileno(to)) == 0;
    if (fclose(to) != 0 || !written || rename(beside, path) != 0)
        return FAIL(INVALID, "cannot write %s", path);
    return OK;
}
