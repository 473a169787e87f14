/*
 * bus show: the story of an id as a tree. A line per command, event, job, timer and parked message, below
 * what caused it: milliseconds since the beginning and since its cause, type, where it stands, and who has
 * not passed it yet.
 */
#include <inttypes.h>

#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"
#include "bus/story.h"

enum { INDENT_MAX = 24 }; /* levels; deeper ones are not moved further to the right */

static void print_when(const struct story *story, const struct story_node *node)
{
    char after[32] = "", delta[32] = "";
    if (node->ms)
        snprintf(after, sizeof(after), "%+" PRId64, node->ms - story->from_ms);
    if (node->ms && node->parent && node->parent->ms)
        snprintf(delta, sizeof(delta), "(%+" PRId64 ")", node->ms - node->parent->ms);
    printf("%9s %9s  %*s", after, delta, 2 * (node->depth < INDENT_MAX ? node->depth : INDENT_MAX), "");
}

/* "orders.03:17", as `bus tail` and the streams have it. */
static void print_lane(const struct story_node *node)
{
    if (node->topic.n && node->what != STORY_PARKED)
        printf(" %.*s.%02d", STR_ARG(node->topic), node->part);
    if (node->seq && node->what == STORY_EVENT)
        printf(":%" PRId64, node->seq);
}

static void print_groups(const struct story *story, const struct story_node *node)
{
    int passed = 0, behind = 0;
    for (size_t i = 0; i < story->n_offsets; i++) {
        const struct story_offset *o = &story->offsets[i];
        if (!story_concerns(o, node))
            continue;
        if (story_passed(o, node))
            passed++;
        else
            printf("%s%.*s (%" PRId64 " behind)", behind++ ? ", " : "  not passed by ", STR_ARG(o->grp),
                   node->seq - o->seq);
    }
    if (passed && !behind)
        printf("  passed by all %d", passed);
}

static void print_event(const struct story *story, const struct story_node *node)
{
    printf("%.*s", STR_ARG(node->type));
    print_lane(node);
    printf(" %.*s", STR_ARG(node->key));
    print_groups(story, node);
}

static void print_command(const struct story *story, const struct story_node *node)
{
    (void)story;
    printf("command %.*s", STR_ARG(node->type.n ? node->type : STR("(never handled)")));
    print_lane(node);
    printf(" %.*s", STR_ARG(node->status));
    if (node->number)
        printf(" %" PRId64, node->number);
    if (node->done_ms)
        printf(" after %" PRId64 " ms", node->done_ms - node->ms);
    if (node->actor.n)
        printf(" by %.*s", STR_ARG(node->actor));
    if (node->detail.n)
        printf(": %.*s", STR_ARG(node->detail));
}

static void print_job(const struct story *story, const struct story_node *node)
{
    (void)story;
    printf("job %.*s %.*s, attempt %" PRId64, STR_ARG(node->type), STR_ARG(node->status), node->number);
}

static void print_timer(const struct story *story, const struct story_node *node)
{
    (void)story;
    printf("timer %.*s of %.*s will emit %.*s", STR_ARG(node->status), STR_ARG(node->source),
           STR_ARG(node->type));
}

static void print_parked(const struct story *story, const struct story_node *node)
{
    (void)story;
    printf("PARKED for %.*s: %.*s, %.*s", STR_ARG(node->source), STR_ARG(node->type), STR_ARG(node->status));
}

static void (*const print_fns[])(const struct story *story,
                                 const struct story_node *node) = {[STORY_EVENT] = print_event,
                                                                   [STORY_COMMAND] = print_command,
                                                                   [STORY_JOB] = print_job,
                                                                   [STORY_TIMER] = print_timer,
                                                                   [STORY_PARKED] = print_parked};

static void print_story(const struct story *story)
{
    char from[25];
    clock_print(story->from_ms, from);
    printf("%s, %" PRId64 " ms; milliseconds since the beginning (since the cause):\n", from,
           story->to_ms - story->from_ms);
    for (size_t i = 0; i < story->n; i++) {
        print_when(story, story->nodes[i]);
        print_fns[story->nodes[i]->what](story, story->nodes[i]);
        putchar('\n');
    }
    printf(
        "%sPersonal fields stay sealed; data is not shown (bus grep --id ID --json shows it as it stands).\n",
        story->truncated ? "There is more: --limit shows it. " : "");
}

static err show(struct ctl *ctl, int limit, bool *ret_found)
{
    _cleanup_(pg_result_freep) struct pg_result *rows = NULL;
    struct pg_param params[STORY_PARAMS];
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    struct str id = str_of(ctl->args[0]);
    TRY(ctl_connect(ctl, CTL_BUS));
    story_params(id, STORY_BY_ANY, STR_NONE, limit, params);
    TRY(pg_call(ctl->pg, &story_select, STORY_PARAMS, params, &rows));
    struct story story = story_build(rows, id, limit, ctl->arena);
    *ret_found = story.n > 0;
    if (ctl->json) {
        story_json(&j, &story);
        ctl_print_json(&b);
    } else if (story.n)
        print_story(&story);
    else
        fprintf(stderr, "daydreamctl: nothing has that id, key or correlation\n");
    return OK;
}

enum ctl_exit run_bus_show(struct ctl *ctl)
{
    int64_t limit;
    bool found = false;
    err e = ctl_option_int(ctl, "limit", 1, STORY_LIMIT_MAX, STORY_LIMIT, &limit);
    if (failed(e))
        return ctl_usage(ctl, "%s", err_text(e));
    e = show(ctl, (int)limit, &found);
    return failed(e) ? ctl_fail(e) : found ? CTL_OK : CTL_FINDINGS;
}
