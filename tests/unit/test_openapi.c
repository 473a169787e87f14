/* What the door says about itself: every route of the table, and bodies that the door's own codec takes. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>

#include "api/call.h"
#include "api/openapi.h"
#include "tests/support/opened.h"

static struct arena *arena;
static json_t *root;

static void start(void)
{
    json_error_t error;
    arena = arena_new(64 << 20);
    struct str text = openapi_document(shop_routes, arena);
    root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    cr_assert(root, "%s at %d", error.text, error.position);
}

static void stop(void)
{
    json_decref(root);
    arena_free(arena);
}

TestSuite(openapi, .init = start, .fini = stop);

static json_t *operation_of(const struct route *route)
{
    char method[16] = "";
    const char *name = method_name(route->method);
    for (size_t i = 0; name[i]; i++)
        method[i] = (char)tolower(name[i]);
    return json_object_get(json_object_get(json_object_get(root, "paths"), route->path), method);
}

/* "#/a/b/c", from the root. */
static json_t *follow(const char *ref)
{
    char path[256], *rest = path;
    json_t *node = root;
    cr_assert(strncmp(ref, "#/", 2) == 0 && strlen(ref) < sizeof(path), "%s", ref);
    snprintf(path, sizeof(path), "%s", ref + 2);
    for (char *word; node && (word = strsep(&rest, "/"));)
        node = json_object_get(node, word);
    cr_assert(node, "%s leads nowhere", ref);
    return node;
}

static void follow_all(json_t *node)
{
    const char *key;
    json_t *value;
    size_t i;
    json_array_foreach(node, i, value) follow_all(value);
    json_object_foreach(node, key, value)
    {
        if (strcmp(key, "$ref") == 0)
            follow(json_string_value(value));
        follow_all(value);
    }
}

Test(openapi, every_route_is_there_once_with_a_name_and_a_sentence)
{
    json_t *names = json_object();
    size_t n = 0;
    cr_assert_str_eq(json_string_value(json_object_get(root, "openapi")), "3.1.0");
    for (const struct route *const *table = shop_routes; *table; table++)
        for (const struct route *route = *table; route->path; route++, n++) {
            json_t *operation = operation_of(route);
            const char *id = json_string_value(json_object_get(operation, "operationId")),
                       *summary = json_string_value(json_object_get(operation, "summary"));
            cr_assert(id && summary && *summary, "%s %s", method_name(route->method), route->path);
            cr_assert(!json_object_get(names, id), "%s stands twice", id);
            json_object_set_new(names, id, json_true());
        }
    cr_assert_gt(n, 90);
    follow_all(root);
    json_decref(names);
}

static size_t params_in(json_t *operation, const char *where)
{
    size_t i, n = 0;
    json_t *param;
    json_array_foreach(json_object_get(operation, "parameters"), i, param)
    {
        const char *ref = json_string_value(json_object_get(param, "$ref"));
        param = ref ? follow(ref) : param;
        n += strcmp(json_string_value(json_object_get(param, "in")), where) == 0;
    }
    return n;
}

Test(openapi, parameters_are_those_of_the_row)
{
    for (const struct route *const *table = shop_routes; *table; table++)
        for (const struct route *route = *table; route->path; route++) {
            const struct shape *query = route->query ? route->more : NULL;
            size_t braces = 0;
            for (const char *at = route->path; *at; at++)
                braces += *at == '{';
            cr_expect_eq(params_in(operation_of(route), "path"), braces, "%s", route->path);
            cr_expect_eq(params_in(operation_of(route), "query"), query ? query->n : 0, "%s", route->path);
        }
}

/* ---- bodies ---- */

