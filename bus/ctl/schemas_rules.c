/*
 * The rules for two versions of one major. Textbook "backward" compatibility of JSON Schema calls a new
 * optional field incompatible where readers are open and misses what breaks ours (a currency, a seal, a
 * partition key); so the rules are our own, over the narrow dialect of gen.py: a table of keywords, each with
 * what a change of it means.
 */
#include "bus/ctl/schemas.h"

#include <inttypes.h>
#include <string.h>

#include "bus/base/money.h"

enum how {
    FREE,   /* a text for people */
    FROZEN, /* equal, or not there on both sides */
    FLAG,   /* the same; false when not there */
    LOW,    /* a lower bound */
    HIGH,   /* an upper bound */
    WORDS,  /* enum */
    APART,  /* compared by a function of its own */
};

/* Keywords of a field, and of the whole message. */
static const struct keyword {
    const char *name;
    enum how how;
    enum schema_rule rule; /* of FROZEN and FLAG */
} keywords[] = {
    {"title", FREE, 0},
    {"description", FREE, 0},
    {"x-from", FREE, 0}, /* who writes is nothing a reader sees */
    {"$id", FREE, 0},    /* its minor is compared where versions are */
    {"$schema", FROZEN, SCHEMA_UNKNOWN_KEYWORD},
    {"x-topic", FROZEN, SCHEMA_TOPIC_MOVED},
    {"x-key", FROZEN, SCHEMA_KEY_CHANGED},
    {"type", FROZEN, SCHEMA_TYPE_CHANGED},
    {"x-money", FROZEN, SCHEMA_CURRENCY_CHANGED},
    {"x-decimal", FROZEN, SCHEMA_TYPE_CHANGED},
    {"x-raw", FROZEN, SCHEMA_TYPE_CHANGED},
    {"format", FROZEN, SCHEMA_FORMAT_CHANGED},
    {"x-personal", FLAG, SCHEMA_PERSONAL_CHANGED},
    {"x-internal", FLAG, SCHEMA_INTERNAL_CHANGED},
    {"x-secret", FLAG, SCHEMA_SECRET_CHANGED},
    {"additionalProperties", FLAG, SCHEMA_OPENED},
    {"minimum", LOW, 0},
    {"minLength", LOW, 0},
    {"minItems", LOW, 0},
    {"maximum", HIGH, 0},
    {"maxLength", HIGH, 0},
    {"maxItems", HIGH, 0},
    {"enum", WORDS, 0},
    {"required", APART, 0},
    {"properties", APART, 0},
    {"items", APART, 0},
};
enum { KEYWORDS = sizeof(keywords) / sizeof(*keywords) };

/* Bounds that hold when none are written, by what the value is (see kind()); as in gen.py. */
static const struct {
    const char *kind, *keyword;
    json_int_t value;
} defaults[] = {
    {"string", "minLength", 0},          {"string", "maxLength", 10000},    {"array", "minItems", 0},
    {"array", "maxItems", 1000},         {"integer", "minimum", INT64_MIN}, {"integer", "maximum", INT64_MAX},
    {"x-money", "minimum", 0},           {"x-money", "maximum", MONEY_MAX}, {"x-decimal", "minimum", 0},
    {"x-decimal", "maximum", MONEY_MAX}, {"x-raw", "maxLength", 10000},
};

/* Two versions of one node, and where they stand. */
struct pair {
    const json_t *old, *new;
    struct str file, at;
    struct schema_findings *findings;
};

static void compare(const struct pair *p);

/* What a node is: its type, or the keyword that stands in place of one. */
static const char *kind(const json_t *node)
{
    static const char *const marks[] = {"x-money", "x-decimal", "x-raw"};
    for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
        if (json_object_get(node, marks[i]))
            return marks[i];
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "";
}

/* A value as it stands in a sentence. */
static struct str said(const json_t *value, struct arena *arena)
{
    if (!value)
        return STR("nothing");
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    struct str copy = arena_str(arena, str_of(text));
    free(text);
    return str_slice(copy, 0, copy.n < 80 ? copy.n : 80);
}

static void compare_frozen(const struct pair *p, const struct keyword *k)
{
    const json_t *old = json_object_get(p->old, k->name), *new = json_object_get(p->new, k->name);
    bool same = k->how == FLAG ? json_is_true(old) == json_is_true(new)
                : old && new   ? json_equal(old, new)
                               : old == new;
    struct arena *arena = p->findings->arena;
    if (!same)
        schema_found(p->findings, k->rule, p->file, p->at, "%s was %.*s and is %.*s", k->name,
                     STR_ARG(said(old, arena)), STR_ARG(said(new, arena)));
}

/* The bound that holds; false: a value of this kind has none of that name. */
static bool bound(const json_t *node, const char *keyword, json_int_t *ret)
{
    const json_t *written = json_object_get(node, keyword);
    if (json_is_integer(written)) {
        *ret = json_integer_value(written);
        return true;
    }
    for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++)
        if (strcmp(defaults[i].keyword, keyword) == 0 && strcmp(defaults[i].kind, kind(node)) == 0) {
            *ret = defaults[i].value;
            return true;
        }
    return false;
}

