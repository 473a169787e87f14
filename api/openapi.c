/*
 * See openapi.h. Bodies are components, since several routes take the same; the rest stands where it is used.
 */
#include "api/openapi.h"

#include <assert.h>
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "api/described.h"
#include "api/door.h"
#include "api/json_schema.h"
#include "api/roles.h"

enum { DOCUMENT_CEILING = 8 << 20, BODIES_MAX = MESSAGE_COUNT + 32 };

struct writer {
    struct json *j;
    struct arena *arena;
    const struct shape *bodies[BODIES_MAX]; /* that were named and are to be written as components */
    size_t n_bodies;
};

static void kref(struct json *j, const char *section, const char *name, struct arena *arena)
{
    json_kstr(j, "$ref", arena_printf(arena, "#/components/%s/%s", section, name));
}

/* ---- bodies ---- */

static size_t open_fields(const struct shape *shape)
{
    size_t n = 0;
    for (size_t i = 0; i < shape->n; i++)
        n += schema_shows(&shape->fields[i]);
    return n;
}

static void remember(struct writer *w, const struct shape *shape)
{
    for (size_t i = 0; i < w->n_bodies; i++)
        if (w->bodies[i] == shape)
            return;
    assert(w->n_bodies < BODIES_MAX);
    w->bodies[w->n_bodies++] = shape;
}

static void put_body_ref(struct writer *w, const struct shape *shape)
{
    remember(w, shape);
    kref(w->j, "schemas", shape->name, w->arena);
}

/* The body of a route that decides between two messages by it. */
static void put_either(struct writer *w, const struct shape *one, const struct shape *other)
{
    json_kopen(w->j, "anyOf", '[');
    for (int i = 0; i < 2; i++) {
        json_open(w->j, '{');
        put_body_ref(w, i ? other : one);
        json_close(w->j, '}');
    }
    json_close(w->j, ']');
}

static void put_request_body(struct writer *w, const struct route *route)
{
    const struct command_spec *spec = route->more;
    const struct shape *shape = spec && spec->body ? spec->body : message_types[route->command].shape;
    bool required = false;
    if (!open_fields(shape))
        return;
    for (size_t i = 0; i < shape->n; i++)
        required |= schema_shows(&shape->fields[i]) && (shape->fields[i].flags & FIELD_REQUIRED);
    json_kopen(w->j, "requestBody", '{');
    json_kbool(w->j, "required", required);
    json_kopen(w->j, "content", '{');
    json_kopen(w->j, "application/json", '{');
    json_kopen(w->j, "schema", '{');
    if (spec && spec->otherwise)
        put_either(w, shape, message_types[spec->otherwise].shape);
    else
        put_body_ref(w, shape);
    for (int i = 0; i < 4; i++)
        json_close(w->j, '}');
}

static void put_bodies(struct writer *w)
{
    for (size_t i = 0; i < w->n_bodies; i++) {
        json_kopen(w->j, w->bodies[i]->name, '{');
        schema_put(w->j, w->bodies[i]);
        json_close(w->j, '}');
    }
}

/* ---- parameters ---- */

static void put_path_params(struct writer *w, const char *path)
{
    for (const char *at = path; (at = strchr(at, '{')); at++) {
        struct str name = {at + 1, strcspn(at + 1, "}")};
        bool uuid = name.n > 3 && memcmp(name.p + name.n - 3, "_id", 3) == 0;
        json_open(w->j, '{');
        json_kstr(w->j, "name", name);
        json_kstr(w->j, "in", STR("path"));
        json_kbool(w->j, "required", true);
        json_kopen(w->j, "schema", '{');
        json_kstr(w->j, "type", STR("string"));
        if (uuid)
            json_kstr(w->j, "format", STR("uuid"));
        json_close(w->j, '}');
        json_close(w->j, '}');
    }
}

static void put_query_params(struct writer *w, const struct shape *shape)
{
    for (size_t i = 0; shape && i < shape->n; i++) {
        json_open(w->j, '{');
        json_kstr(w->j, "name", str_of(shape->fields[i].name));
        json_kstr(w->j, "in", STR("query"));
        json_kopen(w->j, "schema", '{');
        schema_put_field(w->j, &shape->fields[i]);
        json_close(w->j, '}');
        json_close(w->j, '}');
    }
}

