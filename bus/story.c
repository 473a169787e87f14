/*
 * From rows to a tree. A row's parent is the row whose id it names as its cause; a cause that is not among
 * the rows (a client's request, a job that retention has deleted) makes it a root.
 */
#include "bus/story.h"

/* what, id, cause, correlation, topic, part, seq, ms, done_ms, type, key, source, actor, status, detail,
 * number */
enum {
    C_WHAT,
    C_ID,
    C_CAUSE,
    C_CORRELATION,
    C_TOPIC,
    C_PART,
    C_SEQ,
    C_MS,
    C_DONE,
    C_TYPE,
    C_KEY,
    C_SOURCE,
    C_ACTOR,
    C_STATUS,
    C_DETAIL,
    C_NUMBER
};
enum { WHAT_OFFSET = STORY_PARKED + 1 }; /* rows that are no node */

/* $1 the id, $2 the same as a uuid or NULL, $3 topics of the key or command, $4–$7 what it may be, $8 limit.
 * The correlation '' is none: events of no command. */
#define IN_TOPICS "($3::text IS NULL OR topic = ANY(string_to_array($3, ',')))"
#define ROOTS                                                                                                \
    "WITH of_key AS MATERIALIZED (SELECT * FROM story_event WHERE $7::boolean AND partitionkey = $1::text"   \
    "  AND " IN_TOPICS " ORDER BY ms DESC LIMIT $8::bigint),"                                                \
    " root AS MATERIALIZED (SELECT correlationid FROM story_event WHERE $4::boolean AND id = $2::uuid"       \
    "  UNION SELECT correlationid FROM story_command WHERE $5::boolean AND id = $2 AND " IN_TOPICS           \
    "  UNION SELECT $1 WHERE $6::boolean"                                                                    \
    "  UNION (SELECT correlationid FROM of_key GROUP BY 1 ORDER BY max(ms) DESC LIMIT 20)),"
#define EVENTS                                                                                               \
    " e AS MATERIALIZED (SELECT * FROM"                                                                      \
    "  (SELECT * FROM story_event WHERE correlationid = ANY(ARRAY(SELECT correlationid FROM root"            \
    "    WHERE correlationid <> ''))"                                                                        \
    "   UNION SELECT * FROM story_event WHERE $4 AND id = $2 UNION SELECT * FROM of_key) x"                  \
    "  ORDER BY ms, topic, part, seq LIMIT $8 + 1),"                                                         \
    " cause AS MATERIALIZED (SELECT story_uuid(causationid) AS id FROM e"                                    \
    "  UNION SELECT story_uuid(correlationid) FROM root UNION SELECT $2 WHERE $5 AND $3 IS NULL),"           \
    " keys AS MATERIALIZED (SELECT DISTINCT topic, partitionkey FROM e),"
#define OTHERS                                                                                               \
    " c AS (SELECT * FROM story_command WHERE id = ANY(ARRAY(SELECT id FROM cause WHERE id IS NOT NULL))),"  \
    " j AS (SELECT * FROM story_job WHERE id = ANY(ARRAY(SELECT id FROM cause WHERE id IS NOT NULL))"        \
    "  UNION SELECT * FROM story_job WHERE state <> 'done' AND key IN (SELECT partitionkey FROM keys)"       \
    "   AND correlationid IN (SELECT correlationid FROM root)),"                                             \
    " t AS (SELECT * FROM story_timer WHERE correlationid IN (SELECT correlationid FROM root"                \
    "  WHERE correlationid <> '')),"                                                                         \
    " p AS (SELECT * FROM story_parked WHERE (topic, key) IN (SELECT topic, partitionkey FROM keys)"         \
    "  OR command_id = ANY(ARRAY(SELECT id FROM cause WHERE id IS NOT NULL)))"
