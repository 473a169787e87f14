/*
 * Sets of schemas: what was released against what the tree has. Every released version is compared with the
 * tree's file of its major, not only the last one, so that nothing creeps in by small steps.
 */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "bus/ctl/schemas.h"

static const struct {
    const char *code, *why;
} rules[SCHEMA_RULES] = {
#define RULE(id, code, why) {code, why},
#include "bus/ctl/schema_rules.def"
#undef RULE
};

const char *schema_rule_code(enum schema_rule rule)
{
    return rules[rule].code;
}

const char *schema_rule_why(enum schema_rule rule)
{
    return rules[rule].why;
}

static bool found_already(const struct schema_findings *findings, const struct schema_finding *new)
{
    for (size_t i = 0; i < findings->n; i++) {
        const struct schema_finding *f = &findings->list[i];
        if (f->rule == new->rule && str_eq(f->file, new->file) && str_eq(f->at, new->at) &&
            str_eq(f->sentence, new->sentence))
            return true;
    }
    return false;
}

void schema_found(struct schema_findings *findings, enum schema_rule rule, struct str file, struct str at,
                  const char *sentence, ...)
{
    char text[400];
    va_list args;
    va_start(args, sentence);
    vsnprintf(text, sizeof(text), sentence, args);
    va_end(args);
    struct schema_finding finding = {rule, file, at, str_of(text)};
    if (found_already(findings, &finding))
        return;
    finding.sentence = arena_str(findings->arena, finding.sentence);
    if (findings->n == findings->cap) {
        size_t old = findings->cap * sizeof(finding);
        findings->cap = findings->cap ? 2 * findings->cap : 16;
        findings->list = arena_grow(findings->arena, findings->list, old, findings->cap * sizeof(finding));
    }
    findings->list[findings->n++] = finding;
}

/* ---- a released version and the tree ---- */

static void check_version(const struct schema *old, const struct schema *new,
                          struct schema_findings *findings)
{
    size_t before = findings->n;
    if (old->command != new->command)
        schema_found(findings, SCHEMA_KIND_CHANGED, new->file, STR("$"), "it stood in %.*s",
                     STR_ARG(old->file));
    if (new->minor < old->minor)
        schema_found(findings, SCHEMA_MINOR_LOWERED, new->file, STR("$.$id"),
                     "%d.%d was released, the file says %d.%d", old->major, old->minor, new->major,
                     new->minor);
    schema_compare(old, new, findings);
    if (findings->n == before && new->minor == old->minor &&
        !str_eq(schema_hash(old, findings->arena), schema_hash(new, findings->arena)))
        schema_found(findings, SCHEMA_NOT_BUMPED, new->file, STR("$.$id"),
                     "%d.%d was released and has another content", old->major, old->minor);
}

static bool same_text(const struct schema *a, const struct schema *b, const char *member)
{
    const json_t *of_a = json_object_get(a->root, member), *of_b = json_object_get(b->root, member);
    return of_a && of_b && json_equal(of_a, of_b);
}

/* A major above 1 against the one before it, in the tree itself. */
static void check_major(const struct schema_set *tree, const struct schema *major,
                        struct schema_findings *findings)
{
    if (major->major == 1)
        return;
    const struct schema *before = schema_find(tree, major->type, major->major - 1, -1);
    if (!before) {
        schema_found(findings, SCHEMA_MAJOR_GAP, major->file, STR("$"), "there is no v%d", major->major - 1);
        return;
    }
    if (before->command != major->command || !same_text(before, major, "x-topic") ||
        !same_text(before, major, "x-key"))
        schema_found(findings, SCHEMA_MAJOR_MOVED, major->file, STR("$"),
                     "topic, key or kind are not those of v%d", before->major);
}

void schema_check(const struct schema_set *released, const struct schema_set *tree,
                  struct schema_findings *findings)
{
    for (size_t i = 0; i < released->n; i++) {
        const struct schema *old = &released->list[i], *new = schema_find(tree, old->type, old->major, -1);
        if (new)
            check_version(old, new, findings);
        else
            schema_found(findings, SCHEMA_TYPE_REMOVED, old->file, STR("$"),
                         "%.*s/%d.%d was released and has no file", STR_ARG(old->type), old->major,
                         old->minor);
    }
    for (size_t i = 0; i < tree->n; i++)
        check_major(tree, &tree->list[i], findings);
}

void schema_check_lock(const struct schema_set *lock, const struct schema_set *tree, const char *folder,
                       struct schema_findings *findings)
{
    for (size_t i = 0; i < tree->n; i++) {
        const struct schema *s = &tree->list[i];
        if (!schema_find(lock, s->type, s->major, s->minor))
            schema_found(findings, SCHEMA_NOT_RELEASED, s->file, STR("$.$id"), "%d.%d is not in lock.json",
                         s->major, s->minor);
    }
    for (size_t i = 0; i < lock->n; i++)
        if (access(schema_fixture(&lock->list[i], folder, findings->arena), R_OK) != 0)
            schema_found(findings, SCHEMA_FIXTURE_MISSING, lock->list[i].file, STR("$"),
                         "%d.%d has no sample", lock->list[i].major, lock->list[i].minor);
}
