/* What the door says about the messages: every one of them, in a document that holds together. */
#include <criterion/criterion.h>

#include "api/described.h"
#include "messages.h"
#include "tests/support/opened.h"

static json_t *document(void)
{
    json_error_t error;
    json_t *root =
        json_loadb(described_asyncapi_json.p, described_asyncapi_json.n, JSON_REJECT_DUPLICATES, &error);
    cr_assert(root, "%s at %d", error.text, error.position);
    return root;
}

/* "#/a/b/c" from the root; NULL when it leads nowhere. */
static json_t *follow(json_t *root, const char *ref)
{
    char path[256], *rest = path;
    cr_assert(strncmp(ref, "#/", 2) == 0 && strlen(ref) < sizeof(path));
    strcpy(path, ref + 2);
    for (char *word; root && (word = strsep(&rest, "/"));)
        root = json_object_get(root, word);
    return root;
}

static int check_refs(json_t *root, json_t *node)
{
    const char *key;
    json_t *value;
    size_t i;
    int n = 0;
    json_array_foreach(node, i, value) n += check_refs(root, value);
    json_object_foreach(node, key, value)
    {
        if (strcmp(key, "$ref") != 0) {
            n += check_refs(root, value);
            continue;
        }
        cr_assert(follow(root, json_string_value(value)), "%s leads nowhere", json_string_value(value));
        n++;
    }
    return n;
}

Test(described, every_message_is_in_the_document_and_every_reference_leads_somewhere)
{
    json_t *root = document(), *messages = follow(root, "#/components/messages");

    cr_assert_str_eq(json_string_value(json_object_get(root, "asyncapi")), "3.0.0");
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        cr_assert(json_object_get(messages, message_types[m].name), "%s is missing", message_types[m].name);
    cr_assert_gt(check_refs(root, root), 200);
    json_decref(root);
}

/* The examples are what the bus could carry: today's codec reads them. */
Test(described, examples_are_read_by_the_codec)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(16 << 20);
    json_t *root = document(), *messages = follow(root, "#/components/messages");
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++) {
        const struct message_type *type = &message_types[m];
        json_t *examples = json_object_get(json_object_get(messages, type->name), "examples");
        char *text = json_dumps(json_object_get(json_array_get(examples, 0), "payload"), 0);
        err e = codec_decode(type->shape, CODEC_BUS, str_of(text), NULL, 0, arena,
                             arena_alloc(arena, type->shape->size), NULL);
        cr_assert_not(failed(e), "%s: %s: %s", type->name, err_text(e), text);
        free(text);
    }
    json_decref(root);
}

Test(described, the_door_serves_it)
{
    _cleanup_(opened_stopp) struct opened *door = opened_start(1, 2);
    static const char *const paths[] = {"/asyncapi.json", "/asyncapi.yaml", "/docs", "/docs/style.css"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        cr_assert_eq(opened_ask(door, &(struct ask){.method = "GET", .path = paths[i]}), 200, "%s", paths[i]);
    cr_assert_eq(opened_ask(door, &(struct ask){.method = "POST", .path = "/docs"}), 405);
}