#define ROWS                                                                                                 \
    " SELECT 0 AS what, id::text, causationid, correlationid, topic, part, seq, ms, NULL::bigint, type,"     \
    "  partitionkey, source, actor, NULL, NULL, NULL::bigint FROM e"                                         \
    " UNION ALL SELECT 1, id::text, NULL, correlationid, topic, part, NULL, created_ms, done_ms, type, "     \
    "NULL,"                                                                                                  \
    "  NULL, client, status, coalesce(problem, same_as::text), http_status FROM c"                           \
    " UNION ALL SELECT 2, id::text, causationid, correlationid, NULL, NULL, NULL, due_ms, NULL, kind, key,"  \
    "  NULL, actor, state, NULL, attempt FROM j"                                                             \
    " UNION ALL SELECT 3, id::text, causationid, correlationid, topic, part, NULL, due_ms, NULL, type, key," \
    "  grp, actor, name, NULL, NULL FROM t"                                                                  \
    " UNION ALL SELECT 4, format('%s/%s/%s/%s', grp, topic, key, n), command_id::text, NULL, topic, NULL,"   \
    "  seq, parked_ms, NULL, type, key, grp, NULL, reason, NULL, attempts FROM p"                            \
    " UNION ALL SELECT 5, NULL, NULL, NULL, topic, part, NULL, NULL, NULL, NULL, NULL, grp, NULL, NULL, "    \
    "NULL, seq FROM story_offset WHERE (topic, part) IN (SELECT topic, part FROM e)"                         \
    " ORDER BY ms, what, topic, part, seq, id, source"

_Static_assert(STORY_CORRELATIONS == 20, "the number stands in ROOTS");
const struct pg_stmt story_select = {"story_select", ROOTS EVENTS OTHERS ROWS};

void story_params(struct str id, unsigned by, struct str key_topics, int limit,
                  struct pg_param ret[static STORY_PARAMS])
{
    struct uuid uuid;
    bool is_uuid = !failed(uuid_parse(id, &uuid));
    ret[0] = pg_text(id);
    ret[1] = is_uuid ? pg_uuid(uuid) : pg_null();
    ret[2] = pg_text(key_topics);
    ret[3] = pg_bool(is_uuid && by & STORY_BY_EVENT);
    ret[4] = pg_bool(is_uuid && by & STORY_BY_COMMAND);
    ret[5] = pg_bool(by & STORY_BY_CORRELATION);
    ret[6] = pg_bool(by & STORY_BY_KEY);
    ret[7] = pg_int(limit);
}

/* ---- rows ---- */

static struct str text_at(const struct pg_result *rows, int row, int column, struct arena *arena)
{
    return arena_str(arena, pg_get_str(rows, row, column));
}

/* A problem is JSON of ours, its detail a sentence without personal data; what a repeat points to is an id.
 */
static struct str detail_at(const struct pg_result *rows, int row, struct arena *arena)
{
    struct str text = text_at(rows, row, C_DETAIL, arena);
    return text.n && text.p[0] == '{' ? json_member_str(text, "detail", arena) : text;
}

static struct story_node *node_of(const struct pg_result *rows, int row, struct arena *arena)
{
    struct story_node *node = arena_new_of(arena, struct story_node);
    *node = (struct story_node){.what = (enum story_what)pg_get_int(rows, row, C_WHAT),
                                .id = text_at(rows, row, C_ID, arena),
                                .cause = text_at(rows, row, C_CAUSE, arena),
                                .correlation = text_at(rows, row, C_CORRELATION, arena),
                                .topic = text_at(rows, row, C_TOPIC, arena),
                                .type = text_at(rows, row, C_TYPE, arena),
                                .key = text_at(rows, row, C_KEY, arena),
                                .source = text_at(rows, row, C_SOURCE, arena),
                                .actor = text_at(rows, row, C_ACTOR, arena),
                                .status = text_at(rows, row, C_STATUS, arena),
                                .detail = detail_at(rows, row, arena),
                                .part = (int)pg_get_int(rows, row, C_PART),
                                .seq = pg_get_int(rows, row, C_SEQ),
                                .ms = pg_get_int(rows, row, C_MS),
                                .done_ms = pg_get_int(rows, row, C_DONE),
                                .number = pg_get_int(rows, row, C_NUMBER)};
    return node;
}