/* A value that the schema allows: all members, everything as small as it may be. */
static json_t *smallest(json_t *schema)
{
    const char *type = json_string_value(json_object_get(schema, "type")),
               *format = json_string_value(json_object_get(schema, "format"));
    json_t *words = json_object_get(schema, "enum"), *value, *member;
    const char *key;
    if (!type)
        return json_object();
    if (words)
        return json_incref(json_array_get(words, 0));
    if (strcmp(type, "boolean") == 0)
        return json_true();
    if (strcmp(type, "number") == 0)
        return json_integer(1);
    if (strcmp(type, "integer") == 0)
        return json_integer(json_integer_value(json_object_get(schema, "minimum")));
    if (strcmp(type, "array") == 0) {
        value = json_array();
        for (int i = 0; i < json_integer_value(json_object_get(schema, "minItems")); i++)
            json_array_append_new(value, smallest(json_object_get(schema, "items")));
        return value;
    }
    if (strcmp(type, "object") == 0) {
        value = json_object();
        json_object_foreach(json_object_get(schema, "properties"), key, member)
            json_object_set_new(value, key, smallest(member));
        return value;
    }
    if (format)
        return json_string(strcmp(format, "uuid") == 0        ? "01a20545-9d80-7104-951f-d24e160d0f30"
                           : strcmp(format, "email") == 0     ? "ana@example.com"
                           : strcmp(format, "date") == 0      ? "2026-11-25"
                           : strcmp(format, "date-time") == 0 ? "2026-11-25T18:00:00.000Z"
                                                              : "https://example.com/");
    if (json_object_get(schema, "pattern"))
        return json_string(strstr(json_string_value(json_object_get(schema, "pattern")), "A-Z") ? "CLP"
                                                                                                : "a");
    char *text = arena_alloc(arena, (size_t)json_integer_value(json_object_get(schema, "minLength")) + 2);
    text[0] = 'a';
    for (int i = 1; i < json_integer_value(json_object_get(schema, "minLength")); i++)
        text[i] = 'a';
    return json_string(text);
}

static err decode(const struct shape *shape, json_t *body, struct field_errors *errors)
{
    char *text = json_dumps(body, 0);
    *errors = (struct field_errors){.n = 0};
    err e = codec_decode(shape, CODEC_DOOR, str_of(text), NULL, 0, arena, arena_alloc(arena, shape->size),
                         errors);
    free(text);
    return e;
}

/* What the door itself puts into a message is required and cannot come with a body, so whole messages are
 * looked at field by field: none that the document names may be refused. */
static bool complains(const struct shape *shape, json_t *body)
{
    struct field_errors errors;
    err e = decode(shape, body, &errors);
    bool bad = failed(e) && e.code != ERR_INVALID;
    for (size_t i = 0; i < errors.n && i < sizeof(errors.list) / sizeof(*errors.list); i++)
        bad |= json_object_get(body, arena_cstr(arena, errors.list[i].field)) != NULL;
    return bad;
}

Test(openapi, bodies_are_what_the_door_reads)
{
    json_t *schemas = follow("#/components/schemas");
    int n = 0;
    for (const struct route *const *table = shop_routes; *table; table++)
        for (const struct route *route = *table; route->path; route++) {
            const struct command_spec *spec = route->more;
            if (!route->command)
                continue;
            const struct shape *shape = spec && spec->body ? spec->body : message_types[route->command].shape;
            json_t *schema = json_object_get(schemas, shape->name);
            cr_assert_eq(schema != NULL, json_object_get(operation_of(route), "requestBody") != NULL);
            if (!schema)
                continue;
            json_t *body = smallest(schema);
            cr_assert_not(complains(shape, body), "%s %s", method_name(route->method), route->path);
            struct field_errors errors;
            if (spec && spec->body)
                cr_assert_not(failed(decode(shape, body, &errors)));
            json_object_set_new(body, "surprise", json_true());
            cr_assert(complains(shape, body), "%s %s takes more than it says", method_name(route->method),
                      route->path);
            json_decref(body);
            n++;
        }
    cr_assert_gt(n, 30);
}

Test(openapi, the_door_serves_it)
{
    _cleanup_(opened_stopp) struct opened *door = opened_start(2, 2);
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "GET", .path = "/openapi.json"}), 200);
    cr_assert(json_object_get(door->reply.body, "paths"));
}
