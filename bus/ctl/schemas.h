/*
 * Released schemas and the ones of the tree: reading them, comparing them. Schemas are jansson's trees here,
 * since they are documents and not messages; hence no file that includes this includes bus/base/json.h.
 */
#pragma once

#include <jansson.h>

#include "bus/base/arena.h"

enum schema_rule {
#define RULE(id, code, why) SCHEMA_##id,
#include "bus/ctl/schema_rules.def"
#undef RULE
    SCHEMA_RULES
};

/* One version of one message. */
struct schema {
    struct str file; /* in the folder of schemas: "events/order.placed.v1.json" */
    struct str type; /* "order.placed" */
    bool command;
    int major, minor;
    json_t *root; /* as long as the set */
};

struct schema_set {
    struct schema *list;
    size_t n, cap;
    struct arena *arena;
};

struct schema_finding {
    enum schema_rule rule;
    struct str file, at; /* at: path in the file, "$.properties.sku"; "$": the whole */
    struct str sentence; /* what was found; the rule knows why that is one */
};

struct schema_findings {
    struct schema_finding *list;
    size_t n, cap;
    struct arena *arena;
};

const char *schema_rule_code(enum schema_rule rule);
const char *schema_rule_why(enum schema_rule rule);

/* One more finding, unless the same was found against another version already. */
void schema_found(struct schema_findings *findings, enum schema_rule rule, struct str file, struct str at,
                  const char *sentence, ...) _printf_(5, 6);

/* ---- schemas_set.c ---- */
struct schema_set schema_set_new(struct arena *arena);
void schema_set_free(struct schema_set *set);
/* Adds a text; what is no schema is a finding. */
void schema_set_add(struct schema_set *set, struct str file, struct str text,
                    struct schema_findings *findings);
/* All of commands/ and events/ below a folder. INVALID: no such folder. */
err schema_set_folder(struct schema_set *set, const char *folder,
                      struct schema_findings *findings) _must_use_;
/* The same of a git revision of the repository the folder is in. INVALID: git does not know it. */
err schema_set_revision(struct schema_set *set, const char *folder, const char *revision,
                        struct schema_findings *findings) _must_use_;
/* NULL when there is none. minor -1: any. */
const struct schema *schema_find(const struct schema_set *set, struct str type, int major, int minor);
/* The whole file in the arena. INVALID: it cannot be read, or is above 16 MB. */
err schema_file_read(const char *path, struct arena *arena, struct str *ret) _must_use_;

/* ---- schemas_lock.c ---- */
/* lock.json of a folder; a missing one is an empty set. INVALID: it is no lock. Damaged rows are findings. */
err schema_lock_read(struct schema_set *set, const char *folder, struct schema_findings *findings) _must_use_;
err schema_lock_write(const struct schema_set *set, const char *folder) _must_use_;
/* SHA-256 in hex of all that a reader depends on: neither texts, nor emitters, nor the order in which things
 * stand. */
struct str schema_hash(const struct schema *schema, struct arena *arena);
/* Where the sample of a version stands: FOLDER/fixtures/order.placed.v1.0.json. */
const char *schema_fixture(const struct schema *schema, const char *folder, struct arena *arena);

/* ---- schemas_rules.c ---- */
/* Two versions of one major, the old one released. */
void schema_compare(const struct schema *old, const struct schema *new, struct schema_findings *findings);

/* ---- schemas_check.c ---- */
/* The tree against everything that was released: each version with the tree's file of its major. */
void schema_check(const struct schema_set *released, const struct schema_set *tree,
                  struct schema_findings *findings);
/* Is every version of the tree in the lock, and has every version of the lock its fixture? */
void schema_check_lock(const struct schema_set *lock, const struct schema_set *tree, const char *folder,
                       struct schema_findings *findings);