static struct story_offset offset_of(const struct pg_result *rows, int row, struct arena *arena)
{
    return (struct story_offset){.grp = text_at(rows, row, C_SOURCE, arena),
                                 .topic = text_at(rows, row, C_TOPIC, arena),
                                 .part = (int)pg_get_int(rows, row, C_PART),
                                 .seq = pg_get_int(rows, row, C_NUMBER)};
}

static void take_rows(struct story *story, const struct pg_result *rows, int limit, struct arena *arena)
{
    int n = pg_rows(rows), events = 0;
    story->nodes = arena_array(arena, struct story_node *, n + 1);
    story->offsets = arena_array(arena, struct story_offset, n + 1);
    for (int i = 0; i < n; i++) {
        int64_t what = pg_get_int(rows, i, C_WHAT);
        if (what == WHAT_OFFSET) {
            story->offsets[story->n_offsets++] = offset_of(rows, i, arena);
            continue;
        }
        if (what == STORY_EVENT && ++events > limit) {
            story->truncated = true;
            continue;
        }
        story->nodes[story->n++] = node_of(rows, i, arena);
    }
}

/* ---- the tree ---- */

/* Open addressing over ids. Parked messages have none that others could name. */
struct by_id {
    struct story_node **slots;
    size_t mask;
};

static struct by_id by_id(const struct story *story, struct arena *arena)
{
    size_t size = 16;
    while (size < 2 * story->n)
        size *= 2;
    struct by_id map = {arena_array(arena, struct story_node *, size), size - 1};
    for (size_t i = 0; i < story->n; i++) {
        size_t at = str_hash(story->nodes[i]->id) & map.mask;
        while (map.slots[at])
            at = (at + 1) & map.mask;
        map.slots[at] = story->nodes[i];
    }
    return map;
}

static struct story_node *find(const struct by_id *map, struct str id)
{
    for (size_t at = str_hash(id) & map->mask; map->slots[at]; at = (at + 1) & map->mask)
        if (str_eq(map->slots[at]->id, id))
            return map->slots[at];
    return NULL;
}

/* A parked event stands under the event it is. */
static struct story_node *parked_event(const struct story *story, const struct story_node *parked)
{
    for (size_t i = 0; parked->seq && i < story->n; i++) {
        struct story_node *node = story->nodes[i];
        if (node->what == STORY_EVENT && node->seq == parked->seq && str_eq(node->topic, parked->topic) &&
            str_eq(node->key, parked->key))
            return node;
    }
    return NULL;
}

/* Causes that go round in a ring must not hang the reader: whoever would close it is a root. */
static bool is_above(const struct story_node *node, const struct story_node *below)
{
    while (below && below != node)
        below = below->parent;
    return below == node;
}

static void link_nodes(struct story *story, struct story_node *root, struct arena *arena)
{
    struct by_id map = by_id(story, arena);
    for (size_t i = 0; i < story->n; i++) {
        struct story_node *node = story->nodes[i], *parent = node->cause.n ? find(&map, node->cause) : NULL;
        if (!parent && node->what == STORY_PARKED)
            parent = parked_event(story, node);
        if (!parent || is_above(node, parent))
            parent = root;
        node->parent = parent;
        if (parent->last)
            parent->last->next = node;
        else
            parent->first = node;
        parent->last = node;
    }
}

/* The nodes anew in depth-first order, without recursion: a chain may be as long as the story. */
static void order(struct story *story, struct story_node *root)
{
    size_t n = 0;
    struct story_node *at = root->first;
    while (at) {
        at->depth = at->parent == root ? 0 : at->parent->depth + 1;
        story->nodes[n++] = at;
        if (at->first) {
            at = at->first;
            continue;
        }
        while (at != root && !at->next)
            at = at->parent;
        at = at->next;
    }
    for (size_t i = 0; i < n; i++)
        if (story->nodes[i]->parent == root)
            story->nodes[i]->parent = NULL;
}

/* From the first command or event to the last; what is only planned does not count. */
static void measure(struct story *story)
{
    for (size_t i = 0; i < story->n; i++) {
        const struct story_node *node = story->nodes[i];
        if (node->what > STORY_COMMAND || !node->ms)
            continue;
        int64_t end = node->done_ms > node->ms ? node->done_ms : node->ms;
        story->from_ms = !story->from_ms || node->ms < story->from_ms ? node->ms : story->from_ms;
        story->to_ms = end > story->to_ms ? end : story->to_ms;
    }
}