/* Headers that are the same everywhere. */
static const struct header_param {
    const char *name, *text;
    bool commands, queries;
} header_params[] = {
    {"Prefer", "wait=N: seconds to hold the request for the result, at most 30", true, false},
    {"Idempotency-Key", "1 to 255 visible characters; the same key is the same command", true, false},
    {"If-Match", "entity tag of what is changed", true, false},
    {"X-Event-Position", "of an earlier result: the answer is not older", true, true},
    {"If-None-Match", "entity tag of what one has: 304 when it is still that", false, true},
};
enum { HEADER_PARAMS = sizeof(header_params) / sizeof(*header_params) };

static void put_header_params(struct writer *w, const struct route *route)
{
    for (size_t i = 0; i < HEADER_PARAMS; i++) {
        if (route->command ? !header_params[i].commands : !header_params[i].queries || !route->reads)
            continue;
        json_open(w->j, '{');
        kref(w->j, "parameters", header_params[i].name, w->arena);
        json_close(w->j, '}');
    }
}

static void put_header_components(struct writer *w)
{
    for (size_t i = 0; i < HEADER_PARAMS; i++) {
        json_kopen(w->j, header_params[i].name, '{');
        json_kstr(w->j, "name", str_of(header_params[i].name));
        json_kstr(w->j, "in", STR("header"));
        json_kstr(w->j, "description", str_of(header_params[i].text));
        json_kraw(w->j, "schema", STR("{\"type\":\"string\"}"));
        json_close(w->j, '}');
    }
}

/* ---- answers ---- */

static void put_answer(struct writer *w, const char *status, const char *component)
{
    json_kopen(w->j, status, '{');
    kref(w->j, "responses", component, w->arena);
    json_close(w->j, '}');
}

static bool is_list(const struct route *route)
{
    const struct shape *shape = route->query ? route->more : NULL;
    return shape && shape->n > 0 && strcmp(shape->fields[0].name, "page") == 0;
}

static void put_answers(struct writer *w, const struct route *route)
{
    json_kopen(w->j, "responses", '{');
    put_answer(w, "200", route->command ? "result" : is_list(route) ? "page" : "ok");
    if (route->command && route->method == POST)
        put_answer(w, "201", "result");
    if (route->command)
        put_answer(w, "202", "accepted");
    put_answer(w, "default", "problem");
    json_close(w->j, '}');
}

static const char responses[] =
    "\"ok\":{\"description\":\"As asked for.\"},"
    "\"page\":{\"description\":\"A page of a list.\",\"content\":{\"application/json\":{\"schema\":{"
    "\"type\":\"object\",\"required\":[\"data\",\"pagination\"],\"properties\":{"
    "\"data\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"pagination\":{\"type\":\"object\",\"properties\":{\"page\":{\"type\":\"integer\"},"
    "\"limit\":{\"type\":\"integer\"},\"total\":{\"type\":\"integer\"},\"pages\":{\"type\":\"integer\"}}},"
    "\"cursor\":{\"type\":\"string\"}}}}}},"
    "\"result\":{\"description\":\"The command's result, when it was waited for.\","
    "\"headers\":{\"X-Event-Position\":{\"description\":\"how far its events reach\","
    "\"schema\":{\"type\":\"string\"}}},"
    "\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}},"
    "\"accepted\":{\"description\":\"The command is on disk; its result comes at Location.\","
    "\"headers\":{\"Location\":{\"schema\":{\"type\":\"string\"}}},"
    "\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\","
    "\"required\":[\"command_id\",\"status\"],\"properties\":{"
    "\"command_id\":{\"type\":\"string\",\"format\":\"uuid\"},"
    "\"status\":{\"const\":\"accepted\"}}}}}},"
    "\"problem\":{\"description\":\"What is wrong (RFC 9457).\",\"content\":{\"application/problem+json\":{"
    "\"schema\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"error\",\"request_id\"],"
    "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"},"
    "\"error\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"},"
    "\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
    "\"field\":{\"type\":\"string\"},\"message\":{\"type\":\"string\"}}}}}}}}}";

/* ---- operations ---- */

/* "get_api_v1_products_product_id": what is no letter or digit separates. A slash at the end makes another
 * path, hence another name. */
static struct str operation_id(const struct route *route, struct arena *arena)
{
    struct buf b = buf_new(arena, 80);
    for (const char *at = method_name(route->method); *at; at++)
        buf_char(&b, (char)tolower(*at));
    for (const char *at = route->path; *at; at++)
        if (isalnum((unsigned char)*at))
            buf_char(&b, *at);
        else if (*at != '}' && b.p[b.n - 1] != '_')
            buf_char(&b, '_');
    return buf_view(&b);
}

