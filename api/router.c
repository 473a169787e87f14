/*
 * The route table as a tree of segments. Built once; looking up walks one node per segment, literal children
 * by binary search first, the {name} child second. Depth and breadth are those of our own table, never of the
 * request.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/route.h"

struct node {
    struct str literal;     /* absent in a {name} node */
    struct node **children; /* literal ones, sorted by str_cmp */
    size_t n;
    struct node *any; /* the {name} child */
    const struct route *routes[METHODS];
    struct str names[METHODS][REQUEST_PARAMS]; /* of the {name} segments, which rows may call differently */
    unsigned methods;
};

struct router {
    struct node root;
};

/* Cuts the first segment off a path that starts with its slash. */
static struct str next_segment(struct str *path)
{
    struct str rest = str_slice(*path, 1, path->n);
    size_t n = str_find(rest, '/');

    *path = str_slice(rest, n, rest.n);
    return (struct str){rest.p, n};
}

/* ---- building ---- */

static struct node *node_new(struct str literal)
{
    struct node *node = calloc(1, sizeof(*node));

    if (!node)
        abort();
    node->literal = literal;
    return node;
}

/* Index of the first child not below the literal. */
static size_t place(const struct node *node, struct str literal)
{
    size_t low = 0, high = node->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (str_cmp(node->children[middle]->literal, literal) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct node *literal_child(const struct node *node, struct str literal)
{
    size_t i = place(node, literal);

    return i < node->n && str_eq(node->children[i]->literal, literal) ? node->children[i] : NULL;
}

static struct node *add_literal(struct node *node, struct str literal)
{
    struct node *child = literal_child(node, literal);
    size_t i = place(node, literal);

    if (child)
        return child;
    node->children = realloc(node->children, (node->n + 1) * sizeof(*node->children));
    if (!node->children)
        abort();
    memmove(node->children + i + 1, node->children + i, (node->n - i) * sizeof(*node->children));
    node->n++;
    return node->children[i] = node_new(literal);
}

static struct node *add_any(struct node *node)
{
    if (!node->any)
        node->any = node_new(STR_NONE);
    return node->any;
}

static bool is_name(struct str segment)
{
    return segment.n > 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
}

static void check_row(const struct route *row)
{
    assert(row->path[0] == '/' && row->method > METHOD_OTHER && row->method < OPTIONS);
    assert((row->command != MESSAGE_NONE) + (row->query != NULL) + (row->direct != NULL) ==
           1); /* of one kind */
}

static void add_row(struct router *router, const struct route *row)
{
    struct str path = str_of(row->path), names[REQUEST_PARAMS];
    struct node *node = &router->root;
    size_t n = 0;

    check_row(row);
    while (path.n > 0) {
        struct str segment = next_segment(&path);

        if (is_name(segment)) {
            assert(n < REQUEST_PARAMS);
            names[n++] = str_slice(segment, 1, segment.n - 1);
            node = add_any(node);
        } else {
            assert(str_find(segment, '{') == segment.n);
            node = add_literal(node, segment);
        }
    }
    assert(!node->routes[row->method]); /* two rows for the same */
    node->routes[row->method] = row;
    node->methods |= 1u << row->method | 1u << OPTIONS | (row->method == GET ? 1u << HEAD : 0);
    memcpy(node->names[row->method], names, n * sizeof(*names));
}

struct router *router_new(const struct route *const *tables)
{
    struct router *router = calloc(1, sizeof(*router));

    if (!router)
        abort();
    for (; tables && *tables; tables++)
        for (const struct route *row = *tables; row->path; row++)
            add_row(router, row);
    return router;
}

static void free_children(struct node *node)
{
    for (size_t i = 0; i < node->n; i++) {
        free_children(node->children[i]);
        free(node->children[i]);
    }
    if (node->any)
        free_children(node->any);
    free(node->any);
    free(node->children);
}

struct router *router_free(struct router *router)
{
    if (router)
        free_children(&router->root);
    free(router);
    return NULL;
}

/* ---- looking up ---- */

/* The node of the path, with the values its names take; NULL when there is none with a row. */
static const struct node *walk(const struct node *node, struct str path, struct param *params, size_t n,
                               size_t *ret_n)
{
    const struct node *found, *child;
    struct str segment;

    if (path.n == 0) {
        *ret_n = n;
        return node->methods ? node : NULL;
    }
    segment = next_segment(&path);
    child = literal_child(node, segment);
    found = child ? walk(child, path, params, n, ret_n) : NULL;
    if (found || !node->any || segment.n == 0)
        return found;
    params[n].value = segment;
    return walk(node->any, path, params, n + 1, ret_n);
}

unsigned router_find(const struct router *router, struct request *req)
{
    const struct node *node = walk(&router->root, req->path, req->params, 0, &req->params_n);
    enum method method = req->method;

    req->route = NULL;
    if (!node) {
        req->params_n = 0;
        return 0;
    }
    if (method == HEAD && !node->routes[HEAD])
        method = GET;
    req->route = node->routes[method];
    for (size_t i = 0; req->route && i < req->params_n; i++)
        req->params[i].name = node->names[method][i];
    if (!req->route)
        req->params_n = 0;
    return node->methods;
}