static void compare_bound(const struct pair *p, const struct keyword *k)
{
    json_int_t old, new;
    if (!bound(p->old, k->name, &old) || !bound(p->new, k->name, &new) || old == new)
        return;
    bool narrowed = k->how == LOW ? new > old : new < old;
    schema_found(p->findings, narrowed ? SCHEMA_BOUND_NARROWED : SCHEMA_BOUND_WIDENED, p->file, p->at,
                 "%s went from %" PRId64 " to %" PRId64, k->name, (int64_t)old, (int64_t) new);
}

static bool lists(const json_t *list, const json_t *word)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), word))
            return true;
    return false;
}

/* Words of one list that the other does not have. */
static void compare_words(const struct pair *p, const json_t *from, const json_t *to, enum schema_rule rule,
                          const char *what)
{
    for (size_t i = 0; i < json_array_size(from); i++) {
        const json_t *word = json_array_get(from, i);
        if (!lists(to, word))
            schema_found(p->findings, rule, p->file, p->at, "%.*s was %s the enum",
                         STR_ARG(said(word, p->findings->arena)), what);
    }
}

static void compare_enum(const struct pair *p)
{
    const json_t *old = json_object_get(p->old, "enum"), *new = json_object_get(p->new, "enum");
    if (!old && new)
        schema_found(p->findings, SCHEMA_ENUM_NARROWED, p->file, p->at,
                     "an enum stands where any text was allowed");
    if (old && !new)
        schema_found(p->findings, SCHEMA_ENUM_WIDENED, p->file, p->at,
                     "any text is allowed where an enum stood");
    if (old && new) {
        compare_words(p, old, new, SCHEMA_ENUM_NARROWED, "taken from");
        compare_words(p, new, old, SCHEMA_ENUM_WIDENED, "added to");
    }
}

static bool requires(const json_t *object, const char *name)
{
    const json_t *required = json_object_get(object, "required");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (str_is(str_of(json_string_value(json_array_get(required, i))), name))
            return true;
    return false;
}

static void compare_field(const struct pair *p, const char *name, const json_t *old, const json_t *new)
{
    struct pair field = {old, new, p->file,
                         arena_printf(p->findings->arena, "%.*s.properties.%s", STR_ARG(p->at), name),
                         p->findings};
    bool was = requires(p->old, name), is = requires(p->new, name);
    if (!was && is)
        schema_found(p->findings, SCHEMA_REQUIRED_ADDED, p->file, field.at, "%s became required", name);
    if (was && !is)
        schema_found(p->findings, SCHEMA_REQUIRED_DROPPED, p->file, field.at, "%s became optional", name);
    compare(&field);
}

static void compare_properties(const struct pair *p)
{
    json_t *old = json_object_get(p->old, "properties"), *new = json_object_get(p->new, "properties"), *field;
    const char *name;
    json_object_foreach(old, name, field)
    {
        const json_t *now = json_object_get(new, name);
        if (now)
            compare_field(p, name, field, now);
        else
            schema_found(p->findings, SCHEMA_FIELD_REMOVED, p->file, p->at, "%s was removed", name);
    }
    json_object_foreach(new, name, field)
    {
        if (!json_object_get(old, name) && requires(p->new, name))
            schema_found(p->findings, SCHEMA_FIELD_REQUIRED, p->file, p->at, "%s is new and required", name);
    }
}

static void compare_items(const struct pair *p)
{
    struct pair items = {json_object_get(p->old, "items"), json_object_get(p->new, "items"), p->file,
                         arena_printf(p->findings->arena, "%.*s.items", STR_ARG(p->at)), p->findings};
    if (items.old && items.new)
        compare(&items);
}

/* A keyword that this table does not have says something this program cannot judge. */
static void refuse_unknown(const struct pair *p)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)p->new, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < KEYWORDS && !known; i++)
            known = strcmp(keywords[i].name, name) == 0;
        if (!known)
            schema_found(p->findings, SCHEMA_UNKNOWN_KEYWORD, p->file, p->at,
                         "%s is no keyword of the dialect", name);
    }
}

static void compare_keyword(const struct pair *p, const struct keyword *k)
{
    switch (k->how) {
    case FROZEN:
    case FLAG:
        compare_frozen(p, k);
        break;
    case LOW:
    case HIGH:
        compare_bound(p, k);
        break;
    case WORDS:
        compare_enum(p);
        break;
    case FREE:
    case APART:
        break;
    }
}

/* Recursion ends with the document: what is compared here was read by jansson, which bounds its depth. */
static void compare(const struct pair *p)
{
    refuse_unknown(p);
    if (strcmp(kind(p->old), kind(p->new)) != 0) { /* what stands below means something else now */
        schema_found(p->findings, SCHEMA_TYPE_CHANGED, p->file, p->at, "%s became %s", kind(p->old),
                     kind(p->new));
        return;
    }
    for (size_t i = 0; i < KEYWORDS; i++)
        compare_keyword(p, &keywords[i]);
    compare_properties(p);
    compare_items(p);
}

void schema_compare(const struct schema *old, const struct schema *new, struct schema_findings *findings)
{
    struct pair whole = {old->root, new->root, new->file, STR("$"), findings};
    compare(&whole);
}