struct story story_build(const struct pg_result *rows, struct str id, int limit, struct arena *arena)
{
    struct story story = {.id = arena_str(arena, id)};
    struct story_node root = {.next = NULL};
    take_rows(&story, rows, limit, arena);
    link_nodes(&story, &root, arena);
    order(&story, &root);
    measure(&story);
    return story;
}

bool story_concerns(const struct story_offset *offset, const struct story_node *event)
{
    return event->what == STORY_EVENT && offset->part == event->part && str_eq(offset->topic, event->topic);
}

bool story_passed(const struct story_offset *offset, const struct story_node *event)
{
    return offset->seq >= event->seq;
}

const char *story_what_name(enum story_what what)
{
    static const char *const names[] = {"event", "command", "job", "timer", "parked"};
    return names[what];
}

/* ---- as JSON ---- */

static void put_groups(struct json *j, const struct story *story, const struct story_node *node, bool passed)
{
    json_key(j, passed ? "passed_by" : "awaited_by");
    json_open(j, '[');
    for (size_t i = 0; i < story->n_offsets; i++)
        if (story_concerns(&story->offsets[i], node) && story_passed(&story->offsets[i], node) == passed)
            json_str(j, story->offsets[i].grp);
    json_close(j, ']');
}

static void put_text(struct json *j, const char *key, struct str text)
{
    if (text.n)
        json_kstr(j, key, text);
}

/* A member per kind: what the number means differs. */
static const char *const number_names[] = {"", "http_status", "attempt", "", "attempts"};
static const char *const status_names[] = {"", "status", "state", "name", "reason"};
static const char *const time_names[] = {"at", "accepted_at", "due_at", "due_at", "parked_at"};
static const char *const source_names[] = {"source", "", "", "group", "group"};

static void put_node(struct json *j, const struct story *story, const struct story_node *node)
{
    json_open(j, '{');
    json_kint(j, "depth", node->depth);
    json_kstr(j, "kind", str_of(story_what_name(node->what)));
    json_kstr(j, "id", node->id);
    put_text(j, "type", node->type);
    put_text(j, "topic", node->topic);
    if (node->topic.n && node->what != STORY_PARKED)
        json_kint(j, "part", node->part);
    if (node->seq)
        json_kint(j, "seq", node->seq);
    put_text(j, "key", node->key);
    put_text(j, "causation_id", node->cause);
    put_text(j, "correlation_id", node->correlation);
    put_text(j, source_names[node->what], node->source);
    put_text(j, "actor", node->actor);
    put_text(j, status_names[node->what], node->status);
    put_text(j, "detail", node->detail);
    if (node->number)
        json_kint(j, number_names[node->what], node->number);
    if (node->ms) {
        json_ktime(j, time_names[node->what], node->ms);
        json_kint(j, "after_ms", node->ms - story->from_ms);
    }
    if (node->done_ms)
        json_ktime(j, "done_at", node->done_ms);
    if (node->what == STORY_EVENT) {
        put_groups(j, story, node, true);
        put_groups(j, story, node, false);
    }
    json_close(j, '}');
}

void story_json(struct json *j, const struct story *story)
{
    int64_t events = 0;
    for (size_t i = 0; i < story->n; i++)
        events += story->nodes[i]->what == STORY_EVENT;
    json_open(j, '{');
    json_kstr(j, "id", story->id);
    json_kint(j, "events", events);
    json_kbool(j, "truncated", story->truncated);
    json_kstr(j, "personal_data", STR("sealed, not shown"));
    if (story->from_ms) {
        json_ktime(j, "from", story->from_ms);
        json_ktime(j, "to", story->to_ms);
    }
    json_key(j, "nodes");
    json_open(j, '[');
    for (size_t i = 0; i < story->n; i++)
        put_node(j, story, story->nodes[i]);
    json_close(j, ']');
    json_close(j, '}');
}
