/* Who may see which events, and what an event looks like outside. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "bus/event_form.h"
#include "bus/event_rights.h"

#define ANA "0192a4b0-0000-7000-8000-00000000000a"
#define LUIS "0192a4b0-0000-7000-8000-00000000000b"

static struct arena *arena;
static struct event_reader ana = {.rights = EVENTS_OWN};
static const struct event_reader nobody = {.rights = 0}, clerk = {.rights = EVENTS_OWN | EVENTS_SALES};

static void open_arena(void)
{
    arena = arena_new(1 << 20);
    cr_assert(!failed(uuid_parse(STR(ANA), &ana.user)));
}

static void close_arena(void)
{
    arena_free(arena);
}

TestSuite(event_rights, .init = open_arena, .fini = close_arena);

static bool sees(const struct event_reader *reader, const char *type, const char *data)
{
    return event_rights_see(reader, &(struct envelope){.type = str_of(type), .data = str_of(data)}, arena);
}

Test(event_rights, every_event_has_a_row)
{
    const struct event_reader all = {.rights = ~0U};

    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        cr_expect_eq(event_rights_any(&all, (enum message)m), !message_types[m].command,
                     "%s: schemas/event_rights.def", message_types[m].name);
}

Test(event_rights, what_is_shown_to_its_owner_names_him)
{
    const struct event_reader own = {.rights = EVENTS_OWN};

    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        if (event_rights_any(&own, (enum message)m) && message_types[m].topic != TOPIC_CATALOG &&
            m != ORDER_STATUS_CHANGED) { /* names the order alone: nobody is known to own it */
            bool names = false;
            for (size_t i = 0; i < message_types[m].shape->n; i++)
                names |= strcmp(message_types[m].shape->fields[i].name, "user_id") == 0;
            cr_expect(names, "%s", message_types[m].name);
        }
}

Test(event_rights, a_customer_sees_what_names_him_as_its_owner)
{
    cr_expect(sees(&ana, "order.placed.v1", "{\"order_id\":\"x\",\"user_id\":\"" ANA "\"}"));
    cr_expect_not(sees(&ana, "order.placed.v1", "{\"order_id\":\"x\",\"user_id\":\"" LUIS "\"}"));
    cr_expect_not(sees(&ana, "order.placed.v1", "{\"note\":\"" ANA "\",\"user_id\":\"" LUIS "\"}"));
    cr_expect_not(sees(&ana, "order.placed.v1", "{\"lines\":[{\"user_id\":\"" ANA "\"}]}"));
    cr_expect_not(sees(&ana, "order.status-changed.v1", "{\"order_id\":\"" ANA "\"}"));
    cr_expect_not(sees(&ana, "order.placed.v1", "[\"user_id\",\"" ANA "\"]"));
    cr_expect_not(sees(&ana, "order.placed.v1", ""));
    cr_expect_not(sees(&ana, "payment.authorise-requested.v1", "{\"user_id\":\"" ANA "\"}"));
    cr_expect_not(sees(&ana, "user.updated.v1", "{\"user_id\":\"" ANA "\"}"));
    cr_expect(sees(&clerk, "order.placed.v1", "{\"user_id\":\"" LUIS "\"}"));
    cr_expect_not(sees(&clerk, "user.updated.v1", "{\"user_id\":\"" LUIS "\"}"));
}

Test(event_rights, nobody_owns_what_has_no_owner)
{
    const struct event_reader nil = {.rights = EVENTS_OWN};

    cr_expect_not(sees(&nil, "order.placed.v1", "{\"user_id\":\"00000000-0000-0000-0000-000000000000\"}"));
    cr_expect_not(sees(&nobody, "category.created.v1", "{}"));
    cr_expect_not(sees(&clerk, "order.place.v1", "{}"), "a command is no event");
    cr_expect_not(sees(&clerk, "order.unheard-of.v1", "{}"));
}

Test(event_rights, a_filter_is_narrowed_to_what_can_be_seen)
{
    struct type_filter filter;

    cr_assert(!failed(type_filter_parse(STR("*"), &filter)));
    cr_expect(event_rights_narrow(&ana, &filter));
    cr_expect(filter.wants[ORDER_PLACED] && filter.topics[TOPIC_ORDERS]);
    cr_expect(!filter.wants[ORDER_STOCK_HELD] && !filter.topics[TOPIC_PAYMENTS]);
    cr_assert(!failed(type_filter_parse(STR("user.*,payment.*"), &filter)));
    cr_expect_not(event_rights_narrow(&ana, &filter));
    cr_expect_not(event_rights_narrow(&nobody, &filter));
}

static json_t *shown(const char *data, bool actor)
{
    struct envelope event = {.id = STR(ANA),
                             .source = STR("identity"),
                             .type = STR("user.registered.v1"),
                             .dataschema = STR("user.registered/1.0"),
                             .actor = STR("user:" LUIS),
                             .data = str_of(data)};
    struct str text = event_json(&event, actor, arena);

    cr_expect_eq(str_find(text, '\n'), text.n, "one line");
    json_t *json = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(json, "%.*s", STR_ARG(text));
    return json;
}

static const char *text_of(json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

Test(event_rights, what_is_sealed_is_left_out_and_said_so)
{
    json_t *json = shown("{ \"user_id\" : \"" ANA "\",\n \"email\":\"sealed:1:" ANA ":AAAA\","
                         "\"more\":{\"phone\":\"sealed:1:x\"}, \"role\":\"customer\"}",
                         false);

    cr_expect_str_eq(text_of(json, "specversion"), "1.0");
    cr_expect_str_eq(text_of(json, "dataschema"), "urn:daydream:user.registered/1.0");
    cr_expect_str_eq(text_of(json, "withheld"), "email more");
    cr_expect_null(json_object_get(json, "actor"));
    cr_expect_null(json_object_get(json, "subject"), "empty attributes are left out");
    json_t *data = json_object_get(json, "data");
    cr_expect_eq(json_object_size(data), 2);
    cr_expect_str_eq(text_of(data, "role"), "customer");
    json_decref(json);
}

Test(event_rights, data_that_cannot_be_read_is_left_out_as_a_whole)
{
    static const char *const broken[] = {"", "{", "[1]", "{\"a\":1} x", "\"sealed:1:x\""};

    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        json_t *json = shown(broken[i], true);
        cr_expect_null(json_object_get(json, "data"));
        cr_expect_str_eq(text_of(json, "withheld"), "data");
        cr_expect_str_eq(text_of(json, "actor"), "user:" LUIS);
        json_decref(json);
    }
}