/* The first word behind the version; aliases and what stands at the root by themselves. */
static struct str tag_of(const struct route *route)
{
    static const char base[] = "/api/v1/";
    size_t n = strlen(route->path);
    if (route->direct)
        return STR("shop");
    if (strncmp(route->path, base, strlen(base)) != 0 || route->path[n - 1] == '/')
        return STR("aliases");
    const char *word = route->path + strlen(base);
    return (struct str){word, strcspn(word, "/")};
}

static struct str summary_of(const struct route *route)
{
    return str_of(route->command ? message_types[route->command].title : route->about);
}

/* PUBLIC needs no token; who sends one is known. */
static void put_security(struct writer *w, const struct route *route)
{
    json_kopen(w->j, "security", '[');
    if (!route->direct && route->may != PUBLIC)
        json_raw(w->j, STR("{\"bearer\":[]}"));
    json_close(w->j, ']');
}

static void put_operation(struct writer *w, const struct route *route)
{
    struct str name = str_of(method_name(route->method));
    char key[16];
    for (size_t i = 0; i <= name.n; i++)
        key[i] = (char)tolower(name.p[i]);
    json_kopen(w->j, key, '{');
    json_kstr(w->j, "operationId", operation_id(route, w->arena));
    json_kstr(w->j, "summary", summary_of(route));
    json_kopen(w->j, "tags", '[');
    json_str(w->j, tag_of(route));
    json_close(w->j, ']');
    put_security(w, route);
    json_kopen(w->j, "parameters", '[');
    put_path_params(w, route->path);
    put_query_params(w, route->query ? route->more : NULL);
    put_header_params(w, route);
    json_close(w->j, ']');
    if (route->command)
        put_request_body(w, route);
    put_answers(w, route);
    json_close(w->j, '}');
}

/* A path has one entry for all its methods, wherever their rows stand. */
static bool seen_before(const struct route *const *tables, const struct route *const *table,
                        const struct route *route)
{
    for (const struct route *const *t = tables; t <= table; t++)
        for (const struct route *r = *t; r->path && r != route; r++)
            if (strcmp(r->path, route->path) == 0)
                return true;
    return false;
}

static void put_path(struct writer *w, const struct route *const *tables, const char *path)
{
    json_kopen(w->j, path, '{');
    for (; *tables; tables++)
        for (const struct route *route = *tables; route->path; route++)
            if (strcmp(route->path, path) == 0)
                put_operation(w, route);
    json_close(w->j, '}');
}

static void put_components(struct writer *w)
{
    json_kopen(w->j, "components", '{');
    json_kraw(w->j, "securitySchemes",
              STR("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\"}}"));
    json_kopen(w->j, "parameters", '{');
    put_header_components(w);
    json_close(w->j, '}');
    json_kraw(w->j, "responses", arena_printf(w->arena, "{%s}", responses));
    json_kopen(w->j, "schemas", '{');
    put_bodies(w);
    json_close(w->j, '}');
    json_close(w->j, '}');
}

struct str openapi_document(const struct route *const *tables, struct arena *arena)
{
    struct buf b = buf_new(arena, 1 << 16);
    struct json j = json_on(&b);
    struct writer w = {.j = &j, .arena = arena};
    json_open(&j, '{');
    json_kstr(&j, "openapi", STR("3.1.0"));
    json_kraw(&j, "info", STR("{\"title\":\"DaydreamShop\",\"version\":\"1.0.0\"}"));
    json_kraw(&j, "servers", STR("[{\"url\":\"/\"}]"));
    json_kopen(&j, "paths", '{');
    for (const struct route *const *table = tables; *table; table++)
        for (const struct route *route = *table; route->path; route++)
            if (!seen_before(tables, table, route))
                put_path(&w, tables, route->path);
    json_close(&j, '}');
    put_components(&w);
    json_close(&j, '}');
    return buf_view(&b);
}

/* ---- serving ---- */

static struct str document; /* made once, for the life of the process */

static void make(void)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(DOCUMENT_CEILING);
    struct str text = openapi_document(shop_routes, arena);
    char *copy = malloc(text.n);
    if (!copy)
        abort();
    memcpy(copy, text.p, text.n);
    document = (struct str){copy, text.n};
}

void get_openapi(struct request *req)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    described_serve(req, "application/json", document);
}
