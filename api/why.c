/*
 * GET /why/{kind}/{id}: what happened to a thing, and because of what; the tree of `daydreamctl bus show`
 * (bus/story.h) for those who may see everybody's affairs. It holds ids, types, times and outcomes, never the
 * data of a message.
 */
#include "api/listing.h"
#include "api/queries.h"
#include "bus/story.h"

enum { WHY_LIMIT = 500, WHY_LIMIT_MAX = 1000, ID_MAX = 200 };

/* What a kind's id may be, and in which topics it is a key. An aggregate that a command makes has the
 * command's id, so that one which was refused has a story, too. */
static const struct {
    const char *name;
    unsigned by;
    const char *topics;
} kinds[] = {
    {"order", STORY_BY_KEY | STORY_BY_COMMAND, "orders,payments"},
    {"payment", STORY_BY_KEY, "payments"},
    {"product", STORY_BY_KEY | STORY_BY_COMMAND, "catalog,stock"},
    {"category", STORY_BY_KEY, "catalog"},
    {"brand", STORY_BY_KEY, "catalog"},
    {"cart", STORY_BY_KEY, "carts"},
    {"user", STORY_BY_KEY | STORY_BY_COMMAND, "users"},
    {"command", STORY_BY_COMMAND | STORY_BY_CORRELATION, NULL},
    {"event", STORY_BY_EVENT, NULL},
    {"correlation", STORY_BY_CORRELATION, NULL},
};

struct why_query {
    struct paging paging; /* the limit alone */
};
static const struct field why_fields[] = {{.name = "limit",
                                           .kind = FIELD_INT,
                                           .offset = offsetof(struct why_query, paging.limit),
                                           .has_offset = offsetof(struct why_query, paging.has_limit),
                                           .min = 1,
                                           .max = WHY_LIMIT_MAX}};
const struct shape why_params = {"why", sizeof(struct why_query), why_fields, 1};

struct asked {
    struct str id;
    int limit;
};

static void on_story(struct request *req, const struct pg_result *rows, void *data)
{
    const struct asked *asked = data;
    struct story story = story_build(rows, asked->id, asked->limit, req->arena);
    if (story.n == 0) {
        respond_problem(req, &(struct problem){.code = ERR_NOT_FOUND});
        return;
    }
    struct buf b = buf_new(req->arena, 512 * (story.n + 1));
    struct json j = json_on(&b);
    story_json(&j, &story);
    respond(req, 200, buf_view(&b));
}

static void ask(struct request *req, unsigned by, struct str key_topics, int limit)
{
    struct asked *asked = arena_new_of(req->arena, struct asked);
    struct pg_param params[STORY_PARAMS];
    *asked = (struct asked){request_param(req, "id"), limit};
    story_params(asked->id, by, key_topics, limit, params);
    door_select_slowly(req, &story_select, STORY_PARAMS, params, on_story, asked);
}

void get_why(struct request *req)
{
    struct why_query q;
    struct str kind = request_param(req, "kind");
    if (!query_read(req, &why_params, &q))
        return;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && request_param(req, "id").n <= ID_MAX; i++)
        if (str_is(kind, kinds[i].name)) {
            ask(req, kinds[i].by, str_of(kinds[i].topics),
                q.paging.has_limit ? (int)q.paging.limit : WHY_LIMIT);
            return;
        }
    respond_problem(
        req, &(struct problem){.code = ERR_NOT_FOUND,
                               .detail = STR("There are stories of an order, payment, product, category,"
                                             " brand, cart, user, command, event and correlation.")});
}
